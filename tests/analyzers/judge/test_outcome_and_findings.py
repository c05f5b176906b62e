"""Outcome, findings and exit code never contradict each other, whatever the stream, its damage and the options."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzers.findings import Outcome, Report, Severity
from analyzers.fuzz.case import Habitat, make_case
from analyzers.linter.judged import LintOptions
from analyzers.linter.linter import lint_recording
from analyzers.mutation.mutation import LacksError
from analyzers.report.exit_codes import ExitCode, report_exit_code
from analyzers.report.selection import with_selected_findings
from captures.memory import recording_of
from captures.recording import open_recording
from multifd_codec.dialect.releases import RELEASES, Mode
from multifd_codec.errors import EncodeError, InputError
from tests.analyzers.judge.test_damage import Damage, damages, frames
from tests.helpers.recorded_frames import write_frames

HABITAT = Habitat(edits=4, most_pages=8, matching=False)
options = st.builds(
    LintOptions,
    profile=st.none() | st.sampled_from([f"qemu-{major}.{minor}" for major, minor in RELEASES]),
    mode=st.none() | st.sampled_from(Mode),
    channels=st.none() | st.integers(1, 5),
    compression=st.none() | st.sampled_from(["none", "zlib"]),
    device_transfer=st.none() | st.booleans(),
    switchover_ack=st.none() | st.booleans(),
)
some = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much])


def agrees(report: Report) -> None:
    errors = [finding for finding in report.findings if finding.severity is Severity.ERROR]
    code = report_exit_code(report)
    if report.outcome.is_error:
        assert errors
    if report.outcome.is_error or errors:
        assert code is ExitCode.FINDINGS
    else:
        undecided = Outcome.UNDECIDED in report.possible_outcomes
        assert code is (ExitCode.INCOMPLETE if undecided else ExitCode.CLEAN)
    shown = with_selected_findings(report, select=("MFD9",))
    assert shown.outcome is report.outcome
    assert report_exit_code(shown) is ExitCode.FINDINGS or not report.outcome.is_error


@some
@given(damages, options)
def test_of_a_damaged_recording(tmp_path: Path, damage: Damage, asked: LintOptions) -> None:
    seen = frames(damage.path, damage.size)
    for way in damage.ways:
        seen = way(seen)
    data = write_frames(tmp_path / "damaged.pcap", (one.frame for one in seen)).read_bytes()
    try:
        with open_recording(data[: max(24, len(data) * damage.length // 1000)], reader="native") as recording:
            found = lint_recording(recording, asked)
    except InputError:
        return
    for report in found:
        agrees(report)


@some
@given(st.integers(0, 1 << 32), options)
def test_of_an_edited_stream(seed: int, asked: LintOptions) -> None:
    try:
        recording = recording_of(make_case(seed, HABITAT).stream())
        found = lint_recording(recording, asked)
    except (EncodeError, LacksError, InputError):
        return
    for report in found:
        agrees(report)
