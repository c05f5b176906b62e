"""A recording as a draft: every record, its bytes, and the order in which they were sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analyzers.linter.linter import lint_recording
from analyzers.produce.draft_of_recording import by_rounds, draft_of_migration, tap_of
from captures.memory import recording_of
from captures.model import Migration
from captures.recording import open_recording
from captures.write.sent import write_draft
from multifd_codec.draft.draft import Draft
from multifd_codec.errors import HoleError, InputError
from multifd_codec.main import events as ev
from multifd_codec.source import BufferSource, Hole, HoleReason
from tests.helpers.healthy import MADE, PLANS, healthy
from tests.helpers.writing import write_pcap

SAMPLES = Path(__file__).parents[2] / "captures" / "samples"
MANIFEST = json.loads((SAMPLES / "manifest.json").read_text())


def contents(migration: Migration) -> list[bytes]:
    return [bytes(channel.source.read(0, channel.source.size)) for channel in migration.channels]


def encoded(draft: Draft) -> list[bytes]:
    return [draft.encoded(name) for name, _ in draft.lines()]


@pytest.mark.parametrize("name", MANIFEST)
def test_recorded_bytes_and_frames_come_back(name: str, tmp_path: Path) -> None:
    with open_recording(SAMPLES / name) as recording:
        (migration,) = recording.migrations
        draft = draft_of_migration(migration)
        recorded = contents(migration)
        assert encoded(draft) == recorded
        assert len(list(draft.sent())) == sum(len(line) for _, line in draft.lines()) == len(draft.order)
        write_draft(tmp_path / "again.pcap", draft, tap_of(migration), migration.return_path)
        (before,) = lint_recording(recording)
    with open_recording(tmp_path / "again.pcap") as recording:
        assert contents(recording.migrations[0]) == recorded
        (after,) = lint_recording(recording)
    # What happened to the recorded one did not happen to what was written.
    streams = [[f for f in report.findings if not f.rule.startswith("MFD7")] for report in (after, before)]
    told = [[f._replace(frame=None, message="") for f in findings] for findings in streams]
    assert told[0] == told[1]


@pytest.mark.parametrize("name", [*PLANS, *MADE])
def test_every_kind_of_stream(name: str, tmp_path: Path) -> None:
    """The same bytes, also through a folder; the order made up for it has every record once."""
    stream = healthy(name)
    draft = draft_of_migration(recording_of(stream).migrations[0])
    assert encoded(draft) == encoded(stream)
    write_draft(tmp_path / "folder", draft)
    with open_recording(tmp_path / "folder") as recording:
        again = draft_of_migration(recording.migrations[0])
        assert encoded(again) == encoded(stream)
        sent = list(again.sent())
        records = [id(record) for _, record in sent]
        assert sorted(records) == sorted(id(record) for _, line in again.lines() for record in line)


def test_zero_pages_on_main_are_few_records() -> None:
    with open_recording(SAMPLES / "q7.2-none.pcap") as recording:
        draft = draft_of_migration(recording.migrations[0])
    assert len(draft.main) < 40


def test_what_is_missing_cannot_be_edited(tmp_path: Path) -> None:
    stream = healthy("10.0")
    source = BufferSource(stream.encoded(0), holes=[Hole(2000, 2100, HoleReason.LOST)])
    path = tmp_path / "lost.pcap"
    write_pcap(path, [BufferSource(stream.encoded("main")), source])
    with open_recording(path) as recording, pytest.raises(HoleError, match="100 bytes are missing") as caught:
        draft_of_migration(recording.migrations[0])
    assert (caught.value.channel, caught.value.offset) == (0, 2000)
    encrypted = open_recording(SAMPLES / "q10.0-none-known-ram-tls.pcap")
    with encrypted as recording, pytest.raises(InputError, match="TLS"):
        draft_of_migration(recording.migrations[0])


def test_order_by_rounds() -> None:
    """The first SYNC of every channel stands in front of the first rendezvous, behind it the next round."""
    draft = healthy("10.0")
    order = by_rounds(draft)
    place = {id(record): number for number, record in enumerate(order)}
    for channel in range(2):
        for number in range(3):
            flush, sync = draft.on_main(ev.Flush, number), draft.sync(channel, number)
            assert place[id(sync)] < place[id(flush)]
            if number < 2:
                behind = draft.channels[channel][draft.channels[channel].index(sync) + 1]
                assert place[id(flush)] < place[id(behind)]
