"""What is said of TLS sessions: of whole ones, of one cut inside a record, of a handshake that never begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from analyzers.evidence.ending import recorded
from analyzers.findings.kinds import Actor, Kind
from analyzers.findings.recorded import Ended, Recorded, Side
from analyzers.survey.migration import survey_migration
from captures.model import NoteKind
from captures.recording import open_recording
from captures.tls import ALERT, CLIENT_HELLO, FATAL, HANDSHAKE, RECORD_HEADER, AlertDescription
from tests.helpers import packets
from tests.helpers.packets import ACK, SYN, Conversation
from tests.helpers.recorded_frames import ETHERNET, Frame, read_frames, write_frames

TLS = "q10.0-none-known-ram-tls.pcap"
KEYS = "q10.0-none-known-ram-tls.keys"
CUT_FRAME = 60
"""A data frame of channel 0."""
LEFT_OUT = 100
"""Bytes at its end, fewer than its last TLS record has."""
TCP = ETHERNET + 20
FLAGS = TCP + 13
FIN = 1
LATE = 3
"""Seconds."""


def _ports(frame: Frame) -> tuple[int, int]:
    return int.from_bytes(frame.data[TCP : TCP + 2], "big"), int.from_bytes(frame.data[TCP + 2 : TCP + 4], "big")


def _happened(path: Path, keys: Path | None = None) -> Recorded:
    with open_recording(path, keylog=keys) as recording:
        (migration,) = recording.migrations
        assert not [note for note in migration.notes if keys is not None and note.kind is NoteKind.TLS]
        return recorded(survey_migration(migration))


def _cut(frames: list[Frame]) -> Iterator[Frame]:
    """Channel 0's source closes in the middle of a record, and nothing more is said on it but the destination's FIN."""
    source = _ports(frames[CUT_FRAME - 1])
    behind = b""
    for number, frame in enumerate(frames, 1):
        data = bytearray(frame.data)
        if number == CUT_FRAME:
            del data[-LEFT_OUT:]
            data[ETHERNET + 2 : ETHERNET + 4] = (len(data) - ETHERNET).to_bytes(2, "big")
            data[FLAGS] |= FIN
            payload = len(data) - TCP - 4 * (data[TCP + 12] >> 4)
            behind = (int.from_bytes(data[TCP + 4 : TCP + 8], "big") + payload + 1).to_bytes(4, "big")
        elif number > CUT_FRAME and _ports(frame) == source[::-1]:
            if not data[FLAGS] & FIN:
                continue
            data[TCP + 8 : TCP + 12] = behind
        elif number > CUT_FRAME and _ports(frame) == source:
            continue
        yield frame._replace(data=bytes(data), original=len(data))


def _silent(frames: list[Frame]) -> Iterator[Frame]:
    """The connection that is opened last carries no byte; it, and main, are closed much later."""
    opened = [_ports(frame) for frame in frames if frame.data[FLAGS] == 2]
    last = opened[-1]
    first: dict[tuple[int, int], bytes] = {}
    for frame in frames:
        ports, data = _ports(frame), bytearray(frame.data)
        if ports in (last, last[::-1]):
            size = ETHERNET + int.from_bytes(data[ETHERNET + 2 : ETHERNET + 4], "big")
            if size > TCP + 4 * (data[TCP + 12] >> 4):
                continue
            if data[FLAGS] & 2:
                first[ports] = (int.from_bytes(data[TCP + 4 : TCP + 8], "big") + 1).to_bytes(4, "big")
            else:
                data[TCP + 4 : TCP + 12] = first[ports] + first[ports[::-1]]
            if data[FLAGS] & FIN:
                frame = frame._replace(seconds=frame.seconds + LATE)  # noqa: PLW2901
        yield frame._replace(data=bytes(data))


@pytest.mark.tshark
def test_how_healthy_sessions_end(samples: Path) -> None:
    """With keys close_notify is seen, on the multifd channels, which is where a destination may insist on it."""
    happened = _happened(samples / TLS, samples / KEYS)
    assert happened.ended is Ended.COMPLETED
    said = Counter((fact.kind, fact.actor, fact.channel) for fact in happened.evidence)
    for channel in (0, 1):
        assert said[Kind.CLOSE_NOTIFY, Actor.SOURCE, channel] == 1
    assert said[Kind.NO_CLOSE_NOTIFY, Actor.SOURCE, "main"] == 1
    assert {Kind.UNCLEAN_END, Kind.TLS_CUT, Kind.TLS_UNFINISHED}.isdisjoint(kind for kind, _, _ in said)


@pytest.mark.tshark
def test_fin_inside_a_record(samples: Path, tmp_path: Path) -> None:
    """The same with keys and without: no byte was lost, and the source gave up."""
    path = write_frames(tmp_path / "cut.pcap", _cut(read_frames(samples / TLS)))
    for keys in (samples / KEYS, None):
        happened = _happened(path, keys)
        assert (happened.ended, happened.gave_up_first) == (Ended.FAILED, Side.SOURCE)
        assert [fact.frame for fact in happened.evidence if fact.kind is Kind.TLS_CUT] == [CUT_FRAME]


def test_handshake_that_never_begins(samples: Path, tmp_path: Path) -> None:
    happened = _happened(write_frames(tmp_path / "silent.pcap", _silent(read_frames(samples / TLS))))
    (fact,) = [fact for fact in happened.evidence if fact.kind is Kind.TLS_NOT_BEGUN]
    assert (fact.actor, round(fact.duration or 0)) == (Actor.SOURCE, LATE)


def _talk(tmp_path: Path, answer: bytes) -> Recorded:
    """A connection with a ClientHello, an answer, and both FINs."""
    talk = Conversation(client="10.0.0.1", server="10.0.0.2")
    hello = RECORD_HEADER.pack(HANDSHAKE, 0x0301, 104) + bytes((CLIENT_HELLO, 0, 0, 100)) + bytes(100)
    segments = [
        talk.to_server(-1, flags=SYN),
        talk.to_client(-1, flags=SYN | ACK),
        talk.to_server(0, hello),
        talk.to_client(0, answer, acknowledged=len(hello)),
        talk.to_client(len(answer), flags=ACK | FIN, acknowledged=len(hello)),
        talk.to_server(len(hello), flags=ACK | FIN, acknowledged=len(answer) + 1),
    ]
    path = tmp_path / "talk.pcap"
    path.write_bytes(packets.pcap([packets.frame(segment) for segment in segments]))
    return _happened(path)


def test_handshake_that_is_refused(tmp_path: Path) -> None:
    """An alert in the clear says that it failed, and who made it fail."""
    refusal = bytes((FATAL, AlertDescription.HANDSHAKE_FAILURE))
    happened = _talk(tmp_path, RECORD_HEADER.pack(ALERT, 0x0303, len(refusal)) + refusal)
    assert (happened.ended, happened.gave_up_first) == (Ended.FAILED, Side.DESTINATION)
    (fact,) = [fact for fact in happened.evidence if fact.kind is Kind.TLS_ALERT]
    assert (fact.actor, fact.frame, fact.because) == (Actor.DESTINATION, 4, "handshake_failure (fatal)")


@pytest.mark.parametrize(("answer", "silent"), [(0, Actor.DESTINATION), (90, Actor.SOURCE)])
def test_handshake_that_is_never_finished(tmp_path: Path, answer: int, silent: Actor) -> None:
    """Who does not go on: a destination without a ServerHello, or a source behind one."""
    happened = _talk(tmp_path, RECORD_HEADER.pack(HANDSHAKE, 0x0303, answer) + bytes(answer) if answer else b"")
    assert [fact.actor for fact in happened.evidence if fact.kind is Kind.TLS_UNFINISHED] == [silent]
