"""Rules on synchronisation (S-01 to S-14): SYNCs on channels against rendezvous records on main."""

from __future__ import annotations

from analyzers.findings import Severity
from analyzers.judge.content import batches
from analyzers.judge.context import Collector, Context
from analyzers.survey.channel import ChannelSurvey, Item, ItemKind
from analyzers.survey.main import MainSurvey, Record, RecordKind, SectionKind
from multifd_codec.dialect import RFC_V3, Mode


def check(context: Context, collect: Collector) -> None:
    """All synchronisation rules. Counting proves nothing where packets were not recorded."""
    if context.main is not None:
        _records(context, collect, context.main)
    if context.channels and not context.reduced:
        _first_packet(context, collect)
        _counts(context, collect)
    if context.channels and context.main is not None and not context.reduced:
        for number, survey in context.channels:
            _behind_last_sync(context, collect, number, survey, context.main)


def rendezvous(context: Context, main: MainSurvey) -> list[Record]:
    """The records that are a rendezvous in the stream's own mode, outside of postcopy."""
    kind = RecordKind.FLUSH if context.mode is Mode.PER_ROUND else RecordKind.EOS
    return [record for record in main.records if record.kind is kind and not record.postcopy]


def _records(context: Context, collect: Collector, main: MainSurvey) -> None:
    flushes = [record for record in main.records if record.kind is RecordKind.FLUSH]

    def at(row: str, record: Record, message: str, severity: Severity | None = None) -> None:
        collect.row(row, message, channel="main", offset=record.offset, length=8, name="flags", severity=severity)

    if "mapped-ram" in main.capabilities:
        for record in flushes:
            at("S-14", record, "FLUSH in a mapped-ram stream")
        return
    for record in flushes:
        if record.postcopy:
            at("S-12", record, "FLUSH behind POSTCOPY_LISTEN")
    if not context.channels:
        for record in flushes:
            at("S-11", record, "FLUSH without multifd channels")
        return
    if context.mode is Mode.PER_SECTION:
        for record in flushes:
            known = context.release.destination.flush_known
            at("S-05", record, "FLUSH in per-section mode" if known else "FLUSH, which this destination does not know")
    if context.mode is not context.stream_mode:
        message = f"the destination works {context.mode}, the stream was sent {context.stream_mode}"
        collect.row("S-06", message, channel="main")
    setup = [r for r in rendezvous(context, main) if r.section is SectionKind.START]
    if main.blocks is not None and any(r.section is SectionKind.START for r in main.records) and len(setup) != 1:
        collect.row(
            "S-04", f"{len(setup)} rendezvous records in the RAM setup section", channel="main", offset=main.setup
        )
    if context.mode is Mode.PER_ROUND and main.eof is not None and not main.postcopy:
        ends = [r for r in main.records if r.section is SectionKind.END]
        if ends and not any(r.kind is RecordKind.FLUSH for r in ends):
            collect.row("S-07", "no FLUSH in the END section of ram", channel="main", offset=ends[-1].offset, length=8)


def _first_packet(context: Context, collect: Collector) -> None:
    for number, survey in context.channels:
        first = survey.items[0] if survey.items else None
        if first is not None and first.kind in (ItemKind.DATA, ItemKind.DEVICE_STATE):
            message = f"the first packet is {first.kind}, not SYNC"
            collect.row(
                "S-03", message, channel=number, offset=first.offset, length=_length(survey, first), name="flags"
            )


def _length(survey: ChannelSurvey, item: Item) -> int:
    return min(item.end - item.offset, 320 + 8 * (524288 // survey.page_size))


def unpaired_tail(context: Context) -> bool:
    """Every channel ends in exactly one SYNC more than main has records, with nothing behind it."""
    records = context.lockstep.records
    return bool(context.channels) and all(
        survey.sync == records + 1 and survey.items[-1].kind is ItemKind.SYNC for _, survey in context.channels
    )


def _counts(context: Context, collect: Collector) -> None:
    counts = {number: survey.sync for number, survey in context.channels}
    main = context.main
    if len(set(counts.values())) > 1:
        usual = max(set(counts.values()), key=list(counts.values()).count)
        if main is not None and context.lockstep.records in counts.values():
            usual = context.lockstep.records
        for number, survey in context.channels:
            if survey.sync != usual:
                where = _last_sync(survey)
                message = f"{survey.sync} SYNCs, other channels have {usual}"
                collect.row("S-02", message, channel=number, offset=where, length=_header(survey), name="flags")
    if main is None or (main.eof is None and main.failure is None):
        return
    records = context.lockstep.records
    if unpaired_tail(context):
        _say_tail(context, collect)
        return
    for number, survey in context.channels:
        if survey.sync != records:
            message = f"{survey.sync} SYNCs, main carries {records} rendezvous records"
            offset = _last_sync(survey)
            collect.row("S-01", message, channel=number, offset=offset, length=_header(survey), name="flags")


def _header(survey: ChannelSurvey) -> int:
    return 320 + 8 * (524288 // survey.page_size)


def _last_sync(survey: ChannelSurvey) -> int:
    return next((item.offset for item in reversed(survey.items) if item.kind is ItemKind.SYNC), 0)


def _say_tail(context: Context, collect: Collector) -> None:
    state = any(survey.device_state for _, survey in context.channels)
    if state:
        message = f"the last SYNC has no rendezvous record and stands behind all device state, as in {RFC_V3}"
    else:
        message = "the last SYNC has no rendezvous record, as 9.1 and 9.2 send it"
    for number, survey in context.channels:
        collect.row("S-10", message, channel=number, offset=_last_sync(survey), length=_header(survey), name="flags")


def _behind_last_sync(
    context: Context, collect: Collector, number: int, survey: ChannelSurvey, main: MainSurvey
) -> None:
    """Pages and device state that no rendezvous covers."""
    if main.eof is None and not context.lockstep.blocked:
        return  # more records may follow
    records = context.lockstep.records
    for item in survey.items:
        if item.segment < records:
            continue
        place = {"channel": number, "offset": item.offset, "length": item.end - item.offset}
        if item.kind is ItemKind.DATA and records and _has_pages(survey, item):
            row = "S-13" if main.postcopy else "S-08"
            what = "behind the last SYNC that main releases" if item.segment == records else "behind an unreleased SYNC"
            collect.row(row, f"{item.packets} RAM packets with pages {what}", **place)  # type: ignore[arg-type]
        elif item.kind is ItemKind.DEVICE_STATE and item.segment > records:
            device = item.buffer.device.idstr if item.buffer is not None else ""
            message = f"device state of {device!r} behind a SYNC that no rendezvous record releases"
            collect.row("S-09", message, **place)  # type: ignore[arg-type]
        elif item.kind is ItemKind.SYNC and main.postcopy:
            collect.row("S-13", "SYNC that belongs to no rendezvous in precopy", **place)  # type: ignore[arg-type]


def _has_pages(survey: ChannelSurvey, item: Item) -> bool:
    """Empty packets behind the last SYNC are what up to 8.2 owe after a merged SYNC."""
    return any(columns.has_pages.any() for _, columns, _ in batches(survey, item.offset, item.end, item.segment))
