"""Recorded migrations: exact counts, no false alarm, and the one that is not healthy explained."""

from __future__ import annotations

import json
from typing import Any

import pytest

from analyzers.findings import Actor, Kind, Outcome, Severity
from analyzers.findings.recorded import Ended
from analyzers.linter.judged import LintOptions
from analyzers.linter.linter import lint_recording
from captures.recording import open_recording
from tests.conftest import SAMPLES
from tests.helpers.reasons import check_reasons

MANIFEST = json.loads((SAMPLES / "manifest.json").read_text())
LOST = "q10.0-none-device-state-lost.pcap"


@pytest.mark.parametrize("name", MANIFEST)
def test_counts(name: str) -> None:
    with open_recording(SAMPLES / name) as recording:
        (report,) = lint_recording(recording)
    found: list[dict[str, Any]] = [
        {
            "channel": channel.id,
            "bytes": channel.bytes,
            "packets": channel.packets,
            "sync": channel.sync,
            "ram": channel.ram,
            "device_state": channel.device_state,
            "normal_pages": channel.normal_pages,
            "zero_pages": channel.zero_pages,
            "complete": channel.complete,
        }
        for channel in report.channels
    ]
    assert report.main is not None
    assert [{"channel": "main", "bytes": report.main.bytes}, *found] == MANIFEST[name]


@pytest.mark.parametrize("name", [name for name in MANIFEST if name != LOST])
def test_healthy_migrations_complete_without_a_finding(name: str) -> None:
    with open_recording(SAMPLES / name) as recording:
        (report,) = lint_recording(recording)
    assert report.possible_outcomes == (Outcome.COMPLETES,)
    assert [finding for finding in report.findings if finding.severity is not Severity.INFO] == []
    assert report.profile is not None
    per_section = name.startswith("q7") or "machine-8.0" in name
    assert report.profile.destination.mode == ("per-section" if per_section else "per-round")
    assert all(device.complete for device in report.devices)
    assert report.recorded.ended is Ended.COMPLETED


def test_a_lost_packet_of_device_state() -> None:
    with open_recording(SAMPLES / LOST) as recording:
        (report,) = lint_recording(recording, LintOptions(witness=True))
    assert report.possible_outcomes == (Outcome.HANGS,)
    assert report.monitor_alive is False
    assert [finding.rule for finding in report.findings] == ["MFD408", "MFD708"]
    check_reasons(report)
    waits = next(reason for reason in report.reasons if reason.kind is Kind.WAITS_FOR_BUFFER)
    assert (waits.actor, waits.buffers) == (Actor.LOADER, (3,))
    assert report.witness[-1].outcome is Outcome.HANGS
