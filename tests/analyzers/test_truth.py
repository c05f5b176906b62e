"""Streams with what a real QEMU destination did: every observed outcome is possible, and no others without a race."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from analyzers.linter.judged import LintOptions
from analyzers.linter.linter import lint_recording
from captures.recording import open_recording
from tests.conftest import SAMPLES
from tests.helpers.reasons import check_reasons

TRUTH = SAMPLES / "truth"

RACES = {
    "device_state_empty": {"fails", "hangs", "crashes"},
    "device_state_with_sync_flag": {"fails", "hangs", "crashes"},
    "main_truncated_in_ram": {"fails", "crashes"},
}
"""Cases in which three runs saw fewer outcomes than the race has (protocol reference, M.5); the devices of these
recordings were stubs, whose load threads assert nothing (protocol reference, N.4)."""


def cases() -> list[Any]:
    found = []
    for folder in sorted(TRUTH.iterdir()):
        truth = json.loads((folder / "truth.json").read_text())
        for name, case in truth["cases"].items():
            options = {
                "profile": truth["destination_profile"],
                "mode": truth.get("mode"),
                "channels": truth["channels"],
            }
            options |= {key: case[key] for key in ("mode", "channels") if key in case}
            expected = set(case.get("possible", RACES.get(name, case["outcomes"])))
            found.append(pytest.param(folder / f"{name}.pcap.zst", options, case, expected, id=f"{folder.name}-{name}"))
    return found


@pytest.mark.parametrize(("path", "options", "case", "expected"), cases())
def test_outcomes(path: Path, options: dict[str, Any], case: dict[str, Any], expected: set[str]) -> None:
    with open_recording(path) as recording:
        (report,) = lint_recording(recording, LintOptions(**options))
    outcomes = {str(outcome) for outcome in report.possible_outcomes}
    assert set(case["outcomes"]) <= outcomes
    assert outcomes == expected
    harmless = outcomes <= {"completes"}
    assert harmless or any(finding.severity == "error" for finding in report.findings)
    assert harmless or report.reasons
    check_reasons(report)


@pytest.mark.parametrize(
    ("path", "expected"),
    [pytest.param(*case.values[::3], id=case.id) for case in cases() if "measured" not in str(case.id)],
)
def test_everything_is_inferred(path: Path, expected: set[str]) -> None:
    """The options given above are what the stream itself tells; only a connection may not have been recorded."""
    with open_recording(path) as recording:
        (report,) = lint_recording(recording)
    outcomes = {str(outcome) for outcome in report.possible_outcomes}
    assert outcomes == ({"undecided"} if path.name.startswith("one_channel_missing") else expected)
    assert report.profile is not None
    assert report.profile.destination.name == ("qemu-7.2" if "q7.2" in path.parent.name else "qemu-10.0")
    assert report.profile.destination.channels == 2
