"""SARIF 2.1.0 for code-scanning services.

A channel is an artifact nested in the input (``parentIndex``), so that ``byteOffset`` counts in the channel's stream
and stays true; the input itself, with the frame number, is a related location.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from analyzers.findings import Finding, Report, Severity
from analyzers.findings.plain import encodable
from analyzers.findings.reason import channel_text
from analyzers.report.exit_codes import exit_code
from analyzers.report.texts import verdict_text
from analyzers.report.tool import tool_version
from analyzers.rulebook.registry import RULES
from analyzers.rulebook.rule import Rule

SARIF_VERSION = "2.1.0"
SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
STREAM_KIND = "resource"
"""SARIF has no logical-location kind for a network stream; this comes closest."""


def render_sarif(reports: Sequence[Report]) -> str:
    """One run with all results; every rule of the catalogue with its help text."""
    artifacts: list[dict[str, Any]] = []
    index: dict[tuple[Any, ...], int] = {}
    results = []
    for number, report in enumerate(reports):
        for finding in report.findings:
            results.append(_result(number, report, finding, artifacts, index))
        _artifact(artifacts, index, report, number, None)
    driver: dict[str, Any] = {"name": "multifd", "rules": [_rule(rule) for rule in RULES.values()]}
    if version := tool_version():
        driver["version"] = version
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": True, "exitCode": int(exit_code(reports))}],
        "artifacts": artifacts,
        "results": results,
        "properties": {"migrations": [_migration(report) for report in reports]},
    }
    return json.dumps({"$schema": SARIF_SCHEMA, "version": SARIF_VERSION, "runs": [run]}, indent=1) + "\n"


def _rule(rule: Rule) -> dict[str, Any]:
    rows = (
        ("Why", rule.why),
        ("Destination", rule.destination),
        ("Reference", rule.reference),
        ("Releases", rule.since),
        ("Example", rule.example),
    )
    return {
        "id": rule.code,
        "shortDescription": {"text": rule.title + "."},
        "fullDescription": {"text": rule.why},
        "help": {
            "text": "\n\n".join(f"{name}: {text}" for name, text in rows),
            "markdown": "\n\n".join(f"**{name}.** {_markdown(text)}" for name, text in rows),
        },
        "defaultConfiguration": {"level": LEVELS[rule.severity]},
        "properties": {"row": rule.row},
    }


def _markdown(text: str) -> str:
    return "".join(f"\\{char}" if char in "\\`*_[]<>|#" else char for char in text)


def _result(
    number: int, report: Report, finding: Finding, artifacts: list[dict[str, Any]], index: dict[tuple[Any, ...], int]
) -> dict[str, Any]:
    container = _artifact(artifacts, index, report, number, None)
    place: dict[str, Any] = {"artifactLocation": _location(artifacts, container)}
    location: dict[str, Any] = {"physicalLocation": place}
    if finding.channel is not None:
        name = channel_text(finding.channel)
        nested = _artifact(artifacts, index, report, number, finding.channel)
        place["artifactLocation"] = _location(artifacts, nested)
        if finding.offset is not None:
            place["region"] = {"byteOffset": finding.offset}
            if finding.length is not None:
                place["region"]["byteLength"] = finding.length
        full_name = f"migration {number}/{name}" + (f"/{finding.field}" if finding.field else "")
        location["logicalLocations"] = [{"name": name, "fullyQualifiedName": full_name, "kind": STREAM_KIND}]
    frame = f", frame {finding.frame}" if finding.frame is not None else ""
    related: dict[str, Any] = {"physicalLocation": {"artifactLocation": _location(artifacts, container)}}
    related["message"] = {"text": f"{report.input.kind}{frame}"}
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "level": LEVELS[finding.severity],
        "message": {"text": finding.message},
        "locations": [location],
        "relatedLocations": [related],
        "occurrenceCount": 1 + finding.repeats,
        "properties": {"migration": number, "field": finding.field, "frame": finding.frame},
    }
    codes = list(RULES)
    if finding.rule in RULES:
        result["ruleIndex"] = codes.index(finding.rule)
    return result


def _artifact(
    artifacts: list[dict[str, Any]],
    index: dict[tuple[Any, ...], int],
    report: Report,
    number: int,
    channel: int | str | None,
) -> int:
    """Index of the input's artifact, or of a channel's inside it; added when it is new."""
    key = (report.input.path,) if channel is None else (report.input.path, number, channel)
    if key in index:
        return index[key]
    if channel is None:
        artifact = {"location": {"uri": path_uri(report.input.path)}, "length": report.input.bytes}
    else:
        parent = _artifact(artifacts, index, report, number, None)
        name = channel if isinstance(channel, str) else f"channel-{channel}"
        artifact = {"location": {"uri": f"/migration-{number}/{name}"}, "parentIndex": parent}
    index[key] = len(artifacts)
    artifacts.append(artifact)
    return index[key]


def _location(artifacts: list[dict[str, Any]], artifact: int) -> dict[str, Any]:
    return {"uri": artifacts[artifact]["location"]["uri"], "index": artifact}


def path_uri(path: str) -> str:
    """A path as a URI reference: relative stays relative, absolute becomes ``file:``."""
    pure = PurePath(path)
    try:
        quoted = quote(pure.as_posix(), safe="/", errors="surrogateescape")
    except UnicodeEncodeError:  # no name the system gave
        quoted = quote(encodable(pure.as_posix()), safe="/")
    return f"file://{quoted}" if pure.is_absolute() else quoted


def _migration(report: Report) -> dict[str, Any]:
    return {
        "input": encodable(report.input.path),
        "outcome": report.outcome.value,
        "possibleOutcomes": [outcome.value for outcome in report.possible_outcomes],
        "verdict": verdict_text(report),
        "explanation": list(report.explanation),
    }
