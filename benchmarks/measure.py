"""Runs programs and measures them: wall time of the whole process, and the memory that is its own."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

SAMPLE_INTERVAL = 0.002


class ProgramFailedError(Exception):
    """A program under measurement ended in an exit code nobody expected."""


Run = Callable[[], None]


def run(command: Sequence[str]) -> None:
    """Run a program to its end, its output thrown away. Raises ProgramFailedError unless it exits with 0."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
    )
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ProgramFailedError(f"{' '.join(command)}: exit code {done.returncode} {' '.join(last)}")


def race(runs: Mapping[str, Run], rounds: int = 3) -> dict[str, float]:
    """Best wall time in seconds of each; they take turns, so that all see the same load of the machine."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, action in runs.items():
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
