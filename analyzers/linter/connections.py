"""The connections of a migration, those among them that are read as no channel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from analyzers.findings import Severity
from analyzers.judge.handshake import FOREIGN, SHORT
from analyzers.linter.found import Found
from analyzers.rulebook.codes import MFD602, MFD606, MFD608
from analyzers.rulebook.rule import Rule
from analyzers.survey.migration import Surveyed
from captures.model import CapturedChannel, ChannelKind


def found_by_arrival(surveyed: Surveyed) -> Iterator[tuple[Rule, Found]]:
    """Connections that are cut short, foreign, too late or a second main channel."""
    yield from _strange(surveyed.short, SHORT)
    yield from _strange(surveyed.foreign, FOREIGN)
    for extra in surveyed.ignored:
        message = f"a connection behind the full set of channels, which is ignored ({extra.label})"
        rule = MFD608 if extra.kind is ChannelKind.MAIN else MFD606
        yield rule, Found(message, severity=Severity.WARNING)
    for extra in surveyed.mains[1:]:
        yield MFD608, Found(f"a second main channel ({extra.label})", "main", 0)


def _strange(channels: Iterable[CapturedChannel], what: str) -> Iterator[tuple[Rule, Found]]:
    for channel in channels:
        yield MFD602, Found(f"{channel.label}: {what}")
