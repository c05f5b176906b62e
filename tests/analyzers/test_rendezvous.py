"""What a rendezvous is, and a SYNC too many at the end, has one answer for judge, linter, extraction, drafts and
mutations; the independent one is in tests/analyzers/test_truth.py: what real destinations did."""

from __future__ import annotations

import pytest

from analyzers.extraction.reading import read_migration
from analyzers.judge.infer import Facts
from analyzers.linter.judged import LintOptions
from analyzers.linter.linter import lint_with_scripts
from analyzers.mutation.shape import Shape
from analyzers.produce.draft_of_recording import by_rounds
from analyzers.receiver.script import MainAct
from analyzers.survey.migration import survey_migration
from multifd_codec.dialect.releases import Mode
from multifd_codec.draft.main_records import flush
from multifd_codec.main import events as ev
from tests.helpers.streams import Stream, stream_of


def flush_per_section() -> Stream:
    """A per-section stream with a FLUSH in front of its last EOS, as no release sends it."""
    made = stream_of("7.2")
    last = max(n for n, record in enumerate(made.main) if isinstance(record.event, ev.EndOfRam))
    made.main.insert(last, flush())
    return made


def counts(made: Stream, profile: str, mode: Mode) -> dict[str, int]:
    """Rendezvous by the script of a destination and by the pass that extraction makes over main."""
    recording = made.recording()
    ((_, script),) = lint_with_scripts(recording, LintOptions(profile=profile, mode=mode))
    assert script is not None
    reading = read_migration(recording.migrations[0], mode=mode)
    return {
        "judged": sum(step.act is MainAct.RENDEZVOUS for step in script.main),
        "extracted": sum(map(reading.rendezvous(), reading.main_items(None))),
        "edited": len(Shape(made).rendezvous),
    }


@pytest.mark.parametrize(
    ("name", "mode"), [("7.2", Mode.PER_SECTION), ("9.0", Mode.PER_ROUND), ("9.2", Mode.PER_ROUND)]
)
def test_healthy_streams(name: str, mode: Mode) -> None:
    made = stream_of(name)
    kind = ev.Flush if mode is Mode.PER_ROUND else ev.EndOfRam
    assert set(counts(made, "qemu-10.0", mode).values()) == {sum(isinstance(r.event, kind) for r in made.main)}


def test_none_behind_postcopy_listen() -> None:
    made = stream_of("postcopy")
    every = sum(isinstance(record.event, ev.EndOfRam) for record in made.main)
    found = counts(made, "qemu-11.1", Mode.PER_ROUND)
    assert len(set(found.values())) == 1
    # An order of rounds ends with them: all that follows is one stretch of main.
    order, rounds = by_rounds(made), found["edited"]
    last = order.index(Shape(made).rendezvous[-1])
    assert not any(isinstance(record.event, ev.Flush) for record in order[last + 1 :]) and rounds < every


def test_a_flush_per_section_is_one() -> None:
    made = flush_per_section()
    ends = sum(isinstance(record.event, ev.EndOfRam) for record in made.main)
    found = counts(made, "qemu-10.0", Mode.PER_SECTION)
    assert (found["judged"], found["extracted"]) == (ends + 1, ends + 1)


@pytest.mark.parametrize("tail", [False, True])
def test_a_sync_too_many_at_the_end(tail: bool) -> None:
    made = stream_of("9.2" if tail else "9.0")
    surveyed = survey_migration(made.recording().migrations[0])
    assert Facts(surveyed.main, surveyed.surveys).unpaired_tail() is tail
    assert Shape(made).tail is tail
    report = made.lint()
    assert ("MFD310" in {finding.rule for finding in report.findings}) is tail
    assert len({survey.sync for survey in surveyed.surveys}) == 1
