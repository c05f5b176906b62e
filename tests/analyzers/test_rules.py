"""A test stream for every rule: the violation is found where it is, nothing else is, and a near miss stays clean."""

from __future__ import annotations

import pytest

from analyzers.findings import Outcome, Report, Severity
from analyzers.linter.linter import LintOptions, lint_recording
from analyzers.produce.mutate import apply
from analyzers.rulebook.registry import RULES
from captures.model import CaptureNote, ChannelKind, NoteKind
from captures.names import label
from multifd_codec.draft.draft import Record
from multifd_codec.main import events as ev
from multifd_codec.source import Hole, HoleReason
from tests.analyzers.rule_cases import (
    channel_set,
    device_state,
    framing,
    main_channel,
    main_ram,
    packets,
    payloads,
    sync,
)
from tests.analyzers.rule_cases.case import COMPLETES, HANGS, UNDECIDED, Case
from tests.channel_records import page
from tests.main_records import PAGE
from tests.migrations import like
from tests.reasons import check_reasons
from tests.streams import Stream

CASES: list[Case] = [
    case
    for module in (framing, packets, payloads, sync, device_state, main_channel, main_ram, channel_set)
    for case in module.CASES
]
ELSEWHERE = {
    "MFD415": "needs the frame numbers of a capture, see test_device_state_behind_a_full_section",
    **{code: "says how good a recording is, see the tests at the end" for code in RULES if code.startswith("MFD9")},
}
"""Rules that are not in the table, and why."""


def has_error_or_completes(report: Report) -> bool:
    """What CI relies on: exit code 0 means that it can complete, or that the recording is too short to tell."""
    harmless = {Outcome.COMPLETES, Outcome.UNDECIDED} & set(report.possible_outcomes)
    return bool(harmless) or any(finding.severity is Severity.ERROR for finding in report.findings)


def test_the_table_covers_the_catalogue() -> None:
    assert {case.code for case in CASES} | ELSEWHERE.keys() == RULES.keys()
    assert not {case.code for case in CASES} & ELSEWHERE.keys()
    assert len({case.id for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_violation(case: Case) -> None:
    stream, channel, offset, name, options = case.violate()
    report = stream.lint(**options)
    assert {finding.rule for finding in report.findings} == {case.code} | case.also
    assert set(report.possible_outcomes) == case.outcomes
    severity = case.severity or RULES[case.code].severity
    assert (channel, offset, name, severity) in {
        (finding.channel if channel is not None else None, finding.offset, finding.field, finding.severity)
        for finding in report.findings
        if finding.rule == case.code
    }
    assert has_error_or_completes(report)
    assert report.reasons or case.outcomes == COMPLETES
    check_reasons(report)


def is_clean(report: Report) -> bool:
    """A near miss: no finding above info, and it completes."""
    return set(report.possible_outcomes) == COMPLETES and all(f.severity is Severity.INFO for f in report.findings)


@pytest.mark.parametrize("case", [case for case in CASES if case.near is not None], ids=lambda case: case.id)
def test_near_miss(case: Case) -> None:
    near = case.near
    assert near is not None
    stream = (near.make or case.make)()
    near.edit(stream)
    own = case.violate().options if near.make is None else {}
    assert is_clean(stream.lint(**(own if near.options is None else near.options)))


@pytest.mark.parametrize("case", [case for case in CASES if case.edit is None], ids=lambda case: case.id)
def test_near_miss_of_the_mutation(case: Case) -> None:
    assert case.mutation is not None
    stream = case.make()
    done = apply(stream, case.mutation, near=True, seed=case.seed)
    assert is_clean(stream.lint(**done.options))


def test_device_state_behind_a_full_section() -> None:
    def recorded(full_frame: int) -> Report:
        stream = like(devices=1)()
        full = stream.place(stream.on_main(ev.SectionFull))[1]
        last = stream.place(stream.states()[-1])[1]
        stream.frames = {"main": ((0, 1), (full, full_frame)), 1: ((0, 2), (last, 9))}
        return stream.lint()

    (finding,) = recorded(7).findings
    assert (finding.rule, finding.severity, finding.channel, finding.frame) == ("MFD415", Severity.INFO, 1, 9)
    assert recorded(10).findings == ()


# Capture quality: MFD901 to MFD911. Never an error, and undecided where the verdict depends on it.

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
    stream = like()()
    stream.notes = (CaptureNote(NOTES[code], "what a reader saw", label(1), 100, 20, 5),)
    report = stream.lint()
    (finding,) = report.findings
    assert (finding.rule, finding.severity, finding.channel) == (code, Severity.WARNING, 1)
    assert (finding.offset, finding.length, finding.frame, finding.message) == (100, 20, 5, "what a reader saw")
    assert set(report.possible_outcomes) == COMPLETES


def test_a_snap_length_matters_only_where_it_cuts_headers() -> None:
    for record, start, codes in ((0, 1344, set()), (1, 16, {"MFD902", "MFD908"})):
        stream = like()()
        stream.notes = (CaptureNote(NoteKind.CUT_BY_SNAPLEN, "frames are cut", label(0), 100),)
        hole(stream, (stream.data(0), stream.sync(0))[record], start, start + 400)
        report = stream.lint()
        assert {finding.rule for finding in report.findings} == codes
        assert set(report.possible_outcomes) == (UNDECIDED if codes else COMPLETES)


def test_tls_channels_are_undecided() -> None:
    recording = like()().recording()
    (migration,) = recording.migrations
    encrypted = tuple(c.__class__(ChannelKind.TLS, None, c.source, c.label) for c in migration.channels)
    note = CaptureNote(NoteKind.TLS, "3 connections are encrypted")
    recording.migrations = (migration.__class__(encrypted, None, (note,)),)
    (report,) = lint_recording(recording, LintOptions())
    assert [finding.rule for finding in report.findings] == ["MFD907"]
    assert set(report.possible_outcomes) == UNDECIDED


def test_bytes_that_are_no_packet() -> None:
    """A hole is nobody's fault; the same bytes there, but no packet, are the sender's."""
    stream = like()()
    hole(stream, stream.sync(0, 1), 0, 1344)
    report = stream.lint()
    (finding,) = report.findings
    assert (finding.rule, finding.channel, finding.length) == ("MFD908", 0, 1344)
    assert set(report.possible_outcomes) == UNDECIDED
    stream = like()()
    stream.before(stream.sync(0, 1), Record(None, bytes(1000)))
    report = stream.lint()
    assert {finding.rule for finding in report.findings} == {"MFD101", "MFD908"}
    assert set(report.possible_outcomes) == HANGS


def test_rounds_that_run_together_in_the_recording() -> None:
    """A page that two channels carry in two rounds is no violation where the SYNC between them was not recorded."""
    stream = like()()
    record = stream.data(1, 3)
    record.payload += page(3, 1)
    record.set(next_packet_size=len(record.payload), normal_pages=2, pages=(128 * PAGE, 3 * PAGE, *[0] * 126))
    assert stream.lint().findings == ()
    hole(stream, stream.sync(1, 1), 0, 1344)
    assert {finding.rule for finding in stream.lint().findings} == {"MFD908"}


def test_a_main_channel_that_is_not_understood() -> None:
    stream = like()()
    setup = next(i for i, record in enumerate(stream.main) if record is stream.on_main(ev.SectionFooter))
    bitmap = b"\x01\0\0\0\x09\x0cdirty-bitmap\0\0\0\0\0\0\0\1" + b"\xaa" * 5000
    stream.main[setup + 1 :] = [Record(None, bitmap), stream.main[-1]]
    report = stream.lint()
    assert "MFD909" in {finding.rule for finding in report.findings}
    assert set(report.possible_outcomes) == UNDECIDED


def test_packets_of_3_0() -> None:
    stream = like()()
    packet = b"\x11\x22\x33\x44" + b"\0\0\0\1" + bytes(4) + b"\0\0\0\x80" + b"\0\0\0\2" + bytes(8)
    stream.channels[0][1:] = [Record(None, packet + b"pc.ram".ljust(256, b"\0") + bytes(1024))]
    assert "MFD911" in {finding.rule for finding in stream.lint().findings}
