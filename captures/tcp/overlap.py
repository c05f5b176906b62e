"""Segments in any order, overlapping, to pieces in rising order: of bytes received twice the first ones count."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from captures.formats.joined import Sliceable
from captures.model import CaptureNote, NoteKind
from captures.tcp.streams import Pieces

I64 = NDArray[np.int64]
CHUNK = 1 << 14
MAX_NOTES = 32
"""Segments noted one by one when their bytes differ from those received first; the rest is counted."""


def put_in_order(segments: Pieces, view: Sliceable) -> tuple[Pieces, list[CaptureNote]]:
    """The pieces of which ``segments``, given in the order of their frames and none empty, consist, and notes on those
    that repeat bytes with other content. Content is read (from ``view``) only where segments overlap."""
    start = segments.offset
    stop = start + segments.length
    if (start[1:] >= stop[:-1]).all():
        return segments, []
    order = start.argsort(kind="stable")
    again = np.zeros(len(order), np.bool_)
    again[1:] = (start[order[1:]] == start[order[:-1]]) & (stop[order[1:]] <= stop[order[:-1]])
    # Of two that start at the same byte the earlier one stands first: what it covers is done with.
    rows = order[~again]
    overlapping = start[rows[1:]] < np.maximum.accumulate(stop[rows])[:-1]
    tangled = np.zeros(len(rows), np.bool_)
    tangled[1:] |= overlapping
    tangled[:-1] |= overlapping
    plain = rows[~tangled]
    owned = _first_wins(start, stop, rows[tangled])
    parts = np.concatenate([np.stack([start[plain], stop[plain], plain]), owned], axis=1)
    parts = parts[:, parts[0].argsort(kind="stable")]
    pieces = _cut(segments, *parts)
    repeated = np.sort(np.concatenate([order[again], rows[tangled]]))
    return pieces, _compare(segments, repeated, pieces, parts[2], view)


def _first_wins(start: I64, stop: I64, rows: I64) -> I64:
    """Which of ``rows``, given by rising start, owns which bytes, the lowest row first: columns start, stop, row."""
    owned: list[tuple[int, int, int]] = []
    active: list[tuple[int, int]] = []
    here = 0

    def advance(to: int) -> None:
        nonlocal here
        while active and here < to:
            row, end = active[0]
            if end <= here:
                heapq.heappop(active)
                continue
            upto = min(end, to)
            if owned and owned[-1][2] == row and owned[-1][1] == here:
                owned[-1] = (owned[-1][0], upto, row)
            else:
                owned.append((here, upto, row))
            here = upto
        here = to

    for begin, end, row in zip(start[rows].tolist(), stop[rows].tolist(), rows.tolist(), strict=True):
        advance(begin)
        heapq.heappush(active, (row, end))
    advance(int(stop[rows].max(initial=0)))
    return np.array(owned, np.int64).reshape(-1, 3).T


def _cut(segments: Pieces, start: I64, stop: I64, row: I64) -> Pieces:
    """The given bytes of the given segments."""
    skipped = start - segments.offset[row]
    back = (segments.back[row] + skipped).astype(np.uint32)
    return Pieces(start, (stop - start).astype(np.uint32), segments.position[row] + skipped, back, segments.frame[row])


def _compare(segments: Pieces, rows: I64, pieces: Pieces, owner: I64, view: Sliceable) -> list[CaptureNote]:
    """Notes on those of ``rows`` whose bytes differ from the pieces that others (``owner``) provide."""
    # One byte that differs is a keep-alive probe's, which may be any.
    rows = rows[segments.length[rows] > 1]
    piece_stop = pieces.offset + pieces.length
    notes: list[CaptureNote] = []
    more = 0
    for chunk in np.array_split(rows, len(rows) // CHUNK + 1):
        start = segments.offset[chunk]
        stop = start + segments.length[chunk]
        low, high = piece_stop.searchsorted(start, "right"), pieces.offset.searchsorted(stop, "left")
        columns = (column.tolist() for column in (chunk, start, stop, segments.position[chunk], low, high))
        for row, begin, end, position, first, behind in zip(*columns, strict=True):
            for index in range(first, behind):
                if owner[index] == row:
                    continue
                at = int(pieces.offset[index])
                other = int(pieces.position[index])
                cut, upto = max(begin, at), min(end, int(piece_stop[index]))
                one = view[position + cut - begin : position + upto - begin]
                if bytes(one) == bytes(view[other + cut - at : other + upto - at]):
                    continue
                if len(notes) < MAX_NOTES:
                    text = "came again with other content; the first one counts"
                    frame = int(segments.frame[row])
                    notes.append(CaptureNote(NoteKind.RETRANSMISSION_DIFFERS, text, None, cut, upto - cut, frame))
                else:
                    more += 1
                break
    if more:
        text = f"{more} more retransmissions with other content"
        notes.append(CaptureNote(NoteKind.RETRANSMISSION_DIFFERS, text))
    return notes
