"""Reads with tshark what the native reader does not speak: other encapsulations, and TLS with a key log.

tshark (``tshark``, ``unwrap``, ``decrypt``) turns the capture into one of raw IP in plain text, frame by frame; the
native reader reads that. So there is one reassembly, one way to find migrations, and frame numbers stay true. Where TLS
stays closed, pyshark (``sessions``) tells which session it is.
"""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from captures.formats.magics import CAPTURE_FORMATS, MAGIC_SIZE
from captures.formats.mapped import open_mapped
from captures.model import CaptureNote, InputForm, Migration, NoteKind, ProgressCallback, Recording
from captures.native import candidates, open_capture
from captures.wireshark.closed import broken_notes, closed_notes
from captures.wireshark.decrypt import check_key_log, decrypt, write_plain
from captures.wireshark.tshark import TsharkEnd
from captures.wireshark.undisturbed import cut_records, join, ways
from captures.wireshark.unwrap import unwrap
from multifd_codec.errors import InputError

_CUT_SHORT = "cut short"


def read_recording(path: Path, *, keylog: Path | None = None, progress: ProgressCallback | None = None) -> Recording:
    """The migrations of a capture file, with tshark doing the dissection and, with a key log, the decryption.

    Frame numbers are those of the capture; a byte that was encrypted has the frame that completed its TLS record.
    Needs temporary disk space for the payload of the capture, twice with a key log. What could not be decrypted stays
    a TLS channel, or ends early, with a note why. ``kind`` is ``capture`` for file formats other than pcap and pcapng.
    Raises InputError: no such file, no capture, no key log, no tshark.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path}: not a regular file")
        if keylog is not None:
            check_key_log(keylog)
        with tempfile.NamedTemporaryFile(suffix=".pcap") as raw:
            recording = _read(path.resolve(), raw, keylog, progress)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise InputError(f"{str(path)!r}: {error}") from None  # A NUL in a file name; a row that is none.
    recording.path = path
    return recording


def _read(path: Path, raw: IO[bytes], keylog: Path | None, progress: ProgressCallback | None) -> Recording:
    unwrapped = unwrap(path, raw, progress)
    raw.flush()
    if not unwrapped.frames and unwrapped.end.code:
        raise InputError(f"{path}: tshark: {unwrapped.end.complaint or 'cannot read this file'}")
    notes = _end_notes(unwrapped.end)
    if keylog is None or not unwrapped.tls_ports:
        recording = open_capture(Path(raw.name), progress)
    else:
        with ExitStack() as stack, tempfile.NamedTemporaryFile(suffix=".pcap") as plain:
            undisturbed = open_mapped(Path(raw.name))
            stack.callback(undisturbed.file.close)
            captured = ways(candidates(undisturbed))
            with tempfile.TemporaryFile() as text:
                decryption = decrypt(Path(raw.name), keylog, unwrapped, text, progress)
                decryption.account_for(cut_records(captured))
                write_plain(Path(raw.name), decryption, plain)
                plain.flush()
            recording = open_capture(Path(plain.name), progress)
            recording.closers.append(stack.pop_all().close)
        migrations = map(_without_tls_notes, recording.migrations)
        recording.migrations = join(migrations, captured, decryption)
        notes += _end_notes(decryption.end)
        notes += broken_notes(decryption)
        notes += closed_notes(Path(raw.name), decryption, unwrapped.tls_ports, keylog)
    recording.bytes = path.stat().st_size
    with path.open("rb") as file:
        form = CAPTURE_FORMATS.get(file.read(MAGIC_SIZE))
        recording.kind = InputForm.CAPTURE if form is None else form.kind
    _attach(recording, notes)
    return recording


def _end_notes(end: TsharkEnd) -> list[CaptureNote]:
    if not end.code:
        return []
    kind = NoteKind.TRUNCATED_FILE if _CUT_SHORT in end.complaint else NoteKind.DAMAGED_FILE
    return [CaptureNote(kind, f"tshark could not read all of it: {end.complaint or f'exit code {end.code}'}")]


def _without_tls_notes(migration: Migration) -> Migration:
    """Without the advice to give a key log, for a reader that has got one and says itself what is still closed."""
    return migration._replace(notes=tuple(note for note in migration.notes if note.kind is not NoteKind.TLS))


def _attach(recording: Recording, notes: Sequence[CaptureNote]) -> None:
    """Gives each note to the migration that it is about, the rest to the recording."""
    migrations, rest = [], list(notes)
    for migration in recording.migrations:
        labels = {channel.label for channel in migration.channels}
        mine = [note for note in rest if note.label in labels]
        rest = [note for note in rest if note.label not in labels]
        migrations.append(migration._replace(notes=(*migration.notes, *mine)))
    recording.migrations = tuple(migrations)
    # What is left with a label concerns connections that are no channels.
    recording.notes = (*recording.notes, *(note for note in rest if note.label is None))
