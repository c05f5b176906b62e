"""Commands that are ended from outside leave nothing behind: no process, no half-written file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import SAMPLES

PATIENCE = 60.0
"""Seconds until a loaded machine has done what takes a moment."""


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def descendants(process: int) -> set[int]:
    """Processes that it started, and theirs."""
    found: set[int] = set()
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found |= {child} | descendants(child)
    return found


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def started(*arguments: object) -> subprocess.Popen[bytes]:
    def interruptible() -> None:  # even where the tests run in the background of a shell, which ignores it
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    command = [sys.executable, "-m", "analyzers.cli", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=interruptible)  # noqa: PLW1509


def killed_with(count: int, *arguments: object) -> None:
    """Kill it as soon as so many processes work for it: they end."""
    with started(*arguments) as child:
        until(lambda: len(descendants(child.pid)) >= count)
        there = descendants(child.pid)
        child.kill()
    until(lambda: not any(map(alive, there)))


def test_workers_end_with_their_campaign() -> None:
    killed_with(2, "fuzz", "--jobs", 2)


@pytest.mark.skipif(os.geteuid() != 0, reason="tcpdump CANNOT RECORD: only root may capture here")
@pytest.mark.qemu
def test_programs_end_with_a_recording(tmp_path: Path) -> None:
    """Two QEMUs, tcpdump and what keeps it."""
    killed_with(4, "record", "-o", tmp_path / "out.pcap", "--ram-size", "512M", "--bandwidth", "1M")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_half_written_output_is_taken_away(number: signal.Signals, tmp_path: Path) -> None:
    with started("generate", "--ram", "2G", "-o", tmp_path / "out.pcap") as child:
        until(lambda: any(tmp_path.iterdir()))
        child.send_signal(number)
        assert child.stderr is not None
        assert child.stderr.read() == b"" and child.wait() == 128 + number
    assert not any(tmp_path.iterdir())


def test_a_worker_that_is_killed_ends_the_campaign(tmp_path: Path) -> None:
    with started("fuzz", "--jobs", 2, "-o", tmp_path / "campaign") as child:
        until(lambda: len(descendants(child.pid)) >= 2)
        os.kill(min(descendants(child.pid)), signal.SIGKILL)
        assert child.stderr is not None
        assert child.stderr.read().startswith(b"multifd: a worker process was ended") and child.wait() == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["_struct", "numpy", "zstandard"])
def test_while_it_still_starts(number: signal.Signals, module: str) -> None:
    """No trace of Python, and the exit code of the signal, whatever is just being imported."""
    with started("lint", SAMPLES / "q10.0-none-known-ram-two-devices.pcap.zst") as child:
        until(lambda: not alive(child.pid) or module in Path(f"/proc/{child.pid}/maps").read_text())
        child.send_signal(number)
        assert child.stderr is not None
        assert child.stderr.read() == b"" and child.wait() in (0, 128 + number)


@pytest.mark.parametrize(("raised", "code"), [("KeyboardInterrupt", 130), ("SystemExit(143)", 143)])
def test_in_a_finalizer(raised: str, code: int) -> None:
    """Where Python can only print what is raised, the signal comes again."""
    text = (
        "import time, analyzers.cli.app as app, analyzers.cli as cli\n"
        "class Finalized:\n"
        f"    def __del__(self): raise {raised}\n"
        "def work(*_, **__):\n"
        "    Finalized()\n"
        "    time.sleep(60)\n"
        "app.multifd.main = work\n"
        "cli.run()\n"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (code, b"")


def test_a_file_that_becomes_shorter(tmp_path: Path) -> None:
    """As a capture does that is rotated: the end of a whole process, where the kernel would end it without a word."""
    path = tmp_path / "capture.pcap"
    path.write_bytes((SAMPLES / "q7.2-none.pcap").read_bytes())
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from analyzers.cli.inputs import open_input\n"
        "path = Path(sys.argv[1])\n"
        "recording = open_input(path, 'native', None, None)\n"
        "os.truncate(path, 0)\n"
        "source = recording.migrations[0].channels[0].source\n"
        "bytes(source.read(0, source.size))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (2, b"multifd: an input file became shorter while it was read\n")
