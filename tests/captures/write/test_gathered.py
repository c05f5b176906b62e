"""Files written in gathered pieces: every byte in its place though the system takes less at a time, or the error."""

from __future__ import annotations

import errno
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captures.write.gathered import GATHERED, MOST_PIECES, GatheredFile
from captures.write.sent import write_sent
from multifd_codec.plan.page_content import Pattern
from multifd_codec.plan.plan import Block, MigrationPlan, Pages, Round
from multifd_codec.sender import send

LIMIT = 300_000
PLAN = MigrationPlan((Block("ram", 1 << 20),), (Round((Pages("ram", 0, 256, Pattern(1)),)),))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([0, 1, 5000, GATHERED - 1, GATHERED]), max_size=6), st.sampled_from([1, MOST_PIECES]))
def test_what_is_written_is_there(tmp_path: Path, sizes: list[int], times: int) -> None:
    pieces = [Random(number).randbytes(size if times == 1 else size % 99) for number, size in enumerate(sizes * times)]
    with GatheredFile(tmp_path / "file") as file:
        assert [file.write(piece) for piece in pieces] == [len(piece) for piece in pieces]
    assert (tmp_path / "file").read_bytes() == b"".join(pieces)


def test_a_signal_in_the_middle_of_a_write(tmp_path: Path) -> None:
    """The system then has taken a part."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    pieces = [Random(number).randbytes(9000) for number in range(100)]
    whole, received = b"".join(pieces), bytearray()
    writer = threading.main_thread().ident
    assert writer is not None

    def read() -> None:
        with path.open("rb", buffering=0) as fifo:
            while len(received) < len(whole):
                time.sleep(0.001)  # so that the pipe is full and the writer waits
                signal.pthread_kill(writer, signal.SIGUSR1)
                received.extend(fifo.read(9973))

    seen: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: seen.append(number))
    reader = threading.Thread(target=read)
    reader.start()
    try:
        with GatheredFile(path) as file:
            for piece in pieces:
                file.write(piece)
        reader.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert bytes(received) == whole and seen


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """As on a disk that gets full: a write is cut there, the next one refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_cannot_grow(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with files_end_at(LIMIT), pytest.raises(OSError) as raised, GatheredFile(path) as file:
        for number in range(20):
            file.write(bytes([number]) * 30_000)
    assert (raised.value.errno, raised.value.filename) == (errno.EFBIG, str(path))
    assert path.read_bytes() == b"".join(bytes([number]) * 30_000 for number in range(10))


def test_a_full_device() -> None:
    file = GatheredFile(Path("/dev/full"))
    file.write(b"held back")
    with pytest.raises(OSError) as raised:
        file.close()
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, "/dev/full")
    file.close()  # closed already: nothing to say
    with pytest.raises(ZeroDivisionError), GatheredFile(Path("/dev/full")) as file:  # the first error is told
        file.write(b"held back")
        raise ZeroDivisionError


@pytest.mark.parametrize("name", ["out.pcap", "folder"])
def test_a_capture_that_does_not_fit_leaves_nothing(tmp_path: Path, name: str) -> None:
    with files_end_at(LIMIT), pytest.raises(OSError) as raised:
        write_sent(tmp_path / name, send(PLAN), PLAN.channels)
    assert raised.value.errno == errno.EFBIG
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
