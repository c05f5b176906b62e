"""JUnit XML for CI systems: a test suite a migration, a test case a rule family and a finding.

A family without an error is one passed case. Each finding is a case of its own: failed when it is an error, passed with
its message as output otherwise. The case ``outcome`` is skipped when the recording leaves the outcome undecided.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from analyzers.findings import Outcome, Report, Severity
from analyzers.report.texts import finding_text, ordered_findings, place_text, printable, verdict_text
from analyzers.rulebook.registry import FAMILIES, RULES


def render_junit(reports: Sequence[Report]) -> str:
    """One ``testsuites`` document."""
    suites = "".join(_suite(number, report) for number, report in enumerate(reports))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="multifd">\n{suites}</testsuites>\n'


def _suite(number: int, report: Report) -> str:
    cases = list(_cases(report))
    failures = sum("<failure" in case for case in cases)
    skipped = sum("<skipped" in case for case in cases)
    name = quoteattr(printable(f"{report.input.path} migration {number}"))
    counts = f'tests="{len(cases)}" failures="{failures}" errors="0" skipped="{skipped}"'
    return f" <testsuite name={name} {counts}>\n{''.join(cases)} </testsuite>\n"


def _cases(report: Report) -> Iterator[str]:
    verdict = verdict_text(report)
    explanation = "\n".join((verdict, *map(printable, report.explanation)))
    undecided = Outcome.UNDECIDED in report.possible_outcomes
    yield _case("outcome", "outcome", _skipped(verdict) if undecided else "", explanation)
    broken = {f.rule[:4] for f in report.findings if f.severity is Severity.ERROR}
    for prefix, family in FAMILIES.items():
        if prefix not in broken:
            yield _case(family, prefix, "", "")
    for finding in ordered_findings(report):
        name = f"{finding.rule} {place_text(finding)}".strip()
        failed = finding.severity is Severity.ERROR
        family = FAMILIES.get(finding.rule[:4], finding.rule)
        if not failed:
            yield _case(name, family, "", finding_text(finding))
            continue
        rule = RULES.get(finding.rule)
        body = "\n".join((finding_text(finding), *((rule.why, rule.destination) if rule else ())))
        message = quoteattr(printable(finding.message))
        yield _case(name, family, f'<failure type="{finding.rule}" message={message}>{escape(body)}</failure>', "")


def _skipped(message: str) -> str:
    return f"<skipped message={quoteattr(message)}/>"


def _case(name: str, class_name: str, verdict: str, output: str) -> str:
    inside = verdict + (f"<system-out>{escape(output)}</system-out>" if output else "")
    head = f"  <testcase name={quoteattr(name)} classname={quoteattr(f'multifd.{class_name}')}"
    return f"{head}>{inside}</testcase>\n" if inside else f"{head}/>\n"
