"""Running the checks on a real destination, in processes, with a file that says what is done."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from pathlib import Path
from typing import Any, NamedTuple

from analyzers.conform.checks import Check
from analyzers.fuzz.against import trial
from analyzers.fuzz.case import Habitat
from captures.qemu import Qemu
from multifd_codec.errors import InputError

SCHEMA = "multifd-conform/1"
RUNS = 3
"""Of each check: some outcomes are races."""


class Result(NamedTuple):
    """What became of one check."""

    name: str
    code: str
    foreseen: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    """The outcome of each run."""
    words: str = ""
    """What the destination did in the last run, or the first that was not foreseen, in one line."""
    skipped: str = ""

    @property
    def agrees(self) -> bool | None:
        """Whether every run ended as foreseen; None: there was none."""
        if not self.seen:
            return None
        return set(self.seen) <= set(self.foreseen) or "undecided" in self.foreseen

    def as_json(self) -> dict[str, Any]:
        return {**self._asdict(), "agrees": self.agrees}


def run_check(check: Check, habitat: Habitat, qemu: Qemu, runs: int = RUNS) -> Result:
    """One check; runs in a worker. Raises InputError when QEMU cannot be run."""
    result = Result(check.name, check.code, skipped=check.skipped)
    if check.case is None:
        return result
    for _ in range(runs):
        seen = trial(check.case, habitat, qemu)
        if seen is None:
            return result._replace(skipped="nothing that can be sent, or not in time")
        before = result.agrees
        result = result._replace(foreseen=seen.predicted, seen=(*result.seen, seen.observed))
        if before is not False:
            result = result._replace(words=seen.words)
    return result


class Conformance:
    """The checks of one destination. ``state``: a file in which results are kept, and found again."""

    def __init__(
        self, checks: Sequence[Check], habitat: Habitat, qemu: Qemu, *, runs: int = RUNS, state: Path | None = None
    ) -> None:
        self._checks, self._habitat, self._qemu, self._runs = list(checks), habitat, qemu, runs
        self._state = state
        self._task = {
            "schema": SCHEMA,
            "qemu": list(qemu.command),
            "version": qemu.full_version,
            "mode": str(habitat.destination.mode),
            "runs": runs,
        }
        self._known = {} if state is None else self._resumed(state)

    def run(
        self,
        executor: Executor,
        workers: int,
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[Result]:
        """All results, in the order of the checks; fewer when ``stop`` says so. Raises InputError, OSError."""
        left = iter([check for check in self._checks if check.name not in self._known])
        pending: dict[Future[Result], str] = {}
        try:
            while True:
                while len(pending) < 2 * workers and not stop() and (check := next(left, None)) is not None:
                    future = executor.submit(run_check, check, self._habitat, self._qemu, self._runs)
                    pending[future] = check.name
                if not pending:
                    break
                for future in wait(pending, timeout=0.5, return_when=FIRST_COMPLETED).done:
                    del pending[future]
                    self._take(future.result())
                progress(len(self._known), len(self._checks))
        finally:
            for future in pending:
                future.cancel()
        return [self._known[check.name] for check in self._checks if check.name in self._known]

    def _take(self, result: Result) -> None:
        self._known[result.name] = result
        if self._state is not None:
            with self._state.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result._asdict()) + "\n")

    def _resumed(self, path: Path) -> dict[str, Result]:
        if not path.exists():
            path.write_text(json.dumps(self._task) + "\n", encoding="utf-8")
            return {}
        try:
            text = path.read_bytes()
            whole = text[: text.rfind(b"\n") + 1]  # an end may have cut the last line
            head, *lines = map(json.loads, whole.decode().splitlines())
            known = [_result(line) for line in lines]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InputError(f"{path}: is no state of a conformance run ({error})") from None
        if head != self._task:
            raise InputError(f"{path}: belongs to another destination, mode or number of runs; give another file")
        if len(whole) < len(text):
            os.truncate(path, len(whole))
        return {result.name: result for result in known}


def _result(value: Any) -> Result:
    lists = {name: tuple(value[name]) for name in ("foreseen", "seen")}
    result = Result(value["name"], value["code"], **lists, words=value["words"], skipped=value["skipped"])
    if not all(isinstance(part, str) for part in (result.name, result.code, *result.foreseen, *result.seen)):
        raise TypeError("a result that is none")
    return result
