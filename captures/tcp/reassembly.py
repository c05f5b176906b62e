"""TCP reassembly of one direction of one connection, column by column.

The bytes that come first win, as in a receiver; what is missing stays missing. Sequence numbers are unwrapped by the
distance between consecutive segments, so a stream may be longer than 4 GiB; only a jump of more than 2 GiB would be
taken for a step back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from captures.formats.joined import Sliceable
from captures.frames.columns import take
from captures.model import CaptureNote, NoteKind
from captures.tcp.collect import DataColumns
from captures.tcp.overlap import put_in_order
from captures.tcp.streams import Holes, Pieces
from multifd_codec.source import StreamEnd

I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
MAX_JUMP = 1 << 30
"""The largest TCP window (RFC 7323): what is acknowledged further ahead of the recorded bytes is damage."""


class Direction(NamedTuple):
    """What was recorded of one direction: its data segments in frame order, and what is known besides.

    ``first``: sequence number of the stream's first byte; ``fin``: of its FIN. ``acknowledged``: what the peer
    acknowledged. ``reset``: by either side.
    """

    data: DataColumns
    first: int | None = None
    fin: int | None = None
    acknowledged: Sequence[int] = ()
    reset: bool = False


class Reassembled(NamedTuple):
    pieces: Pieces
    holes: Holes
    size: int
    end: StreamEnd
    notes: tuple[CaptureNote, ...]


def reassemble(recorded: Direction, view: Sliceable) -> Reassembled:
    """Puts the segments in order. ``view``: the file they lie in; read only where segments overlap."""
    data = recorded.data
    offset, base = unwrap(data.sequence, recorded.first)
    length, captured = data.length.astype(np.int64), data.captured
    position, back, frame = data.position, data.back, data.frame
    if offset.min(initial=0) < 0:
        # Bytes before the first one are of keep-alive probes and of earlier connections.
        before = np.clip(-offset, 0, length)
        offset, length, position = offset + before, length - before, position + before
        captured, back = np.clip(captured - before, 0, None).astype(np.uint32), (back + before).astype(np.uint32)
    segments = Pieces(offset, captured, position, back, frame)
    there = captured > 0
    pieces, notes = put_in_order(segments if there.all() else take(segments, there), view)
    size, end = _ending(recorded, int((offset + length).max(initial=0)), base)
    holes = _holes(pieces, offset, length, size)
    notes += _hole_notes(pieces, holes)
    if end is StreamEnd.OPEN:
        notes.append(CaptureNote(NoteKind.END_NOT_CAPTURED, "neither FIN nor RST was recorded", offset=size))
    return Reassembled(pieces, holes, size, end, tuple(notes))


def distance(sequence: int, base: int) -> int:
    """From ``base`` to ``sequence``, at most 2 GiB either way."""
    return (sequence - base + 0x8000_0000) % 0x1_0000_0000 - 0x8000_0000


def unwrap(sequence: U32, first: int | None) -> tuple[I64, int]:
    """Offsets in the stream, and the sequence number of offset 0: the lowest one seen when ``first`` is None."""
    if not len(sequence):
        return np.empty(0, np.int64), first or 0
    start = int(sequence[0]) if first is None else first
    steps = np.empty(len(sequence), np.int64)
    steps[0] = distance(int(sequence[0]), start)
    steps[1:] = (sequence[1:] - sequence[:-1]).view(np.int32)
    offset = steps.cumsum(out=steps)
    if first is None:
        lowest = int(offset.min())
        offset -= lowest
        return offset, (start + lowest) % 0x1_0000_0000
    return offset, start


def _ending(recorded: Direction, size: int, base: int) -> tuple[int, StreamEnd]:
    """Where the stream ends, and how. A FIN or an acknowledgement proves bytes that were not recorded."""
    sequence = (base + size) % 0x1_0000_0000
    if recorded.fin is not None:
        missing = distance(recorded.fin, sequence)
        return size + (missing if 0 < missing <= MAX_JUMP else 0), StreamEnd.CLOSED
    known = recorded.first is not None or len(recorded.data.sequence)
    missing = max((distance(number, sequence) for number in recorded.acknowledged), default=0) if known else 0
    if missing == 1:
        # No sender of a migration leaves a single byte for last: what was acknowledged is a FIN.
        return size, StreamEnd.CLOSED
    return size + (missing if 0 < missing <= MAX_JUMP else 0), StreamEnd.RESET if recorded.reset else StreamEnd.OPEN


def _holes(pieces: Pieces, offset: I64, length: I64, size: int) -> Holes:
    """What lies between the pieces. ``offset`` and ``length``: all segments as they were on the wire."""
    start = np.concatenate([[0], pieces.offset + pieces.length])
    end = np.concatenate([pieces.offset, [size]])
    real = end > start
    start, end = start[real], end[real]
    lost = np.ones(len(start), np.bool_)
    if len(start) and len(offset):
        # Bytes that no segment had on the wire were lost; holes without any such are due to the snaplen.
        order = offset.argsort(kind="stable")
        reached = np.maximum.accumulate(np.concatenate([[0], (offset + length)[order]]))
        following = np.concatenate([offset[order], [size]])
        unseen = reached[following > reached]
        lost[:] = False
        lost[start.searchsorted(unseen, "right") - 1] = True
    return Holes(start, end, lost)


def _hole_notes(pieces: Pieces, holes: Holes) -> list[CaptureNote]:
    notes = []
    for kind, chosen in ((NoteKind.LOST_SEGMENTS, holes.lost), (NoteKind.CUT_BY_SNAPLEN, ~holes.lost)):
        rows = np.flatnonzero(chosen)
        if not len(rows):
            continue
        start, length = holes.start[rows], (holes.end - holes.start)[rows]
        behind = min(int(pieces.offset.searchsorted(start[0])), len(pieces) - 1)
        frame = int(pieces.frame[behind]) if len(pieces) else None
        number = f"{len(rows)} stretches" if len(rows) > 1 else "1 stretch"
        text = f"{number}, {int(length.sum())} bytes in all, missing from the recording"
        notes.append(CaptureNote(kind, text, None, int(start[0]), int(length[0]), frame))
    return notes
