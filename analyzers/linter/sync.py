"""Rules on synchronisation (MFD301 to MFD314): SYNCs on channels against rendezvous records on main.

All but MFD306 look at the stream alone, in its own mode: what a destination of the other mode makes of it is MFD306.
"""

from __future__ import annotations

from analyzers.findings import Severity
from analyzers.judge.content import batches
from analyzers.linter.context import Collector, Context
from analyzers.linter.pairing import all_records_known, header_length, is_whole, paired_records, unpaired_tail
from analyzers.rulebook.codes import (
    MFD301,
    MFD302,
    MFD303,
    MFD304,
    MFD305,
    MFD306,
    MFD307,
    MFD308,
    MFD309,
    MFD310,
    MFD311,
    MFD312,
    MFD313,
    MFD314,
)
from analyzers.rulebook.rule import Rule
from analyzers.survey.channel import ChannelSurvey, Item, ItemKind
from analyzers.survey.main import MainSurvey, Record, RecordKind, SectionKind
from multifd_codec.dialect.releases import RFC_V3, Mode
from multifd_codec.dialect.words import which


def check(context: Context, collect: Collector) -> None:
    """All synchronisation rules. Where packets were not recorded, counting proves little."""
    if context.main is not None:
        _records(context, collect, context.main)
    _counts(context, collect)
    if context.channels and not context.reduced:
        _first_packet(context, collect)
        if context.main is not None and all_records_known(context):
            for number, survey in context.channels:
                _behind_last_sync(context, collect, number, survey, context.main)


def _records(context: Context, collect: Collector, main: MainSurvey) -> None:
    flushes = [record for record in main.records if record.kind is RecordKind.FLUSH]
    destination = context.destination.habits

    def at(rule: Rule, record: Record, message: str, severity: Severity | None = None) -> None:
        collect.add(rule, message, channel="main", offset=record.offset, length=8, name="flags", severity=severity)

    if "mapped-ram" in main.capabilities:
        for record in flushes:
            at(MFD314, record, "FLUSH in a mapped-ram stream")
        return
    for record in flushes:
        if record.postcopy:
            refused = destination.flush_in_postcopy_fails or not destination.flush_known
            at(MFD312, record, "FLUSH behind POSTCOPY_LISTEN", None if refused else Severity.WARNING)
    if not context.channels:
        for record in flushes:
            at(MFD311, record, "FLUSH without multifd channels", None if destination.flush_known else Severity.ERROR)
        return
    if context.destination.mode is not context.stream_mode:
        message = f"the destination works {context.destination.mode}, the stream was sent {context.stream_mode}"
        collect.add(MFD306, message, channel="main")
    if main.source.holes():
        return  # records may be missing
    setup = [r for r in paired_records(context) if r.section is SectionKind.START]
    if context.stream_mode is Mode.PER_SECTION:
        for record in flushes:
            at(MFD305, record, "FLUSH in a stream whose rendezvous records are the ends of RAM sections")
        setup = [record for record in setup if record.kind is RecordKind.EOS]
    if main.blocks is not None and any(r.section is SectionKind.START for r in main.records) and len(setup) != 1:
        message = f"{len(setup)} rendezvous records in the RAM setup section"
        collect.add(MFD304, message, channel="main", offset=main.setup)
    if context.stream_mode is Mode.PER_ROUND and main.eof is not None and not main.postcopy:
        ends = [r for r in main.records if r.section is SectionKind.END]
        if ends and not any(r.kind is RecordKind.FLUSH for r in ends):
            collect.add(MFD307, "no FLUSH in the END section of ram", channel="main", offset=ends[-1].offset, length=8)


def _first_packet(context: Context, collect: Collector) -> None:
    for number, survey in context.channels:
        first = survey.items[0] if survey.items else None
        if first is not None and first.kind in (ItemKind.DATA, ItemKind.DEVICE_STATE):
            message = f"the first packet is {first.kind}, not SYNC"
            length = min(first.end - first.offset, header_length(survey))
            collect.add(MFD303, message, channel=number, offset=first.offset, length=length, name="flags")


def _counts(context: Context, collect: Collector) -> None:
    """MFD301, MFD302, MFD310. A channel that was not recorded to its end may have more SYNCs than were seen."""
    whole = [survey.sync for _, survey in context.channels if is_whole(survey)]
    usual = max(set(whole), key=whole.count, default=0)
    for number, survey in context.channels if whole and not context.reduced else ():
        if survey.sync != usual and (survey.sync > usual or is_whole(survey)):
            _at_last_sync(collect, MFD302, number, survey, f"{survey.sync} SYNCs, other channels have {usual}")
    if context.main is None or context.main.source.holes():
        return
    records = len(paired_records(context))
    surplus_counts = all_records_known(context) and not context.reduced and not context.main.postcopy  # that is MFD313
    if surplus_counts and unpaired_tail(context):
        _say_tail(context, collect)
        return
    for number, survey in context.channels:
        if (survey.sync < records and is_whole(survey)) or (surplus_counts and survey.sync > records):
            message = f"{survey.sync} SYNCs, main carries {records} rendezvous records"
            _at_last_sync(collect, MFD301, number, survey, message)


def _at_last_sync(collect: Collector, rule: Rule, number: int, survey: ChannelSurvey, message: str) -> None:
    last = next((item.offset for item in reversed(survey.items) if item.kind is ItemKind.SYNC), 0)
    collect.add(rule, message, channel=number, offset=last, length=header_length(survey), name="flags")


_UNPAIRED = which(lambda r: r.sender.unpaired_sync_at_complete)


def _say_tail(context: Context, collect: Collector) -> None:
    if any(survey.device_state for _, survey in context.channels):
        message = f"the last SYNC has no rendezvous record and stands behind all device state, as in {RFC_V3}"
    else:
        message = f"the last SYNC has no rendezvous record, as {_UNPAIRED} send it"
    for number, survey in context.channels:
        _at_last_sync(collect, MFD310, number, survey, message)


def _behind_last_sync(
    context: Context, collect: Collector, number: int, survey: ChannelSurvey, main: MainSurvey
) -> None:
    """Pages and device state that no rendezvous covers."""
    records = len(paired_records(context))

    def at(rule: Rule, item: Item, message: str) -> None:
        collect.add(rule, message, channel=number, offset=item.offset, length=item.end - item.offset)

    for item in survey.items:
        if item.segment < records:
            continue
        if item.kind is ItemKind.DATA and records and _has_pages(survey, item):
            rule = MFD313 if main.postcopy else MFD308
            what = "behind the last SYNC that main releases" if item.segment == records else "behind an unreleased SYNC"
            at(rule, item, f"{item.packets} RAM packets with pages {what}")
        elif item.kind is ItemKind.DEVICE_STATE and item.segment > records:
            device = item.buffer.device.idstr if item.buffer is not None else ""
            at(MFD309, item, f"device state of {device!r} behind a SYNC that no rendezvous record releases")
        elif item.kind is ItemKind.DEVICE_STATE and context.destination.name == RFC_V3 and item.segment == survey.sync:
            at(MFD309, item, f"device state behind the last SYNC of the channel, {RFC_V3} sends that SYNC last")
        elif item.kind is ItemKind.SYNC and main.postcopy:
            at(MFD313, item, "SYNC that belongs to no rendezvous in precopy")


def _has_pages(survey: ChannelSurvey, item: Item) -> bool:
    """Empty packets behind the last SYNC are what up to 8.2 owe after a merged SYNC."""
    return any(columns.has_pages.any() for _, columns, _ in batches(survey, item.offset, item.end, item.segment))
