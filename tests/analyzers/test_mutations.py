"""Every mutation on recorded migrations: lint of the capture it makes reports that rule, and its near miss is clean.

tests/analyzers/test_rules.py has the same on migrations made from nothing, with the exact outcomes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from analyzers.findings import Finding, Outcome, Severity
from analyzers.linter.linter import LintOptions, lint_recording
from analyzers.mutation.mutation import LacksError, Mutation
from analyzers.produce.draft_of_recording import draft_of_migration
from analyzers.produce.mutate import Mutated, apply, mutate, mutations_of
from analyzers.produce.outline import Outline, outlined, with_options
from analyzers.rulebook.mutation_registry import MUTATIONS, WITHOUT
from analyzers.rulebook.registry import RULES
from captures.memory import recording_of
from captures.model import Recording
from captures.recording import open_recording
from captures.write.sent import write_draft
from multifd_codec import sender
from multifd_codec.draft.draft import Draft
from multifd_codec.errors import InputError
from multifd_codec.plan.plan import Device, MigrationPlan
from tests.migrations import like
from tests.reasons import check_reasons

SAMPLES = Path(__file__).parents[2] / "captures" / "samples"
NAMES = (
    "q11.1-none.pcap",
    "q7.2-none.pcap",
    "q10.0-none-known-ram-zlib.pcap",
    "q7.2-none-known-ram.pcap.zst",
    "q10.0-none-device-state.pcap",
    "q10.0-none-known-ram.pcap.zst",
    "q10.0-none-known-ram-two-devices.pcap.zst",
    "q10.0-none-known-ram-zstd.pcap",
    "q10.0-pc-machine-8.0.pcap",
)
"""Small ones first."""
ENOUGH = 2
"""Recordings that a mutation is tried on: the first that have what it needs."""
NOT_RECORDED = {
    "MFD221": "qatzip",
    "MFD312": "postcopy",
    "MFD313": "postcopy",
    "MFD314": "mapped-ram",
    "MFD524": "postcopy",
    "MFD525": "mapped-ram",
    "MFD610": "mapped-ram",
}
"""What no recording has; test_rules.py covers these rules."""
WAYS_NOT_RECORDED = {
    "MFD311-flush-in-a-migration-without-multifd",
    "MFD405-device-state-beside-zlib",
    "MFD515-postcopy-beside-multifd-for-10-0",
}


@cache
def recording(name: str) -> Recording:
    return open_recording(SAMPLES / name)


@cache
def remarks(name: str) -> frozenset[str]:
    """Rules that lint remarks on in the healthy recording."""
    (report,) = lint_recording(recording(name))
    assert {finding.severity for finding in report.findings} <= {Severity.INFO}
    return frozenset(finding.rule for finding in report.findings)


@cache
def original(name: str) -> list[bytes]:
    """The bytes of its channels."""
    return [bytes(channel.source.read(0, channel.source.size)) for channel in recording(name).migrations[0].channels]


def draft(name: str) -> Draft:
    return draft_of_migration(recording(name).migrations[0])


class Tried(NamedTuple):
    """A mutation that was applied to a recording, and what lint found in the capture made of it."""

    sample: str
    done: Mutated
    findings: list[Finding]
    outcomes: set[Outcome]


def tried(mutation: Mutation, folder: Path, *, near: bool) -> Iterator[Tried]:
    for name in NAMES:
        edited = draft(name)
        try:
            done = apply(edited, mutation, near=near)
        except LacksError:
            assert [edited.encoded(line) for line, _ in edited.lines()] == original(name)
            continue
        path = folder / "mutated.pcap"
        write_draft(path, edited, done.tap)
        with open_recording(path, reader="native") as opened:
            reports = lint_recording(opened, LintOptions(**dict(done.options)))  # type: ignore[arg-type]
        for report in reports:
            check_reasons(report)
        findings = [finding for report in reports for finding in report.findings]
        yield Tried(name, done, findings, {outcome for report in reports for outcome in report.possible_outcomes})


ALL = [mutation for ways in MUTATIONS.values() for mutation in ways]
RECORDED = [m for m in ALL if m.code not in NOT_RECORDED and f"{m.code}-{m.way}" not in WAYS_NOT_RECORDED]


def name_of(mutation: Mutation) -> str:
    return f"{mutation.code}-{mutation.way}"


def test_every_rule_has_a_mutation_or_says_why_not() -> None:
    assert MUTATIONS.keys() | WITHOUT.keys() == RULES.keys()
    assert not MUTATIONS.keys() & WITHOUT.keys()
    assert len({name_of(mutation) for mutation in ALL}) == len(ALL)
    assert all(mutation.also <= RULES.keys() - {mutation.code} for mutation in ALL)
    assert all(rule.mutations == MUTATIONS.get(code, ()) for code, rule in RULES.items())


@pytest.mark.parametrize("mutation", RECORDED, ids=name_of)
def test_violation(mutation: Mutation, tmp_path: Path) -> None:
    found = list(islice(tried(mutation, tmp_path, near=False), ENOUGH))
    assert found, "no recording has what it needs"
    for sample, done, findings, _ in found:
        rules = {finding.rule for finding in findings}
        assert mutation.code in rules, sample
        assert rules <= {mutation.code} | mutation.also | remarks(sample), sample
        assert any(_is_at(finding, done) for finding in findings if finding.rule == mutation.code), (sample, findings)


def _is_at(finding: Finding, done: Mutated) -> bool:
    return (
        done.channel in (None, finding.channel)
        and done.offset in (None, finding.offset)
        and finding.field == done.mutation.name
    )


@pytest.mark.parametrize("mutation", RECORDED, ids=name_of)
def test_near_miss(mutation: Mutation, tmp_path: Path) -> None:
    """Nothing above a remark, and no remark of that rule either where violating it is one."""
    found = list(islice(tried(mutation, tmp_path, near=True), ENOUGH))
    assert found
    for sample, _, findings, outcomes in found:
        assert [finding for finding in findings if finding.severity is not Severity.INFO] == [], sample
        assert outcomes == {Outcome.COMPLETES}, sample
        if RULES[mutation.code].severity is Severity.INFO:
            assert mutation.code not in {finding.rule for finding in findings} - remarks(sample), sample


@pytest.mark.parametrize("mutation", [m for m in ALL if m not in RECORDED], ids=name_of)
def test_what_is_not_recorded(mutation: Mutation, tmp_path: Path) -> None:
    """When a recording has it, it belongs into the tests above."""
    assert list(tried(mutation, tmp_path, near=False)) == []


DEVICES = (Device("0000:00:05.0/vfio", 5000, 1000), Device("0000:00:06.0/vfio", 300))
PLANS: dict[str, dict[str, Any]] = {
    "10.0 devices": {"devices": DEVICES, "channels": 3, "return_path": True},
    "11.1 zstd": {"dialect": "qemu-11.1", "compression": "zstd"},
    "10.0 qpl": {"compression": "qpl"},
    "10.0 qatzip": {"compression": "qatzip"},
    "9.2 uadk": {"dialect": "qemu-9.2", "compression": "uadk"},
    "9.2": {"dialect": "qemu-9.2"},
    "9.0": {"dialect": "qemu-9.0"},
    "8.1 merged zlib": {"dialect": "qemu-8.1", "compression": "zlib", "merge_sync": 0.5},
    "7.2 merged": {"dialect": "qemu-7.2", "merge_sync": 0.5},
    "4.2": {"dialect": "qemu-4.2"},
    "rfc-v3": {"dialect": "rfc-v3", "devices": DEVICES},
    "one channel of large pages": {"channels": 1, "page_size": 1 << 16},
}
"""What no recording is: other releases, methods and shapes."""


@cache
def plan(name: str) -> MigrationPlan:
    fields = PLANS[name]
    page_size = fields.get("page_size", 4096)
    scale = 1 if page_size == 4096 else 4
    blocks = (("pc.ram", 96 * page_size // scale), ("vga.vram", 16 * page_size // scale))
    return with_options(outlined(Outline(blocks, page_size, rounds=2, zero=0.3, seed=3)), fields)


@cache
def remarks_of_plan(name: str) -> frozenset[str]:
    (report,) = lint_recording(recording_of(sender.draft(plan(name))))
    assert {finding.severity for finding in report.findings} <= {Severity.INFO}
    return frozenset(finding.rule for finding in report.findings)


@pytest.mark.parametrize("mutation", [m for m in ALL if not m.captured], ids=name_of)
def test_generated_migrations(mutation: Mutation) -> None:
    """The first plans, from another one on for each mutation, that have what it needs."""
    first = ALL.index(mutation) % len(PLANS)
    names = [*PLANS][first:] + [*PLANS][:first]
    tries = 0
    for name in names:
        edited, near = sender.draft(plan(name)), sender.draft(plan(name))
        try:
            done = apply(edited, mutation)
            missed = apply(near, mutation, near=True)
        except LacksError:
            continue
        known = remarks_of_plan(name)
        (report,) = lint_recording(recording_of(edited), LintOptions(**dict(done.options)))  # type: ignore[arg-type]
        rules = {finding.rule for finding in report.findings}
        assert mutation.code in rules and rules <= {mutation.code} | mutation.also | known, name
        assert any(_is_at(finding, done) for finding in report.findings if finding.rule == mutation.code), name
        (report,) = lint_recording(recording_of(near), LintOptions(**dict(missed.options)))  # type: ignore[arg-type]
        assert all(finding.severity is Severity.INFO for finding in report.findings), (name, report.findings)
        assert report.possible_outcomes == (Outcome.COMPLETES,), name
        tries += 1
        if tries == ENOUGH:
            break


def test_seeds() -> None:
    """The same seed makes the same stream, others make others."""
    streams = []
    for seed in (0, 0, 1, 2, 3):
        edited = draft("q10.0-none-known-ram.pcap.zst")
        mutate(edited, "MFD213", seed=seed)
        streams.append([edited.encoded(name) for name, _ in edited.lines()])
    assert streams[0] == streams[1]
    assert any(stream != streams[0] for stream in streams[2:])


def test_the_first_way_that_fits() -> None:
    assert mutate(like()(), "mfd306").mutation.what == "per round to per section"
    assert mutate(draft("q7.2-none.pcap"), "MFD306").mutation.what == "per section to per round"
    with pytest.raises(LacksError, match="MFD408: this stream lacks device state"):
        mutate(like()(), "MFD408")
    with pytest.raises(InputError, match="has no way 'no-such'; there are a-gap"):
        mutations_of("MFD408", "no-such")
    with pytest.raises(InputError, match="MFD907 has no mutation: a TLS session"):
        mutations_of("MFD907")
    with pytest.raises(InputError, match="there is no rule 'MFD999'"):
        mutations_of("MFD999")


@pytest.mark.parametrize("mutation", ALL, ids=name_of)
def test_what_does_not_fit_changes_nothing(mutation: Mutation) -> None:
    """Streams that lack almost everything: packets, channels, main."""
    for channels, packets, main in ((2, 1, 99), (1, 1, 99), (0, 0, 99), (2, 0, 99), (2, 1, 1), (2, 1, 0), (2, 99, 0)):
        edited = like(channels=max(1, channels))()
        del edited.channels[channels:], edited.main[main:]
        for line in edited.channels:
            del line[1 + packets :]
        before = [edited.encoded(name) for name, _ in edited.lines()]
        try:
            apply(edited, mutation)
        except LacksError:
            assert [edited.encoded(name) for name, _ in edited.lines()] == before
        else:
            recording_of(edited)
