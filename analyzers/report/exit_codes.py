"""Exit codes of the command line, computed from reports."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import TYPE_CHECKING

from analyzers.findings import Outcome, Severity

if TYPE_CHECKING:
    from analyzers.findings import Report


class ExitCode(enum.IntEnum):
    """What a shell sees. With several reports the gravest counts: 2, then 1, then 3, then 0."""

    CLEAN = 0
    """No error-level finding, and the outcome is ``completes``."""
    FINDINGS = 1
    """At least one error-level finding, or an outcome that is an error."""
    FAILED = 2
    """The tool could not run: bad arguments, unreadable input, or no migration in it."""
    INCOMPLETE = 3
    """The input is incomplete, and nothing is wrong in what is there."""


_GRAVITY = (ExitCode.CLEAN, ExitCode.INCOMPLETE, ExitCode.FINDINGS, ExitCode.FAILED)


def gravest(codes: Iterable[ExitCode]) -> ExitCode:
    """The code that stands for all of them; CLEAN for none."""
    return max(codes, key=_GRAVITY.index, default=ExitCode.CLEAN)


def report_exit_code(report: Report) -> ExitCode:
    """The exit code one report asks for. Its outcome counts whichever findings were chosen to be shown."""
    if report.outcome.is_error or any(finding.severity is Severity.ERROR for finding in report.findings):
        return ExitCode.FINDINGS
    if Outcome.UNDECIDED in report.possible_outcomes:
        return ExitCode.INCOMPLETE
    return ExitCode.CLEAN


def exit_code(reports: Iterable[Report]) -> ExitCode:
    """The gravest exit code over reports; FAILED when there is none: nothing was judged."""
    codes = [report_exit_code(report) for report in reports]
    return gravest(codes) if codes else ExitCode.FAILED
