"""What a person or a CI gets: findings, outcomes, the report of one migration.

The JSON contract (``multifd-report/1``) is produced from these values.
"""

from analyzers.findings.facts import StreamFacts
from analyzers.findings.finding import Finding, Severity
from analyzers.findings.outcome import Outcome
from analyzers.findings.report import ChannelSummary, DeviceSummary, InputInfo, MainSummary, ProfileChoice, Report

__all__ = [
    "ChannelSummary",
    "DeviceSummary",
    "Finding",
    "InputInfo",
    "MainSummary",
    "Outcome",
    "ProfileChoice",
    "Report",
    "Severity",
    "StreamFacts",
]
