"""The JSON contract ``multifd-report/1``: documents of reports."""

from __future__ import annotations

import json
from collections.abc import Sequence

from analyzers.findings import Report

SCHEMA = "multifd-report/1"


def render_json(reports: Sequence[Report]) -> str:
    """One document: ``{"schema": "multifd-report/1", "reports": [...]}``."""
    document = {"schema": SCHEMA, "reports": [report.to_dict() for report in reports]}
    return json.dumps(document, indent=1) + "\n"


def render_jsonl(reports: Sequence[Report]) -> str:
    """One line a report, each ``{"schema": "multifd-report/1", ...}`` with the keys of a report beside ``schema``."""
    return "".join(json.dumps({"schema": SCHEMA, **report.to_dict()}) + "\n" for report in reports)
