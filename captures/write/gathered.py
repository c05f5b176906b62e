"""Output files that are written without copies: pieces are gathered and handed to the system together."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from multifd_codec.source import Buffer

GATHERED = 1 << 18
"""Bytes that are written at once. More held back means more memory that is new, which costs more than the calls."""
MOST_PIECES = 1000
"""Less than IOV_MAX, which is 1024."""


class GatheredFile:
    """A new file that is only appended to. Pieces must not change after they have been given.

    ``write`` and ``close`` raise OSError. A context manager.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self._path = path
        self._pieces: list[Buffer] = []
        self._size = 0

    def write(self, piece: Buffer) -> int:
        """Append bytes."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size >= GATHERED or len(self._pieces) >= MOST_PIECES:
            self.flush()
        return len(piece)

    def flush(self) -> None:
        """Write what has been gathered."""
        pieces, size = self._pieces, self._size
        self._pieces, self._size = [], 0
        try:
            written = os.writev(self._descriptor, pieces) if pieces else 0
            if written < size:
                rest = memoryview(b"".join(pieces))[written:]
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            error.filename = str(self._path)
            raise

    def close(self) -> None:
        """Write what is left and close the file."""
        if self._descriptor >= 0:
            try:
                self.flush()
            finally:
                os.close(self._descriptor)
                self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:  # what went wrong first is what is told
            with suppress(OSError):
                self.close()
