"""Reports as text, JSON, SARIF and JUnit, and the exit code they ask for."""

from __future__ import annotations

from collections.abc import Sequence

from analyzers.findings import Report

FORMATS = ("text", "json", "jsonl", "sarif", "junit")


def render(
    reports: Sequence[Report],
    format: str,  # noqa: A002
    *,
    witness: bool = False,
    what_if: bool = False,
    version: str = "",
) -> str:
    """Reports in one of FORMATS. ``witness`` and ``what_if`` concern text only: the others always or never carry them.

    ``version`` is the tool's, for formats that name the tool. Raises ValueError for an unknown format.
    """
    # Each format is imported when it is asked for: start-up time is part of the contract.
    match format:
        case "text":
            from analyzers.report.text import render_text  # noqa: PLC0415

            return render_text(reports, witness=witness, what_if=what_if)
        case "json" | "jsonl":
            from analyzers.report.document import render_json, render_jsonl  # noqa: PLC0415

            return render_json(reports) if format == "json" else render_jsonl(reports)
        case "sarif":
            from analyzers.report.sarif import render_sarif  # noqa: PLC0415

            return render_sarif(reports, version=version)
        case "junit":
            from analyzers.report.junit import render_junit  # noqa: PLC0415

            return render_junit(reports)
    raise ValueError(f"unknown format {format!r}")
