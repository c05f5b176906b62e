"""What a person or a CI gets: findings, outcomes and their reasons, the report of one migration.

The JSON contract (``multifd-report/1``) is produced from these values.
"""

from analyzers.findings.facts import StreamFacts
from analyzers.findings.finding import Finding, Severity
from analyzers.findings.kinds import Actor, ChannelEnd, Kind
from analyzers.findings.outcome import Outcome
from analyzers.findings.reason import MAX_LISTED, Location, Party, Reason, Share, Step, Stuck, StuckState
from analyzers.findings.report import ChannelSummary, DeviceSummary, InputInfo, MainSummary, ProfileChoice, Report

__all__ = [
    "MAX_LISTED",
    "Actor",
    "ChannelEnd",
    "ChannelSummary",
    "DeviceSummary",
    "Finding",
    "InputInfo",
    "Kind",
    "Location",
    "MainSummary",
    "Outcome",
    "Party",
    "ProfileChoice",
    "Reason",
    "Report",
    "Severity",
    "Share",
    "Step",
    "StreamFacts",
    "Stuck",
    "StuckState",
]
