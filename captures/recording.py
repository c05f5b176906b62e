"""Opens whatever holds a recorded migration; what it is shows in its content."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from captures.files import is_channel_file, read_channel_file, read_folder, read_offset, read_snapshots
from captures.formats.images import is_qcow2, stream_at
from captures.formats.joined import Part
from captures.formats.mapped import MappedFile, Opened, first_bytes, open_mapped
from captures.formats.pipes import is_pipe
from captures.frames.frame import Skip
from captures.model import CaptureNote, NoteKind, ProgressCallback, Reader, Recording, RecordingFile
from captures.native import CaptureReading, capture_format, is_capture
from multifd_codec.errors import InputError


class Wish(NamedTuple):
    """How a recording is to be read."""

    reader: Reader = "auto"
    keylog: Path | None = None
    progress: ProgressCallback | None = None


class InputKind(NamedTuple):
    """One kind of input file."""

    what: str
    """What such a file holds, in words."""
    recognises: Callable[[MappedFile], bool]
    """Whether a file is of this kind, by its content."""
    read: Callable[[Opened, Wish], Recording]
    """The recording in such a file, which keeps it open and closes it, or does not need it any more. Raises
    InputError."""


def open_recording(
    path: str | os.PathLike[str] | bytes,
    *,
    reader: Reader = "auto",
    keylog: Path | None = None,
    progress: ProgressCallback | None = None,
) -> Recording:
    """Opens a capture (pcap, pcapng), a folder of channel files, a channel file or a mapped-ram file, a save image of
    virsh, a stream behind zeros (``file:PATH,offset=N``), or a qcow2 image, whose internal snapshots are migrations.
    Files may be compressed with gzip or zstd. The content of a file does as well as its path, but for tshark.

    Captures are read by tshark when ``reader`` says so or a TLS key log is given, and with ``"auto"`` also when the
    native reader finds no migration, but frames that it does not speak. tshark knows more file formats, too. Raises
    InputError with one line, and nothing else, when there is nothing to read. What could be read of a damaged file is
    there, with a note.
    """
    wish = Wish(reader, keylog, progress)
    if reader == "native" and keylog is not None:
        raise InputError("the native reader does not decrypt: leave the reader or the key log out")
    if not isinstance(path, bytes):
        path = Path(path)
        try:
            is_folder = path.is_dir()
        except (OSError, ValueError):
            is_folder = False  # open_mapped says what is wrong.
        if is_folder:
            return read_folder(path)
        if reader == "wireshark" and not is_pipe(path):
            return _read_with_tshark(path, wish)
    elif reader == "wireshark" or keylog is not None:
        raise InputError("tshark reads files: give the path of the capture")
    opened = open_mapped(path, progress)
    try:
        recording = _read(opened, wish)
    except BaseException:
        opened.file.close()
        raise
    if opened.file.close not in recording.closers:
        opened.file.close()
    return recording


def _read(opened: Opened, wish: Wish) -> Recording:
    for kind in INPUT_KINDS:
        if kind.recognises(opened.file):
            return kind.read(opened, wish)
    if wish.keylog is not None:
        return _read_with_tshark(opened.path, wish)
    known = " nor ".join(kind.what for kind in INPUT_KINDS)
    raise InputError(f"{opened.path}: {f'neither {known}' if opened.file.size else 'empty'}")


def open_together(
    paths: Sequence[Path],
    *,
    reader: Reader = "auto",
    keylog: Path | None = None,
    progress: ProgressCallback | None = None,
) -> Recording:
    """One recording of the capture files into which it was written, put in order of time. Raises InputError."""
    if len(paths) == 1:
        return open_recording(paths[0], reader=reader, keylog=keylog, progress=progress)
    begun = {path: _begun(path) for path in paths}
    for path in paths:
        if begun[path] is None and not is_pipe(path):
            raise InputError(f"{path}: no capture with times (pcap, pcapng): it cannot be put together with others")
    wish = Wish(reader, keylog, progress)
    reading = CaptureReading(progress)
    with _closed_on_error(reading):
        for path in sorted(paths, key=lambda path: begun[path] or 0.0):
            opened = open_mapped(path, progress)
            if not is_capture(opened.file):
                opened.file.close()
                raise InputError(f"{path}: not a capture (pcap, pcapng)")
            reading.add(opened)
        return _finished(reading, wish)


def open_recordings(
    paths: Sequence[Path],
    *,
    reader: Reader = "auto",
    keylog: Path | None = None,
    progress: ProgressCallback | None = None,
) -> Iterator[tuple[tuple[Path, ...], Recording | InputError]]:
    """The recordings in these files, one after the other, each to be closed before the next: captures of which each
    goes on where the one before ends are one (``CaptureReading.add``). Those come in order of time, in front of the
    others; what cannot be read has its error in place of the recording."""
    wish = Wish(reader, keylog, progress)
    begun = {path: seconds for path in paths if (seconds := _begun(path)) is not None} if len(paths) > 1 else {}
    waiting = sorted(begun, key=lambda path: begun[path])
    alone = [path for path in paths if path not in begun]
    ready: dict[Path, Opened] = {}
    while waiting:
        reading, chain = CaptureReading(progress), list[Path]()
        try:
            with _closed_on_error(reading):
                for path in list(waiting):
                    if chain and not reading.may_continue_at(begun[path]):
                        continue
                    opened = ready.pop(path, None) or open_mapped(path, progress)
                    if not reading.add(opened, if_continued=bool(chain)):
                        ready[path] = opened
                        break
                    chain.append(path)
                    waiting.remove(path)
                recording = _finished(reading, wish)
        except InputError as error:
            if not chain:
                chain.append(waiting.pop(0))
            yield tuple(chain), error
            continue
        yield tuple(chain), recording
    for path in alone:
        try:
            recording = open_recording(path, reader=reader, keylog=keylog, progress=progress)
        except InputError as error:
            yield (path,), error
        else:
            yield (path,), recording


def _begun(path: Path) -> float | None:
    """When the first frame of a capture was recorded; None for what is none, or does not say."""
    if is_pipe(path):
        return None
    try:
        file = MappedFile(first_bytes(path))
    except (OSError, ValueError, InputError):
        return None
    if not is_capture(file):
        return None
    capture = capture_format(file)
    batch = next(capture.batches(), None)
    return None if batch is None else capture.time(int(batch.record[0]))


@contextmanager
def _closed_on_error(reading: CaptureReading) -> Iterator[None]:
    try:
        yield
    except BaseException:
        reading.close()
        raise


def _read_capture(opened: Opened, wish: Wish) -> Recording:
    reading = CaptureReading(wish.progress)
    reading.add(opened)
    return _finished(reading, wish)


def _finished(reading: CaptureReading, wish: Wish) -> Recording:
    """What was read, or what tshark makes of it where that is needed."""
    if wish.keylog is not None or wish.reader == "wireshark":
        recording = _read_files_with_tshark(reading.parts, wish)
        reading.close()
        return recording
    recording, skipped = reading.finish()
    if wish.reader != "auto" or recording.migrations or not (skipped[Skip.LINK] or skipped[Skip.CARRIER]):
        return recording
    try:
        found = _read_files_with_tshark(reading.parts, wish)
        recording.close()
        return found
    except InputError as error:
        if skipped[Skip.LINK] == recording.frames:
            raise
        hint = CaptureNote(NoteKind.UNSUPPORTED_LINK, f"the wireshark reader could not be used: {error}")
        recording.notes += (hint,)
    return recording


def _read_files_with_tshark(parts: Sequence[Part], wish: Wish) -> Recording:
    from captures.wireshark.one_file import one_file  # noqa: PLC0415 -- rarely needed

    with one_file([part.opened for part in parts]) as path:
        recording = _read_with_tshark(path, wish)
    recording.path = parts[0].opened.path
    recording.files = tuple(RecordingFile(part.opened.path, part.capture.frames) for part in parts)
    return recording


def _read_with_tshark(path: Path, wish: Wish) -> Recording:
    from captures.wireshark import read_recording  # noqa: PLC0415 -- slow to import, and needs extras

    return read_recording(path, keylog=wish.keylog, progress=wish.progress)


INPUT_KINDS = (
    InputKind("a capture (pcap, pcapng)", is_capture, _read_capture),
    InputKind("a migration stream", is_channel_file, lambda opened, _: read_channel_file(opened)),
    InputKind("an image with one inside", lambda file: stream_at(file) is not None, lambda o, _: read_offset(o)),
    InputKind("a qcow2 image with a snapshot", is_qcow2, lambda opened, _: read_snapshots(opened)),
)
"""What a file may be; the first one that recognises it reads it. A folder is one of channel files."""
