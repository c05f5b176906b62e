"""What a sender sends, written as captures and folders: read back the same, and clean TCP for Wireshark."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from captures.model import ChannelKind
from captures.recording import open_recording
from captures.write.sent import JOIN, chunks, write_sent
from captures.write.target import check_target
from multifd_codec.draft.draft import Draft, Record, Sent, raw
from multifd_codec.errors import ChannelName, InputError
from multifd_codec.plan.page_content import Pattern
from multifd_codec.plan.plan import Block, Device, MigrationPlan, Pages, Round
from multifd_codec.sender import draft, send
from multifd_codec.strategies import plans

PLAN = MigrationPlan(
    (Block("ram", 1200 * 4096),),
    (Round((Pages("ram", 0, 1200, Pattern(1, 0.3)),), 3), Round((Pages("ram", 7, 300, Pattern(2)),))),
    devices=(Device("0000:00:05.0/vfio", 150_000, 60_000),),
    channels=3,
    return_path=True,
)


def streams_of(made: Draft) -> dict[ChannelName, bytes]:
    return {name: made.encoded(name) for name, _ in made.lines()}


def read(path: Path) -> dict[ChannelName, bytes]:
    with open_recording(path) as recording:
        (migration,) = recording.migrations
        assert not recording.notes and not migration.notes
        found: dict[ChannelName, bytes] = {}
        for channel in migration.channels:
            assert not list(channel.source.holes())
            name = "main" if channel.kind is ChannelKind.MAIN else channel.channel_id
            assert name is not None
            found[name] = bytes(channel.source.read(0, channel.source.size))
        return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=plans(max_pages=12))
def test_what_is_written_is_read_back(tmp_path: Path, plan: MigrationPlan) -> None:
    expected = streams_of(draft(plan))
    folder = tmp_path / "folder"
    for path in (tmp_path / "out.pcap", folder):
        check_target(path, force=True)
        size = write_sent(path, send(plan), plan.channels)
        assert size == sum(map(len, expected.values()))
        assert read(path) == expected
    assert len(list(folder.iterdir())) == 1 + plan.channels  # none left of a longer migration before


def test_progress_ends_with_all_bytes(tmp_path: Path) -> None:
    seen: list[int] = []
    size = write_sent(tmp_path / "out.pcap", send(PLAN), 3, lambda _, done, __: seen.append(done))
    assert seen == sorted(seen) and seen[-1] == size > 4_000_000


def test_short_records_go_out_together_and_no_byte_changes_its_place() -> None:
    small, large = raw(b"s" * 100), raw(b"L" * JOIN)
    sent = [Sent("main", small), Sent("main", small), Sent(0, small), Sent("main", large), Sent("main", small)]
    assert [(name, len(data)) for name, data, _ in chunks(sent)] == [
        ("main", 200),
        (0, 100),
        ("main", JOIN),
        ("main", 100),
    ]
    assert list(chunks([])) == []
    many = [Sent(0, Record(None, bytes([number]) * 999)) for number in range(200)]
    joined = [bytes(data) for _, data, _ in chunks(many)]
    assert b"".join(joined) == b"".join(bytes(sent.record.payload) for sent in many)
    assert all(JOIN <= len(data) < 2 * JOIN for data in joined[:-1])


@pytest.mark.tshark
@pytest.mark.parametrize(
    "changes", [{}, {"compression": "zstd", "devices": ()}, {"dialect": "qemu-7.2", "devices": ()}]
)
def test_wireshark_sees_clean_tcp(tmp_path: Path, changes: dict[str, object]) -> None:
    """No expert warning, no wrong checksum, the same bytes."""
    plan = replace(PLAN, **changes)  # type: ignore[arg-type]
    path = tmp_path / "out.pcap"
    write_sent(path, send(plan), plan.channels)
    checks = ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]
    command = ["tshark", "-r", str(path), *checks]
    expert = subprocess.run([*command, "-q", "-z", "expert"], capture_output=True, text=True, check=True).stdout
    assert "Chats" in expert  # connections are opened and closed: it did look
    for severity in ("Errors", "Warns"):
        assert severity not in expert, expert
    fields = ["-T", "fields", "-e", "tcp.checksum.status", "-e", "ip.checksum.status"]
    shown = subprocess.run([*command, *fields], capture_output=True, text=True, check=True).stdout
    assert {tuple(line.split("\t")) for line in shown.splitlines()} == {("1", "1")}
    with open_recording(path, reader="wireshark") as recording:
        (migration,) = recording.migrations
        sizes = sorted(channel.source.size for channel in migration.channels)
    assert sizes == sorted(map(len, streams_of(draft(plan)).values()))


def test_targets(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "dir.pcap").mkdir()
    folder = tmp_path / "folder"
    write_sent(folder, send(PLAN), 3)
    (folder / "notes.txt").write_text("mine")
    for path, words in (
        (tmp_path / "file", "is a file"),
        (tmp_path / "dir.pcap", "is a folder"),
        (tmp_path / "no" / "out.pcap", "there is no folder"),
        (folder, "is not empty .channel-0.bin."),
    ):
        with pytest.raises(InputError, match=words):
            check_target(path)
    check_target(folder, force=True)
    with pytest.raises(InputError, match="holds an input"):
        check_target(folder, force=True, inputs=[folder / "main.bin"])
    (folder / "disk.bin").touch()
    with pytest.raises(InputError, match=r"disk.bin would be taken for a channel"):
        check_target(folder, force=True)
    assert (tmp_path / "file").read_bytes() == b"mine"


def breaks_off() -> Iterator[Sent]:
    yield from islice(send(PLAN), 5)
    raise OSError(errno.ENOSPC, "full")


def test_a_folder_is_complete_or_as_it_was(tmp_path: Path) -> None:
    """The channel files of a longer migration go when the new ones are there, and nothing else ever does."""
    folder = tmp_path / "folder"
    with pytest.raises(OSError, match="full"):
        write_sent(folder, breaks_off(), 3)
    assert not folder.exists()
    folder.mkdir()
    for name in ("main.bin", "channel-9.bin.zst", "notes.txt"):
        (folder / name).write_bytes(b"mine")
    with pytest.raises(OSError, match="full") as caught:
        write_sent(folder, breaks_off(), 3)
    assert caught.value.filename == str(folder)
    assert {path.read_bytes() for path in folder.iterdir()} == {b"mine"} and len(list(folder.iterdir())) == 3
    write_sent(folder, send(PLAN), 3)
    assert read(folder) == streams_of(draft(PLAN)) and (folder / "notes.txt").read_bytes() == b"mine"
    assert {path.name for path in folder.iterdir()} == {
        "notes.txt",
        "main.bin",
        *(f"channel-{n}.bin" for n in range(3)),
    }


def test_a_capture_is_complete_or_as_it_was(tmp_path: Path) -> None:
    for name in ("out.pcap", "link.pcap"):
        (tmp_path / "out.pcap").write_bytes(b"mine")
        (tmp_path / "link.pcap").unlink(missing_ok=True)
        (tmp_path / "link.pcap").symlink_to("out.pcap")
        with pytest.raises(OSError, match="full") as caught:
            write_sent(tmp_path / name, breaks_off(), 3)
        assert caught.value.filename == str(tmp_path / name) and (tmp_path / "out.pcap").read_bytes() == b"mine"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["link.pcap", "out.pcap"]
        write_sent(tmp_path / name, send(PLAN), 3)
        assert (tmp_path / "link.pcap").is_symlink() and read(tmp_path / "out.pcap") == streams_of(draft(PLAN))
