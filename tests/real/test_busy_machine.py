"""A busy machine makes a verdict late, never wrong: no destination that works is taken for a frozen one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from captures.qemu import DestinationPool
from tests.helpers.qemus import RELEASES, installed, options, run_case, truth_cases

HOGS = 6
TURNS = 3


@pytest.fixture
def busy() -> Iterator[None]:
    """More processes that want a CPU than there are."""
    with ExitStack() as stack:
        for _ in range(HOGS):
            hog = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(hog.kill)
        yield


@pytest.mark.real
@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("release", RELEASES)
def test_no_verdict_is_wrong(release: str) -> None:
    folder = f"q{release}-measured"
    cases = truth_cases(folder)
    with DestinationPool(installed(release), options(), size=4) as pool, ThreadPoolExecutor(8) as threads:
        for _ in range(TURNS):
            runs = threads.map(lambda name: (name, run_case(pool, folder, name, cases[name], None)), cases)
            for name, seen in runs:
                measured = set(cases[name].get("possible", cases[name]["outcomes"]))
                expected = {"completes" if outcome == "loses-data" else outcome for outcome in measured}
                assert seen.outcome in expected, f"{name}: {seen.line()}"
