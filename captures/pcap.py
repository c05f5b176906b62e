"""Classic pcap files: microseconds and nanoseconds, both byte orders, and the variant with longer record headers.

Format: a 24-byte file header, then records of a 16-byte header (seconds, fraction, captured and original length) and
the frame. A damaged stretch is skipped: reading goes on where several records in a row make sense again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captures.mapped import MappedFile
from captures.model import CaptureNote, NoteKind
from captures.records import BATCH_FRAMES, MAX_CAPTURED, FrameBatch

I64 = NDArray[np.int64]

FILE_HEADER_SIZE = 24
RECORD_HEADER_SIZE = 16
HIGHEST_SNAPLEN = 1 << 24
LINK_MASK = 0x03FFFFFF
"""Above these bits of the link type: the length of a frame check sequence."""


@dataclass(frozen=True, slots=True)
class Variant:
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

STEPS = 32
"""Records walked one by one before looking for a run of equal ones."""
RESYNC_WINDOW = 1 << 16
RESYNC_REACH = 1 << 24
"""How many bytes are searched for the next record after damage."""
RESYNC_LIMIT = 64
"""How many damaged stretches are skipped before the rest of the file is given up."""
RESYNC_RECORDS = 4
"""How many records in a row must make sense."""
RESYNC_SECONDS = 86400
"""How far their time may be from that of the last good frame."""


class PcapFile:
    """Frames of a classic pcap (CaptureFormat). ``file`` must start with one of the magics of VARIANTS."""

    kind = "pcap"

    def __init__(self, file: MappedFile) -> None:
        self.frames = 0
        self.notes: list[CaptureNote] = []
        self._file = file
        self._variant = VARIANTS[bytes(file.view[:4])]
        self.position = FILE_HEADER_SIZE
        order, size = self._variant.order, self._variant.record_header
        names = ["seconds", "fraction", "captured", "original"]
        formats, offsets = [f"{order}u4"] * 4, [0, 4, 8, 12]
        self._header = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})
        self._length = struct.Struct(f"{order}8xI{size - 12}x")
        self._time = struct.Struct(f"{order}II")
        self._longest, self._link = MAX_CAPTURED, 0
        if file.size >= FILE_HEADER_SIZE:
            snaplen, link = struct.unpack_from(f"{order}II", file.view, 16)
            self._link = link & LINK_MASK
            if snaplen <= HIGHEST_SNAPLEN:
                self._longest = max(self._longest, snaplen)

    def batches(self) -> Iterator[FrameBatch]:
        size = self._file.size
        if size < FILE_HEADER_SIZE:
            self._note(NoteKind.TRUNCATED_FILE, "the file ends inside its own header", 0)
            self.position = size
        resyncs = 0
        while self.position < size:
            records = np.array(self._chain(), np.int64)
            headers = self._file.gather(records, self._header)
            captured = headers["captured"].astype(np.int64)
            # A crash leaves zeros at the end of files.
            bad = (captured > self._longest) | (
                (captured == 0) & (headers["original"] == 0) & (headers["seconds"] == 0)
            )
            count = int(bad.argmax()) if bad.any() else len(records)
            end = int(records[-1] + self._variant.record_header + captured[-1]) if len(records) else self.position
            damaged = count < len(records)
            if not damaged and end > size:
                count -= 1
            if count:
                yield self._batch(records[:count], headers[:count], captured[:count])
            if damaged:
                resyncs += 1
                self._resync(int(records[count]), int(headers["seconds"][count - 1]) if count else None, resyncs)
            elif end > size or len(records) < BATCH_FRAMES:
                if end != size:
                    self._note(NoteKind.TRUNCATED_FILE, f"the file ends inside frame {self.frames + 1}", size)
                self.position = size
            else:
                self.position = end

    def time(self, record: int) -> float:
        seconds, fraction = self._time.unpack_from(self._file.view, record)
        return float(seconds + fraction / self._variant.fraction)

    def _chain(self) -> list[int]:
        """File offsets of the next records whose headers are complete, by their lengths alone."""
        view, unpack, header = self._file.view, self._length.unpack_from, self._variant.record_header
        position, records = self.position, list[int]()
        append = records.append
        try:
            while len(records) < BATCH_FRAMES:
                for _ in range(STEPS):
                    (length,) = unpack(view, position)
                    append(position)
                    position += header + length
                if records[-1] - records[-2] == records[-2] - records[-3] == header + length:
                    run = self._run(position, header + length, BATCH_FRAMES - len(records))
                    records.extend(run)
                    position = run.stop
        except struct.error:
            pass
        return records

    def _run(self, position: int, stride: int, limit: int) -> range:
        """Records of one length, from ``position`` on: long transfers consist of them, and numpy sees them at once."""
        header = self._variant.record_header
        count = min(limit, (self._file.size - position - header) // stride + 1)
        if count <= 0:
            return range(position, position, stride)
        lengths = self._file.strided(position + 8, stride, count, f"{self._variant.order}u4")
        other = lengths != stride - header
        same = int(other.argmax()) if other.any() else count
        return range(position, position + same * stride, stride)

    def _batch(self, records: I64, headers: np.ndarray, captured: I64) -> FrameBatch:
        first = self.frames + 1
        self.frames += len(records)
        start = records + self._variant.record_header
        original = headers["original"].astype(np.int64)
        return FrameBatch(first, records, start, captured, original, np.full(len(records), self._link))

    def _resync(self, damage: int, seconds: int | None, resyncs: int) -> None:
        """Moves to the next place behind ``damage`` where records make sense, or to the end of the file."""
        found = self._find_record(damage + 1, seconds) if resyncs <= RESYNC_LIMIT else None
        self.position = self._file.size if found is None else found
        text = f"{self.position - damage} bytes at file offset {damage} are no capture records"
        self._note(NoteKind.DAMAGED_FILE, text, damage)

    def _find_record(self, position: int, seconds: int | None) -> int | None:
        stop = min(self._file.size - self._variant.record_header, position + RESYNC_REACH)
        while position < stop:
            window = min(RESYNC_WINDOW, stop - position)
            header = self._file.strided(position, 1, window, self._header)
            likely = (header["captured"] <= self._longest) & (header["captured"] > 0)
            likely &= header["original"] >= header["captured"]
            likely &= header["fraction"] < self._variant.fraction
            if seconds is not None:
                likely &= np.abs(header["seconds"].astype(np.int64) - seconds) < RESYNC_SECONDS
            for candidate in (np.flatnonzero(likely) + position).tolist():
                if self._makes_sense(candidate):
                    return int(candidate)
            position += window
        return None

    def _makes_sense(self, position: int) -> bool:
        """Whether records follow each other from ``position`` on, or end with the file."""
        times = []
        for _ in range(RESYNC_RECORDS):
            if position + self._variant.record_header > self._file.size:
                return False
            seconds, fraction, captured, original = struct.unpack_from(
                f"{self._variant.order}4I", self._file.view, position
            )
            if not 0 < captured <= min(self._longest, original) or fraction >= self._variant.fraction:
                return False
            times.append(seconds)
            if max(times) - min(times) > RESYNC_SECONDS:
                return False
            position += self._variant.record_header + captured
            if position == self._file.size:
                return True
        return True

    def _note(self, kind: NoteKind, text: str, offset: int) -> None:
        self.notes.append(CaptureNote(kind, text, offset=offset))
