"""What several rule modules count by: which records of main are a rendezvous in the stream's own mode, whatever a
destination makes of them."""

from __future__ import annotations

from analyzers.linter.context import Context
from analyzers.survey.channel import ChannelSurvey
from analyzers.survey.main import Record
from multifd_codec.layout import layout
from multifd_codec.main.rendezvous import ends_unpaired
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
    """The records that the source's SYNCs pair with."""
    main = context.main
    if main is None or "mapped-ram" in main.capabilities:
        return []
    return [record for record in main.records if record.is_rendezvous(context.stream_mode)]


def all_records_known(context: Context) -> bool:
    """Whether main was understood up to its EOF byte, so that no further rendezvous can follow."""
    main = context.main
    return main is not None and main.eof is not None and main.skipped is None


def unpaired_tail(context: Context) -> bool:
    """Every channel ends in exactly one SYNC more than main has records, with nothing behind it."""
    channels = ((survey.sync, survey.ends_in_sync) for _, survey in context.channels)
    return ends_unpaired(channels, len(paired_records(context)))
