"""MFD709: no report has an outcome that is an error beside no finding that is one."""

from __future__ import annotations

from analyzers.findings import Finding, Severity
from analyzers.findings.reason import OR_MISSING
from analyzers.linter.found import Collector, Found
from analyzers.linter.judged import Judged
from analyzers.rulebook.codes import MFD709

COUNTED = "MFD3"
"""The rules that count SYNCs and records against each other."""


def with_outcome(collect: Collector, judged: Judged) -> tuple[Finding, ...]:
    """The findings, among them an error (MFD709) wherever the outcome is one and no rule has said why."""
    worst = judged.sorted_outcomes[-1]
    findings = _said(collect, judged)
    if worst.is_error and all(finding.severity is not Severity.ERROR for finding in findings):
        why = next((f": {reason.text}" for reason in judged.reasons), "")
        may = "a possible outcome" if len(judged.outcomes) > 1 else "the outcome"
        collect.add(MFD709, Found(f"{may} is {worst}{why}"))
        findings = _said(collect, judged)
    return findings


def _said(collect: Collector, judged: Judged) -> tuple[Finding, ...]:
    findings = collect.findings()
    if judged.undecidable:
        return tuple(map(_at_most_a_warning, findings))
    if judged.ends_unseen and not judged.sorted_outcomes[-1].is_error:
        return tuple(_at_most_a_warning(found) if found.rule.startswith(COUNTED) else found for found in findings)
    return findings


def _at_most_a_warning(finding: Finding) -> Finding:
    """Where frames are missing, an error may be only their absence."""
    if finding.severity is not Severity.ERROR or finding.rule.startswith("MFD7"):
        return finding
    return finding._replace(severity=Severity.WARNING, message=finding.message + OR_MISSING)
