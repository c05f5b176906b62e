"""What is kept of a capture's TCP segments while it is read once: columns, a few bytes for each data segment.

Segments without data are dropped but for those that open, close or reset connections, and a thin sample of
acknowledgements.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from captures.formats.joined import Part
from captures.formats.records import FrameBatch
from captures.frames.batch import SegmentColumns
from captures.frames.columns import Collector, column_names, empty, take
from captures.links import ACK, FIN, RST, SYN
from captures.tls import CLIENT_HELLO, HANDSHAKE, TLS_MAJOR
from multifd_codec.wire.handshake import MULTIFD_MAGIC
from multifd_codec.wire.qemufile import QEMU_VM_FILE_MAGIC, RECOVERY_MARK

I64 = NDArray[np.int64]
Mask = NDArray[np.bool_]
U32 = NDArray[np.uint32]

MARK_SIZE = 8
MULTIFD_MARK = np.uint64(MULTIFD_MAGIC << 32)
MAIN_MARK = np.uint64(QEMU_VM_FILE_MAGIC << 32)
RESUMED_MARK = np.uint64(int.from_bytes(RECOVERY_MARK, "big") << 32)
MAGIC_MASK = np.uint64(0xFFFFFFFF << 32)
TLS_MARK = np.uint64(HANDSHAKE << 56 | TLS_MAJOR << 48 | CLIENT_HELLO << 16)
TLS_MASK = np.uint64(0xFFFF << 48 | 0xFF << 16)
"""Version and length of the record may be any."""
MARKS = np.zeros(256, np.bool_)
"""First bytes of these."""
MARKS[[int(mark) >> 56 for mark in (MULTIFD_MARK, MAIN_MARK, RESUMED_MARK, TLS_MARK)]] = True
OPENING_OR_CLOSING = SYN | FIN | RST


class DataColumns(NamedTuple):
    """Segments with payload. ``sequence`` of its first byte; the rest as in Pieces and SegmentColumns."""

    sequence: U32
    length: U32
    captured: U32
    position: I64
    back: U32
    frame: U32


class ControlColumns(NamedTuple):
    """Segments that open, close, reset or acknowledge. ``record``: file offset of the frame's record; ``end``: sequence
    number behind the payload; ``window``: as the header has it."""

    frame: U32
    record: I64
    flags: NDArray[np.uint8]
    sequence: U32
    end: U32
    acknowledgement: U32
    window: NDArray[np.uint16]
    fragment: NDArray[np.bool_]


class Collected(NamedTuple):
    """All data and all control segments of a capture, each sorted by flow, then by frame.

    Those of flow ``f`` start at ``data_bounds[f]`` and ``control_bounds[f]``. ``marked``: flows with a segment that
    starts like a channel.
    """

    data: DataColumns
    data_bounds: I64
    control: ControlColumns
    control_bounds: I64
    marked: NDArray[np.bool_]

    def data_of(self, flow: int) -> DataColumns:
        return take(self.data, slice(self.data_bounds[flow], self.data_bounds[flow + 1]))

    def control_of(self, flow: int) -> ControlColumns:
        return take(self.control, slice(self.control_bounds[flow], self.control_bounds[flow + 1]))


class SegmentCollector:
    """Takes the segments of a capture, batch by batch."""

    def __init__(self) -> None:
        narrow, wide = np.uint32, np.int64
        self._data = Collector(
            empty(DataColumns, **dict.fromkeys(column_names(DataColumns), narrow) | {"position": wide})
        )
        types = dict.fromkeys(column_names(ControlColumns), narrow) | {
            "flags": np.uint8,
            "record": wide,
            "window": np.uint16,
            "fragment": np.bool_,
        }
        self._control = Collector(empty(ControlColumns, **types))
        self._marked: set[int] = set()
        self._newest = np.empty(0, np.int64)
        self._shut = np.zeros(0, np.bool_)

    def add(self, part: Part, batch: FrameBatch, segments: SegmentColumns) -> None:
        """``batch`` is of ``part``: positions are those in its file, frame numbers those of the whole capture."""
        self._widen(segments.flow)
        if batch.loops is None:
            wanted, marked = self._wanted(segments), segments.length > 0
            self._add_data(part, batch, segments)
        else:
            count = len(segments)
            wanted, marked = np.empty(count, np.bool_), np.empty(count, np.bool_)
            some = (column for name, column in segments._asdict().items() if name != "acknowledgement")
            room, base = self._data.room(count), (batch.first_frame, part.base)
            kept = batch.loops.collect(*some, batch.record, batch.head, *base, MARKS, self._shut, *room, marked, wanted)
            self._data.keep(kept)
        self._mark(part, batch, segments, np.flatnonzero(marked & (segments.captured >= MARK_SIZE)))
        self._add_control(part, batch, take(segments, np.flatnonzero(wanted)))

    def last_sequence(self, flow: int) -> list[int]:
        """The sequence numbers behind the last segments of a flow: that with data, and the last other one."""
        data, control = self._data.last(flow), self._control.last(flow)
        found = [] if data is None else [int(data.sequence[0]) + int(data.length[0])]
        return found if control is None else [*found, int(control.end[0])]

    def finish(self, flows: int) -> Collected:
        """``flows``: how many there are. To be called once, at the end."""
        data, data_bounds = self._data.grouped(flows)
        if (data.captured == data.length).all():
            data = data._replace(captured=data.length)  # once in memory
        control, control_bounds = self._control.grouped(flows)
        marked = np.zeros(flows, np.bool_)
        marked[list(self._marked)] = True
        return Collected(data, data_bounds, control, control_bounds, marked)

    def _add_data(self, part: Part, batch: FrameBatch, segments: SegmentColumns) -> None:
        if not (segments.length > 0).all():
            segments = take(segments, segments.length > 0)
        data = DataColumns(
            sequence=_first_byte(segments),
            length=segments.length.astype(np.uint32),
            captured=segments.captured.astype(np.uint32),
            position=segments.position + part.base,
            back=(segments.position - batch.record[segments.row]).astype(np.uint32),
            frame=(batch.first_frame + segments.row).astype(np.uint32),
        )
        self._data.add(segments.flow, data)

    def _mark(self, part: Part, batch: FrameBatch, segments: SegmentColumns, rows: I64) -> None:
        heads = batch.read(part.file, segments.row[rows], segments.position[rows], ">u8").astype(np.uint64)
        magic = heads & MAGIC_MASK
        marked = (
            (magic == MULTIFD_MARK) | (magic == MAIN_MARK) | (magic == RESUMED_MARK) | (heads & TLS_MASK == TLS_MARK)
        )
        self._marked.update(segments.flow[rows[marked]].tolist())

    def _add_control(self, part: Part, batch: FrameBatch, segments: SegmentColumns) -> None:
        control = ControlColumns(
            frame=(batch.first_frame + segments.row).astype(np.uint32),
            record=batch.record[segments.row] + part.base,
            flags=segments.flags,
            sequence=segments.sequence,
            end=_first_byte(segments) + segments.length.astype(np.uint32),
            acknowledgement=segments.acknowledgement,
            window=segments.window,
            fragment=segments.fragment,
        )
        self._control.add(segments.flow, control)

    def _widen(self, flow: I64) -> None:
        """Makes room for the flows of a batch."""
        highest = int(flow.max(initial=-1)) + 1
        if highest > len(self._newest):
            self._newest = np.full(2 * highest, -1)
            self._shut = np.concatenate([self._shut, np.zeros(2 * highest - len(self._shut), np.bool_)])

    def _wanted(self, segments: SegmentColumns) -> Mask:
        """What opens or closes, the last acknowledgement of each flow in the batch, those where a window closes or
        opens again, and all of them where a connection opens: an earlier one between the same endpoints may have ended
        there."""
        flow, flags = segments.flow, segments.flags
        syn = (flags & SYN) != 0
        wanted: Mask = ((flags & OPENING_OR_CLOSING) != 0) | segments.fragment
        acknowledging = (flags & ACK) != 0
        rows = np.flatnonzero(acknowledging)
        if len(rows):
            np.maximum.at(self._newest, flow[rows], rows)
            wanted[self._newest[flow[rows]]] = True
            self._newest[flow[rows]] = -1
            wanted[self._turning(flow, rows[(flags[rows] & OPENING_OR_CLOSING) == 0], segments.window == 0)] = True
        if syn.any():
            opens = np.zeros(len(self._newest), np.bool_)
            opens[flow[syn]] = True
            wanted |= acknowledging & opens[flow]
        return wanted

    def _turning(self, flow: I64, rows: I64, shut: NDArray[np.bool_]) -> I64:
        """Those of the acknowledging ``rows`` that shut a window or open it again. Windows are open at first."""
        if not len(rows) or not (shut[rows].any() or self._shut.any()):
            return rows[:0]
        rows = rows[flow[rows].argsort(kind="stable")]
        flows, now = flow[rows], shut[rows]
        first = np.concatenate([[True], flows[1:] != flows[:-1]])
        before = np.concatenate([[False], now[:-1]])
        before[first] = self._shut[flows[first]]
        last = np.concatenate([first[1:], [True]])
        self._shut[flows[last]] = now[last]
        turning: I64 = rows[now != before]
        return turning


def _first_byte(segments: SegmentColumns) -> U32:
    """Sequence number of the first byte of each: a SYN takes up one of its own."""
    syn = (segments.flags & SYN) != 0
    return segments.sequence + syn.astype(np.uint32) if syn.any() else segments.sequence
