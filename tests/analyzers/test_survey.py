"""One survey for all: what a channel begins with, what it is called, what compresses it and what is missing has one
answer, whoever asks."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from analyzers.extraction import Rebuilt, rebuild
from analyzers.findings import Outcome, Report
from analyzers.linter.linter import lint_recording
from analyzers.mutation.shape import Shape
from analyzers.produce.draft_of_recording import draft_of_migration
from analyzers.produce.mutate import mutate
from analyzers.report.decoding import Filter, decoded
from analyzers.rulebook.mutation_registry import MUTATIONS
from analyzers.survey.channel import ItemKind
from analyzers.survey.migration import survey_migration
from captures.memory import MemorySource, recording_of
from captures.model import CapturedChannel, ChannelKind, Migration, Recording
from captures.recording import open_recording
from multifd_codec.channel.events import ChannelInit, Unreadable
from multifd_codec.source import Hole, HoleReason, StreamEnd
from multifd_codec.wire.packet import PacketFlags
from tests.helpers.streams import stream_of

SAMPLE = "q10.0-none-known-ram.pcap.zst"
ZLIB = "q10.0-none-known-ram-zlib.pcap"


class Answers(NamedTuple):
    """What each of them says of one migration."""

    report: Report
    rebuilt: Rebuilt
    decoded: dict[object, list[object]]


def answers(recording: Recording) -> Answers:
    (report,) = lint_recording(recording)
    events: dict[object, list[object]] = {}
    for located in decoded(recording.migrations, Filter(), None):
        events.setdefault(located.line.name, []).append(located.event)
    return Answers(report, rebuild(recording.migrations[0]), events)


def changed(sample: Path, number: int, end: StreamEnd, *, cut: int = 0, hole: int = 0) -> Recording:
    """A recording whose channel with that id has lost ``cut`` bytes at its end, or ``hole`` bytes at its start."""
    with open_recording(sample) as recording:
        channels = []
        for channel in recording.migrations[0].channels:
            data = bytes(channel.source.read(0, channel.source.size))
            if channel.channel_id != number:
                channels.append(channel._replace(source=MemorySource(data, end=StreamEnd.CLOSED)))
                continue
            holes = [Hole(0, hole, HoleReason.LOST)] if hole else []
            source = MemorySource(data[: len(data) - cut], end=end, holes=holes)
            kept = None if hole else channel.channel_id
            channels.append(CapturedChannel(ChannelKind.MULTIFD, kept, source, channel.label))
        return Recording(sample, recording.kind, 0, 0, (Migration(tuple(channels)),))


@pytest.mark.parametrize("mutation", MUTATIONS["MFD602"], ids=lambda mutation: mutation.way)
def test_a_channel_begins_the_same_way_for_all(mutation: object) -> None:
    made = stream_of("10.0")
    mutate(made, "MFD602", way=mutation.way)  # type: ignore[attr-defined]
    recording = recording_of(made)
    surveyed = survey_migration(recording.migrations[0])
    (report,) = lint_recording(recording)
    assert "MFD602" in {finding.rule for finding in report.findings}
    assert surveyed.channels
    for name, channel, survey in surveyed.channels:
        events = list(channel.decoder().events())
        assert [e for e in events if isinstance(e, ChannelInit)] == ([survey.init] if survey.init is not None else [])
        holes = [(e.offset, e.hole) for e in events if isinstance(e, Unreadable)]
        assert holes == [(i.offset, i.hole) for i in survey.items if i.kind is ItemKind.UNREADABLE]
        assert not any(hole for _, hole in holes)  # nothing is missing in this recording
        assert name in answers(recording).decoded
    inits = [
        sum(isinstance(r.event, ChannelInit) for r in line)
        for line in draft_of_migration(recording.migrations[0]).channels
    ]
    assert inits == [survey.init is not None for survey in surveyed.surveys]


def test_a_channel_without_its_start_has_one_name(samples: Path) -> None:
    said = answers(changed(samples / SAMPLE, 0, StreamEnd.CLOSED, hole=2000))
    assert [(channel.id, channel.stated) for channel in said.report.channels] == [(0, False), (1, True)]
    assert list(said.decoded) == ["main", 0, 1]
    assert {finding.channel for finding in said.report.findings if finding.rule == "MFD908"} == {0}
    assert any(text.startswith("channel 0: ") for text in said.rebuilt.incomplete)
    assert {problem.channel for problem in said.rebuilt.problems} <= {0, None}


def test_an_id_that_is_no_method_compresses_nothing(samples: Path) -> None:
    """zlib and zstd at once, on most packets."""
    with open_recording(samples / ZLIB) as recording:
        made = draft_of_migration(recording.migrations[0])
        for channel in range(len(made.channels)):
            for record in made.rams(channel):
                if record.event.normal_pages:
                    flags = record.event.flags | PacketFlags.ZLIB | PacketFlags.ZSTD
                    record.event = record.event._replace(flags=flags)
        edited = recording_of(made)
        said = answers(edited)
        assert survey_migration(edited.migrations[0]).compression == "none"
        assert Shape(made).compression == 0
    assert said.report.facts.compression == "none"
    # A destination without compression refuses the first of them on each channel, and extraction stops there, too.
    refused = {
        finding.channel: finding.offset
        for finding in reversed(said.report.findings)
        if finding.rule in ("MFD204", "MFD205")
    }
    stops = {problem.channel: problem.offset for problem in said.rebuilt.problems if "no further" in problem.message}
    assert stops == refused and len(stops) == 2


@pytest.mark.parametrize(("end", "missing"), [(StreamEnd.CLOSED, False), (StreamEnd.OPEN, True)])
def test_bytes_are_missing_where_the_recording_ends_and_not_where_the_stream_does(
    samples: Path, end: StreamEnd, missing: bool
) -> None:
    recording = changed(samples / SAMPLE, 1, end, cut=1400)
    said = answers(recording)
    assert survey_migration(recording.migrations[0]).partial is missing
    assert (Outcome.UNDECIDED in said.report.possible_outcomes) is missing
    assert bool(said.rebuilt.incomplete) is missing
    assert said.rebuilt.sound is missing  # what a destination refuses to read is wrong, what was not recorded is not
