"""Checks of multifd packets that take more than one: compression ids, packet numbers, pages, the ends of streams."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analyzers.findings import Severity
from analyzers.judge.content import packet_offset
from analyzers.linter.context import Context
from analyzers.linter.found import Checks, Found
from analyzers.linter.overlaps import overlaps
from analyzers.linter.pairing import all_whole, header_length, is_whole, paired_records
from analyzers.rulebook.codes import MFD101, MFD102, MFD129, MFD130, MFD205, MFD206, MFD211, MFD216, MFD228
from analyzers.rulebook.packets.rules import METHOD_PAYLOADS
from analyzers.survey.channel import ChannelSurvey, ItemKind
from multifd_codec.arrays import distinct
from multifd_codec.channel.events import EndPosition
from multifd_codec.dialect.compression import known
from multifd_codec.dialect.words import which
from multifd_codec.source import StreamEnd
from multifd_codec.wire.handshake import MULTIFD_VERSION

CHECKS = Checks()
_REPEATS = which(lambda r: r.sender.repeats_page)
_DROPS = which(lambda r: r.sender.drops_zero_only_compressed)


@CHECKS.of(MFD101)
def no_packet(context: Context) -> Iterator[Found]:
    for number, survey in context.channels:
        for item in survey.items:
            if item.kind is ItemKind.UNREADABLE and item.found and not item.hole and item.other_version is None:
                message = f"{item.found[:8].hex(' ')} where a packet must start"
                yield Found(message, number, item.offset, len(item.found), "magic")


@CHECKS.of(MFD102)
def other_version(context: Context) -> Iterator[Found]:
    """Where nothing behind it shows that it is a packet for all that."""
    for number, survey in context.channels:
        for item in survey.items:
            if item.kind is ItemKind.UNREADABLE and item.other_version is not None:
                message = f"version {item.other_version}, expected {MULTIFD_VERSION}"
                yield Found(message, number, item.offset, len(item.found), "version")


@CHECKS.of(MFD129)
def ends_inside(context: Context) -> Iterator[Found]:
    for number, survey in context.channels:
        end = survey.end
        inside = end is not None and end.position not in (EndPosition.BOUNDARY, EndPosition.INIT)
        if end is not None and inside and end.end is StreamEnd.CLOSED:
            message = f"the channel ends {end.position}, {end.missing} bytes are missing"
            yield Found(message, number, end.record, end.offset - end.record)


@CHECKS.of(MFD130)
def ends_early(context: Context) -> Iterator[Found]:
    if context.main is None or context.main.source.holes():
        return
    records = len(paired_records(context))
    for number, survey in context.channels:
        end = survey.end
        if end is not None and survey.ends_at_boundary and is_whole(survey) and survey.sync < records:
            message = f"the channel ends after {survey.sync} SYNCs, main carries {records} rendezvous records"
            yield Found(message, number, end.offset, 0)


@CHECKS.of(MFD205)
def another_compression(context: Context) -> Iterator[Found]:
    for number, survey in context.channels:
        for found, hits in survey.compressions.items():
            if found != context.destination.compression_flag:
                message = f"compression id {found:#x}, elsewhere {context.destination.compression_flag:#x}"
                yield Found(message, number, hits.first.offset, hits.first.length, "flags", repeats=hits.count - 1)


@CHECKS.of(MFD206)
def unknown_compression(context: Context) -> Iterator[Found]:
    mask = context.destination.habits.compression_mask
    for number, survey in context.channels:
        for found, hits in survey.compressions.items():
            if known(mask, found):
                continue
            payload = next(
                (survey.hits[p] for ids, p in METHOD_PAYLOADS.items() if ids & found and p in survey.hits), None
            )
            harms = payload is not None or found & mask
            first = hits.first if payload is None or found & mask else payload.first
            message = f"compression id {found:#x} does not exist in {context.destination.release.name}"
            severity = Severity.ERROR if harms else None
            yield Found(message, number, first.offset, hits.first.length, "flags", severity, hits.count - 1)


@CHECKS.of(MFD211)
def kept_zero_pages(context: Context) -> Iterator[Found]:
    """Where it spoils memory: the destination keeps what such a page held before."""
    for kept in context.memory.kept_zero_pages:
        number, survey = context.channels[kept.position]
        page = f"page {kept.page:#x} of {kept.block!r}"
        message = f"{page} was sent with content before; {context.destination.release.name} keeps that"
        yield Found(message, number, kept.offset, header_length(survey), "zero_pages", Severity.ERROR)


@CHECKS.of(MFD216)
def on_two_channels(context: Context) -> Iterator[Found]:
    ends = [survey.source.end for _, survey in context.channels]
    # In a stream that ends early the page is yet to be sent again, and no page is known to be never sent.
    goes_on = context.main is None or context.main.eof is None or any(end is not StreamEnd.CLOSED for end in ends)
    for overlap, place in overlaps(context, on_main=False):
        at_boundary = overlap.behind_page - overlap.first_page == 1 and context.sender.maybe(lambda s: s.repeats_page)
        why = f"; {_REPEATS} a page may stand in two packets in a row" if at_boundary else ""
        harm = "" if overlap.differs else ", harmless: same content, or sent again later"
        where = f"is also on channel {overlap.channels[1]} in round {overlap.round}"
        harmless = at_boundary and (goes_on or not (overlap.differs or context.pages_lost))
        severity = Severity.INFO if harmless else None
        yield place._replace(message=f"{place.message} {where}{harm}{why}", severity=severity)


@CHECKS.of(MFD228)
def packet_numbers(context: Context) -> Iterator[Found]:
    """Dense from the releases on that number so, else only not falling; nothing when packets were not recorded."""
    if context.reduced or not context.channels:
        return
    dense = context.sender.surely(lambda s: s.packet_num_dense)
    for number, survey in context.channels:
        numbers = survey.packet_numbers()
        steps = np.diff(numbers)
        wrong = np.flatnonzero(steps <= 0 if dense else steps < 0)
        if len(wrong):
            before, after = int(numbers[wrong[0]]), int(numbers[wrong[0] + 1])
            yield _at_packet(number, survey, int(wrong[0]) + 1, f"packet_num {after} follows {before}", len(wrong) - 1)
    if dense:
        yield from _not_dense(context)


def _not_dense(context: Context) -> Iterator[Found]:
    """Over all channels: numbers used twice, and numbers that are missing."""
    everything = np.sort(np.concatenate([survey.packet_numbers() for _, survey in context.channels]))
    seen = distinct(everything)
    if not len(seen):
        return
    repeated = distinct(everything[1:][everything[1:] == everything[:-1]])
    if len(repeated):
        message = f"packet_num {int(repeated[0])} is used {int((everything == repeated[0]).sum())} times"
        number, survey = next(c for c in reversed(context.channels) if int(repeated[0]) in c[1].packet_numbers())
        index = int(np.flatnonzero(survey.packet_numbers() == repeated[0])[-1])
        yield _at_packet(number, survey, index, message, len(repeated) - 1)
    gaps = int(seen[-1]) + 1 - len(seen)
    if gaps > 0 and all_whole(context):
        first = int(seen[np.flatnonzero(seen != np.arange(len(seen)))[0]]) - 1 if len(seen) < int(seen[-1]) + 1 else 0
        dropped = context.destination.compression_flag and context.sender.maybe(lambda s: s.drops_zero_only_compressed)
        why = f": {_DROPS} do not send compressed packets of zero pages only" if dropped else ""
        message = f"{gaps} packet numbers are missing, among them {first}{why}"
        severity = Severity.ERROR if context.pages_lost else None
        yield Found(message, field="packet_num", severity=Severity.INFO if dropped else severity)


def _at_packet(number: int, survey: ChannelSurvey, index: int, message: str, repeats: int) -> Found:
    offset = packet_offset(survey, index)
    return Found(message, number, offset, header_length(survey), "packet_num", repeats=repeats)
