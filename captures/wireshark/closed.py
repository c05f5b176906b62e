"""Says of TLS connections that could not be decrypted, or not to their end, why not."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path

from captures.model import CaptureNote, NoteKind
from captures.wireshark.decrypt import Decryption, Direction, key_log_randoms
from captures.wireshark.raw_frames import copy_records
from captures.wireshark.sessions import TlsSession, read_sessions


def broken_notes(decryption: Decryption) -> list[CaptureNote]:
    """A note for each direction of which only the beginning could be decrypted."""
    readable = decryption.readable_streams()
    return [
        CaptureNote(NoteKind.TLS, _why_broken(d), label=d.label, offset=d.decrypted, frame=d.ends_at)
        for d in decryption.directions
        if d.broken and d.stream in readable
    ]


def _why_broken(direction: Direction) -> str:
    if direction.ends_at is not None:
        return "a TLS record cannot be decrypted, bytes in front of it were lost or changed: the rest stays encrypted"
    missing = direction.seen - direction.accounted
    return f"{missing} bytes of cipher text are in no TLS record, since bytes were lost: the rest stays encrypted"


def closed_notes(path: Path, decryption: Decryption, ports: Collection[int], keylog: Path) -> list[CaptureNote]:
    """A note for each TLS connection of which nothing could be decrypted.

    ``path``: the capture of raw IP that was to be decrypted; ``ports``: the TCP ports of its TLS servers. Raises
    OSError.
    """
    readable = decryption.readable_streams()
    closed = [
        direction
        for direction in decryption.directions
        if direction.stream not in readable and direction.accounted and direction.destination_port in ports
    ]
    if not closed:
        return []
    with tempfile.NamedTemporaryFile(suffix=".pcap") as handshakes:
        copy_records(path, decryption.handshakes, handshakes)
        handshakes.flush()
        sessions = read_sessions(Path(handshakes.name), ports)
    known = _having_secrets(sessions, keylog)
    by_ports = {(session.client_port, session.server_port): session for session in sessions}
    notes = []
    for direction in closed:
        session = by_ports.get((direction.source_port, direction.destination_port))
        notes.append(CaptureNote(NoteKind.TLS, _why_closed(session, known), label=direction.label))
    return notes


def _having_secrets(sessions: Iterable[TlsSession], keylog: Path) -> set[str]:
    wanted = {session.client_random for session in sessions}
    return {random for random in key_log_randoms(keylog) if random in wanted}


def _why_closed(session: TlsSession | None, known: Collection[str]) -> str:
    if session is None:
        return "this TLS session stays encrypted: its handshake is not in the capture, or the key log does not fit"
    name = (
        f"TLS session with client random {session.client_random[:16]}... ({session.cipher_suite or 'no ServerHello'})"
    )
    if session.client_random in known:
        return f"{name} gave nothing although the key log names it"
    return f"{name} stays encrypted: the key log has no secret for it"
