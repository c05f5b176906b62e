"""Where the bytes of RAM blocks go: into memory, or into sparse files."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from typing import NamedTuple, Protocol

from multifd_codec.errors import InputError
from multifd_codec.source import Buffer, ByteSource

ZEROS = bytes(1 << 20)
MAX_IN_MEMORY = 1 << 32
"""Bytes of all RAM blocks that are rebuilt in memory; the lengths are only what a stream claims."""
PIECE = 1 << 20
"""Bytes copied together."""
MANY_LATER = 1 << 16
"""Copies that are put off together."""
MOST_LATE = 1 << 40
"""Bytes up to which any file system takes a file: farther ones are written at once, to see whether they can be."""
MAX_OPEN = 64
"""Block files open at a time."""


class TooLongError(Exception):
    """The file system takes no file that long, as a stream may ask for."""


class Later(NamedTuple):
    """Bytes of a stream that are to be at an offset of a RAM block."""

    offset: int
    source: ByteSource
    start: int
    length: int


class Store(Protocol):
    """The bytes of RAM blocks; what was never written reads as zero. Methods raise OSError, InputError, and
    TooLongError where it may only be this piece, or this end, that cannot be had."""

    def add(self, block: str, size: int | None) -> None:
        """A block of that many bytes; None: not known, it grows."""

    def write(self, block: str, offset: int, data: Buffer) -> None: ...

    def later(self, block: str, what: Later) -> None:
        """Like ``write``, where nothing was written before: it may be done when the block is finished."""

    def zero(self, block: str, offset: int, length: int) -> None: ...

    def read(self, block: str, offset: int, length: int) -> bytes: ...

    def finish(self, block: str, size: int) -> None:
        """Nothing more will be written; the block has this many bytes."""


class MemoryStore:
    """Blocks as bytearrays."""

    def __init__(self, limit: int = MAX_IN_MEMORY) -> None:
        self.blocks: dict[str, bytearray] = {}
        self._left = limit

    def add(self, block: str, size: int | None) -> None:
        self.blocks[block] = bytearray(self._take(block, size or 0))

    def write(self, block: str, offset: int, data: Buffer) -> None:
        memory = self._reaching(block, offset + len(data))
        memory[offset : offset + len(data)] = data

    def later(self, block: str, what: Later) -> None:
        self.write(block, what.offset, what.source.read(what.start, what.length))

    def zero(self, block: str, offset: int, length: int) -> None:
        self.write(block, offset, bytes(length))

    def read(self, block: str, offset: int, length: int) -> bytes:
        return bytes(self.blocks[block][offset : offset + length]).ljust(length, b"\0")

    def finish(self, block: str, size: int) -> None:
        self._reaching(block, size)

    def _reaching(self, block: str, size: int) -> bytearray:
        memory = self.blocks[block]
        if len(memory) < size:
            memory += bytes(self._take(block, size - len(memory)))
        return memory

    def _take(self, block: str, size: int) -> int:
        if size > self._left:
            raise InputError(f"RAM block {block!r}: {size} bytes are too many to rebuild in memory")
        self._left -= size
        return size


def pieces_of(those: Iterable[Later]) -> Iterator[tuple[int, Buffer]]:
    """Offset and bytes, some at a time."""
    for offset, source, start, length in those:
        for done in range(0, length, PIECE):
            yield offset + done, source.read(start + done, min(PIECE, length - done))


def _forbidden(size: int) -> bool:
    """Whether no file of that size may be made at all (``ulimit -f``)."""
    import resource  # noqa: PLC0415 -- only where something is wrong

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return limit != resource.RLIM_INFINITY and size > limit


class FileStore:
    """Blocks as sparse files, opened when first written to. ``create`` gives the file descriptor of a new, empty file
    for a block; ``reopen`` one for a file it created before; ``called`` its name, for errors."""

    def __init__(
        self, create: Callable[[str], int], reopen: Callable[[str], int], called: Callable[[str], str] = str
    ) -> None:
        self._create, self._reopen, self._called = create, reopen, called
        self._open: dict[str, int] = {}
        self._made: set[str] = set()
        self._later: dict[str, list[Later]] = {}

    def add(self, block: str, size: int | None) -> None:
        del block, size  # nothing to do before something is written

    def write(self, block: str, offset: int, data: Buffer) -> None:
        self._settle(block)
        self.put(block, offset, data)

    def put(self, block: str, offset: int, data: Buffer) -> None:
        """Write now."""
        file = self._file(block)
        view = memoryview(data)
        with self._naming(block, offset + len(view)):
            while view:
                written = os.pwrite(file, view, offset)
                offset, view = offset + written, view[written:]

    def later(self, block: str, what: Later) -> None:
        if what.offset + what.length > MOST_LATE:
            self.write(block, what.offset, what.source.read(what.start, what.length))
            return
        mine = self._later.setdefault(block, [])
        mine.append(what)
        if len(mine) >= MANY_LATER:
            self._settle(block)

    def untouched(self, block: str) -> list[Later] | None:
        """What is still to be written to a block, in rising order, which holds nothing else; None: it may. The caller
        has to ``put`` it there."""
        return None if block in self._made else sorted(self._later.pop(block, []), key=itemgetter(0))

    def _settle(self, block: str) -> None:
        for offset, data in pieces_of(self._later.pop(block, [])):
            self.put(block, offset, data)

    def zero(self, block: str, offset: int, length: int) -> None:
        for start in range(offset, offset + length, len(ZEROS)):
            self.write(block, start, memoryview(ZEROS)[: offset + length - start])

    def read(self, block: str, offset: int, length: int) -> bytes:
        self._settle(block)
        return os.pread(self._file(block), length, offset).ljust(length, b"\0")

    def finish(self, block: str, size: int) -> None:
        self._settle(block)
        file = self._file(block)
        try:
            with self._naming(block, size):
                os.ftruncate(file, size)
        finally:
            os.close(self._open.pop(block))

    def close(self) -> None:
        """Close what was not finished."""
        while self._open:
            os.close(self._open.popitem()[1])

    @contextmanager
    def _naming(self, block: str, end: int) -> Iterator[None]:
        """Errors of making a file that long."""
        try:
            yield
        except OSError as error:
            if error.errno == errno.EFBIG and not _forbidden(end):
                raise TooLongError(error.strerror) from None
            error.filename = self._called(block)
            raise

    def _file(self, block: str) -> int:
        file = self._open.get(block)
        if file is None:
            if len(self._open) >= MAX_OPEN:
                os.close(self._open.pop(next(iter(self._open))))
            file = self._open[block] = self._reopen(block) if block in self._made else self._create(block)
            self._made.add(block)
        return file
