"""What fuzzing found stays found: the outcomes of the small streams it led to."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyzers.linter.judged import LintOptions
from analyzers.linter.linter import lint_recording
from captures.memory import recording_of
from captures.recording import open_recording
from captures.write.sent import write_sent
from multifd_codec.dialect.releases import RELEASES, Mode, release
from tests.conftest import SAMPLES
from tests.helpers.found import FOUND, Found

TRUTH = SAMPLES / "truth"


def foreseen(found: Found, profile: str) -> set[str]:
    plan = found.plan
    options = LintOptions(
        profile=profile,
        mode=str(plan.mode),
        channels=plan.channels,
        machine="none",
        compression=plan.compression,
        uuid=plan.uuid,
    )
    (report,) = lint_recording(recording_of(found.stream()), options)
    return {str(outcome) for outcome in report.possible_outcomes}


@pytest.mark.parametrize("name", FOUND)
def test_outcomes(name: str) -> None:
    found = FOUND[name]
    assert {profile: foreseen(found, profile) for profile in found.expected} == found.expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a packet in front of main, nothing else", ["fails"]), ("the ChannelInit in front of main", ["hangs"])],
)
def test_a_capture_shows_which_connection_is_first(name: str, expected: list[str], tmp_path: Path) -> None:
    """Before 8.0 that one is main, and is read when no other is refused."""
    made = FOUND[name].stream()
    write_sent(tmp_path / "stream.pcap", made.sent(), len(made.channels))
    with open_recording(tmp_path / "stream.pcap") as recording:
        (report,) = lint_recording(recording, LintOptions(profile="qemu-7.2", channels=1))
    assert [str(outcome) for outcome in report.possible_outcomes] == expected


def test_stable_releases_take_over_checks() -> None:
    """10.0.13 has a check of 11.1 that 10.0.2 has not; both were measured."""
    path = TRUTH / "q10.0-measured" / "zlib_zero_pages_with_size.pcap.zst"
    seen = {}
    for profile in ("qemu-10.0", "qemu-10.0.2", "qemu-10.0.13", "qemu-10.0.14"):
        with open_recording(path) as recording:
            (report,) = lint_recording(recording, LintOptions(profile=profile, channels=2))
        seen[profile] = [str(outcome) for outcome in report.possible_outcomes]
    old, new = ["crashes"], ["hangs"]
    assert seen == {"qemu-10.0": old, "qemu-10.0.2": old, "qemu-10.0.13": new, "qemu-10.0.14": new}
    assert release("qemu-9.2.13") == RELEASES[9, 2]
    assert all(Mode(found.plan.mode) for found in FOUND.values())
