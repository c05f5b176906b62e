"""Findings that rows of the rulebook describe: nothing here knows a single rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from analyzers.findings import Severity
from analyzers.judge.handshake import SetProblem
from analyzers.linter.context import Context
from analyzers.linter.found import Found
from analyzers.receiver.script import MainAct
from analyzers.rulebook.conditions import DeviceStateSeen, MainSeen
from analyzers.rulebook.registry import DEVICE_STATE_CONDITIONS, MAIN_REFUSALS, NOTES, PACKET_CONDITIONS
from analyzers.rulebook.rule import Rule
from analyzers.survey.hits import Hits
from captures.model import CaptureNote
from multifd_codec.channel.framing import INIT
from multifd_codec.errors import ChannelName

LONGEST_NAME = 64
"""Characters of a device's name that a message shows."""


def found_by_rows(context: Context) -> Iterable[tuple[Rule, Found]]:
    """What single packets and records show."""
    return chain(_packets(context), _device_state(context), _main(context))


def _packets(context: Context) -> Iterator[tuple[Rule, Found]]:
    for number, survey in context.channels:
        for condition, hits in survey.hits.items():
            rule = PACKET_CONDITIONS[condition]
            severity = condition.severity_in(context, rule.severity)
            if severity is not None:
                for found in _of(hits, number, condition.field):
                    yield rule, found._replace(severity=severity)


def _of(hits: Hits, channel: ChannelName, field: str) -> Iterator[Found]:
    """Each place kept; the last stands for those that are only counted."""
    for position, hit in enumerate(hits.kept, 1):
        repeats = hits.count - len(hits.kept) if position == len(hits.kept) else 0
        yield Found(hit.message, channel, hit.offset, hit.length, field, hit.severity, repeats)


def _device_state(context: Context) -> Iterator[tuple[Rule, Found]]:
    for number, survey in context.channels:
        for item in survey.items:
            if item.buffer is None:
                continue
            packet, device = item.buffer.packet, item.buffer.device
            name = f"{device.idstr[:LONGEST_NAME]}..." if len(device.idstr) > LONGEST_NAME else device.idstr
            looked_at = item.buffer.terminated and context.takes_buffers(device)
            seen = DeviceStateSeen(item.buffer, context.main, context.destination)
            for rule, condition in DEVICE_STATE_CONDITIONS:
                if condition.says is not None and (looked_at or not condition.in_payload) and condition.when(seen):
                    message = f"{name}: {condition.says(seen)}"
                    yield rule, Found(message, number, packet.offset, packet.length, condition.field)


def _main(context: Context) -> Iterator[tuple[Rule, Found]]:
    main = context.main
    if main is None:
        return
    last = context.script.main[-1]
    ending = last.offset if last.act in (MainAct.FAIL, MainAct.CRASH) else None
    for rule, hits in main.hits.items():
        if rule.beside_channels and not context.channels:
            continue
        for found in _of(hits, "main", main.fields[rule]):
            yield rule, found._replace(severity=Severity.ERROR if found.offset == ending else found.severity)
    destination = context.destination
    seen = MainSeen(main, destination, multifd=bool(context.channels))
    for rule, refusal in MAIN_REFUSALS:
        if refusal.says is None or (refusal.beside_channels and not context.channels):
            continue
        for offset, name in refusal.places(seen):
            message = refusal.says(seen, name, context.destination.release.name)
            yield rule, Found(message, "main", offset, refusal.length, refusal.field)


def found_by_handshake(problems: Iterable[SetProblem], numbers: list[int]) -> Iterator[tuple[Rule, Found]]:
    """``numbers``: channels by position."""
    for problem in problems:
        if problem.position is None:
            yield problem.rule, Found(problem.message, field=problem.field)
        else:
            channel = numbers[problem.position]
            yield problem.rule, Found(problem.message, channel, 0, INIT.size, problem.field)


def found_by_reader(
    notes: Iterable[CaptureNote], labels: dict[str, ChannelName], *, headers_cut: bool
) -> Iterator[tuple[Rule, Found]]:
    """What the reader of the recording noticed. ``headers_cut``: more than page payload is missing."""
    for note in notes:
        if note.kind not in NOTES:
            continue  # said elsewhere
        rule, condition = NOTES[note.kind]
        if headers_cut or not condition.if_headers_cut:
            channel = labels.get(note.label or "")
            yield rule, Found(note.message, channel, note.offset, note.length, frame=note.frame)
