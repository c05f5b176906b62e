"""Rules on the set of channels, the main channel and the recording: findings that others have prepared."""

from __future__ import annotations

from collections.abc import Iterable

from analyzers.findings import Severity
from analyzers.judge.handshake import SetProblem
from analyzers.linter.context import Collector, Context
from analyzers.receiver.script import MainAct
from analyzers.survey.channel import ItemKind
from captures.model import CaptureNote, NoteKind
from multifd_codec.errors import ChannelName
from multifd_codec.wire.qemufile import CommandId

CODE_OF_NOTE = {
    NoteKind.LOST_SEGMENTS: "MFD901",
    NoteKind.CUT_BY_SNAPLEN: "MFD902",
    NoteKind.START_NOT_CAPTURED: "MFD903",
    NoteKind.END_NOT_CAPTURED: "MFD904",
    NoteKind.RETRANSMISSION_DIFFERS: "MFD905",
    NoteKind.TRUNCATED_FILE: "MFD906",
    NoteKind.DAMAGED_FILE: "MFD906",
    NoteKind.TLS: "MFD907",
    NoteKind.UNSUPPORTED_LINK: "MFD910",
}


def channel_set(collect: Collector, problems: Iterable[SetProblem], numbers: list[int]) -> None:
    """C-02 to C-10, as the handshake found them."""
    for problem in problems:
        channel = numbers[problem.position] if problem.position is not None else None
        offset, length = (0, 64) if channel is not None else (None, None)
        collect.row(problem.row, problem.message, channel=channel, offset=offset, length=length, name=problem.field)


def main_channel(context: Context, collect: Collector) -> None:
    """M-01 to M-25 and V-13, as the main channel's decoder found them, and what this destination does not know."""
    main = context.main
    if main is None:
        return
    last = context.script.main[-1]
    ending = last.offset if last.act in (MainAct.FAIL, MainAct.CRASH) else None
    for row, hits in main.hits.items():
        if row == "M-21" and not context.channels:
            continue  # a migration without multifd
        for position, hit in enumerate(hits.kept):
            repeats = hits.count - len(hits.kept) if position == len(hits.kept) - 1 else 0
            collect.row(
                row,
                hit.message,
                channel="main",
                offset=hit.offset,
                length=hit.length,
                name=main.fields[row],
                severity=Severity.ERROR if hit.offset == ending else None,
                repeats=repeats,
            )
    if main.advised is not None and context.release.destination.postcopy_refused and context.channels:
        message = f"POSTCOPY_ADVISE beside multifd, which {context.release.name} does not combine"
        collect.row("M-15", message, channel="main", offset=main.advised, length=5, name="command")
    for command in main.commands:
        if context.release.destination.last_command < command.number <= max(CommandId):
            message = f"{command.name}, which {context.release.name} does not know"
            collect.row("M-15", message, channel="main", offset=command.offset, length=5, name="command")
    if main.compress_page is not None:
        known = context.release.destination.compress_page
        message = f"COMPRESS_PAGE, {'which does not go with multifd' if known else 'removed in 9.1'}"
        collect.row("M-22", message, channel="main", offset=main.compress_page, length=8, name="flags")
    if main.hook is not None and context.release.destination.hook_fails:
        message = f"HOOK, which {context.release.name} takes with RDMA only"
        collect.row("M-08", message, channel="main", offset=main.hook, length=8, name="flags")


def recording(
    context: Context | None, collect: Collector, notes: Iterable[CaptureNote], labels: dict[str, ChannelName]
) -> None:
    """MFD901 to MFD911."""
    cut = context is not None and any(survey.unreadable for _, survey in context.channels)
    for note in notes:
        if note.kind not in CODE_OF_NOTE or (note.kind is NoteKind.CUT_BY_SNAPLEN and not cut):
            continue  # said elsewhere; only page payload is missing, which costs nothing
        collect.code(
            CODE_OF_NOTE[note.kind],
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
                collect.code("MFD908", message, channel=number, offset=item.offset, length=item.end - item.offset)
        if survey.experimental:
            collect.code(
                "MFD911", "the packets have the layout of QEMU 3.0/3.1, which is not supported", channel=number
            )
    main = context.main
    if main is not None and main.stopped is not None and main.failure is None:
        message = f"not understood from here on: {main.stopped}"
        collect.code("MFD909", message, channel="main", offset=main.understood)
