"""Which connections are channels, and of which migration."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain, zip_longest
from pathlib import Path

import pytest

from captures.model import ChannelKind, Migration, NoteKind, Recording
from captures.recording import open_recording
from tests.helpers import packets
from tests.helpers.packets import ACK, FIN, MAIN, RST, SYN, Conversation, Tcp, channel_init, multifd

MAIN_KIND, MULTIFD, TLS, UNKNOWN = ChannelKind.MAIN, ChannelKind.MULTIFD, ChannelKind.TLS, ChannelKind.UNKNOWN
WEB_PAGE = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n" * 20
MARK = struct.pack(">II", 0x11223344, 1)
SYNC = MARK + struct.pack(">I", 1) + bytes(1332)


def together(*talks: list[Tcp]) -> list[Tcp]:
    """The segments of conversations that go on at the same time."""
    return [tcp for tcp in chain(*zip_longest(*talks)) if tcp is not None]


def migration(
    port: int = 4444, first_client_port: int = 50000, server: str = "192.0.2.2", **more: int
) -> list[list[Tcp]]:
    streams = [MAIN, multifd(0), multifd(1)]
    talks = [Conversation(server=server, client_port=first_client_port + i, server_port=port, **more) for i in range(3)]
    return [talk.whole(stream, 500) for talk, stream in zip(talks, streams, strict=True)]


def opened(tmp_path: Path, segments: Iterable[Tcp]) -> Recording:
    path = tmp_path / "capture.pcap"
    path.write_bytes(packets.pcap([packets.frame(tcp) for tcp in segments]))
    return open_recording(path, reader="native")


def channels(found: Migration) -> list[tuple[ChannelKind, int | None, bool]]:
    return [(channel.kind, channel.channel_id, channel.start_captured) for channel in found.channels]


WHOLE = [(MAIN_KIND, None, True), (MULTIFD, 0, True), (MULTIFD, 1, True)]


def test_sequential_migrations_between_the_same_endpoints(tmp_path: Path) -> None:
    """The same four-tuples again, with new sequence numbers: each migration has its own bytes."""
    again = migration(client_first=2**32 - 100)
    with opened(tmp_path, [*together(*migration()), *together(*again)]) as recording:
        assert [channels(found) for found in recording.migrations] == [WHOLE, WHOLE]
        for found in recording.migrations:
            assert bytes(found.channels[1].source.read(0, 3000)) == multifd(0)
            assert not found.notes


@pytest.mark.parametrize("flags", [SYN, SYN | ACK])
@pytest.mark.parametrize("place", [0, 9, 20, None])
def test_a_stray_syn_parts_no_connection(tmp_path: Path, flags: int, place: int | None) -> None:
    """Of another sequence number and followed by nothing that fits it: in front, in the middle, behind all."""
    segments = together(*migration())
    like = next(one for one in segments if one.flags == flags)
    stray = replace(like, sequence=0x1234_5678, acknowledgement=0x7654_3210)
    segments.insert(len(segments) if place is None else place, stray)
    with opened(tmp_path, segments) as recording:
        assert [channels(found) for found in recording.migrations] == [WHOLE]
        (found,) = recording.migrations
        assert not found.notes and len(found.connections) == len(WHOLE)


def test_sequential_migrations_whose_ends_were_not_recorded(tmp_path: Path) -> None:
    """Nothing says that the first ones were over, but that a main channel opens when the other one has gone quiet."""
    first = [talk[:-3] for talk in migration()]
    second = [talk[:-3] for talk in migration(first_client_port=51000)]
    with opened(tmp_path, [*together(*first), *together(*second)]) as recording:
        assert [channels(found) for found in recording.migrations] == [WHOLE, WHOLE]
        assert {note.kind for note in recording.migrations[0].notes} == {NoteKind.END_NOT_CAPTURED}


def test_simultaneous_migrations_to_other_ports_and_hosts(tmp_path: Path) -> None:
    talks = [*migration(), *migration(port=4445), *migration(server="192.0.2.3")]
    with opened(tmp_path, together(*talks)) as recording:
        assert [channels(found) for found in recording.migrations] == [WHOLE, WHOLE, WHOLE]
        ends = {found.channels[0].label.split(" > ")[1] for found in recording.migrations}
        assert ends == {"192.0.2.2:4444", "192.0.2.2:4445", "192.0.2.3:4444"}


def test_channel_ids_do_not_part_a_migration(tmp_path: Path) -> None:
    extra = Conversation(client_port=50009).whole(multifd(1))
    with opened(tmp_path, together(*migration(), extra)) as recording:
        assert [channels(found) for found in recording.migrations] == [[*WHOLE, (MULTIFD, 1, True)]]


def test_unrelated_traffic_is_ignored(tmp_path: Path) -> None:
    """Web pages, another port of the destination, a refused connection and one that was over before."""
    web = Conversation(server="198.51.100.7", server_port=80).whole(WEB_PAGE, back=b"HTTP/1.1 200 OK" + MARK)
    ssh = Conversation(server_port=22, client_port=40022).whole(b"SSH-2.0-OpenSSH\r\n" * 9)
    early = Conversation(client_port=41000)
    refused = [early.to_server(-1, flags=SYN), early.to_client(0, flags=RST | ACK)]
    probe = Conversation(client_port=41001).whole(b"")
    with opened(tmp_path, [*probe, *together(*migration(), web, ssh, refused)]) as recording:
        assert [channels(found) for found in recording.migrations] == [WHOLE]
        assert not recording.notes


def test_channels_that_do_not_say_what_they_are(tmp_path: Path) -> None:
    """A bad ChannelInit, a connection without a byte, and one cut short inside its ChannelInit."""
    bad = Conversation(client_port=50007).whole(b"\x11\x22\x33\x45" + multifd(2)[4:])
    silent = Conversation(client_port=50008).whole(b"")
    short = Conversation(client_port=50009).whole(channel_init(3)[:20])
    wrong_version = Conversation(client_port=50010).whole(struct.pack(">II", 0x11223344, 2) + multifd(4)[8:])
    with opened(tmp_path, together(*migration(), bad, silent, short, wrong_version)) as recording:
        expected = [*WHOLE, (MULTIFD, 4, True), (MULTIFD, None, True), (UNKNOWN, None, True), (UNKNOWN, None, True)]
        assert [channels(found) for found in recording.migrations] == [expected]
        sizes = {channel.label.split(" ")[0]: channel.source.size for channel in recording.migrations[0].channels}
        assert (sizes["192.0.2.1:50008"], sizes["192.0.2.1:50009"]) == (0, 20)


def test_recording_that_starts_late(tmp_path: Path) -> None:
    """No SYN: the main channel joins by its endpoints, a multifd channel by its packets, even alone."""
    streams = [MAIN[100:], bytes(700) + SYNC, SYNC * 5]
    talks = [Conversation(client_port=50000 + number).whole(stream)[3:] for number, stream in enumerate(streams)]
    with opened(tmp_path, together(*talks)) as recording:
        expected = [(MULTIFD, None, False), (MULTIFD, None, False), (UNKNOWN, None, False)]
        assert [channels(found) for found in recording.migrations] == [expected]
        notes = recording.migrations[0].notes
        assert [note.kind for note in notes] == [NoteKind.START_NOT_CAPTURED] * 3
        assert recording.migrations[0].channels[2].label == "192.0.2.1:50000 > 192.0.2.2:4444"


def test_start_recorded_without_syn(tmp_path: Path) -> None:
    """A ChannelInit or a file header is a start; a packet with the same first bytes is none."""
    streams = [MAIN, multifd(0), SYNC * 2]
    talks = [Conversation(client_port=50000 + number).whole(stream)[3:] for number, stream in enumerate(streams)]
    with opened(tmp_path, together(*talks)) as recording:
        expected = [(MAIN_KIND, None, True), (MULTIFD, 0, True), (MULTIFD, None, False)]
        assert [channels(found) for found in recording.migrations] == [expected]


def test_destination_that_connects_to_the_source(tmp_path: Path) -> None:
    """Through a tunnel the TCP server may be the one that sends: the bytes say so."""
    talk = Conversation()
    back = [talk.to_client(0, MAIN, acknowledged=0), talk.to_client(len(MAIN), flags=FIN | ACK)]
    with opened(tmp_path, [*talk.opening(), *back]) as recording:
        (channel,) = recording.migrations[0].channels
        assert (channel.kind, channel.label) == (MAIN_KIND, "192.0.2.2:4444 > 192.0.2.1:50000")


def hello(*extensions: tuple[int, bytes]) -> bytes:
    """A ClientHello."""
    listed = b"".join(struct.pack(">HH", code, len(value)) + value for code, value in extensions)
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0" + struct.pack(">H", len(listed)) + listed
    handshake = b"\x01" + len(body).to_bytes(3, "big") + body
    return struct.pack(">BHH", 22, 0x301, len(handshake)) + handshake


ALPN, GROUPS = (16, b"\0\x03\x02h2"), (10, b"\0\x02\0\x1d")


def test_tls_of_a_migration_and_of_a_browser(tmp_path: Path) -> None:
    talks = [Conversation(client_port=50000 + number).whole(hello(GROUPS)) for number in range(3)]
    web = [Conversation(server="198.51.100.7", client_port=number).whole(hello(GROUPS, ALPN)) for number in (1, 2)]
    other = Conversation(server="198.51.100.8").whole(hello(GROUPS))
    with opened(tmp_path, together(*web, *talks, other)) as recording:
        assert [channels(found) for found in recording.migrations] == [[(TLS, None, True)] * 3]
        assert [note.kind for note in recording.migrations[0].notes] == [NoteKind.TLS]
    with opened(tmp_path, together(*web)) as recording:
        assert not recording.migrations
    with opened(tmp_path, together(*migration(), other)) as recording:
        assert [channels(found) for found in recording.migrations] == [WHOLE]


@pytest.mark.parametrize("segments", [[], Conversation().whole(WEB_PAGE)])
def test_capture_without_a_migration(tmp_path: Path, segments: list[Tcp]) -> None:
    with opened(tmp_path, segments) as recording:
        assert recording.migrations == ()
        assert [note.kind for note in recording.notes] == [NoteKind.NO_MIGRATION]


def test_ip_fragments_leave_holes(tmp_path: Path) -> None:
    talk = Conversation().whole(MAIN)
    fragmented = replace(talk[3], fragment=0x2000, payload=MAIN[:400])
    with opened(tmp_path, [*talk[:3], fragmented, replace(fragmented, fragment=60), *talk[4:]]) as recording:
        (found,) = recording.migrations
        assert [(hole.start, hole.end) for hole in found.channels[0].source.holes()] == [(400, len(MAIN))]
        assert [(note.kind, note.frame) for note in found.notes] == [(NoteKind.LOST_SEGMENTS, 4)] * 2


def test_a_paused_postcopy_goes_on_over_another_port(tmp_path: Path) -> None:
    """Main is closed, the channels are open: what asks for a bitmap belongs to them. It is no channel, and alone it is
    nothing."""
    main, *others = migration()
    request = b"\x08\x00\x0a\x00\x07\x06pc.ram"
    resumed = Conversation(client_port=60000, server_port=5555).whole(request * 20, 500)
    half = [talk[: len(talk) // 2] for talk in others]
    rest = [talk[len(talk) // 2 :] for talk in others]
    segments = [*together(main, *half), *together(resumed, *rest)]
    with opened(tmp_path, segments) as recording:
        (found,) = recording.migrations
        assert channels(found) == WHOLE
        recovery = found.connections[-1]
        assert (recovery.kind, recovery.source.port, recovery.destination.port) == (ChannelKind.RECOVERY, 60000, 5555)
        assert recovery.wire[0] is not None and recovery.wire[0].size == len(request) * 20
        assert len(found.connections) == 4
    with opened(tmp_path, resumed) as recording:
        assert not recording.migrations
    with opened(
        tmp_path, [*together(main, *others), *together(*migration(port=4445, server="192.0.2.3"), resumed)]
    ) as two:
        assert [len(found.connections) for found in two.migrations] == [4, 3]
