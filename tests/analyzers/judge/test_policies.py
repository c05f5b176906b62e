"""What destinations make of generated migrations: every dialect's, and every sync policy's of the discussion."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from analyzers.findings import Outcome, Report, Severity
from analyzers.linter.judged import LintOptions
from analyzers.linter.linter import lint_recording
from captures.memory import recording_of
from multifd_codec.dialect.sync_policy import POLICIES
from multifd_codec.plan.page_content import Pattern
from multifd_codec.plan.plan import Block, Device, MigrationPlan, Pages, Round
from multifd_codec.sender import draft
from multifd_codec.strategies import plans
from tests.multifd_codec.grammar import L, M

COMPLETES, HANGS, FAILS = (Outcome.COMPLETES,), (Outcome.HANGS,), (Outcome.FAILS,)
PLAN = MigrationPlan(
    (Block("ram", 64 * 4096),),
    (Round((Pages("ram", 0, 64, Pattern(1, 0.3)),)),),
    (Round((Pages("ram", 3, 4, Pattern(2)),)),),
    zero_page_detection="legacy",
)
DEVICES = (Device("0000:00:05.0/vfio", 2000, 655), Device("0000:00:06.0/vfio", 900, 409))


def judged(plan: MigrationPlan, profile: str) -> Report:
    options = LintOptions(profile=profile, mode=plan.mode, channels=plan.channels, page_size=plan.page_size)
    (report,) = lint_recording(recording_of(draft(plan)), options)
    return report


@given(plans())
def test_what_a_release_sends_completes_there_without_a_finding(plan: MigrationPlan) -> None:
    report = judged(plan, plan.dialect)
    assert report.possible_outcomes == COMPLETES
    assert [finding for finding in report.findings if finding.severity is not Severity.INFO] == []


@given(plans())
def test_the_sender_is_recognised(plan: MigrationPlan) -> None:
    """Judged as whatever the stream looks like, it completes as well, in its own mode."""
    (report,) = lint_recording(recording_of(draft(plan)))
    assert report.profile is not None and report.possible_outcomes == COMPLETES
    assert (report.profile.destination.mode, report.profile.destination.channels) == (plan.mode, plan.channels)


PER_SECTION_AND_PER_ROUND = {
    "ram-complete": (COMPLETES, HANGS),
    "rfc-v3": (COMPLETES, COMPLETES),
    "defer-always": (COMPLETES, COMPLETES),
    "threads-only": (HANGS, COMPLETES),
    "upstream": (COMPLETES, COMPLETES),
}


def test_all_policies_are_judged() -> None:
    assert PER_SECTION_AND_PER_ROUND.keys() == POLICIES.keys()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("profile", ["qemu-10.0", "qemu-11.1", "rfc-v3"])
def test_policies_with_two_devices(policy: str, profile: str) -> None:
    """The table of the discussion: the SYNC of RAM complete without FLUSH parks device state behind it."""
    plan = replace(PLAN, policy=policy, devices=DEVICES)
    reports = [judged(replace(plan, mode=mode), profile) for mode in (L, M)]
    assert tuple(report.possible_outcomes for report in reports) == PER_SECTION_AND_PER_ROUND[policy]
    assert {report.monitor_alive for report in reports if report.possible_outcomes == HANGS} <= {False}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("profile", ["qemu-7.2", "qemu-8.1", "qemu-9.2", "qemu-10.0"])
def test_policies_without_device_state(policy: str, profile: str) -> None:
    """Older destinations, too, take every final SYNC, early, late or none, but per section it must come."""
    plan = replace(PLAN, policy=policy, switchover_start=False)
    per_section = judged(replace(plan, mode=L), profile)
    assert per_section.possible_outcomes == (HANGS if policy == "threads-only" else COMPLETES)
    if profile != "qemu-7.2":
        assert judged(replace(plan, mode=M), profile).possible_outcomes == COMPLETES


@pytest.mark.parametrize("mode", [L, M])
def test_device_state_fails_where_it_is_not_known(mode: str) -> None:
    plan = replace(PLAN, devices=DEVICES, mode=mode)
    assert judged(plan, "qemu-9.2").possible_outcomes == FAILS
