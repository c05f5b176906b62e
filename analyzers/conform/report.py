"""What a destination did with each check: text, JSON, JUnit XML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from analyzers.conform.conform import SCHEMA, Result
from analyzers.conform.source import CODE as SOURCE
from analyzers.report.texts import counted, printable


def summary(results: Sequence[Result]) -> str:
    """One line."""
    run = [result for result in results if result.agrees is not None]
    wrong = sum(result.agrees is False for result in run)
    skipped = len(results) - len(run)
    return f"{counted(len(run), 'check')}, {wrong} not as foreseen, {skipped} not for this destination"


def render_text(results: Sequence[Result], *, everything: bool = False) -> str:
    """A line a rule, then a line each for what was not foreseen; ``everything``: a line a check."""
    lines = []
    for code, group in groupby(results, key=lambda result: result.code):
        members = list(group)
        run = [result for result in members if result.agrees is not None]
        wrong = [result for result in run if not result.agrees]
        if everything or code == SOURCE:
            lines += [_line(result) for result in members]
        elif run:
            seen = ", ".join(dict.fromkeys(outcome for result in run for outcome in result.seen))
            lines.append(f"{'!' if wrong else '+'} {code}  {len(run) - len(wrong)} of {len(run)} as foreseen: {seen}")
            lines += [_line(result) for result in wrong]
        else:
            lines.append(f"  {code}  not run: {printable(members[0].skipped)}")
    return "\n".join([*lines, summary(results)]) + "\n"


def _line(result: Result) -> str:
    if result.agrees is None:
        return f"  {result.name}  not run: {printable(result.skipped)}"
    seen = ", ".join(dict.fromkeys(result.seen))
    foreseen = " or ".join(result.foreseen)
    if result.agrees:
        return f"+ {result.name}  {seen}" + (f"; {printable(result.words)}" if result.code == SOURCE else "")
    return f"! {result.name}  foreseen {foreseen}, seen {seen}: {printable(result.words)}"


def render_json(results: Sequence[Result], facts: Mapping[str, Any]) -> str:
    document = {"schema": SCHEMA, **facts, "checks": [result.as_json() for result in results]}
    return json.dumps(document, indent=1) + "\n"


def render_junit(results: Sequence[Result], suite: str) -> str:
    """One suite, a case a check; names are the checks', so that two runs can be compared."""
    cases = []
    for result in results:
        head = f'  <testcase name={quoteattr(result.name)} classname="multifd.conform.{result.code}"'
        if result.agrees is None:
            inside = f"<skipped message={quoteattr(printable(result.skipped))}/>"
        elif result.agrees:
            inside = f"<system-out>{escape(printable(result.words))}</system-out>"
        else:
            message = f"foreseen {' or '.join(result.foreseen)}, seen {', '.join(result.seen)}"
            inside = f"<failure message={quoteattr(message)}>{escape(printable(result.words))}</failure>"
        cases.append(f"{head}>{inside}</testcase>\n")
    failures = sum(result.agrees is False for result in results)
    skipped = sum(result.agrees is None for result in results)
    counts = f'tests="{len(results)}" failures="{failures}" errors="0" skipped="{skipped}"'
    body = f" <testsuite name={quoteattr(suite)} {counts}>\n{''.join(cases)} </testsuite>\n"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="multifd conform">\n{body}</testsuites>\n'
