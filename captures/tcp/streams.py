"""Byte streams over a mapped file: TCP payload in place, found by offset; nothing is copied until it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from captures.formats.joined import Sliceable
from multifd_codec.errors import HoleError
from multifd_codec.source import Buffer, Hole, HoleReason, StreamEnd

I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]


class Pieces(NamedTuple):
    """Recorded stretches of a stream as columns, in rising order, without overlap.

    ``offset`` in the stream; ``length`` recorded bytes; ``position`` of the first one in the file; ``back``: how many
    bytes before ``position`` the frame's record starts; ``frame``: its number.
    """

    offset: I64
    length: U32
    position: I64
    back: U32
    frame: U32

    def __len__(self) -> int:
        return len(self.offset)


class Holes(Sequence[Hole]):
    """Holes as columns: a capture cut to headers has one in every frame."""

    def __init__(self, start: I64, end: I64, lost: NDArray[np.bool_]) -> None:
        """``lost``: reason LOST, otherwise SNAPLEN."""
        self.start, self.end, self.lost = start, end, lost

    def __len__(self) -> int:
        return len(self.start)

    @overload
    def __getitem__(self, index: int) -> Hole: ...
    @overload
    def __getitem__(self, index: slice) -> Holes: ...
    def __getitem__(self, index: int | slice) -> Hole | Holes:
        if isinstance(index, slice):
            return Holes(self.start[index], self.end[index], self.lost[index])
        reason = HoleReason.LOST if self.lost[index] else HoleReason.SNAPLEN
        return Hole(int(self.start[index]), int(self.end[index]), reason)

    def __iter__(self) -> Iterator[Hole]:
        return (self[index] for index in range(len(self)))

    def first_behind(self, offset: int) -> int:
        """Index of the first hole that ends behind ``offset``."""
        return int(self.end.searchsorted(offset, "right"))


class SegmentSource:
    """One direction of a recorded TCP connection (StreamSource)."""

    def __init__(
        self,
        view: Sliceable,
        pieces: Pieces,
        holes: Holes,
        size: int,
        end: StreamEnd,
        time: Callable[[int], float | None],
    ) -> None:
        """``view``: the capture's bytes; ``time`` gives the time of the frame whose record is at a position there."""
        self._view = view
        self._pieces = pieces
        self._holes = holes
        self._size = size
        self._end = end
        self._time = time
        # The piece read last: reads mostly go on in it.
        self._start = self._stop = self._shift = 0
        self._hole: Hole | None = holes[0] if len(holes) else None
        self._hole_from = 0
        # The piece asked for last: records stand close together, and who asks for the frame asks for the time.
        self._index = self._index_start = self._index_stop = 0

    def ending(self, end: StreamEnd) -> SegmentSource:
        """The same bytes with another end: who was given up by its peer did not choose to end there, and who has sent
        all will send no more."""
        return SegmentSource(self._view, self._pieces, self._holes, self._size, end, self._time)

    @property
    def size(self) -> int:
        return self._size

    @property
    def end(self) -> StreamEnd:
        return self._end

    def read(self, offset: int, length: int) -> Buffer:
        stop = offset + length
        if self._start <= offset and stop <= self._stop:
            return self._view[offset + self._shift : stop + self._shift]
        return self._read_elsewhere(offset, min(stop, self._size))

    def holes(self) -> Sequence[Hole]:
        return self._holes

    def next_hole(self, offset: int) -> Hole | None:
        hole = self._hole
        if self._hole_from <= offset and (hole is None or offset < hole.end):
            return hole
        index = self._holes.first_behind(offset)
        self._hole = self._holes[index] if index < len(self._holes) else None
        self._hole_from = int(self._holes.end[index - 1]) if index else 0
        return self._hole

    def frame_at(self, offset: int) -> int | None:
        index = self._piece_at(offset)
        return None if index is None else int(self._pieces.frame[index])

    def time_at(self, offset: int) -> float | None:
        index = self._piece_at(offset)
        return None if index is None else self._time(int(self._pieces.position[index] - self._pieces.back[index]))

    def _piece_at(self, offset: int) -> int | None:
        if self._index_start <= offset < self._index_stop:
            return self._index
        index = int(self._pieces.offset.searchsorted(offset, "right")) - 1
        if index < 0:
            return None
        start = int(self._pieces.offset[index])
        stop = start + int(self._pieces.length[index])
        if offset >= stop:
            return None
        self._index, self._index_start, self._index_stop = index, start, stop
        return index

    def _read_elsewhere(self, offset: int, stop: int) -> Buffer:
        if offset >= stop:
            return b""
        hole = self.next_hole(offset)
        if hole is not None and hole.start < stop:
            raise HoleError(f"bytes {hole.start} to {hole.end} are missing ({hole.reason})", offset=hole.start)
        pieces = self._pieces
        first = int(pieces.offset.searchsorted(offset, "right")) - 1
        self._start = int(pieces.offset[first])
        self._stop = self._start + int(pieces.length[first])
        self._shift = int(pieces.position[first]) - self._start
        if stop <= self._stop:
            return self._view[offset + self._shift : stop + self._shift]
        last = int(pieces.offset.searchsorted(stop, "left"))
        starts, positions = pieces.offset[first:last].tolist(), pieces.position[first:last].tolist()
        ends = (*starts[1:], stop)
        positions[0] += offset - starts[0]
        starts[0] = offset
        view = self._view
        return b"".join([view[at : at + end - start] for start, end, at in zip(starts, ends, positions, strict=True)])


class FileSource:
    """A whole channel file (StreamSource without frames)."""

    def __init__(self, view: memoryview, next_data: Callable[[int], int] | None = None) -> None:
        """``next_data``: the first offset from a given one on that is in no hole of the file."""
        self._view = view
        self._size = len(view)
        self.next_data = next_data

    @property
    def size(self) -> int:
        return self._size

    @property
    def end(self) -> StreamEnd:
        return StreamEnd.CLOSED

    def read(self, offset: int, length: int) -> Buffer:
        return self._view[offset : offset + length]

    def holes(self) -> Sequence[Hole]:
        return ()

    def next_hole(self, offset: int) -> Hole | None:
        return None

    def frame_at(self, offset: int) -> int | None:
        return None

    def time_at(self, offset: int) -> float | None:
        return None
