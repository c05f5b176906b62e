"""Captures without tshark: frames to segments to byte streams to the migrations among them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from captures.connection import Connection
from captures.formats.magics import CAPTURE_FORMATS, MAGIC_SIZE
from captures.formats.mapped import MappedFile, Opened, open_mapped
from captures.formats.records import CaptureFormat
from captures.frames.batch import dissect_batch
from captures.frames.flows import FlowTable
from captures.frames.frame import Skip
from captures.identify import group_migrations
from captures.model import CaptureNote, NoteKind, ProgressCallback, Recording
from captures.tcp.collect import SegmentCollector
from captures.tcp.conversations import Conversations


class NativeCapture(NamedTuple):
    """What the native reader made of a capture, and the frames it could not look into, by reason."""

    recording: Recording
    skipped: Counter[Skip]


def is_capture(file: MappedFile) -> bool:
    """Whether a file begins as one of the formats that are read here."""
    return bytes(file.view[:MAGIC_SIZE]) in CAPTURE_FORMATS


class _Indexed(NamedTuple):
    capture: CaptureFormat
    flows: FlowTable
    conversations: Conversations
    skipped: Counter[Skip]


def read_capture(opened: Opened, progress: ProgressCallback | None = None) -> NativeCapture:
    """The migrations of a file that ``is_capture`` and is mapped already; the recording closes it."""
    file = opened.file
    capture, flows, conversations, skipped = _index(file, progress)
    migrations = group_migrations(conversations.candidates(), conversations.to)
    notes = [*opened.notes, *capture.notes, *_skip_notes(skipped, bool(migrations))]
    if not migrations:
        text = f"no connection looks like a migration channel ({capture.frames} frames, {len(flows)} TCP flows)"
        notes.append(CaptureNote(NoteKind.NO_MIGRATION, text))
    recording = Recording(opened.path, capture.kind, file.size, capture.frames, migrations, tuple(notes), [file.close])
    return NativeCapture(recording, skipped)


def candidates(file: MappedFile) -> list[Connection]:
    """The connections of a capture that begin like a channel; the file stays the caller's."""
    return _index(file, None).conversations.candidates()


def _index(file: MappedFile, progress: ProgressCallback | None) -> _Indexed:
    capture = CAPTURE_FORMATS[bytes(file.view[:MAGIC_SIZE])](file)
    flows = FlowTable()
    collector = SegmentCollector(file)
    skipped: Counter[Skip] = Counter()
    for batch in capture.batches():
        segments, reasons = dissect_batch(file, batch, flows)
        skipped += reasons
        collector.add(batch, segments)
        if progress is not None:
            progress("indexing", capture.position, file.size)
    return _Indexed(capture, flows, Conversations(file, collector.finish(len(flows)), flows, capture.time), skipped)


def open_capture(path: Path, progress: ProgressCallback | None = None) -> Recording:
    """The same of a capture that is not open yet. Raises InputError."""
    opened = open_mapped(path, progress)
    try:
        return read_capture(opened, progress).recording
    except BaseException:
        opened.file.close()
        raise


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
