"""Checks of synchronisation: SYNCs on channels against rendezvous records on main.

All but MFD306 look at the stream alone, in its own mode: what a destination of the other mode makes of it is MFD306.
Where packets were not recorded, counting proves little.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from analyzers.findings import Severity
from analyzers.judge.content import batches
from analyzers.linter.context import Context
from analyzers.linter.found import Checks, Found
from analyzers.linter.overlaps import overlaps
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
    MFD315,
)
from analyzers.survey.channel import ChannelSurvey, Item, ItemKind
from analyzers.survey.main import MainSurvey, Record, RecordKind
from analyzers.survey.vfio import SectionKind
from multifd_codec.dialect.releases import RFC_V3, Mode
from multifd_codec.dialect.words import which

CHECKS = Checks()
_UNPAIRED = which(lambda r: r.sender.unpaired_sync_at_complete)


@CHECKS.of(MFD301)
def paired(context: Context) -> Iterator[Found]:
    """A channel that was not recorded to its end may have more SYNCs than were seen."""
    if context.main is None or context.main.source.holes() or _ends_unpaired(context):
        return
    records = len(paired_records(context))
    for number, survey in context.channels:
        if (survey.sync < records and is_whole(survey)) or (_surplus_counts(context) and survey.sync > records):
            message = f"{survey.sync} SYNCs, main carries {records} rendezvous records"
            yield _at_last_sync(number, survey, message)


@CHECKS.of(MFD302)
def as_many_as_others(context: Context) -> Iterator[Found]:
    whole = [survey.sync for _, survey in context.channels if is_whole(survey)]
    usual = max(set(whole), key=whole.count, default=0)
    for number, survey in context.channels if whole and not context.reduced else ():
        if survey.sync != usual and (survey.sync > usual or is_whole(survey)):
            yield _at_last_sync(number, survey, f"{survey.sync} SYNCs, other channels have {usual}")


@CHECKS.of(MFD303)
def starts_with_sync(context: Context) -> Iterator[Found]:
    for number, survey in context.channels if not context.reduced else ():
        first = survey.items[0] if survey.items else None
        if first is not None and first.kind in (ItemKind.DATA, ItemKind.DEVICE_STATE):
            length = min(first.end - first.offset, header_length(survey))
            yield Found(f"the first packet is {first.kind}, not SYNC", number, first.offset, length, "flags")


@CHECKS.of(MFD304)
def one_in_setup(context: Context) -> Iterator[Found]:
    main = _complete_main(context)
    if main is None or main.blocks is None or not any(r.section is SectionKind.START for r in main.records):
        return
    setup = [record for record in paired_records(context) if record.section is SectionKind.START]
    if context.stream_mode is Mode.PER_SECTION:
        setup = [record for record in setup if record.kind is RecordKind.EOS]
    if len(setup) != 1:
        yield Found(f"{len(setup)} rendezvous records in the RAM setup section", "main", main.setup)


@CHECKS.of(MFD305)
def no_flush_per_section(context: Context) -> Iterator[Found]:
    main = _complete_main(context)
    if main is not None and context.stream_mode is Mode.PER_SECTION:
        message = "FLUSH in a stream whose rendezvous records are the ends of RAM sections"
        yield from (_at_record(record, message) for record in _flushes(main))


@CHECKS.of(MFD306)
def same_mode(context: Context) -> Iterator[Found]:
    if _multifd_main(context) is not None and context.destination.mode is not context.stream_mode:
        yield Found(
            f"the destination works {context.destination.mode}, the stream was sent {context.stream_mode}", "main"
        )


@CHECKS.of(MFD307)
def flush_at_the_end(context: Context) -> Iterator[Found]:
    main = _complete_main(context)
    if main is None or main.postcopy or not main.iterates:  # with all memory shared, nothing is pending
        return
    if context.stream_mode is Mode.PER_ROUND and main.eof is not None:
        ends = [record for record in main.records if record.section is SectionKind.END]
        if ends and not any(record.kind is RecordKind.FLUSH for record in ends):
            yield Found("no FLUSH in the END section of ram", "main", ends[-1].offset, 8)


@CHECKS.of(MFD308)
def pages_behind_the_last(context: Context) -> Iterable[Found]:
    main = context.main
    return _pages_behind(context) if main is not None and not main.postcopy else ()


@CHECKS.of(MFD309)
def device_state_behind_unreleased(context: Context) -> Iterator[Found]:
    for number, survey, item in _behind_records(context):
        if item.kind is not ItemKind.DEVICE_STATE:
            continue
        if item.segment > len(paired_records(context)):
            device = item.buffer.device.idstr if item.buffer is not None else ""
            message = f"device state of {device!r} behind a SYNC that no rendezvous record releases"
            yield _at_item(number, item, message)
        elif context.destination.name == RFC_V3 and item.segment == survey.sync:
            message = f"device state behind the last SYNC of the channel, {RFC_V3} sends that SYNC last"
            yield _at_item(number, item, message)


@CHECKS.of(MFD310)
def last_is_paired(context: Context) -> Iterator[Found]:
    if context.main is None or context.main.source.holes() or not _ends_unpaired(context):
        return
    if any(survey.device_state for _, survey in context.channels):
        message = f"the last SYNC has no rendezvous record and stands behind all device state, as in {RFC_V3}"
    else:
        message = f"the last SYNC has no rendezvous record, as {_UNPAIRED} send it"
    for number, survey in context.channels:
        yield _at_last_sync(number, survey, message)


@CHECKS.of(MFD311)
def flush_without_channels(context: Context) -> Iterator[Found]:
    main = context.main
    if main is not None and not context.channels and "mapped-ram" not in main.capabilities:
        severity = None if context.destination.habits.flush_known else Severity.ERROR
        if severity is None and context.sender.surely(lambda habits: habits.flush_without_multifd):
            severity = Severity.INFO
        yield from (_at_record(record, "FLUSH without multifd channels", severity) for record in _flushes(main))


@CHECKS.of(MFD312)
def flush_in_postcopy(context: Context) -> Iterator[Found]:
    main, destination = context.main, context.destination.habits
    if main is not None and "mapped-ram" not in main.capabilities:
        severity = None if destination.flush_in_postcopy_fails or not destination.flush_known else Severity.WARNING
        for record in _flushes(main):
            if record.postcopy:
                yield _at_record(record, "FLUSH behind POSTCOPY_LISTEN", severity)


@CHECKS.of(MFD313)
def silent_in_postcopy(context: Context) -> Iterator[Found]:
    if context.main is None or not context.main.postcopy:
        return
    pages = {(found.channel, found.offset): found for found in _pages_behind(context)}
    for number, _, item in _behind_records(context):
        if (number, item.offset) in pages:
            yield pages[number, item.offset]
        elif item.kind is ItemKind.SYNC:
            # Who goes on waiting in postcopy pairs it there.
            paired = not context.destination.habits.flush_in_postcopy_fails
            severity = Severity.INFO if paired else None
            yield _at_item(number, item, "SYNC that belongs to no rendezvous in precopy", severity)


@CHECKS.of(MFD314)
def flush_in_mapped_ram(context: Context) -> Iterator[Found]:
    main = context.main
    if main is not None and "mapped-ram" in main.capabilities:
        yield from (_at_record(record, "FLUSH in a mapped-ram stream") for record in _flushes(main))


@CHECKS.of(MFD315)
def zero_on_main_and_page_on_channel(context: Context) -> Iterator[Found]:
    severity = Severity.ERROR if context.pages_lost else None
    for _, place in overlaps(context, on_main=True):
        message = f"{place.message} is a ZERO record on main and a normal page here in the same round"
        yield place._replace(message=message, severity=severity)


def _multifd_main(context: Context) -> MainSurvey | None:
    """Main of a migration whose pages travel in packets."""
    main = context.main
    return None if main is None or not context.channels or "mapped-ram" in main.capabilities else main


def _complete_main(context: Context) -> MainSurvey | None:
    """The same if no record of it can be missing."""
    main = _multifd_main(context)
    return None if main is None or main.source.holes() else main


def _flushes(main: MainSurvey) -> list[Record]:
    return [record for record in main.records if record.kind is RecordKind.FLUSH]


def _surplus_counts(context: Context) -> bool:
    """Whether no further record can release the SYNCs there are; in postcopy they are MFD313."""
    main = context.main
    return main is not None and all_records_known(context) and not context.reduced and not main.postcopy


def _ends_unpaired(context: Context) -> bool:
    return _surplus_counts(context) and unpaired_tail(context)


def _behind_records(context: Context) -> Iterator[tuple[int, ChannelSurvey, Item]]:
    """What no rendezvous covers, on all channels."""
    if context.reduced or not all_records_known(context):
        return
    records = len(paired_records(context))
    for number, survey in context.channels:
        yield from ((number, survey, item) for item in survey.items if item.segment >= records)


def _pages_behind(context: Context) -> Iterator[Found]:
    """RAM packets with pages among them; empty ones are what up to 8.2 owe after a merged SYNC."""
    records = len(paired_records(context))
    for number, survey, item in _behind_records(context) if records else ():
        if item.kind is ItemKind.DATA and any(
            columns.has_pages.any() for _, columns, _ in batches(survey, item.offset, item.end, item.segment)
        ):
            what = "behind the last SYNC that main releases" if item.segment == records else "behind an unreleased SYNC"
            yield _at_item(number, item, f"{item.packets} RAM packets with pages {what}")


def _at_item(number: int, item: Item, message: str, severity: Severity | None = None) -> Found:
    return Found(message, number, item.offset, item.end - item.offset, severity=severity)


def _at_record(record: Record, message: str, severity: Severity | None = None) -> Found:
    return Found(message, "main", record.offset, 8, "flags", severity)


def _at_last_sync(number: int, survey: ChannelSurvey, message: str) -> Found:
    last = next((item.offset for item in reversed(survey.items) if item.kind is ItemKind.SYNC), 0)
    return Found(message, number, last, header_length(survey), "flags")
