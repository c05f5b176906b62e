"""Recorded migrations: every channel has the bytes that the manifest, and Wireshark, say it has."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path

import pytest

from captures.model import ChannelKind, NoteKind
from captures.recording import open_recording
from multifd_codec.source import Hole, HoleReason, StreamEnd
from tests.conftest import SAMPLES
from tests.helpers import packets
from tests.helpers.packets import ACK, FIN, Conversation
from tests.helpers.recorded_frames import cut, read_frames, write_frames

MANIFEST: dict[str, list[dict[str, int | str]]] = json.loads((SAMPLES / "manifest.json").read_text())
ALTERED = sorted(path.relative_to(SAMPLES).as_posix() for path in (SAMPLES / "truth").glob("*/*.zst"))
OTHER_IDS = {
    "duplicate_channel_id": [None, 0, 0],
    "init_id_twice": [None, 0, 0],
    "one_channel_missing": [None, 0],
}
"""Of altered streams, main first; all others have channels 0 and 1."""
RETURN_PATH = bytes.fromhex("0002000400000001 0001000400000000")
"""PONG of the first PING, then SHUT with success."""
WITH_RETURN_PATH = {
    "q10.0-none-device-state.pcap",
    "q10.0-none-known-ram-two-devices.pcap.zst",
    "q10.0-pc-two-devices.pcap.zst",
}


@pytest.mark.parametrize("name", MANIFEST)
def test_recording_matches_its_manifest(name: str) -> None:
    with open_recording(SAMPLES / name) as recording:
        (migration,) = recording.migrations
        found = [("main" if c.kind is ChannelKind.MAIN else c.channel_id, c.source.size) for c in migration.channels]
        assert found == [(channel["channel"], channel["bytes"]) for channel in MANIFEST[name]]
        for channel in migration.channels:
            source = channel.source
            assert (source.end, list(source.holes()), source.next_hole(0)) == (StreamEnd.CLOSED, [], None)
            whole = bytes(source.read(0, source.size + 1))
            assert len(whole) == source.size
            step = 1009
            assert b"".join(source.read(at, step) for at in range(0, source.size, step)) == whole
        back = migration.return_path
        assert (back is not None and bytes(back.read(0, 99))) == (name in WITH_RETURN_PATH and RETURN_PATH)
        assert (recording.notes, migration.notes) == ((), ())


@pytest.mark.parametrize("name", ALTERED)
def test_altered_streams_are_one_migration_each(name: str) -> None:
    with open_recording(SAMPLES / name) as recording:
        (migration,) = recording.migrations
        ids = [channel.channel_id for channel in migration.channels]
        assert ids == OTHER_IDS.get(Path(name).name.removesuffix(".pcap.zst"), [None, 0, 1])
        assert (recording.notes, migration.notes) == ((), ())


def test_recording_cut_to_headers(tmp_path: Path) -> None:
    """As tcpdump -s 100 leaves it: channels and lengths are known, 34 bytes of each segment are there."""
    name = "q10.0-none-known-ram-zlib.pcap"
    frames = [cut(frame, 100) for frame in read_frames(SAMPLES / name)]
    with open_recording(write_frames(tmp_path / "cut.pcap", frames)) as recording:
        (migration,) = recording.migrations
        found = [(channel.channel_id, channel.source.size) for channel in migration.channels]
        assert found == [(None, 1144), (0, 79299), (1, 46409)]
        assert {note.kind for note in migration.notes} == {NoteKind.CUT_BY_SNAPLEN}
        for channel in migration.channels:
            assert {hole.reason for hole in channel.source.holes()} == {HoleReason.SNAPLEN}
            assert channel.source.next_hole(0) == Hole(34, channel.source.holes()[0].end, HoleReason.SNAPLEN)


def test_tls_is_named() -> None:
    with open_recording(SAMPLES / "q10.0-none-known-ram-tls.pcap") as recording:
        (migration,) = recording.migrations
        assert [(c.kind, c.source.size) for c in migration.channels] == [
            (ChannelKind.TLS, 1783),
            (ChannelKind.TLS, 766481),
            (ChannelKind.TLS, 1176895),
        ]
        assert [note.kind for note in migration.notes] == [NoteKind.TLS]


def test_frames_and_times_of_bytes() -> None:
    with open_recording(SAMPLES / "q7.2-none.pcap") as recording:
        main = recording.migrations[0].channels[0].source
        assert [main.frame_at(offset) for offset in (0, 61, 62, 9996, 9997)] == [18, 18, 24, 32, None]
        assert main.time_at(0) == pytest.approx(1795404797.516079, abs=1e-6)


def follow(path: Path, stream: int) -> tuple[bytes, bytes]:
    """Both directions of a connection as tshark reassembles them."""
    command = ["tshark", "-r", str(path), "-q", "-z", f"follow,tcp,raw,{stream}"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("Node 1")) + 1
    data = [line for line in lines[start:] if not line.startswith("=")]
    there = "".join(line for line in data if not line.startswith("\t"))
    back = "".join(line[1:] for line in data if line.startswith("\t"))
    return bytes.fromhex(there), bytes.fromhex(back)


def assert_same_as_tshark(path: Path, connections: int) -> None:
    theirs = [follow(path, stream) for stream in range(connections)]
    with open_recording(path, reader="native") as recording:
        (migration,) = recording.migrations
        ours = [(bytes(c.source.read(0, c.source.size)), b"") for c in migration.channels]
        back = migration.return_path
        if back is not None:
            ours[0] = (ours[0][0], bytes(back.read(0, back.size)))
    assert sorted(ours) == sorted(theirs)


@pytest.mark.tshark
@pytest.mark.parametrize("name", ["q10.0-none-device-state.pcap", "q10.0-pc-zlib.pcap", "q7.2-none.pcap"])
def test_same_bytes_as_tshark(name: str) -> None:
    assert_same_as_tshark(SAMPLES / name, 3)


@pytest.mark.tshark
def test_same_bytes_as_tshark_when_segments_come_late_and_twice(tmp_path: Path) -> None:
    """IPv6, VLAN, big-endian pcapng, sequence numbers that wrap; nothing is lost."""
    talk = Conversation("2001:db8::1", "2001:db8::2", client_first=2**32 - 1000)
    stream = packets.MAIN * 9
    bounds = [0, 1000, 1400, 3000, 3500, 5000, len(stream)]
    parts = [talk.to_server(start, stream[start:stop]) for start, stop in itertools.pairwise(bounds)]
    resegmented = talk.to_server(1200, stream[1200:3200])
    closing = [
        talk.to_server(len(stream), flags=FIN | ACK),
        talk.to_client(0, flags=FIN | ACK, acknowledged=len(stream)),
    ]
    order = [parts[0], parts[2], parts[1], resegmented, parts[4], parts[3], parts[4], parts[5], parts[0]]
    frames = [packets.frame(tcp, "QinQ") for tcp in [*talk.opening(), *order, *closing]]
    path = tmp_path / "late.pcapng"
    path.write_bytes(packets.pcapng(frames, ">"))
    assert_same_as_tshark(path, 1)
