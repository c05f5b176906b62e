"""The wireshark reader gives what the native reader gives, and more: other encapsulations, TLS."""

from __future__ import annotations

from pathlib import Path

import pytest

from captures.model import CapturedChannel, ChannelKind, Migration, NoteKind, Recording
from captures.recording import open_recording
from captures.wireshark import read_recording
from multifd_codec.channel.decoder import ChannelDecoder
from multifd_codec.channel.events import ChannelEnd, EndPosition, RamPacket
from multifd_codec.errors import InputError
from multifd_codec.source import HoleReason, StreamEnd
from tests.helpers.recorded_frames import ENCAPSULATIONS, cut, encapsulate, read_frames, write_frames
from tests.helpers.writing import write_pcap

pytestmark = pytest.mark.tshark

TLS = "q10.0-none-known-ram-tls.pcap"
TLS_KEYS = "q10.0-none-known-ram-tls.keys"
TLS_BYTES = {None: 1144, 0: 761_792, 1: 1_169_984}
"""Channel id -> bytes of plain text, as `tshark -z follow,tls` counts them."""
LOST_FRAME = 60
"""One of the frames of channel 0 in the TLS recording, in the middle of pages."""


def _bytes(channel: CapturedChannel) -> list[bytes]:
    """The stream's bytes between its holes."""
    source = channel.source
    stretches, position = [], 0
    for hole in source.holes():
        stretches.append(bytes(source.read(position, hole.start - position)))
        position = hole.end
    return [*stretches, bytes(source.read(position, source.size - position))]


def _facts(migration: Migration) -> list[object]:
    """All that two readers must agree on."""
    facts: list[object] = []
    for channel in migration.channels:
        source = channel.source
        known = [offset for offset in range(0, source.size, 997) if not _in_hole(channel, offset)]
        frames = [(source.frame_at(offset), source.time_at(offset)) for offset in known]
        facts.append((channel.kind, channel.channel_id, channel.label, channel.start_captured, source.end, source.size))
        facts.append((tuple(source.holes()), frames, _bytes(channel)))
    path = migration.return_path
    facts.append(None if path is None else bytes(path.read(0, path.size)))
    facts += [(one.label, one.attempts, one.to_destination, one.to_source) for one in migration.connections]
    facts.append(sorted((note.kind, note.label, note.frame) for note in migration.notes))
    return facts


def _in_hole(channel: CapturedChannel, offset: int) -> bool:
    hole = channel.source.next_hole(offset)
    return hole is not None and hole.start <= offset


def _all_facts(recording: Recording) -> list[list[object]]:
    return [_facts(migration) for migration in recording.migrations]


def _sizes(recording: Recording) -> dict[int | None, int]:
    (migration,) = recording.migrations
    return {channel.channel_id: channel.source.size for channel in migration.channels}


@pytest.mark.parametrize("name", ["q10.0-none-device-state.pcap", "q11.1-pc-zstd.pcap", "q7.2-none-known-ram.pcap.zst"])
def test_same_as_native(samples: Path, name: str) -> None:
    with open_recording(samples / name, reader="native") as native, read_recording(samples / name) as ours:
        assert _all_facts(native)[0] == _all_facts(ours)[0]
        assert (native.frames, native.notes) == (ours.frames, ours.notes)


@pytest.mark.parametrize("name", ENCAPSULATIONS)
def test_encapsulated_as_if_it_were_not(samples: Path, tmp_path: Path, name: str) -> None:
    """Lost, repeated, late and cut frames included: a byte comes from the same frame, a hole is the same hole."""
    with open_recording(samples / "q10.0-none-known-ram-zstd.pcap") as recording:
        write_pcap(tmp_path / "clean.pcap", recording.migrations[0], segment_size=1200)
    frames = read_frames(tmp_path / "clean.pcap")
    frames[20:23] = [frames[21], frames[20], frames[22], frames[21]]
    del frames[60]
    wrapped = [encapsulate(frame, name) for frame in frames]
    longer = len(wrapped[0].data) - len(frames[0].data)
    for number in range(40, 50):
        frames[number], wrapped[number] = cut(frames[number], 300), cut(wrapped[number], 300 + longer)
    plain = write_frames(tmp_path / "plain.pcap", frames)
    carried = write_frames(tmp_path / "carried.pcap", wrapped, link=ENCAPSULATIONS[name][0])
    with open_recording(plain, reader="native") as native, open_recording(carried) as ours:
        assert _all_facts(native) == _all_facts(ours)
        (migration,) = ours.migrations
        reasons = {hole.reason for channel in migration.channels for hole in channel.source.holes()}
        assert reasons == {HoleReason.LOST, HoleReason.SNAPLEN}


def test_tls_with_key_log(samples: Path) -> None:
    with open_recording(samples / TLS, keylog=samples / TLS_KEYS) as recording:
        assert _sizes(recording) == TLS_BYTES
        assert not recording.notes and not recording.migrations[0].notes
        main, *channels = recording.migrations[0].channels
        assert main.kind is ChannelKind.MAIN
        normal = 0
        for channel in channels:
            *events, end = ChannelDecoder(channel.source).events()
            assert isinstance(end, ChannelEnd)
            assert (end.position, end.end) == (EndPosition.BOUNDARY, StreamEnd.CLOSED)
            normal += sum(event.normal_pages for event in events if isinstance(event, RamPacket))
            frames = [channel.source.frame_at(offset) for offset in range(0, channel.source.size, 4096)]
            assert None not in frames
            assert frames == sorted(frames, key=lambda frame: frame or 0)
            assert {frame for frame in frames if frame} <= set(range(1, recording.frames + 1))
        # The guest's memory holds 467 pages that are not zero; the plain recording of the same guest says so too.
        assert normal == 467


@pytest.mark.parametrize("change", ["repeated", "late", "a megabyte late"])
def test_tls_survives_what_tcp_survives(samples: Path, tmp_path: Path, change: str) -> None:
    frames = read_frames(samples / TLS)
    if change == "repeated":
        frames = [frame for frame in frames for _ in range(2)]
    elif change == "late":
        frames.insert(LOST_FRAME + 30, frames.pop(LOST_FRAME - 1))
    else:
        with read_recording(samples / TLS, keylog=samples / TLS_KEYS) as recording:
            source = recording.migrations[0].channels[2].source
            first, last = (source.frame_at(offset) for offset in (20_000, source.size - 1))
        assert first is not None and last is not None
        frames.insert(last - 1, frames.pop(first - 1))
    altered = write_frames(tmp_path / "altered.pcap", frames)
    with read_recording(altered, keylog=samples / TLS_KEYS) as recording:
        assert _sizes(recording) == TLS_BYTES


def test_tls_ends_at_a_lost_frame(samples: Path, tmp_path: Path) -> None:
    frames = read_frames(samples / TLS)
    del frames[LOST_FRAME - 1]
    altered = write_frames(tmp_path / "altered.pcap", frames)
    with read_recording(altered, keylog=samples / TLS_KEYS) as recording:
        (migration,) = recording.migrations
        before = _sizes(recording).pop(0)
        assert {**_sizes(recording), 0: TLS_BYTES[0]} == TLS_BYTES
        assert 0 < before < TLS_BYTES[0]
        channel = next(channel for channel in migration.channels if channel.channel_id == 0)
        assert channel.source.end is StreamEnd.OPEN
        (note,) = [note for note in migration.notes if note.kind is NoteKind.TLS]
        assert (note.label, note.offset) == (channel.label, before)


def test_other_key_log(samples: Path, tmp_path: Path) -> None:
    """Of a session without its secret the note says which one it is, as pyshark reads it."""
    other = tmp_path / "other.keys"
    other.write_text(f"CLIENT_RANDOM {'00' * 32} {'11' * 48}\n")
    with read_recording(samples / TLS, keylog=other) as recording:
        (migration,) = recording.migrations
        assert {channel.kind for channel in migration.channels} == {ChannelKind.TLS}
        messages = [note.message for note in migration.notes if note.kind is NoteKind.TLS]
        assert len(messages) == 3
        assert all("TLS_CHACHA20_POLY1305_SHA256" in message for message in messages)
        assert sum("ea65137d8b590987" in message for message in messages) == 1


def test_what_cannot_be_read(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = tmp_path / "noise.pcap"
    noise.write_bytes(bytes(range(256)) * 16)
    with pytest.raises(InputError, match="tshark"):
        read_recording(noise)
    with pytest.raises(InputError, match="No such file"):
        read_recording(tmp_path / "missing.pcap")
    with pytest.raises(InputError, match="no TLS key log"):
        read_recording(samples / TLS, keylog=noise)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="Debian package"):
        read_recording(samples / TLS)


def test_cut_file_is_read_up_to_the_cut(samples: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.pcap"
    short.write_bytes((samples / "q11.1-none.pcap").read_bytes()[:20_000])
    with open_recording(short, reader="native") as native, read_recording(short) as ours:
        assert _all_facts(native) == _all_facts(ours)
        assert [note.kind for note in ours.notes] == [NoteKind.TRUNCATED_FILE]
