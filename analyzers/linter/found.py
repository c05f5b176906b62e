"""Findings in the making: what a check found, by which rule, folded and put in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from analyzers.findings import Finding, Severity
from analyzers.linter.context import Context
from analyzers.rulebook.rule import Rule
from captures.model import StreamSource
from multifd_codec.errors import ChannelName

MAX_A_RULE = 3
"""Findings of one rule on one channel that are listed (remarks: one); the rest is folded into the last of them."""


class Found(NamedTuple):
    """One violation, and where it is; whatever is not known may be left out."""

    message: str
    channel: ChannelName | None = None
    offset: int | None = None
    length: int | None = None
    field: str = ""
    """Wire field."""
    severity: Severity | None = None
    """That of the rule when left out."""
    repeats: int = 0
    """Further findings that this one stands for."""
    frame: int | None = None
    """Capture frame; found by channel and offset when left out."""


class Collector:
    """Findings of one migration: frame numbers added, repeats folded, in order of severity and place."""

    def __init__(self, sources: dict[ChannelName, StreamSource]) -> None:
        self._sources = sources
        self._kept: defaultdict[tuple[Rule, ChannelName | None, Severity], list[Finding]] = defaultdict(list)

    def add(self, rule: Rule, found: Found) -> None:
        """Add a finding of a rule."""
        severity = found.severity or rule.severity
        kept = self._kept[rule, found.channel, severity]
        if len(kept) >= (1 if severity is Severity.INFO else MAX_A_RULE):
            kept[-1] = kept[-1]._replace(repeats=kept[-1].repeats + 1 + found.repeats)
            return
        source = self._sources.get(found.channel) if found.channel is not None else None
        frame = found.frame
        if frame is None and source is not None and found.offset is not None:
            frame = source.frame_at(min(found.offset, max(0, source.size - 1)))
        kept.append(
            Finding(
                rule=rule.code,
                severity=severity,
                message=found.message,
                channel=found.channel,
                offset=found.offset,
                length=found.length,
                frame=frame,
                field=found.field or None,
                repeats=found.repeats,
            )
        )

    def add_all(self, pairs: Iterable[tuple[Rule, Found]]) -> None:
        for rule, found in pairs:
            self.add(rule, found)

    def findings(self) -> tuple[Finding, ...]:
        return tuple(sorted((f for kept in self._kept.values() for f in kept), key=_order))


def _order(finding: Finding) -> tuple[int, str, str, int]:
    return (
        list(Severity).index(finding.severity),
        finding.rule,
        str(finding.channel) if finding.channel is not None else "",
        finding.offset or 0,
    )


Check = Callable[[Context], Iterable[Found]]
AnyCheck = TypeVar("AnyCheck", bound=Check)


class Checks:
    """What a row cannot say: functions over a whole migration, each with the rule whose violations it finds."""

    def __init__(self) -> None:
        self.rows: list[tuple[Rule, Check]] = []

    def of(self, rule: Rule) -> Callable[[AnyCheck], AnyCheck]:
        """Decorator: the function finds violations of that rule."""

        def note(check: AnyCheck) -> AnyCheck:
            self.rows.append((rule, check))
            return check

        return note

    def found(self, context: Context) -> Iterable[tuple[Rule, Found]]:
        """All violations, with their rules."""
        for rule, check in self.rows:
            for found in check(context):
                yield rule, found
