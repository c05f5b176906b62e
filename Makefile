# Every target brings what it needs and says nothing when there is nothing to do. `make help` lists them.
# .venv holds the tools; a stamp file in it remembers which extras are installed.

VENV := .venv
BIN := $(VENV)/bin
# In compat mode an import costs no search by setuptools' finder, which tells in every start of `multifd`.
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --config-settings editable_mode=compat
PACKAGES := multifd_codec captures analyzers
SAMPLES := captures/samples
SECONDS := 600
# On all cores; tests of one group, those of real QEMU, stay on one.
PARALLEL := $(BIN)/python -m pytest -n auto --dist loadgroup

# What the tests judge us by, when the machine has it: program names, .ci/setup knows their Debian packages.
TEST_PROGRAMS := tshark tcpdump zstd qemu-system-x86_64
BENCH_PROGRAMS := tshark tcpflow qemu-system-x86_64

.DEFAULT_GOAL := help
.PHONY: help demo test test-long test-real fuzz check bench clean

help: ## this list
	@echo "make TARGET, one of:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(VENV)/.installed-run ## judge a recorded migration that hangs, and a healthy one
	@.ci/demo $(BIN)/multifd $(SAMPLES)

test: $(VENV)/.installed-test ## run the tests; ARGS="-k name" goes to pytest
	@.ci/setup programs $(TEST_PROGRAMS)
	@.ci/setup qemu-10.0
	$(PARALLEL) $(ARGS)

test-long: $(VENV)/.installed-test ## the same with many more examples, others in each run
	@.ci/setup programs $(TEST_PROGRAMS)
	@.ci/setup qemu-10.0
	$(PARALLEL) --hypothesis-profile=long $(ARGS)

test-real: $(VENV)/.installed-test ## the long runs against real QEMU 7.2 and 10.0
	@.ci/setup programs $(TEST_PROGRAMS)
	@.ci/setup qemu-10.0
	$(BIN)/python -m pytest tests/real -m real $(ARGS)

fuzz: $(VENV)/.installed-fuzz ## coverage-guided fuzzing of every reader, SECONDS=600 for all; ARGS="lint" for one
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(ARGS)

check: $(VENV)/.installed-check ## style, types, and which package may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports

bench: $(VENV)/.installed-test ## race against cat, tcpflow, tshark and dd; ARGS="--quick" for a small run
	@.ci/setup programs $(BENCH_PROGRAMS)
	@.ci/setup qemu-10.0
	@# As pip does when it installs: where PYTHONDONTWRITEBYTECODE is set, every start would compile all of it again.
	@$(BIN)/python -m compileall -q $(PACKAGES)
	$(BIN)/python -m benchmarks $(ARGS)

clean: ## remove everything that the targets made
	rm -rf $(VENV) .setup .bench .fuzz build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@.ci/setup venv $(VENV)

$(VENV)/.installed-run: pyproject.toml | $(BIN)/python
	@echo "installing the package into $(VENV)"
	@$(PIP) -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(BIN)/python
	@echo "installing the package and its test tools into $(VENV)"
	@$(PIP) -e '.[test]'
	@touch $@ $(VENV)/.installed-run

$(VENV)/.installed-fuzz: pyproject.toml | $(BIN)/python
	@echo "installing the package and its fuzzer into $(VENV)"
	@$(PIP) -e '.[fuzz]'
	@touch $@ $(VENV)/.installed-test $(VENV)/.installed-run

# mypy reads the test tools' types too.
$(VENV)/.installed-check: pyproject.toml | $(BIN)/python
	@echo "installing the package and its checkers into $(VENV)"
	@$(PIP) -e '.[test,check]'
	@touch $@ $(VENV)/.installed-test $(VENV)/.installed-run
