"""Choosing which findings of a report are shown and count.

Selection works on findings only: the outcome, the explanation and the witness stay those of the whole stream, and an
outcome that is an error is exit code 1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from analyzers.findings import Report
from multifd_codec.errors import InputError


def parse_codes(texts: Iterable[str], known: Collection[str]) -> tuple[str, ...]:
    """Rule codes or prefixes (``MFD3``) from comma lists. Raises InputError for one that matches no known code."""
    prefixes = []
    for text in texts:
        for part in text.split(","):
            prefix = part.strip().upper()
            if not prefix:
                continue
            if not any(code.startswith(prefix) for code in known):
                raise InputError(f"no rule code starts with {part.strip()!r}; `multifd rules` lists them")
            prefixes.append(prefix)
    return tuple(prefixes)


def with_selected_findings(report: Report, *, select: tuple[str, ...] = (), ignore: tuple[str, ...] = ()) -> Report:
    """The report with the findings whose code starts with one of ``select`` (all when empty) and none of ``ignore``."""
    if not select and not ignore:
        return report
    kept = tuple(
        finding
        for finding in report.findings
        if (not select or finding.rule.startswith(select)) and not (ignore and finding.rule.startswith(ignore))
    )
    return replace(report, findings=kept)
