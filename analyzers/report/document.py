"""The JSON contract ``multifd-report/1``: reports as plain dictionaries, keys in their documented order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from analyzers.findings import ChannelSummary, DeviceSummary, Finding, MainSummary, ProfileChoice, Report
from analyzers.report.texts import encodable

SCHEMA = "multifd-report/1"


def render_json(reports: Sequence[Report]) -> str:
    """One document: ``{"schema": "multifd-report/1", "reports": [...]}``."""
    document = {"schema": SCHEMA, "reports": [report_document(report) for report in reports]}
    return json.dumps(document, indent=1) + "\n"


def render_jsonl(reports: Sequence[Report]) -> str:
    """One line a report, each ``{"schema": "multifd-report/1", ...}`` with the keys of a report beside ``schema``."""
    return "".join(json.dumps({"schema": SCHEMA, **report_document(report)}) + "\n" for report in reports)


def report_document(report: Report) -> dict[str, Any]:
    """One report as in the contract."""
    info = report.input
    channels = [] if report.main is None else [_main(report.main)]
    return {
        "input": {
            "path": encodable(info.path),
            "kind": info.kind,
            "bytes": info.bytes,
            "frames": info.frames,
            "gaps": info.gaps,
        },
        "profile": None if report.profile is None else _profile(report.profile),
        "outcome": report.outcome.value,
        "possible_outcomes": [outcome.value for outcome in report.possible_outcomes],
        "monitor_alive": report.monitor_alive,
        "channels": channels + [_channel(channel) for channel in report.channels],
        "devices": [_device(device) for device in report.devices],
        "findings": [_finding(finding) for finding in report.findings],
        "explanation": list(report.explanation),
        "witness": list(report.witness),
        "facts": report.facts.shown(),
    }


def _profile(profile: ProfileChoice) -> dict[str, Any]:
    return {
        "name": profile.name,
        "mode": profile.mode,
        "channels": profile.channels,
        "page_size": profile.page_size,
        "inferred": profile.inferred,
        "evidence": list(profile.evidence),
    }


def _main(main: MainSummary) -> dict[str, Any]:
    return {
        "id": "main",
        "bytes": main.bytes,
        "rendezvous": main.rendezvous,
        "complete": main.complete,
        "understood": main.understood,
    }


def _channel(channel: ChannelSummary) -> dict[str, Any]:
    return {
        "id": channel.id,
        "bytes": channel.bytes,
        "packets": channel.packets,
        "sync": channel.sync,
        "ram": channel.ram,
        "device_state": channel.device_state,
        "normal_pages": channel.normal_pages,
        "zero_pages": channel.zero_pages,
        "complete": channel.complete,
    }


def _device(device: DeviceSummary) -> dict[str, Any]:
    return {
        "idstr": device.idstr,
        "instance_id": device.instance_id,
        "packets": device.packets,
        "bytes": device.bytes,
        "complete": device.complete,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "severity": finding.severity.value,
        "channel": finding.channel,
        "offset": finding.offset,
        "length": finding.length,
        "frame": finding.frame,
        "field": finding.field,
        "message": finding.message,
        "repeats": finding.repeats,
    }
