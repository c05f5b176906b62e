"""Opens whatever holds a recorded migration; what it is shows in its content."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from captures.files import is_channel_file, read_channel_file, read_folder
from captures.formats.mapped import MappedFile, Opened, open_mapped
from captures.frames.frame import Skip
from captures.model import CaptureNote, NoteKind, ProgressCallback, Reader, Recording
from captures.native import is_capture, read_capture
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
    """Opens a capture (pcap, pcapng), a folder of channel files, a channel file or a mapped-ram file; files may be
    compressed with gzip or zstd. The content of a file does as well as its path, but for tshark.

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
        if reader == "wireshark":
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


def _read_capture(opened: Opened, wish: Wish) -> Recording:
    if wish.keylog is not None:
        return _read_with_tshark(opened.path, wish)
    recording, skipped = read_capture(opened, wish.progress)
    if wish.reader != "auto" or recording.migrations or not (skipped[Skip.LINK] or skipped[Skip.CARRIER]):
        return recording
    try:
        return _read_with_tshark(opened.path, wish)
    except InputError as error:
        if skipped[Skip.LINK] == recording.frames:
            raise
        hint = CaptureNote(NoteKind.UNSUPPORTED_LINK, f"the wireshark reader could not be used: {error}")
        recording.notes += (hint,)
    return recording


def _read_with_tshark(path: Path, wish: Wish) -> Recording:
    from captures.wireshark import read_recording  # noqa: PLC0415 -- slow to import, and needs extras

    return read_recording(path, keylog=wish.keylog, progress=wish.progress)


INPUT_KINDS = (
    InputKind("a capture (pcap, pcapng)", is_capture, _read_capture),
    InputKind("a migration stream", is_channel_file, lambda opened, _: read_channel_file(opened)),
)
"""What a file may be; the first one that recognises it reads it. A folder is one of channel files."""
