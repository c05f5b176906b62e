"""Capture file formats, times, sizes beyond 4 GiB, compression, and what is left of damaged files."""

from __future__ import annotations

import gzip
import random
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from captures.model import ChannelKind, NoteKind, Recording
from captures.recording import open_recording
from multifd_codec.errors import HoleError, InputError
from multifd_codec.source import Hole, HoleReason, StreamEnd
from tests.helpers import packets
from tests.helpers.packets import ACK, FIN, MAIN, Conversation, Frame, multifd

TIME = 1_700_000_000_123_456_789
TALK = Conversation().whole(MAIN, 100)
FRAMES = [replace(packets.frame(tcp), time=TIME + 1000 * number) for number, tcp in enumerate(TALK)]
DATA_FRAMES = range(4, len(FRAMES) - 2)
"""Numbers of those that carry MAIN."""

FILES = {
    "pcap": (packets.pcap(FRAMES), 1e-6),
    "pcap, big-endian": (packets.pcap(FRAMES, ">"), 1e-6),
    "pcap, nanoseconds": (packets.pcap(FRAMES, nanoseconds=True), 1e-9),
    "pcap, nanoseconds, big-endian": (packets.pcap(FRAMES, ">", nanoseconds=True), 1e-9),
    "pcap, long record headers": (
        b"\x34\xcd\xb2\xa1" + packets.pcap([])[4:]
        + b"".join(struct.pack("<IIII8x", 1_700_000_000, 123456, len(f.data), len(f.data)) + f.data for f in FRAMES),
        1e-4,
    ),
    "pcapng": (packets.pcapng(FRAMES), 1e-6),
    "pcapng, big-endian": (packets.pcapng(FRAMES, ">"), 1e-6),
    "pcapng, nanoseconds": (packets.pcapng(FRAMES, resolution=9), 1e-9),
    "pcapng, binary fractions": (packets.pcapng(FRAMES, ">", resolution=0x80 | 20), 1e-6),
    "pcapng, obsolete blocks": (packets.pcapng(FRAMES, kind=2), 1e-6),
    "pcapng, simple blocks": (packets.pcapng(FRAMES, kind=3), None),
}  # fmt: skip


def opened(tmp_path: Path, data: bytes, name: str = "file") -> Recording:
    path = tmp_path / name
    path.write_bytes(data)
    return open_recording(path, reader="native")


def assert_whole(recording: Recording) -> None:
    (migration,) = recording.migrations
    source = migration.channels[0].source
    assert bytes(source.read(0, source.size)) == MAIN
    assert (recording.notes, migration.notes) == ((), ())


@pytest.mark.parametrize("name", FILES)
def test_format(tmp_path: Path, name: str) -> None:
    data, precision = FILES[name]
    with opened(tmp_path, data) as recording:
        assert_whole(recording)
        assert (recording.frames, recording.kind) == (len(FRAMES), name.split(",", maxsplit=1)[0])
        time = recording.migrations[0].channels[0].source.time_at(250)
        assert time is None if precision is None else time == pytest.approx((TIME + 5000) / 1e9, abs=precision + 1e-6)


def test_pcapng_with_sections_and_interfaces(tmp_path: Path) -> None:
    """Two sections of other byte orders; link types take turns, one of them unknown."""
    links = ["Ethernet", "cooked v2", "raw IP", "loopback, big-endian"]
    frames = [packets.frame(tcp, links[number % 4]) for number, tcp in enumerate(TALK)]
    frames.insert(5, Frame(bytes(60), link=147))
    data = packets.pcapng(frames[:9]) + packets.pcapng(frames[9:], ">", resolution=9)
    with opened(tmp_path, data) as recording:
        source = recording.migrations[0].channels[0].source
        assert bytes(source.read(0, source.size)) == MAIN
        assert recording.frames == len(frames)
        assert [note.kind for note in recording.notes] == [NoteKind.UNSUPPORTED_LINK]
        assert source.time_at(0) == source.time_at(source.size - 1) == pytest.approx(1_700_000_000.123456)


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_compressed(tmp_path: Path, compress: object) -> None:
    assert callable(compress)
    data, parts = FILES["pcap"][0], []
    for part in (data[:700], data[700:]):
        parts.append(compress(part))
    with opened(tmp_path, b"".join(parts)) as recording:
        assert_whole(recording)
        assert recording.bytes == len(data)
    stored = compress(data[:600] + random.Random(1).randbytes(400_000))
    with opened(tmp_path, stored[: len(stored) // 2]) as recording:
        assert recording.notes[0].kind is NoteKind.TRUNCATED_FILE
    with opened(tmp_path, stored[:-20] + bytes(20)) as recording:
        assert recording.notes[0].kind in (NoteKind.DAMAGED_FILE, NoteKind.TRUNCATED_FILE)
    with pytest.raises(InputError, match="nothing could be decompressed"):
        opened(tmp_path, stored[:5])


def test_stream_longer_than_4_gib(tmp_path: Path) -> None:
    """5 GiB in frames of 1 MiB (offloaded segmentation) cut to their headers; sequence numbers wrap twice."""
    size, step, kept = 5 << 30, 1 << 20, 32
    talk = Conversation(client_first=2**32 - 5000)
    frames = [packets.frame(tcp) for tcp in talk.opening()]
    for start in range(0, size, step):
        mark = b"QEVM" if start == 0 else struct.pack(">Q", start)
        whole = packets.frame(talk.to_server(start, mark.ljust(kept, b"."), offloaded=True))
        frames.append(replace(whole, original=len(whole.data) - kept + step))
    frames.append(packets.frame(talk.to_server(size, flags=FIN | ACK)))
    with opened(tmp_path, packets.pcap(frames)) as recording:
        source = recording.migrations[0].channels[0].source
        assert (source.size, source.end) == (size, StreamEnd.CLOSED)
        assert len(source.holes()) == size // step
        for start in (step, (4 << 30) - step, 4 << 30, size - step):
            assert bytes(source.read(start, 8)) == struct.pack(">Q", start)
            assert source.frame_at(start) == 4 + start // step
            assert source.next_hole(start) == Hole(start + kept, start + step, HoleReason.SNAPLEN)
        with pytest.raises(HoleError):
            source.read(4 << 30, kept + 1)


GARBAGE = b"\xee" * 500


@pytest.mark.parametrize(
    ("damage", "lost", "kind"),
    {
        "end cut": (lambda parts: b"".join(parts)[:-30], 0, NoteKind.TRUNCATED_FILE),
        "header cut": (lambda parts: b"".join(parts) + bytes(7), 0, NoteKind.TRUNCATED_FILE),
        "garbage between frames": (lambda parts: b"".join([*parts[:7], GARBAGE, *parts[7:]]), 0, NoteKind.DAMAGED_FILE),
        "garbage over a frame": (
            lambda parts: b"".join([*parts[:7], GARBAGE[: len(parts[7])], *parts[8:]]), 100, NoteKind.DAMAGED_FILE,
        ),
        "zeros at the end": (lambda parts: b"".join(parts) + bytes(100_000), 0, NoteKind.DAMAGED_FILE),
    }.values(),
)  # fmt: skip
def test_damaged_pcap(tmp_path: Path, damage: object, lost: int, kind: NoteKind) -> None:
    """Frames behind the damage are found again."""
    assert callable(damage)
    parts = [packets.pcap([])] + [packets.pcap([frame])[24:] for frame in FRAMES]
    with opened(tmp_path, damage(parts)) as recording:
        source = recording.migrations[0].channels[0].source
        assert source.size == len(MAIN)
        assert sum(hole.end - hole.start for hole in source.holes()) == lost
        assert [note.kind for note in recording.notes] == [kind]


@pytest.mark.parametrize(("replaced", "kind"), [(GARBAGE, NoteKind.DAMAGED_FILE), (b"", NoteKind.TRUNCATED_FILE)])
def test_damaged_pcapng(tmp_path: Path, replaced: bytes, kind: NoteKind) -> None:
    """Frames in front of the damage are there."""
    before = packets.pcapng(FRAMES[:8])
    data = before + (replaced + packets.pcapng(FRAMES[8:])[28:] if replaced else packets.pcapng(FRAMES)[:50][28:])
    with opened(tmp_path, data) as recording:
        assert recording.frames == 8
        assert recording.migrations[0].channels[0].source.size == 500
        assert [note.kind for note in recording.notes] == [kind]


def test_frames_cut_inside_their_headers(tmp_path: Path) -> None:
    with opened(tmp_path, packets.pcap([*FRAMES, FRAMES[5].cut(30)])) as recording:
        assert [note.kind for note in recording.notes] == [NoteKind.CUT_BY_SNAPLEN]


def test_link_type_that_nobody_speaks(tmp_path: Path) -> None:
    frame = Frame(bytes(60), link=147)
    with opened(tmp_path, packets.pcap([frame])) as recording:
        assert NoteKind.UNSUPPORTED_LINK in {note.kind for note in recording.notes}
        assert recording.migrations == ()


def test_encapsulation_is_left_to_wireshark(tmp_path: Path) -> None:
    inner = packets.ip_packet("10.0.0.1", "10.0.0.2", 47, bytes(60))
    with opened(tmp_path, packets.pcap([Frame(packets.ethernet(inner, 4))])) as recording:
        assert [note.kind for note in recording.notes] == [NoteKind.UNSUPPORTED_LINK, NoteKind.NO_MIGRATION]


def test_sources_are_views_until_the_recording_is_closed(tmp_path: Path) -> None:
    talk = Conversation().whole(multifd(0, 5000), 1000)
    recording = opened(tmp_path, packets.pcap([packets.frame(tcp) for tcp in talk]))
    (channel,) = recording.migrations[0].channels
    assert channel.kind is ChannelKind.MULTIFD
    inside, across = channel.source.read(1000, 1000), channel.source.read(999, 3000)
    assert isinstance(inside, memoryview)
    assert bytes(inside) + bytes(across) == multifd(0, 5000)[1000:2000] + multifd(0, 5000)[999:3999]
    recording.close()
    with pytest.raises(ValueError, match="released"):
        channel.source.read(0, 1)
    assert bytes(inside) == multifd(0, 5000)[1000:2000]
