"""What comes through a pipe, in a file without a name: captures are read from many places at once."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from captures.model import CaptureNote, NoteKind, ProgressCallback
from multifd_codec.errors import InputError

STANDARD_INPUT = Path("-")
MOST_SPOOLED = 64 << 30
"""Bytes of a pipe that are read."""
SPOOL_CHUNK = 1 << 20


def is_pipe(path: Path) -> bool:
    """Whether what is read of it is gone then."""
    try:
        return path == STANDARD_INPUT or stat.S_ISFIFO(path.stat().st_mode)
    except (OSError, ValueError):
        return False


@contextmanager
def opened_binary(path: Path, progress: ProgressCallback | None) -> Iterator[tuple[BinaryIO, tuple[CaptureNote, ...]]]:
    """A file that can be mapped: this one, or one with what comes through a pipe (``-``: standard input). Raises
    InputError, OSError, ValueError."""
    if path == STANDARD_INPUT:
        if sys.stdin.isatty():
            raise InputError(f"{path}: standard input is a terminal; give it a capture")
        with _spooled(sys.stdin.buffer, progress) as spooled:
            yield spooled
        return
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        raise InputError(f"{path}: not a regular file, nor a pipe")
    with path.open("rb") as file:
        if stat.S_ISREG(mode):
            yield file, ()
            return
        with _spooled(file, progress) as spooled:
            yield spooled


@contextmanager
def _spooled(pipe: BinaryIO, progress: ProgressCallback | None) -> Iterator[tuple[BinaryIO, tuple[CaptureNote, ...]]]:
    import tempfile  # noqa: PLC0415 -- slow to import

    done = 0
    notes: tuple[CaptureNote, ...] = ()
    with tempfile.TemporaryFile() as file:
        while chunk := pipe.read(SPOOL_CHUNK):
            if done + len(chunk) > MOST_SPOOLED:
                text = f"more than {MOST_SPOOLED >> 30} GiB came through the pipe, the rest was not read"
                notes = (CaptureNote(NoteKind.TRUNCATED_FILE, text),)
                break
            with temporary_space():
                file.write(chunk)
            done += len(chunk)
            if progress is not None:
                progress("receiving", done, 0)
        with temporary_space():
            file.flush()
        file.seek(0)
        yield file, notes


@contextmanager
def temporary_space() -> Iterator[None]:
    """Errors of writing to a temporary file say where it is. Raises InputError."""
    try:
        yield
    except OSError as error:
        import tempfile  # noqa: PLC0415 -- slow to import

        place = f"{tempfile.gettempdir()} ($TMPDIR), where it would have to go for a while"
        raise InputError(f"{place}: {error.strerror or error}") from None
