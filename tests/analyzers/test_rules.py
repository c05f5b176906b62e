"""What no mutation of a rule shows: rules about recordings seen from inside, and violations of another shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from analyzers.findings import Outcome, Severity
from analyzers.linter.judged import LintOptions
from analyzers.linter.linter import lint_recording
from captures.memory import MemorySource
from captures.model import CapturedChannel, CaptureNote, ChannelKind, NoteKind
from captures.names import label
from multifd_codec.draft.channel_records import ram_record
from multifd_codec.draft.draft import Record, raw
from multifd_codec.main import events as ev
from multifd_codec.source import Hole, HoleReason
from tests.helpers.healthy import PAGE, position
from tests.helpers.streams import Stream, stream_of

COMPLETES, HANGS, UNDECIDED = {Outcome.COMPLETES}, {Outcome.HANGS}, {Outcome.UNDECIDED}


def rules(stream: Stream) -> set[str]:
    return {finding.rule for finding in stream.lint().findings}


# Violations that no mutation makes.


def another_magic(stream: Stream) -> Record:
    return stream.on_main(ev.FileHeader).set(magic=0x5145564E)


def zero_page_over_content(stream: Stream) -> Record:
    """A page with content is zero in the last round; its entry points 16 bytes into it, and into the next."""
    sync = stream.sync(0)
    return stream.before(sync, ram_record(1000, b"pc.ram", [], [20 * PAGE + 0x10]))


def flush(stream: Stream) -> Record:
    return stream.before(stream.on_main(ev.EndOfRam), Record(ev.Flush(0, 8)))


@pytest.mark.parametrize(
    ("code", "name", "edit", "field", "options", "outcomes"),
    [
        ("MFD601", "10.0", another_magic, "magic", {}, {Outcome.FAILS}),
        ("MFD214", "10.0", zero_page_over_content, "offset", {}, {Outcome.LOSES_DATA}),
        ("MFD311", "without multifd", flush, "flags", {"profile": "qemu-7.2"}, {Outcome.FAILS}),
    ],
)
def test_violation(code: str, name: str, edit: Any, field: str, options: Mapping[str, Any], outcomes: set[Any]) -> None:
    stream = stream_of(name)
    place = stream.place(edit(stream))
    stream.renumber()
    report = stream.lint(**options)
    found = {(f.rule, f.severity, f.channel, f.offset, f.field) for f in report.findings}
    assert found == {(code, Severity.ERROR, *place, field)}
    assert set(report.possible_outcomes) == outcomes


def test_a_channel_of_postcopy_preempt_is_no_second_main_channel() -> None:
    """Its page records come without any magic."""
    stream = stream_of("postcopy")
    data = b"\0" * 6 + b"\x10\x08" + b"\x06pc.ram" + b"page" * 1024
    stream.more = (CapturedChannel(ChannelKind.UNKNOWN, None, MemorySource(data), "preempt"),)
    report = stream.lint()
    assert all(finding.severity is Severity.INFO for finding in report.findings)
    assert set(report.possible_outcomes) == COMPLETES


# Capture quality: never an error, and undecided where the verdict depends on it.

NOTES = {
    "MFD901": NoteKind.LOST_SEGMENTS,
    "MFD903": NoteKind.START_NOT_CAPTURED,
    "MFD904": NoteKind.END_NOT_CAPTURED,
    "MFD905": NoteKind.RETRANSMISSION_DIFFERS,
    "MFD906": NoteKind.TRUNCATED_FILE,
    "MFD907": NoteKind.TLS,
    "MFD910": NoteKind.UNSUPPORTED_LINK,
}


def hole(stream: Stream, record: Record, start: int, end: int) -> None:
    """Bytes ``start`` to ``end`` of a record are not recorded."""
    name, offset = stream.place(record)
    stream.holes[name] = [Hole(offset + start, offset + end, HoleReason.LOST)]


@pytest.mark.parametrize("code", NOTES)
def test_notes_become_findings_and_change_nothing_else(code: str) -> None:
    stream = stream_of("10.0")
    stream.notes = (CaptureNote(NOTES[code], "what a reader saw", label(1), 100, 20, 5),)
    report = stream.lint()
    (finding,) = report.findings
    assert (finding.rule, finding.severity, finding.channel) == (code, Severity.WARNING, 1)
    assert (finding.offset, finding.length, finding.frame, finding.message) == (100, 20, 5, "what a reader saw")
    assert set(report.possible_outcomes) == COMPLETES


def test_a_snap_length_matters_only_where_it_cuts_headers() -> None:
    for number, start, codes in ((0, 1344, set()), (1, 16, {"MFD902", "MFD908"})):
        stream = stream_of("10.0")
        stream.notes = (CaptureNote(NoteKind.CUT_BY_SNAPLEN, "frames are cut", label(0), 100),)
        hole(stream, (stream.data(0), stream.sync(0))[number], start, start + 400)
        report = stream.lint()
        assert {finding.rule for finding in report.findings} == codes
        assert set(report.possible_outcomes) == (UNDECIDED if codes else COMPLETES)


def test_tls_channels_are_undecided() -> None:
    recording = stream_of("10.0").recording()
    (migration,) = recording.migrations
    encrypted = tuple(c.__class__(ChannelKind.TLS, None, c.source, c.label) for c in migration.channels)
    note = CaptureNote(NoteKind.TLS, "3 connections are encrypted")
    recording.migrations = (migration.__class__(encrypted, None, (note,)),)
    (report,) = lint_recording(recording, LintOptions())
    assert [finding.rule for finding in report.findings] == ["MFD907"]
    assert set(report.possible_outcomes) == UNDECIDED


def test_bytes_that_are_no_packet() -> None:
    """A hole is nobody's fault; the same bytes there, but no packet, are the sender's."""
    stream = stream_of("10.0")
    hole(stream, stream.sync(0, 1), 0, 1344)
    report = stream.lint()
    (finding,) = report.findings
    assert (finding.rule, finding.channel, finding.length) == ("MFD908", 0, 1344)
    assert set(report.possible_outcomes) == UNDECIDED
    stream = stream_of("10.0")
    stream.before(stream.sync(0, 1), raw(bytes(1000)))
    report = stream.lint()
    assert {finding.rule for finding in report.findings} == {"MFD101", "MFD908"}
    assert set(report.possible_outcomes) == HANGS


def test_rounds_that_run_together_in_the_recording() -> None:
    """A page that two channels carry in two rounds is no violation where the SYNC between them was not recorded."""
    stream = stream_of("10.0")
    first = stream.data(0)
    packet = ram_record(0, b"pc.ram", [first.event.pages[0]], payload=bytes(range(256)) * 16)
    stream.behind(stream.sync(1, 1), packet)
    stream.renumber()
    assert rules(stream) == set()
    hole(stream, stream.sync(1, 1), 0, 1344)
    assert rules(stream) == {"MFD908"}


def test_device_state_and_full_sections_by_frames() -> None:
    """Which was sent first is known from a capture only."""

    def recorded(full_frame: int) -> set[tuple[str, Severity, Any, int | None]]:
        stream = stream_of("10.0 devices")
        full = stream.place(stream.on_main(ev.SectionFull))[1]
        name, last = stream.place(stream.states()[-1])
        stream.frames = {"main": ((0, 1), (full, full_frame)), name: ((0, 2), (last, 9))}
        return {(f.rule, f.severity, f.channel, f.frame) for f in stream.lint().findings}

    assert {found[:2] for found in recorded(7)} == {("MFD415", Severity.INFO)}
    assert {found[3] for found in recorded(7)} == {9}
    assert recorded(10) == set()


def test_device_state_that_ends_in_front_of_its_vfio_header() -> None:
    """The channel was closed there: that is no gap in the recording."""
    stream = stream_of("10.0 devices")
    last = stream.states()[-1]
    line = stream.line(last)
    line[next(at for at, record in enumerate(line) if record is last) :] = [
        raw(last.encoded()[: 4 - len(last.payload)])
    ]
    report = stream.lint()
    assert Outcome.UNDECIDED not in report.possible_outcomes
    assert "MFD129" in {finding.rule for finding in report.findings}


def test_a_main_channel_that_is_not_understood() -> None:
    stream = stream_of("10.0")
    setup = position(stream.main, ev.SectionFooter)
    bitmap = b"\x01\0\0\0\x09\x0cdirty-bitmap\0\0\0\0\0\0\0\1" + b"\xaa" * 5000
    stream.main[setup + 1 :] = [raw(bitmap), stream.main[-1]]
    report = stream.lint()
    assert "MFD909" in {finding.rule for finding in report.findings}
    assert set(report.possible_outcomes) == UNDECIDED


def test_packets_of_3_0() -> None:
    stream = stream_of("10.0")
    packet = b"\x11\x22\x33\x44" + b"\0\0\0\1" + bytes(4) + b"\0\0\0\x80" + b"\0\0\0\2" + bytes(8)
    stream.channels[0][1:] = [raw(packet + b"pc.ram".ljust(256, b"\0") + bytes(1024))]
    assert "MFD911" in rules(stream)
