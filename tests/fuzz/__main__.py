"""``python -m tests.fuzz``: every target for a share of the time, under atheris (extra ``fuzz``).

What is learnt stays in ``.fuzz/corpus``; an input that breaks a target, takes too long or too much memory is left in
``.fuzz/broken/TARGET``. Mend what it shows and move it to ``tests/fuzz/found/TARGET``, where the tests try it always.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
WORK = HERE.parents[1] / ".fuzz"
PACKAGES = ["multifd_codec", "captures", "analyzers"]
LONGEST_INPUT = 48 << 10
SECONDS_AN_INPUT = 20
"""Instrumented code is some five times slower."""
MEGABYTES = 2500
LONGEST_RUN = 30.0
"""Seconds of one process: comparisons of long inputs are kept by what traces them, some 100 MB a thousand of them."""
SHORTEST_SHARE = 2
BEGIN = time.monotonic()
"""Instrumenting takes its time, too."""


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    options.add_argument("targets", nargs="*", help="only these")
    options.add_argument("--seconds", type=float, default=600, help="for all together [600]")
    options.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.one:
        return _fuzz(given.targets[0], given.seconds)
    from tests.fuzz.seeds import SEEDS

    names = given.targets or list(SEEDS)
    for name in names:
        if name not in SEEDS:
            options.error(f"there is no target {name}; there are {', '.join(SEEDS)}")
    share = max(given.seconds / len(names), SHORTEST_SHARE)
    broken = [name for name in names if not _run(name, share)]
    if broken:
        print(f"broken: {', '.join(broken)}; the inputs are in {WORK / 'broken'}")
    return int(bool(broken))


def _run(name: str, seconds: float) -> bool:
    """One target in a process of its own; whether nothing broke it."""
    from tests.fuzz.seeds import seeds

    corpus, broken = WORK / "corpus" / name, WORK / "broken" / name
    for place in (corpus, broken):
        place.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        (corpus / f"seed-{number}").write_bytes(seed)
    begin, count = time.monotonic(), 0
    while (left := seconds - (time.monotonic() - begin)) > 1 or not count:
        command = [sys.executable, "-m", "tests.fuzz", "--one", name, f"--seconds={min(left, LONGEST_RUN)}"]
        done = subprocess.run(command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, check=False)
        text = done.stdout.decode(errors="replace")
        count += max((int(number) for number in re.findall(r"^#(\d+)", text, re.MULTILINE)), default=1)
        if done.returncode:
            break
    verdict = "nothing broke it" if done.returncode == 0 else f"BROKEN (exit code {done.returncode})"
    print(f"{name}: {count:,} executions in {time.monotonic() - begin:.0f} s, {verdict}", flush=True)
    if done.returncode:
        print("\n".join(text.splitlines()[-40:]), flush=True)
    return done.returncode == 0


def _fuzz(name: str, seconds: float) -> int:
    """Become libFuzzer; does not return."""
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is missing: pip install 'multifd-codec[fuzz]'")
    with atheris.instrument_imports(include=PACKAGES):
        from tests.fuzz.targets import TARGETS
    seconds -= time.monotonic() - BEGIN
    corpus, found = WORK / "corpus" / name, HERE / "found" / name
    arguments: Sequence[str] = (
        sys.argv[0],
        str(corpus),
        *([str(found)] if found.is_dir() else []),
        f"-dict={HERE / 'dictionary.txt'}",
        f"-artifact_prefix={WORK / 'broken' / name}/",
        f"-max_total_time={max(1, round(seconds))}",
        f"-max_len={LONGEST_INPUT}",
        f"-timeout={SECONDS_AN_INPUT}",
        f"-rss_limit_mb={MEGABYTES}",
    )
    atheris.Setup(list(arguments), TARGETS[name])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
