"""What a person or a CI gets: findings, outcomes and their reasons, the report of one migration.

The JSON contract (``multifd-report/1``) is produced from these values.
"""

from typing import TYPE_CHECKING

from multifd_codec.lazy import lazily

if TYPE_CHECKING:
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

_HOMES = {
    "Actor": "analyzers.findings.kinds",
    "ChannelEnd": "analyzers.findings.kinds",
    "ChannelSummary": "analyzers.findings.report",
    "DeviceSummary": "analyzers.findings.report",
    "Finding": "analyzers.findings.finding",
    "InputInfo": "analyzers.findings.report",
    "Kind": "analyzers.findings.kinds",
    "Location": "analyzers.findings.reason",
    "MAX_LISTED": "analyzers.findings.reason",
    "MainSummary": "analyzers.findings.report",
    "Outcome": "analyzers.findings.outcome",
    "Party": "analyzers.findings.reason",
    "ProfileChoice": "analyzers.findings.report",
    "Reason": "analyzers.findings.reason",
    "Report": "analyzers.findings.report",
    "Severity": "analyzers.findings.finding",
    "Share": "analyzers.findings.reason",
    "Step": "analyzers.findings.reason",
    "StreamFacts": "analyzers.findings.facts",
    "Stuck": "analyzers.findings.reason",
    "StuckState": "analyzers.findings.reason",
}

__getattr__ = lazily(globals(), _HOMES)
