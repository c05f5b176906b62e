"""Where decoders read from: random access to the bytes of one direction of one connection, holes known.

A source may still grow (a live socket, a test that feeds chunks): then ``end`` is ``OPEN`` and ``size`` rises between
calls. Decoders read through this protocol only, so the same code runs over a memory-mapped capture, a file, a socket
that has only some bytes yet, and a capture with holes.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from multifd_codec.errors import HoleError

Buffer = bytes | memoryview


class HoleReason(enum.StrEnum):
    """Why bytes of a stream are missing from a recording."""

    LOST = "lost"
    """The capture dropped the packets, or they were never recorded in between."""
    SNAPLEN = "snaplen"
    """The frames are there, but cut to their first bytes."""
    NOT_CAPTURED = "not captured"
    """The recording started after the stream did."""


class StreamEnd(enum.StrEnum):
    """What is known about the end of a stream."""

    CLOSED = "closed"
    """The sender closed it (FIN, or the end of a channel file): no byte follows ``size``."""
    RESET = "reset"
    """The connection was reset: no byte follows that a receiver is sure to have read."""
    OPEN = "open"
    """The recording ends before the stream does, or more bytes may still arrive."""


class Hole(NamedTuple):
    """Bytes ``start`` (inclusive) to ``end`` (exclusive) of a stream are unknown."""

    start: int
    end: int
    reason: HoleReason


@runtime_checkable
class ByteSource(Protocol):
    """One direction of one connection as a random-access byte string with holes. Offsets are 64-bit, from 0."""

    @property
    def size(self) -> int:
        """Offset behind the last byte known to exist, holes included."""

    @property
    def end(self) -> StreamEnd:
        """Whether more bytes can follow ``size``."""

    def read(self, offset: int, length: int) -> Buffer:
        """The bytes at ``offset``; fewer than ``length`` only where the stream's ``size`` ends them.

        Raises HoleError when a byte asked for lies in a hole. The result may be a view that is only valid while the
        source is open; call ``bytes()`` on what must live longer.
        """

    def holes(self) -> Sequence[Hole]:
        """All holes in rising order; they do not touch each other."""

    def next_hole(self, offset: int) -> Hole | None:
        """The first hole that ends behind ``offset`` (it may contain ``offset``), or None."""


def bytes_known(source: ByteSource, offset: int) -> int:
    """Recorded bytes from ``offset`` up to the next hole or the end."""
    hole = source.next_hole(offset)
    end = source.size if hole is None else min(hole.start, source.size)
    return max(0, end - offset)


def read_known(source: ByteSource, offset: int, length: int) -> bytes:
    """Up to ``length`` bytes at ``offset``, stopping at a hole or the end."""
    return bytes(source.read(offset, min(length, bytes_known(source, offset))))


def recorded(source: ByteSource, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of each stretch between ``begin`` and ``end`` without a hole in it, in order."""
    while begin < end:
        known = min(bytes_known(source, begin), end - begin)
        if known:
            yield begin, known
            begin += known
            continue
        hole = source.next_hole(begin)
        if hole is None or hole.end <= begin:
            return
        begin = hole.end


FIRST_PIECE, LARGEST_PIECE = 1 << 12, 1 << 20
"""Bytes looked at together by a search: few at first, since most end soon, and many searches must not read it all."""


def pieces(source: ByteSource, begin: int, end: int, *, overlap: int) -> Iterator[tuple[int, bytes]]:
    """What is recorded from ``begin`` on, for searching: (offset, bytes). No pattern is missed that is at most
    ``overlap`` + 1 bytes long."""
    size = FIRST_PIECE
    next_data: Callable[[int], int] | None = getattr(source, "next_data", None)
    for offset, length in recorded(source, begin, end):
        position, stop = offset, offset + length
        while position < stop:
            if next_data is not None:  # a file's holes are zeros, in which no pattern lies whole
                data = next_data(position)
                if data >= stop:
                    break
                position = data if data == position else max(position, data - overlap)
            piece = bytes(source.read(position, min(size, stop - position)))
            yield position, piece
            position += len(piece)
            if position < stop:
                position -= overlap
            size = min(4 * size, LARGEST_PIECE)


class BufferSource:
    """A ByteSource over bytes in memory, optionally still growing (``feed`` and ``close``)."""

    def __init__(self, data: Buffer = b"", *, end: StreamEnd = StreamEnd.CLOSED, holes: Sequence[Hole] = ()) -> None:
        self._data = bytearray(data)
        self._end = end
        self._holes = tuple(sorted(holes, key=lambda hole: hole.start))

    @property
    def size(self) -> int:
        return len(self._data)

    @property
    def end(self) -> StreamEnd:
        return self._end

    def feed(self, data: Buffer) -> None:
        """Append bytes that have just arrived."""
        self._data += data

    def close(self, end: StreamEnd = StreamEnd.CLOSED) -> None:
        """Say that no further bytes will be fed."""
        self._end = end

    def read(self, offset: int, length: int) -> bytes:
        hole = self.next_hole(offset) if self._holes and length else None
        if hole is not None and hole.start < min(offset + length, len(self._data)):
            raise HoleError(f"bytes {hole.start} to {hole.end} are missing ({hole.reason})", offset=hole.start)
        return bytes(self._data[offset : offset + length])

    def holes(self) -> Sequence[Hole]:
        return self._holes

    def next_hole(self, offset: int) -> Hole | None:
        return next((hole for hole in self._holes if hole.end > offset), None) if self._holes else None
