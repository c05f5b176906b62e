"""Folders of channel files, single channel files, mapped-ram files."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from captures.model import ChannelKind, NoteKind
from captures.recording import open_recording
from multifd_codec.errors import InputError
from multifd_codec.source import StreamEnd
from tests.helpers.packets import MAIN, channel_init, multifd

CAPABILITIES = b"\x05\x1aconfiguration/capabilities\0\0\0\1\0\0\0\1"
CONFIGURATION = b"QEVM\0\0\0\3\x07\0\0\0\4none"


def test_folder(tmp_path: Path) -> None:
    """Channels by content, not by name; what is not called a channel file and does not look like one is left alone."""
    contents = {
        "main.bin": MAIN,
        "channel-0.bin": multifd(1),
        "channel-1.bin.gz": gzip.compress(multifd(0)),
        "stray": multifd(1, 0),
        "broken.bin": b"\x11\x22\x33\x45" + channel_init(4)[4:],
        "empty.bin": b"",
        "return-path.bin": b"\0\2\0\4\0\0\0\1",
        "notes.txt": b"what we did",
        "whole.pcap": b"\xd4\xc3\xb2\xa1",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.bin").mkdir()
    with open_recording(tmp_path) as recording:
        (migration,) = recording.migrations
        assert [(channel.kind, channel.channel_id, channel.label) for channel in migration.channels] == [
            (ChannelKind.MAIN, None, "main.bin"),
            (ChannelKind.MULTIFD, 0, "channel-1.bin.gz"),
            (ChannelKind.MULTIFD, 1, "channel-0.bin"),
            (ChannelKind.MULTIFD, 1, "stray"),
            (ChannelKind.UNKNOWN, None, "broken.bin"),
            (ChannelKind.UNKNOWN, None, "empty.bin"),
        ]
        source = migration.channels[1].source
        assert bytes(source.read(0, 10_000)) == multifd(0)
        assert (source.end, source.frame_at(0), list(source.holes())) == (StreamEnd.CLOSED, None, [])
        assert migration.return_path is not None
        assert bytes(migration.return_path.read(2, 99)) == b"\0\4\0\0\0\1"
        assert (recording.kind, recording.frames, recording.notes, migration.notes) == ("folder", 0, (), ())


def test_compressed_channel_file_that_is_cut_short(tmp_path: Path) -> None:
    (tmp_path / "main.bin").write_bytes(gzip.compress(MAIN)[:-9])
    with open_recording(tmp_path) as recording:
        (note,) = recording.migrations[0].notes
        assert (note.kind, note.label) == (NoteKind.TRUNCATED_FILE, "main.bin")


def test_folder_without_channels(tmp_path: Path) -> None:
    (tmp_path / "other.bin").write_bytes(b"nothing of ours")
    with pytest.raises(InputError, match="no channel file"):
        open_recording(tmp_path)


@pytest.mark.parametrize(
    ("content", "kind", "channel"),
    [
        (MAIN, "channel file", (ChannelKind.MAIN, None)),
        (multifd(7), "channel file", (ChannelKind.MULTIFD, 7)),
        (gzip.compress(multifd(7)), "channel file", (ChannelKind.MULTIFD, 7)),
        (channel_init(3)[:10], "channel file", (ChannelKind.MULTIFD, None)),
        (CONFIGURATION + CAPABILITIES + b"\x0amapped-ram", "mapped-ram", (ChannelKind.MAIN, None)),
        (CONFIGURATION + CAPABILITIES + b"\x0fx-ignore-shared", "channel file", (ChannelKind.MAIN, None)),
    ],
)
def test_single_file(tmp_path: Path, content: bytes, kind: str, channel: tuple[ChannelKind, int | None]) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with open_recording(path) as recording:
        (found,) = recording.migrations[0].channels
        assert (recording.kind, (found.kind, found.channel_id)) == (kind, channel)
        assert found.source.size == recording.bytes
