"""Rules on the set of channels, the main channel and the recording: findings that others have prepared."""

from __future__ import annotations

from collections.abc import Iterable

from analyzers.findings import Severity
from analyzers.judge.handshake import SetProblem
from analyzers.linter.context import Collector, Context
from analyzers.receiver.script import MainAct
from analyzers.rulebook.codes import (
    MFD508,
    MFD515,
    MFD521,
    MFD522,
    MFD908,
    MFD909,
    MFD911,
)
from analyzers.rulebook.registry import NOTES
from analyzers.survey.channel import ItemKind
from captures.model import CaptureNote
from multifd_codec.errors import ChannelName
from multifd_codec.wire.qemufile import CommandId


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
    if main.advised is not None and context.release.destination.postcopy_refused and context.channels:
        message = f"POSTCOPY_ADVISE beside multifd, which {context.release.name} does not combine"
        collect.add(MFD515, message, channel="main", offset=main.advised, length=5, name="command")
    for command in main.commands:
        if context.release.destination.last_command < command.number <= max(CommandId):
            message = f"{command.name}, which {context.release.name} does not know"
            collect.add(MFD515, message, channel="main", offset=command.offset, length=5, name="command")
    if main.compress_page is not None:
        known = context.release.destination.compress_page
        message = f"COMPRESS_PAGE, {'which does not go with multifd' if known else 'removed in 9.1'}"
        collect.add(MFD522, message, channel="main", offset=main.compress_page, length=8, name="flags")
    if main.hook is not None and context.release.destination.hook_fails:
        message = f"HOOK, which {context.release.name} takes with RDMA only"
        collect.add(MFD508, message, channel="main", offset=main.hook, length=8, name="flags")


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
