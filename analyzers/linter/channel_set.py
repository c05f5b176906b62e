"""Rules on the set of channels, the main channel and the recording: findings that others have prepared."""

from __future__ import annotations

from collections.abc import Iterable

from analyzers.findings import Severity
from analyzers.judge.handshake import SetProblem
from analyzers.linter.context import Collector, Context
from analyzers.receiver.script import MainAct
from analyzers.rulebook.codes import (
    MFD521,
    MFD908,
    MFD909,
    MFD911,
)
from analyzers.rulebook.conditions import MainSeen
from analyzers.rulebook.registry import MAIN_REFUSALS, NOTES
from analyzers.survey.channel import ItemKind
from captures.model import CaptureNote
from multifd_codec.errors import ChannelName


def channel_set(collect: Collector, problems: Iterable[SetProblem], numbers: list[int]) -> None:
    """MFD602 to MFD610, as the handshake found them."""
    for problem in problems:
        channel = numbers[problem.position] if problem.position is not None else None
        offset, length = (0, 64) if channel is not None else (None, None)
        collect.add(problem.rule, problem.message, channel=channel, offset=offset, length=length, name=problem.field)


def main_channel(context: Context, collect: Collector) -> None:
    """What the decoder of the main channel found, and what this destination does not know."""
    main = context.main
    if main is None:
        return
    last = context.script.main[-1]
    ending = last.offset if last.act in (MainAct.FAIL, MainAct.CRASH) else None
    for rule, hits in main.hits.items():
        if rule is MFD521 and not context.channels:
            continue  # a migration without multifd
        for position, hit in enumerate(hits.kept):
            repeats = hits.count - len(hits.kept) if position == len(hits.kept) - 1 else 0
            collect.add(
                rule,
                hit.message,
                channel="main",
                offset=hit.offset,
                length=hit.length,
                name=main.fields[rule],
                severity=Severity.ERROR if hit.offset == ending else None,
                repeats=repeats,
            )
    seen = MainSeen(main, context.destination.habits)
    for rule, refusal in MAIN_REFUSALS:
        if refusal.says is None or (refusal.beside_channels and not context.channels):
            continue
        for offset, name in refusal.places(seen):
            message = refusal.says(seen, name, context.destination.release.name)
            collect.add(rule, message, channel="main", offset=offset, length=refusal.length, name=refusal.field)


def recording(
    context: Context | None, collect: Collector, notes: Iterable[CaptureNote], labels: dict[str, ChannelName]
) -> None:
    """MFD901 to MFD911."""
    cut = context is not None and any(survey.unreadable for _, survey in context.channels)
    for note in notes:
        rule, condition = NOTES.get(note.kind, (None, None))
        if rule is None or condition is None or (condition.if_headers_cut and not cut):
            continue  # said elsewhere; only page payload is missing, which costs nothing
        collect.add(
            rule,
            note.message,
            channel=labels.get(note.label or ""),
            offset=note.offset,
            length=note.length,
            frame=note.frame,
        )
    if context is None:
        return
    for number, survey in context.channels:
        for item in survey.items:
            if item.kind is ItemKind.UNREADABLE:
                what = "are missing in the recording" if item.hole else "are no packet"
                message = f"{item.end - item.offset} bytes {what}; decoding goes on behind them with less confidence"
                collect.add(MFD908, message, channel=number, offset=item.offset, length=item.end - item.offset)
        if survey.experimental:
            collect.add(MFD911, "the packets have the layout of QEMU 3.0/3.1, which is not supported", channel=number)
    main = context.main
    if main is not None and main.stopped is not None and main.failure is None:
        message = f"not understood from here on: {main.stopped}"
        collect.add(MFD909, message, channel="main", offset=main.understood)
