"""Captures without tshark: frames to segments to byte streams to the migrations among them."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from captures.conduct import Moment
from captures.connection import Connection
from captures.formats.joined import JoinedRecords, JoinedView, Part
from captures.formats.magics import CAPTURE_FORMATS, MAGIC_SIZE
from captures.formats.mapped import MappedFile, Opened, open_mapped
from captures.formats.records import CaptureFormat, FrameBatch
from captures.frames.batch import SegmentColumns, dissect_batch
from captures.frames.flows import FlowTable
from captures.frames.frame import Skip
from captures.identify import attempts_alone, group_migrations
from captures.legs import with_legs_joined
from captures.links import SYN
from captures.model import CaptureNote, NoteKind, ProgressCallback, Recording, RecordingFile
from captures.tcp.collect import SegmentCollector
from captures.tcp.conversations import MOST_CONNECTIONS, Conversations
from captures.tcp.reassembly import MAX_JUMP, distance

UNORDERED = 1e-4
"""Seconds by which the frames of a capture may be out of order: several processors record them."""


class NativeCapture(NamedTuple):
    """What the native reader made of a capture, and the frames it could not look into, by reason."""

    recording: Recording
    skipped: Counter[Skip]


def is_capture(file: MappedFile) -> bool:
    """Whether a file begins as one of the formats that are read here."""
    return bytes(file.view[:MAGIC_SIZE]) in CAPTURE_FORMATS


def capture_format(file: MappedFile) -> CaptureFormat:
    """The reader of a file that is a capture."""
    return CAPTURE_FORMATS[bytes(file.view[:MAGIC_SIZE])](file)


class CaptureReading:
    """Reads a capture, or the files one after the other of which it consists; frame numbers and bytes go on from each
    to the next."""

    def __init__(self, progress: ProgressCallback | None = None) -> None:
        self.parts: list[Part] = []
        self._progress = progress
        self._flows = FlowTable()
        self._collector = SegmentCollector()
        self._skipped: Counter[Skip] = Counter()
        self._frames = 0
        self._size = 0
        self.last: float | None = None
        """When the last frame was recorded."""

    def add(self, opened: Opened, *, if_continued: bool = False) -> bool:
        """Reads a file. ``if_continued``: only if what was read so far goes on in it, otherwise False and nothing is
        read. That is so when its frames are later than all before, and a connection goes on in its first thousands."""
        capture = capture_format(opened.file)
        part = Part(opened, capture, self._size)
        last, must_continue = None, if_continued
        for batch in capture.batches():
            flows = copy.deepcopy(self._flows) if must_continue else self._flows
            segments, reasons = dissect_batch(opened.file, batch, flows)
            if must_continue and not self._continues(capture, batch, segments):
                return False
            must_continue, self._flows = False, flows
            self._skipped += reasons
            self._collector.add(part, batch._replace(first_frame=batch.first_frame + self._frames), segments)
            last = int(batch.record[-1])
            if self._progress is not None:
                self._progress("indexing", capture.position, opened.file.size)
        if must_continue:
            return False
        self.parts.append(part)
        self._frames += capture.frames
        self._size += opened.file.size
        self.last = self.last if last is None else capture.time(last)
        return True

    def may_continue_at(self, seconds: float | None) -> bool:
        """Whether a frame recorded then is later than all before."""
        return seconds is not None and self.last is not None and seconds >= self.last - UNORDERED

    def _continues(self, capture: CaptureFormat, batch: FrameBatch, segments: SegmentColumns) -> bool:
        if not self.may_continue_at(capture.time(int(batch.record[0]))):
            return False
        flows, rows = np.unique(segments.flow, return_index=True)
        rows = rows[(flows < len(self._flows)) & (segments.flags[rows] & SYN == 0)]
        return any(
            abs(distance(int(segments.sequence[row]), before)) <= MAX_JUMP
            for row in rows.tolist()
            for before in self._collector.last_sequence(int(segments.flow[row]))
        )

    def finish(self) -> NativeCapture:
        """To be called once, when everything is read; the recording closes the files."""
        parts, conversations = self.parts, self.conversations()
        until = Moment(self._frames, self.last)
        found = group_migrations(conversations.candidates(), conversations.to)
        found = found or attempts_alone(conversations.without_data())
        if conversations.left_out:
            found = tuple(one.noting(_left_out(conversations.left_out)) for one in found)
        migrations = with_legs_joined(migration._replace(recorded_until=until) for migration in found)
        notes = [*self._file_notes(), *_skip_notes(self._skipped, bool(migrations))]
        if not migrations:
            text = f"no connection looks like a migration channel ({self._frames} frames, {len(self._flows)} TCP flows)"
            notes.append(CaptureNote(NoteKind.NO_MIGRATION, text))
        recording = Recording(
            parts[0].opened.path,
            parts[0].capture.kind,
            self._size,
            self._frames,
            migrations,
            tuple(notes),
            [part.file.close for part in parts],
            tuple(RecordingFile(part.opened.path, part.capture.frames) for part in parts),
        )
        return NativeCapture(recording, self._skipped)

    def conversations(self) -> Conversations:
        """Only this instead of ``finish``: the files stay the caller's."""
        parts, flows = self.parts, self._flows
        view = parts[0].file.view if len(parts) == 1 else JoinedView(parts)
        records = parts[0].capture if len(parts) == 1 else JoinedRecords(parts)
        return Conversations(view, self._collector.finish(len(flows)), flows, records)

    def close(self) -> None:
        """Instead of ``finish``."""
        for part in self.parts:
            part.file.close()

    def _file_notes(self) -> Iterator[CaptureNote]:
        for part in self.parts:
            for note in (*part.opened.notes, *part.capture.notes):
                several = len(self.parts) > 1
                yield note._replace(message=f"{part.opened.path}: {note.message}") if several else note


def read_capture(opened: Opened, progress: ProgressCallback | None = None) -> NativeCapture:
    """The migrations of a pcap or pcapng file that is mapped already; the recording closes it."""
    reading = CaptureReading(progress)
    reading.add(opened)
    return reading.finish()


def candidates(opened: Opened) -> list[Connection]:
    """The connections of a pcap or pcapng file that begin like a channel; the file stays the caller's."""
    reading = CaptureReading()
    reading.add(opened)
    return reading.conversations().candidates()


def open_capture(path: Path, progress: ProgressCallback | None = None) -> Recording:
    """The same of a pcap or pcapng file that is not open yet. Raises InputError."""
    opened = open_mapped(path, progress)
    try:
        return read_capture(opened, progress).recording
    except BaseException:
        opened.file.close()
        raise


def _left_out(connections: int) -> CaptureNote:
    text = f"more than {MOST_CONNECTIONS} connections may be channels: {connections} that carry less are not read"
    return CaptureNote(NoteKind.LIMIT, text)


SKIP_NOTES = {
    Skip.LINK: (NoteKind.UNSUPPORTED_LINK, "frames of a link type that only the wireshark reader may know"),
    Skip.CARRIER: (NoteKind.UNSUPPORTED_LINK, "frames with an encapsulation that only the wireshark reader looks into"),
    Skip.SHORT: (NoteKind.CUT_BY_SNAPLEN, "frames cut inside their headers, so that their bytes have no place"),
}
SKIPS_NEXT_TO_MIGRATIONS = (Skip.LINK, Skip.SHORT)
"""Those that matter even if there is a migration: other traffic may be encapsulated as it likes."""


def _skip_notes(skipped: Counter[Skip], found: bool) -> list[CaptureNote]:
    reasons = [why for why in SKIP_NOTES if skipped[why] and (why in SKIPS_NEXT_TO_MIGRATIONS or not found)]
    return [CaptureNote(SKIP_NOTES[why][0], f"{skipped[why]} {SKIP_NOTES[why][1]}") for why in reasons]
