"""The counts and facts of a report, from surveys."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from analyzers.findings import ChannelSummary, DeviceSummary, MainSummary, StreamFacts
from analyzers.linter.context import Context
from analyzers.linter.pairing import paired_records
from analyzers.receiver.device_state import state_buffers
from analyzers.survey.channel import ChannelSurvey
from analyzers.survey.device_state import Buffer
from analyzers.survey.main import MainSurvey
from captures.model import CapturedChannel, Migration
from multifd_codec.device_key import DeviceKey
from multifd_codec.dialect.releases import RELEASES


def main_summary(main: MainSurvey, context: Context) -> MainSummary:
    """Counts of the main channel."""
    records = len(paired_records(context))
    return MainSummary(main.source.size, records, main.eof is not None and main.stopped is None, main.understood)


def channel_summary(name: int, survey: ChannelSurvey, captured: CapturedChannel) -> ChannelSummary:
    """Counts of one multifd channel."""
    return ChannelSummary(
        id=name,
        stated=captured.stated_id is not None,
        bytes=survey.source.size,
        packets=survey.packets,
        sync=survey.sync,
        ram=survey.ram,
        device_state=survey.device_state,
        normal_pages=survey.normal_pages,
        zero_pages=survey.zero_pages,
        complete=not survey.unreadable and not survey.stops_being_packets and survey.ends_at_boundary,
        label=captured.label,
    )


def device_summaries(surveys: Sequence[ChannelSurvey]) -> tuple[DeviceSummary, ...]:
    """Device state by device, over all channels."""
    buffers: defaultdict[DeviceKey, list[Buffer]] = defaultdict(list)
    for survey in surveys:
        for item in survey.items:
            if item.buffer is not None:
                buffers[item.buffer.device].append(item.buffer)
    return tuple(
        DeviceSummary(
            idstr=device.idstr,
            instance_id=device.instance_id,
            packets=len(mine),
            bytes=sum(buffer.packet.payload_length for buffer in mine),
            complete=state_buffers((b.index, b.config) for b in mine if b.placed and b.index is not None).complete,
        )
        for device, mine in sorted(buffers.items())
    )


def stream_facts(
    main: MainSurvey | None, surveys: Sequence[ChannelSurvey], context: Context, migration: Migration
) -> StreamFacts:
    """What the recording says of the migration as a whole."""
    uuid = next((survey.init.uuid for survey in surveys if survey.init is not None), None)
    span = migration.span
    facts = StreamFacts(
        compression=context.destination.compression,
        uuid=None if uuid is None else UUID(bytes=uuid),
        releases=(RELEASES[context.sender.first].name, RELEASES[context.sender.last].name),
        begin=None if span is None else span.begin,
        end=None if span is None else span.end,
    )
    if main is None:
        return facts
    return facts._replace(
        machine=main.machine,
        page_size=main.page_size if main.page_size_stated else None,
        capabilities=main.capabilities,
        blocks=main.blocks,
    )
