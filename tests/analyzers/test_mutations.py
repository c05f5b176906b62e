"""Every mutation twice: on a migration of the reference sender, with the exact outcomes, and on a recorded one.

Lint finds the violation where it is and nothing else, and the near miss is clean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from analyzers.findings import Finding, Outcome, Report, Severity
from analyzers.linter.judged import LintOptions
from analyzers.linter.linter import lint_recording
from analyzers.mutation.mutation import COMPLETES, CRASHES, FAILS, HANGS, LOSES, LacksError, Mutation
from analyzers.produce.draft_of_recording import draft_of_migration
from analyzers.produce.mutate import Mutated, apply, mutate, mutations_of
from analyzers.report.exit_codes import ExitCode, report_exit_code
from analyzers.rulebook.mutation_registry import MUTATIONS, WITHOUT
from analyzers.rulebook.registry import RULES
from captures.memory import recording_of
from captures.model import Recording
from captures.recording import open_recording
from captures.write.sent import write_draft
from multifd_codec.draft.draft import Draft
from multifd_codec.errors import InputError
from tests.helpers.healthy import MADE, PLANS, copied, healthy
from tests.helpers.reasons import check_reasons

SAMPLES = Path(__file__).parents[2] / "captures" / "samples"
RECORDED = (
    "q11.1-none.pcap",
    "q7.2-none.pcap",
    "q10.0-none-known-ram-zlib.pcap",
    "q10.0-none-device-state.pcap",
    "q10.0-none-known-ram.pcap.zst",
    "q10.0-none-known-ram-two-devices.pcap.zst",
    "q7.2-none-known-ram.pcap.zst",
    "q10.0-none-known-ram-zstd.pcap",
    "q10.0-pc-machine-8.0.pcap",
)
"""Small ones first."""
NOT_RECORDED = {
    "qatzip": {"MFD221"},
    "postcopy": {"MFD312", "MFD313", "MFD515-postcopy-beside-multifd-for-10-0", "MFD524"},
    "mapped-ram": {"MFD314", "MFD525", "MFD610"},
    "a migration without multifd": {"MFD311-flush-in-a-migration-without-multifd"},
    "device state beside compression": {"MFD405-device-state-beside-zlib"},
}
"""What no recording has, and the rules or ways that need it."""
BEST = {
    "MFD211-zero-pages-for-a-destination-that-ignores-them": "9.0",
    "MFD211-a-page-with-content-then-zero-for-such-a-destination": "9.0",
    "MFD225-sync-on-a-packet-with-content-for-9-2": "7.2 merged",
}
"""Mutations that have another outcome on the first migration that fits: the destination refuses it for more reasons."""


def name_of(mutation: Mutation) -> str:
    return f"{mutation.code}-{mutation.way}"


ALL = {name_of(mutation): mutation for ways in MUTATIONS.values() for mutation in ways}
each = pytest.mark.parametrize("mutation", ALL.values(), ids=ALL)


def test_every_rule_has_a_mutation_or_says_why_not() -> None:
    assert MUTATIONS.keys() | WITHOUT.keys() == RULES.keys()
    assert not MUTATIONS.keys() & WITHOUT.keys()
    assert len(ALL) == sum(map(len, MUTATIONS.values()))
    assert all(mutation.also <= RULES.keys() - {mutation.code} for mutation in ALL.values())
    assert all(rule.mutations == MUTATIONS.get(code, ()) for code, rule in RULES.items())


# Judging.


def judged(recording: Recording, options: Mapping[str, Any]) -> Report:
    (report,) = lint_recording(recording, LintOptions(**options))
    check_reasons(report)
    return report


def judge(draft: Draft, done: Mutated, folder: Path, *, captured: bool = False) -> Report:
    """What lint says of a mutated draft, recorded as it must be; ``captured``: as a capture in any case."""
    if done.tap is None and not captured:
        return judged(recording_of(draft), done.options)
    path = folder / "mutated.pcap"
    write_draft(path, draft, done.tap)
    with open_recording(path, reader="native") as opened:
        return judged(opened, done.options)


def violated(
    mutation: Mutation, draft: Draft, known: frozenset[str], folder: Path, *, captured: bool = False
) -> Report:
    """The report on a violation, in which nothing else is wrong."""
    done = apply(draft, mutation)
    report = judge(draft, done, folder, captured=captured)
    rules = {finding.rule for finding in report.findings}
    assert mutation.code in rules <= {mutation.code, "MFD709"} | mutation.also | known  # MFD709: the outcome
    assert max(report.possible_outcomes, key=lambda o: o.rank).is_error <= (
        report_exit_code(report) is ExitCode.FINDINGS
    )
    own = [finding for finding in report.findings if finding.rule == mutation.code]
    assert any(is_at(finding, done) for finding in own), own
    return report


def is_at(finding: Finding, done: Mutated) -> bool:
    return (
        done.channel in (None, finding.channel)
        and done.offset in (None, finding.offset)
        and finding.field == done.mutation.name
    )


def missed(mutation: Mutation, draft: Draft, known: frozenset[str], folder: Path) -> None:
    """The near miss: nothing above a remark, and no remark of that rule either where violating it is one."""
    report = judge(draft, apply(draft, mutation, near=True), folder)
    assert all(finding.severity is Severity.INFO for finding in report.findings), report.findings
    assert report.possible_outcomes == (Outcome.COMPLETES,)
    if RULES[mutation.code].severity is Severity.INFO:
        assert mutation.code not in {finding.rule for finding in report.findings} - known


def fitting(mutation: Mutation, names: Iterable[str], make: Callable[[str], Draft]) -> str | None:
    """The first migration that has what a mutation and its near miss need."""
    for name in names:
        try:
            apply(make(name), mutation)
            apply(make(name), mutation, near=True)
        except LacksError:
            continue
        return name
    return None


# On migrations of the reference sender.


@cache
def remarks(name: str) -> frozenset[str]:
    """Rules that lint remarks on in a healthy migration."""
    report = judged(recording_of(healthy(name)), {})
    assert {finding.severity for finding in report.findings} <= {Severity.INFO}
    assert report.possible_outcomes == (Outcome.COMPLETES,)
    return frozenset(finding.rule for finding in report.findings)


@pytest.mark.parametrize("name", [name for name in (*PLANS, *MADE) if name != "devices beside zlib"])
def test_healthy(name: str) -> None:
    assert remarks(name) <= {"MFD224", "MFD225", "MFD310"}


def check_outcomes(report: Report, mutation: Mutation, outcomes: frozenset[Outcome], severity: Severity | None) -> None:
    assert set(report.possible_outcomes) == outcomes
    expected = severity or RULES[mutation.code].severity
    assert expected in {finding.severity for finding in report.findings if finding.rule == mutation.code}
    # What CI relies on: without an error it can complete, or the recording is too short to tell.
    harmless = outcomes & {Outcome.COMPLETES, Outcome.UNDECIDED}
    assert harmless or any(finding.severity is Severity.ERROR for finding in report.findings)
    assert report.reasons or outcomes == COMPLETES


@each
def test_generated(mutation: Mutation, tmp_path: Path) -> None:
    name = BEST.get(name_of(mutation)) or fitting(mutation, (*PLANS, *MADE), healthy)
    assert name is not None, "no migration has what it needs"
    known = remarks(name) if name != "devices beside zlib" else frozenset()
    report = violated(mutation, healthy(name), known, tmp_path)
    check_outcomes(report, mutation, mutation.outcomes, mutation.severity)
    if name != "devices beside zlib":
        missed(mutation, healthy(name), known, tmp_path)


UNSUITED = {
    "MFD224-an-empty-packet-from-a-new-sender": {"7.2 merged", "8.1 merged zlib"},
    "MFD304-two-flushes": {"10.0 legacy zero pages", "8.2", "8.1 merged zlib"},
}
"""Migrations that have such packets of their own, or where the same pages are on main then, which is MFD315."""


@each
def test_generated_otherwise(mutation: Mutation, tmp_path: Path) -> None:
    """Another migration for each mutation, of those that have what it needs: other releases, methods and shapes."""
    way = name_of(mutation)
    first = [*ALL].index(way) % len(PLANS)
    names = [name for name in [*PLANS][first:] + [*PLANS][:first] if name not in UNSUITED.get(way, ())]
    name = fitting(mutation, names, healthy)
    if name is None:
        assert fitting(mutation, MADE, healthy) is not None
        return
    violated(mutation, healthy(name), remarks(name), tmp_path)
    missed(mutation, healthy(name), remarks(name), tmp_path)


class Otherwise(NamedTuple):
    """Another migration, on which the same mutation comes to something else."""

    way: str
    on: str
    outcomes: frozenset[Outcome]
    severity: Severity | None = None


@pytest.mark.parametrize(
    "case",
    [
        Otherwise("MFD129-half-a-header-behind-the-last-sync", "7.2", COMPLETES),
        Otherwise("MFD211-zero-pages-for-a-destination-that-ignores-them", "10.0", FAILS),
        Otherwise("MFD218-a-size-on-zero-pages", "10.0 zlib", CRASHES, Severity.ERROR),
        Otherwise("MFD308-data-behind-the-last-sync", "10.0 legacy zero pages", COMPLETES | LOSES),
        Otherwise("MFD401-sync-on-a-packet", "rfc-v3 devices", HANGS),
        Otherwise("MFD511-another-fill-byte", "7.2", COMPLETES | LOSES),
        Otherwise("MFD516-switchover-start-twice", "10.0 devices", CRASHES, Severity.ERROR),
        Otherwise("MFD602-version-2", "7.2", HANGS),
        Otherwise("MFD608-two-main-channels", "7.2", HANGS),
    ],
    ids=lambda case: f"{case.way} on {case.on}",
)
def test_other_outcomes(case: Otherwise, tmp_path: Path) -> None:
    mutation = ALL[case.way]
    assert case.outcomes != mutation.outcomes or case.severity != mutation.severity
    report = violated(mutation, healthy(case.on), remarks(case.on), tmp_path)
    check_outcomes(report, mutation, case.outcomes, case.severity)


# On recordings.


@cache
def sample(name: str) -> tuple[Recording, Draft, frozenset[str]]:
    """A recording, its records, and the rules that lint remarks on in it."""
    recording = open_recording(SAMPLES / name)
    report = judged(recording, {})
    assert {finding.severity for finding in report.findings} <= {Severity.INFO}
    records = draft_of_migration(recording.migrations[0])
    return recording, records, frozenset(finding.rule for finding in report.findings)


def recorded(name: str) -> Draft:
    return copied(sample(name)[1])


@each
def test_recorded(mutation: Mutation, tmp_path: Path) -> None:
    name = fitting(mutation, RECORDED, recorded)
    excused = {mutation.code, name_of(mutation)} & set().union(*NOT_RECORDED.values())
    assert (name is None) == bool(excused)
    if name is not None:
        known = sample(name)[2]
        violated(mutation, recorded(name), known, tmp_path, captured=True)
        missed(mutation, recorded(name), known, tmp_path)


# Choosing.


def test_seeds() -> None:
    """The same seed makes the same stream, others make others."""
    streams = []
    for seed in (0, 0, 1, 2, 3):
        edited = healthy("10.0")
        mutate(edited, "MFD213", seed=seed)
        streams.append([edited.encoded(name) for name, _ in edited.lines()])
    assert streams[0] == streams[1]
    assert any(stream != streams[0] for stream in streams[2:])


def test_the_first_way_that_fits() -> None:
    assert mutate(healthy("10.0"), "mfd306").mutation.what == "per round to per section"
    assert mutate(healthy("7.2"), "MFD306").mutation.what == "per section to per round"
    with pytest.raises(LacksError, match="MFD408: this stream lacks device state"):
        mutate(healthy("10.0"), "MFD408")
    with pytest.raises(InputError, match="has no way 'no-such'; there are a-gap"):
        mutations_of("MFD408", "no-such")
    with pytest.raises(InputError, match="MFD907 has no mutation: a TLS session"):
        mutations_of("MFD907")
    with pytest.raises(InputError, match="there is no rule 'MFD999'"):
        mutations_of("MFD999")


def poor(channels: int, packets: int, main: int) -> Draft:
    """A stream that lacks almost everything."""
    draft = healthy("10.0")
    del draft.channels[channels:], draft.main[main:]
    for line in draft.channels:
        del line[1 + packets :]
    return draft


POOR = [poor(*sizes) for sizes in ((2, 1, 99), (1, 1, 99), (0, 0, 99), (2, 0, 99), (2, 1, 1), (2, 1, 0), (2, 99, 0))]


@pytest.mark.parametrize("code", MUTATIONS)
def test_what_does_not_fit_changes_nothing(code: str) -> None:
    for mutation in MUTATIONS[code]:
        for edited in map(copied, POOR):
            before = [edited.encoded(name) for name, _ in edited.lines()]
            try:
                apply(edited, mutation)
            except LacksError:
                assert [edited.encoded(name) for name, _ in edited.lines()] == before
            else:
                recording_of(edited)
