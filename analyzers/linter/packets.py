"""Rules on packet headers and payloads (MFD101 to MFD130), from what the surveys found."""

from __future__ import annotations

import numpy as np

from analyzers.findings import Severity
from analyzers.judge.content import locate, packet_offset
from analyzers.judge.memory import Overlap
from analyzers.linter.context import Collector, Context, Place
from analyzers.linter.pairing import all_whole, header_length, is_whole, paired_records
from analyzers.rulebook.capture.rules import PAYLOAD_NOT_CHECKED
from analyzers.rulebook.codes import (
    MFD101,
    MFD129,
    MFD130,
    MFD205,
    MFD206,
    MFD211,
    MFD216,
    MFD228,
    MFD315,
    MFD910,
)
from analyzers.rulebook.packets.rules import METHOD_PAYLOADS
from analyzers.rulebook.registry import PACKET_CONDITIONS
from analyzers.rulebook.rule import Rule
from analyzers.survey.channel import ChannelSurvey, ItemKind
from analyzers.survey.hits import Hits
from multifd_codec.arrays import distinct
from multifd_codec.channel.events import EndPosition
from multifd_codec.dialect.compression import known
from multifd_codec.dialect.words import which
from multifd_codec.source import StreamEnd

_REPEATS = which(lambda r: r.sender.repeats_page)
_DROPS = which(lambda r: r.sender.drops_zero_only_compressed)


def check(context: Context, collect: Collector) -> None:
    """All rules on single packets, then those on packet numbers, compression ids, pages, and the ends of streams."""
    for number, survey in context.channels:
        for condition, hits in survey.hits.items():
            rule = PACKET_CONDITIONS[condition]
            severity = condition.severity_in(context, rule.severity)
            if severity is not None:
                _hits(collect, rule, number, condition.field, hits, severity)
        if PAYLOAD_NOT_CHECKED in survey.hits:
            collect.add(MFD910, survey.hits[PAYLOAD_NOT_CHECKED].first.message, channel=number)
        for item in survey.items:
            if item.kind is ItemKind.UNREADABLE and item.found and not item.hole:
                message = f"{item.found[:8].hex(' ')} where a packet must start"
                collect.add(MFD101, message, channel=number, offset=item.offset, length=len(item.found), name="magic")
        _compression(context, collect, number, survey)
        _end(context, collect, number, survey)
    _kept_zero_pages(context, collect)
    _overlaps(context, collect)
    _numbers(context, collect)


def _hits(collect: Collector, rule: Rule, number: int, field: str, hits: Hits, severity: Severity) -> None:
    rest = hits.count - len(hits.kept)
    for position, hit in enumerate(hits.kept):
        collect.add(
            rule,
            hit.message,
            channel=number,
            offset=hit.offset,
            length=hit.length,
            name=field,
            severity=severity,
            repeats=rest if position == len(hits.kept) - 1 else 0,
        )


def _compression(context: Context, collect: Collector, number: int, survey: ChannelSurvey) -> None:
    destination = context.destination.habits
    for found, hits in survey.compressions.items():
        place: Place = {
            "channel": number,
            "offset": hits.first.offset,
            "length": hits.first.length,
            "name": "flags",
            "repeats": hits.count - 1,
        }
        if found != context.destination.compression_flag:
            message = f"compression id {found:#x}, elsewhere {context.destination.compression_flag:#x}"
            collect.add(MFD205, message, **place)
        if not known(destination.compression_mask, found):
            payload = next(
                (survey.hits[p] for ids, p in METHOD_PAYLOADS.items() if ids & found and p in survey.hits), None
            )
            harms = payload is not None or found & destination.compression_mask
            if payload is not None and not found & destination.compression_mask:
                place["offset"] = payload.first.offset
            message = f"compression id {found:#x} does not exist in {context.destination.release.name}"
            place["severity"] = Severity.ERROR if harms else None
            collect.add(MFD206, message, **place)


def _end(context: Context, collect: Collector, number: int, survey: ChannelSurvey) -> None:
    end, records = survey.end, len(paired_records(context))
    if end is None or end.end is not StreamEnd.CLOSED:
        return
    if end.position is not EndPosition.BOUNDARY:
        if end.position is not EndPosition.INIT:
            message = f"the channel ends {end.position}, {end.missing} bytes are missing"
            collect.add(MFD129, message, channel=number, offset=end.record, length=end.offset - end.record)
    elif is_whole(survey) and survey.sync < records and context.main is not None and not context.main.source.holes():
        message = f"the channel ends after {survey.sync} SYNCs, main carries {records} rendezvous records"
        collect.add(MFD130, message, channel=number, offset=end.offset, length=0)


def _overlaps(context: Context, collect: Collector) -> None:
    """MFD216 and MFD315. Where a SYNC may not have been recorded, what is one round cannot be told."""
    if context.reduced:
        return
    for overlap in context.memory.overlaps:
        first, second = overlap.channels
        on = second if first == "main" else int(first)
        offset, length = _packet_with(context, on, overlap)
        more = f" and {overlap.pages - 1} more" if overlap.pages > 1 else ""
        page = f"page {overlap.first_page:#x}{more} of {overlap.block!r}"
        if first == "main":
            message = f"{page} is a ZERO record on main and a normal page here in the same round"
            severity = Severity.ERROR if context.pages_lost else None
            collect.add(MFD315, message, channel=on, offset=offset, length=length, name="offset", severity=severity)
            continue
        at_boundary = overlap.behind_page - overlap.first_page == 1 and context.sender.maybe(lambda s: s.repeats_page)
        why = f"; {_REPEATS} a page may stand in two packets in a row" if at_boundary else ""
        harm = "" if overlap.differs else ", harmless: same content, or sent again later"
        message = f"{page} is also on channel {second} in round {overlap.round}{harm}{why}"
        harmless = at_boundary and not overlap.differs and not context.pages_lost
        severity = Severity.INFO if harmless else None
        collect.add(MFD216, message, channel=on, offset=offset, length=length, name="offset", severity=severity)


def _packet_with(context: Context, number: int, overlap: Overlap) -> tuple[int | None, int | None]:
    """Offset and length of the header that names the first page of an overlap on a channel."""
    survey = next(survey for channel, survey in context.channels if channel == number)
    wanted = {overlap.block: np.array([overlap.first_page], np.int64)}
    place = locate(survey, wanted, overlap.round, overlap.round).get((overlap.block, overlap.first_page))
    return (None, None) if place is None else (place.packet, header_length(survey))


def _kept_zero_pages(context: Context, collect: Collector) -> None:
    """MFD211 where it spoils memory: the destination keeps what such a page held before."""
    for kept in context.memory.kept_zero_pages:
        number, survey = context.channels[kept.position]
        keeps = f"{context.destination.release.name} keeps that"
        message = f"page {kept.page:#x} of {kept.block!r} was sent with content before; {keeps}"
        collect.add(
            MFD211,
            message,
            channel=number,
            offset=kept.offset,
            length=header_length(survey),
            name="zero_pages",
            severity=Severity.ERROR,
        )


def _numbers(context: Context, collect: Collector) -> None:
    """MFD228. Dense numbers only from 9.0 on, non-decreasing ones before; nothing when packets were not recorded."""
    if context.reduced or not context.channels:
        return
    dense = context.sender.surely(lambda s: s.packet_num_dense)
    for number, survey in context.channels:
        numbers = survey.packet_numbers()
        steps = np.diff(numbers)
        wrong = np.flatnonzero(steps <= 0 if dense else steps < 0)
        if len(wrong):
            before, after = int(numbers[wrong[0]]), int(numbers[wrong[0] + 1])
            message = f"packet_num {after} follows {before}"
            _number(collect, (number, survey), int(wrong[0]) + 1, message, len(wrong) - 1)
    if not dense:
        return
    everything = np.sort(np.concatenate([survey.packet_numbers() for _, survey in context.channels]))
    seen = distinct(everything)
    if not len(seen):
        return
    repeated = distinct(everything[1:][everything[1:] == everything[:-1]])
    if len(repeated):
        message = f"packet_num {int(repeated[0])} is used {int((everything == repeated[0]).sum())} times"
        channel = next(c for c in reversed(context.channels) if int(repeated[0]) in c[1].packet_numbers())
        index = int(np.flatnonzero(channel[1].packet_numbers() == repeated[0])[-1])
        _number(collect, channel, index, message, len(repeated) - 1)
    gaps = int(seen[-1]) + 1 - len(seen)
    if gaps > 0 and all_whole(context):
        first = int(seen[np.flatnonzero(seen != np.arange(len(seen)))[0]]) - 1 if len(seen) < int(seen[-1]) + 1 else 0
        dropped = context.destination.compression_flag and context.sender.maybe(lambda s: s.drops_zero_only_compressed)
        why = f": {_DROPS} do not send compressed packets of zero pages only" if dropped else ""
        message = f"{gaps} packet numbers are missing, among them {first}{why}"
        severity = Severity.ERROR if context.pages_lost else None
        collect.add(MFD228, message, name="packet_num", severity=Severity.INFO if dropped else severity)


def _number(collect: Collector, channel: tuple[int, ChannelSurvey], index: int, message: str, repeats: int) -> None:
    number, survey = channel
    offset = packet_offset(survey, index)
    collect.add(
        MFD228,
        message,
        channel=number,
        offset=offset,
        length=header_length(survey),
        name="packet_num",
        repeats=repeats,
    )
