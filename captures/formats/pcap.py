"""Classic pcap files: microseconds and nanoseconds, both byte orders, and the variant with longer record headers.

Format: a 24-byte file header, then records of a 16-byte header (seconds, fraction, captured and original length) and
the frame. A damaged stretch is skipped: reading goes on where several records in a row make sense again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from captures import compiled
from captures.formats.leaps import CAPTURED_OFFSET, LONGEST_RECORD, RecordForm, Typical, leap
from captures.formats.mapped import MappedFile
from captures.formats.records import BATCH_FRAMES, COOKED_V2, COOKED_V2_INTERFACE, HEAD, MAX_CAPTURED, FrameBatch
from captures.model import CaptureNote, InputForm, NoteKind

I64 = NDArray[np.int64]

FILE_HEADER_SIZE = 24
RECORD_HEADER_SIZE = 16
HIGHEST_SNAPLEN = 1 << 24
LINK_MASK = 0x03FFFFFF
"""Above these bits of the link type: the length of a frame check sequence."""


class Variant(NamedTuple):
    """``order`` as in struct; ``fraction``: how much of the second field makes a second."""

    order: str
    fraction: int
    record_header: int = RECORD_HEADER_SIZE


VARIANTS = {
    b"\xd4\xc3\xb2\xa1": Variant("<", 10**6),
    b"\xa1\xb2\xc3\xd4": Variant(">", 10**6),
    b"\x4d\x3c\xb2\xa1": Variant("<", 10**9),
    b"\xa1\xb2\x3c\x4d": Variant(">", 10**9),
    # With interface index, protocol and packet type behind each record header, as old Linux distributions wrote it.
    b"\x34\xcd\xb2\xa1": Variant("<", 10**6, 24),
    b"\xa1\xb2\xcd\x34": Variant(">", 10**6, 24),
}

WALKS_INSTEAD = 16
"""How often to walk after a leap that did not get far."""
RESYNC_WINDOW = 1 << 16
RESYNC_REACH = 1 << 24
"""How many bytes are searched for the next record after damage."""
RESYNC_LIMIT = 64
"""How many damaged stretches are skipped before the rest of the file is given up."""
RESYNC_RECORDS = 4
"""How many records in a row must make sense."""


class PcapFile:
    """Frames of a classic pcap (CaptureFormat). ``file`` must start with one of the magics of VARIANTS."""

    kind = InputForm.PCAP

    def __init__(self, file: MappedFile) -> None:
        self.frames = 0
        self.notes: list[CaptureNote] = []
        self.position = FILE_HEADER_SIZE
        self._file = file
        self._variant = VARIANTS[bytes(file.view[:4])]
        order, size = self._variant.order, self._variant.record_header
        names = ["seconds", "fraction", "captured", "original"]
        formats, offsets = [f"{order}u4"] * 4, [0, 4, CAPTURED_OFFSET, 12]
        header = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})
        self._length = struct.Struct(f"{order}{CAPTURED_OFFSET}xI{size - CAPTURED_OFFSET - 4}x")
        self._time = struct.Struct(f"{order}II")
        longest, self._link = MAX_CAPTURED, 0
        if file.size >= FILE_HEADER_SIZE:
            snaplen, link = struct.unpack_from(f"{order}II", file.view, 16)
            self._link = link & LINK_MASK
            if snaplen <= HIGHEST_SNAPLEN:
                longest = max(longest, snaplen)
        self._form = RecordForm(header, self._variant.fraction, longest)
        self._typical: Typical | None = None
        self._walks = 0
        self._loops: ModuleType | None = None
        self._resyncs = 0

    def batches(self) -> Iterator[FrameBatch]:
        size = self._file.size
        if size < FILE_HEADER_SIZE:
            self._note(NoteKind.TRUNCATED_FILE, "the file ends inside its own header", 0)
            self.position = size
        while self.position < size:
            found = self._compiled()
            records = self._records() if found is None else found[0]
            if not len(records):
                self._note_end()
            for first in range(0, len(records), BATCH_FRAMES):
                some = records[first : first + BATCH_FRAMES]
                batch, damage = self._batch(some, self._file.heads(some, HEAD) if found is None else found[1])
                if batch is not None:
                    yield batch
                if damage is not None:
                    self._resync(damage)
                    break

    def time(self, record: int) -> float:
        seconds, fraction = self._time.unpack_from(self._file.view, record)
        return float(seconds + fraction / self._variant.fraction)

    def interface(self, record: int) -> int | None:
        at = record + self._variant.record_header + COOKED_V2_INTERFACE
        if self._link != COOKED_V2 or at + 4 > self._file.size:
            return None
        return int.from_bytes(self._file.view[at : at + 4], "big")

    def _compiled(self) -> tuple[I64, NDArray[np.uint8]] | None:
        """The same as ``_walk``, and the heads of these records, where there is a compiled loop for it."""
        loops = self._loops = self._loops or compiled.loops_for(self._frames_left())
        if loops is None:
            return None
        records, heads = np.empty(BATCH_FRAMES, np.int64), np.empty((BATCH_FRAMES, HEAD), np.uint8)
        order, size = self._variant.order, self._variant.record_header
        count = loops.walk(self._file.array(), self.position, size, CAPTURED_OFFSET, order == ">", records, heads)
        return records[:count], heads[:count]

    def _frames_left(self) -> int:
        """About, if they are like those so far."""
        return self.frames * (self._file.size - self.position) // self.position

    def _records(self) -> I64:
        """File offsets of the next records whose headers are whole, by their lengths alone."""
        typical = self._typical
        if typical is not None and typical.longest <= LONGEST_RECORD:
            if self._walks == 0 and self.position <= self._file.size - self._variant.record_header:
                found = leap(self._file, self._form, self.position, typical)
                if len(found) < BATCH_FRAMES:
                    self._walks = WALKS_INSTEAD
                return found
            self._walks = max(0, self._walks - 1)
        return np.array(self._walk(), np.int64)

    def _walk(self) -> list[int]:
        view, unpack, header = self._file.view, self._length.unpack_from, self._variant.record_header
        position, records = self.position, list[int]()
        append = records.append
        try:
            for _ in range(BATCH_FRAMES):
                (length,) = unpack(view, position)
                append(position)
                position += header + length
        except struct.error:
            pass
        return records

    def _batch(self, records: I64, heads: NDArray[np.uint8]) -> tuple[FrameBatch | None, int | None]:
        """The frames of these records, and the first one that makes no sense, if any; moves on behind them."""
        headers = np.ndarray((len(records),), self._form.header, heads, strides=(HEAD,))
        captured, original = headers["captured"].astype(np.int64), headers["original"].astype(np.int64)
        # A crash leaves zeros at the end of files.
        bad = (captured > self._form.longest) | ((captured == 0) & (original == 0) & (headers["seconds"] == 0))
        count = int(bad.argmax()) if bad.any() else len(records)
        damage = int(records[count]) if count < len(records) else None
        ends = records + self._variant.record_header + captured
        if damage is None:
            self.position = int(ends[-1])
            if self.position > self._file.size:
                count -= 1
                self._note_end()
        if not count:
            return None, damage
        self._typical = Typical(
            average=int(ends[count - 1] - records[0]) // count,
            longest=int(captured[:count].max()) + self._variant.record_header,
            seconds=int(headers["seconds"][count - 1]),
        )
        first = self.frames + 1
        self.frames += count
        records, captured, original = records[:count], captured[:count], original[:count]
        start = records + self._variant.record_header
        links = np.full(count, self._link)
        return FrameBatch(first, records, start, captured, original, links, heads[:count], self._loops), damage

    def _resync(self, damage: int) -> None:
        """Moves to the next place behind ``damage`` where records make sense, or to the end of the file."""
        self._resyncs += 1
        found = self._find_record(damage + 1) if self._resyncs <= RESYNC_LIMIT else None
        self.position = self._file.size if found is None else found
        text = f"{self.position - damage} bytes at file offset {damage} are no capture records"
        self._note(NoteKind.DAMAGED_FILE, text, damage)

    def _find_record(self, position: int) -> int | None:
        stop = min(self._file.size - self._variant.record_header, position + RESYNC_REACH)
        seconds = self._typical.seconds if self._typical else None
        while position < stop:
            width = min(RESYNC_WINDOW, stop - position)
            (headers,) = self._file.windows(position, width, 1, width, self._form.header)
            for candidate in (np.flatnonzero(self._form.plausible(headers, seconds)) + position).tolist():
                if self._makes_sense(candidate, seconds):
                    return int(candidate)
            position += width
        return None

    def _makes_sense(self, position: int, seconds: int | None) -> bool:
        """Whether several records follow each other from ``position`` on, or end with the file."""
        for _ in range(RESYNC_RECORDS):
            if position + self._variant.record_header > self._file.size:
                return False
            header = self._file.gather(np.array([position]), self._form.header)
            if not self._form.plausible(header, seconds)[0]:
                return False
            seconds = int(header["seconds"][0])
            position += self._variant.record_header + int(header["captured"][0])
            if position == self._file.size:
                break
        return True

    def _note_end(self) -> None:
        self._note(NoteKind.TRUNCATED_FILE, f"the file ends inside frame {self.frames + 1}", self.position)
        self.position = self._file.size

    def _note(self, kind: NoteKind, text: str, offset: int) -> None:
        self.notes.append(CaptureNote(kind, text, offset=offset))
