"""What several rule modules count by: which records of main are a rendezvous in the stream's own mode, whatever a
destination makes of them."""

from __future__ import annotations

from analyzers.linter.context import Context
from analyzers.survey.channel import ChannelSurvey, ItemKind
from analyzers.survey.main import Record, RecordKind
from multifd_codec.dialect.releases import Mode
from multifd_codec.layout import layout
from multifd_codec.source import StreamEnd
from multifd_codec.wire.packet import ram_packet


def header_length(survey: ChannelSurvey) -> int:
    """Bytes of a RAM packet's header on this channel."""
    return layout(ram_packet(survey.page_size)).size


def is_whole(survey: ChannelSurvey) -> bool:
    """Whether the channel was recorded from its ChannelInit to its end: nothing can be in it that was not seen."""
    return survey.init is not None and not survey.unreadable and survey.source.end is StreamEnd.CLOSED


def all_whole(context: Context) -> bool:
    """Whether what no channel carries was not sent."""
    return not context.reduced and all(is_whole(survey) for _, survey in context.channels)


def paired_records(context: Context) -> list[Record]:
    """The records that SYNCs pair with, outside of postcopy: FLUSH per round, EOS (and any FLUSH) per section."""
    main = context.main
    if main is None or "mapped-ram" in main.capabilities:
        return []
    per_section = context.stream_mode is Mode.PER_SECTION
    return [r for r in main.records if not r.postcopy and (per_section or r.kind is RecordKind.FLUSH)]


def all_records_known(context: Context) -> bool:
    """Whether main was understood up to its EOF byte, so that no further rendezvous can follow."""
    main = context.main
    return main is not None and main.eof is not None and main.skipped is None


def unpaired_tail(context: Context) -> bool:
    """Every channel ends in exactly one SYNC more than main has records, with nothing behind it."""
    records = len(paired_records(context))
    return bool(context.channels) and all(
        survey.sync == records + 1 and survey.items[-1].kind is ItemKind.SYNC for _, survey in context.channels
    )
