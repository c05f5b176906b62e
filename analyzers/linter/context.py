"""Everything a rule may look at, and the findings it makes of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict, Unpack

from analyzers.findings import Finding, ProfileChoice, Severity
from analyzers.judge.infer import Facts, Sender
from analyzers.judge.memory import MemoryVerdict
from analyzers.receiver.script import Script
from analyzers.receiver.solve import Lockstep
from analyzers.rulebook.rule import Rule
from analyzers.survey.channel import ChannelSurvey
from analyzers.survey.main import MainSurvey
from captures.model import StreamSource
from multifd_codec.dialect.destination import Destination
from multifd_codec.dialect.releases import Mode
from multifd_codec.errors import ChannelName

MAX_A_RULE = 3
"""Findings of one rule on one channel that are listed (remarks: one); the rest is folded into the last of them."""


@dataclass(slots=True)
class Context:
    """One migration, surveyed and judged."""

    main: MainSurvey | None
    channels: Sequence[tuple[int, ChannelSurvey]]
    """Multifd channels by id (position where the id is not known), in the script's order."""
    profile: ProfileChoice
    sender: Sender
    stream_mode: Mode
    """The mode the records speak for, whatever the destination's."""
    script: Script
    lockstep: Lockstep
    memory: MemoryVerdict
    reduced: bool
    """Bytes are missing from the recording, so that counting proves nothing."""

    sources: dict[ChannelName, StreamSource]

    def frame(self, channel: ChannelName, offset: int) -> int | None:
        """Capture frame of a byte, None without a capture."""
        source = self.sources.get(channel)
        return source.frame_at(offset) if source is not None else None

    @property
    def pages_lost(self) -> bool:
        """Pages are never sent, for certain: a packet is missing, or a page stands twice in place of another."""
        return bool(self.memory.never_sent and self.memory.wrong)

    @property
    def destination(self) -> Destination:
        return self.profile.destination

    @property
    def facts(self) -> Facts:
        return Facts(self.main, [survey for _, survey in self.channels])


class Place(TypedDict, total=False):
    """Where a finding is, and what is special about it; all of it may be left out."""

    channel: ChannelName | None
    offset: int | None
    length: int | None
    name: str | None
    """Wire field."""
    frame: int | None
    """Capture frame; found by channel and offset when left out."""
    severity: Severity | None
    """That of the rule when left out."""
    repeats: int
    """Further findings that this one stands for."""


class Collector:
    """Findings of one migration: frame numbers added, repeats folded, in order of severity and place."""

    def __init__(self, sources: dict[ChannelName, StreamSource]) -> None:
        self._sources = sources
        self._kept: defaultdict[tuple[str, ChannelName | None, Severity], list[Finding]] = defaultdict(list)

    def add(self, rule: Rule, message: str, **place: Unpack[Place]) -> None:
        """Add a finding of a rule."""
        channel, offset = place.get("channel"), place.get("offset")
        repeats = place.get("repeats", 0)
        severity = place.get("severity") or rule.severity
        kept = self._kept[rule.code, channel, severity]
        if len(kept) >= (1 if kept and kept[0].severity is Severity.INFO else MAX_A_RULE):
            kept[-1] = kept[-1]._replace(repeats=kept[-1].repeats + 1 + repeats)
            return
        source = self._sources.get(channel) if channel is not None else None
        frame = place.get("frame")
        if frame is None and source is not None and offset is not None:
            frame = source.frame_at(min(offset, max(0, source.size - 1)))
        kept.append(
            Finding(
                rule=rule.code,
                severity=severity,
                message=message,
                channel=channel,
                offset=offset,
                length=place.get("length"),
                frame=frame,
                field=place.get("name") or None,
                repeats=repeats,
            )
        )

    def findings(self) -> tuple[Finding, ...]:
        return tuple(sorted((f for kept in self._kept.values() for f in kept), key=_order))


def _order(finding: Finding) -> tuple[int, str, str, int]:
    return (
        list(Severity).index(finding.severity),
        finding.rule,
        str(finding.channel) if finding.channel is not None else "",
        finding.offset or 0,
    )
