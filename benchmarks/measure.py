"""Runs programs and measures them: wall time of the whole process, its CPU time, and the memory that is its own."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

SAMPLE_INTERVAL = 0.002


class ProgramFailedError(Exception):
    """A program under measurement ended in an exit code nobody expected."""


Run = Callable[[], object]


class Cost(NamedTuple):
    """What a run took, in seconds."""

    wall: float
    cpu: float
    """User and system time of the process and of all its children."""


def run(command: Sequence[str], stdout: int = subprocess.DEVNULL) -> bytes:
    """Run a program to its end. Raises ProgramFailedError unless it exits with 0.

    Its output is thrown away, or returned with ``stdout`` PIPE.
    """
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ProgramFailedError(f"{' '.join(command)}: exit code {done.returncode} {' '.join(last)}")
    return done.stdout or b""


def cost(command: Sequence[str]) -> tuple[Cost, bytes]:
    """Run a program like ``run``; what it took, and its output. Nothing else may be running for this process."""
    before, start = _children(), time.perf_counter()
    output = run(command, subprocess.PIPE)
    return Cost(time.perf_counter() - start, _children() - before), output


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def race(runs: Mapping[str, Run], rounds: int = 3, before: Run = lambda: None) -> dict[str, float]:
    """Best wall time in seconds of each; they take turns, so that all see the same load of the machine.

    ``before`` runs in front of each, and is not measured.
    """
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, action in runs.items():
            before()
            start = time.perf_counter()
            action()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def peak_own_memory(command: Sequence[str]) -> int:
    """Peak in bytes of anonymous and shared memory, sampled while the program runs; mapped files are not in it."""
    peak = 0
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, _own_memory(process.pid))
            time.sleep(SAMPLE_INTERVAL)
    return peak


def _own_memory(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return sum(int(fields.get(name, "0 kB").split()[0]) << 10 for name in ("RssAnon", "RssShmem"))
