"""Whatever the bytes of a file: InputError, or a recording that can be read through."""

from __future__ import annotations

import gzip
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from captures.connection import NoBytes
from captures.model import NoteKind, Recording, StreamSource
from captures.recording import open_recording
from multifd_codec.errors import InputError
from tests.conftest import SAMPLES
from tests.helpers import packets
from tests.helpers.packets import MAIN, Conversation, multifd

SIX = Conversation("2001:db8::1", "2001:db8::2", client_port=50001)
SEGMENTS = [*Conversation().whole(MAIN[:150], 60, back=bytes(16)), *SIX.whole(multifd(0, 100), 90)]
FRAMES = [packets.frame(tcp, link) for tcp, link in zip(SEGMENTS, ["Ethernet", "QinQ", "VLAN"] * 9, strict=False)]
HOPS = [packets.frame(replace(tcp, ip_options=packets.hop_by_hop())) for tcp in SIX.whole(multifd(1, 50))]
PCAP, PCAPNG = packets.pcap([*FRAMES, *HOPS]), packets.pcapng([*FRAMES, *HOPS], resolution=9)
SEEDS = {
    "pcap": PCAP,
    "pcapng": PCAPNG,
    "pcapng, two sections": PCAPNG[:1000] + packets.pcapng(FRAMES, ">", kind=2) + packets.pcapng(HOPS, kind=3),
    "gzip": gzip.compress(PCAP),
    "zstd": zstandard.compress(PCAPNG),
    "main channel": MAIN,
    "multifd channel": multifd(0, 100),
    "recording": (SAMPLES / "q7.2-none.pcap").read_bytes(),
}


def read_all(source: StreamSource) -> int:
    """Reads what is there, byte for byte and in the way of a decoder; returns how much."""
    position, total = 0, 0
    for hole in source.holes():
        assert position <= hole.start < hole.end <= source.size
        assert source.next_hole(position) == hole
        total += len(source.read(position, hole.start - position))
        position = hole.end
        assert isinstance(source, NoBytes) or source.frame_at(hole.start) is None
    assert source.next_hole(position) is None
    total += len(source.read(position, source.size))
    assert source.read(source.size, 1) == b""
    for offset in range(0, source.size, max(1, source.size // 50)):
        frame, time = source.frame_at(offset), source.time_at(offset)
        assert time is None or frame is not None
    return total


def look_through(path: Path) -> Recording | None:
    try:
        recording = open_recording(path, reader="native")
    except InputError as error:
        assert "\n" not in str(error)
        return None
    with recording:
        for migration in recording.migrations:
            for channel in migration.channels:
                assert read_all(channel.source) <= channel.source.size
            if migration.return_path is not None:
                read_all(migration.return_path)
        assert all("\n" not in note.message for note in recording.notes)
        return recording


@given(st.data())
def test_altered_files(data: st.DataObject) -> None:
    content = bytearray(SEEDS[data.draw(st.sampled_from(list(SEEDS)), "seed")])
    for _ in range(data.draw(st.integers(0, 6), "alterations")):
        at = data.draw(st.integers(0, len(content)), "at")
        match data.draw(st.sampled_from(["byte", "extreme", "insert", "remove", "copy", "cut"]), "how"):
            case "byte":
                content[at : at + 1] = data.draw(st.binary(min_size=1, max_size=1))
            case "extreme":
                content[at : at + 4] = data.draw(
                    st.sampled_from([bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\x04"])
                )
            case "insert":
                content[at:at] = data.draw(st.binary(max_size=40))
            case "remove":
                del content[at : at + data.draw(st.integers(1, 60))]
            case "copy":
                content[at:at] = content[at : at + data.draw(st.integers(1, 300))]
            case _:
                del content[at:]
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        look_through(Path(file.name))


@given(
    st.binary(max_size=200), st.sampled_from([b"", PCAP[:4], PCAP[:24], PCAPNG[:4], PCAPNG[:28], b"\x1f\x8b", b"QEVM"])
)
def test_noise(noise: bytes, head: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(head + noise)
        file.flush()
        look_through(Path(file.name))


SMALL = {
    "pcap": (packets.pcap(FRAMES[:3]), 3, 1),
    "pcapng": (packets.pcapng(FRAMES[:3]), 3, 3),
    "main channel": (MAIN, 0, len(MAIN) - 3),
}
"""Name -> content, frames, and at how many places besides the ends of frames it may end without anything missing."""


@pytest.mark.parametrize("name", SMALL)
def test_cut_at_every_place(name: str, tmp_path: Path) -> None:
    """More bytes never give fewer frames, and a note tells of every cut frame."""
    content, count, other_ends = SMALL[name]
    path = tmp_path / "file"
    path.write_bytes(content)
    frames, uncut = [], 0
    for size in range(len(content), 0, -1):
        os.truncate(path, size)
        recording = look_through(path)
        frames.append(recording.frames if recording else 0)
        uncut += recording is not None and NoteKind.TRUNCATED_FILE not in {note.kind for note in recording.notes}
    assert frames == sorted(frames, reverse=True)
    assert (frames[0], uncut) == (count, count + other_ends)


@pytest.mark.parametrize("name", ["nothing here", "a\0b", "", "/dev/null", "empty", "folder", "x" * 300])
def test_what_is_no_input(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError):
        open_recording(tmp_path / name)
