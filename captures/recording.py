"""Opens whatever holds a recorded migration; what it is shows in its content."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

from captures.files import read_channel_file, read_folder
from captures.formats.mapped import MappedFile, open_mapped
from captures.formats.pcap import VARIANTS, PcapFile
from captures.formats.pcapng import MAGIC as PCAPNG_MAGIC
from captures.formats.pcapng import PcapngFile
from captures.formats.records import CaptureFormat
from captures.frames.batch import dissect_batch
from captures.frames.flows import FlowTable
from captures.frames.frame import Skip
from captures.identify import group_migrations
from captures.model import CaptureNote, NoteKind, ProgressCallback, Recording
from captures.tcp.collect import SegmentCollector
from captures.tcp.conversations import Conversations
from multifd_codec.errors import InputError

Reader = Literal["auto", "native", "wireshark"]


def open_recording(
    path: Path, *, reader: Reader = "auto", keylog: Path | None = None, progress: ProgressCallback | None = None
) -> Recording:
    """Opens a capture (pcap, pcapng), a folder of channel files, a channel file or a mapped-ram file; files may be
    compressed with gzip or zstd.

    Captures are read by tshark when ``reader`` says so or a TLS key log is given, and with ``"auto"`` also when the
    native reader finds no migration, but frames that it does not speak. tshark knows more file formats, too. Raises
    InputError with one line, and nothing else, when there is nothing to read. What could be read of a damaged file is
    there, with a note.
    """
    path = Path(path)
    if reader == "native" and keylog is not None:
        raise InputError("the native reader does not decrypt: leave the reader or the key log out")
    try:
        is_folder = path.is_dir()
    except (OSError, ValueError):
        is_folder = False  # open_mapped says what is wrong.
    if is_folder:
        return read_folder(path)
    if reader == "wireshark":
        return _wireshark(path, keylog, progress)
    file, notes = open_mapped(path, progress)
    try:
        recording = _read(path, file, notes, reader, keylog, progress)
    except BaseException:
        file.close()
        raise
    if file.close not in recording.closers:
        file.close()
    return recording


def _read(
    path: Path,
    file: MappedFile,
    notes: list[CaptureNote],
    reader: Reader,
    keylog: Path | None,
    progress: ProgressCallback | None,
) -> Recording:
    magic = bytes(file.view[:4])
    if magic not in VARIANTS and magic != PCAPNG_MAGIC:
        recording = read_channel_file(path, file, notes)
        if recording is None and keylog is not None:
            return _wireshark(path, keylog, progress)
        if recording is None:
            what = "empty" if not file.size else "neither a capture (pcap, pcapng) nor a migration stream"
            raise InputError(f"{path}: {what}")
        return recording
    if keylog is not None:
        return _wireshark(path, keylog, progress)
    recording, skipped = _read_capture(path, file, notes, progress)
    if recording.migrations or not (skipped[Skip.LINK] or skipped[Skip.CARRIER]):
        return recording
    if reader == "auto":
        try:
            return _wireshark(path, None, progress)
        except InputError as error:
            if skipped[Skip.LINK] == recording.frames:
                raise
            hint = CaptureNote(NoteKind.UNSUPPORTED_LINK, f"the wireshark reader could not be used: {error}")
            recording.notes += (hint,)
    return recording


def _wireshark(path: Path, keylog: Path | None, progress: ProgressCallback | None) -> Recording:
    from captures.wireshark import read_recording  # noqa: PLC0415 -- slow to import, and needs extras

    return read_recording(path, keylog=keylog, progress=progress)


def _read_capture(
    path: Path, file: MappedFile, notes: list[CaptureNote], progress: ProgressCallback | None
) -> tuple[Recording, Counter[Skip]]:
    capture: CaptureFormat = PcapngFile(file) if bytes(file.view[:4]) == PCAPNG_MAGIC else PcapFile(file)
    flows = FlowTable()
    collector = SegmentCollector(file)
    skipped: Counter[Skip] = Counter()
    for batch in capture.batches():
        segments, reasons = dissect_batch(file, batch, flows)
        skipped += reasons
        collector.add(batch, segments)
        if progress is not None:
            progress("indexing", capture.position, file.size)
    conversations = Conversations(file, collector.finish(len(flows)), flows, capture.time)
    migrations = group_migrations(conversations.candidates(), conversations.to)
    notes = [*notes, *capture.notes, *_skip_notes(skipped, bool(migrations))]
    if not migrations:
        text = f"no connection looks like a migration channel ({capture.frames} frames, {len(flows)} TCP flows)"
        notes.append(CaptureNote(NoteKind.NO_MIGRATION, text))
    recording = Recording(path, capture.kind, file.size, capture.frames, migrations, tuple(notes), [file.close])
    return recording, skipped


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
