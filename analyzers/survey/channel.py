"""One pass over a multifd channel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from analyzers.rulebook.conditions import HeaderCondition, PacketCondition
from analyzers.rulebook.registry import HEADER_CONDITIONS
from analyzers.survey.device_state import Buffer, read_buffer
from analyzers.survey.hits import KEPT, Hit, Hits
from analyzers.survey.memory import Blocks, check_pages
from analyzers.survey.pages import PageKey, PageSet, page_sets
from analyzers.survey.payloads import PayloadChecker
from captures.model import ProgressCallback
from multifd_codec.arrays import distinct
from multifd_codec.channel.batch import PacketBatch
from multifd_codec.channel.columns import Columns
from multifd_codec.channel.decoder import ChannelDecoder
from multifd_codec.channel.events import ChannelEnd, ChannelInit, DeviceStatePacket, EndPosition, Unreadable
from multifd_codec.channel.framing import MAGIC_VERSION
from multifd_codec.dialect.releases import looks_like_3_0
from multifd_codec.source import ByteSource, read_known
from multifd_codec.wire.handshake import MULTIFD_MAGIC, MULTIFD_VERSION


class ItemKind(StrEnum):
    """What stands at one place of a channel."""

    DATA = "RAM packets"
    SYNC = "SYNC"
    DEVICE_STATE = "device state"
    UNREADABLE = "unreadable"


@dataclass(slots=True)
class Item:
    """A stretch of a channel; consecutive RAM packets without SYNC are one item."""

    kind: ItemKind
    offset: int
    end: int
    packets: int
    segment: int
    buffer: Buffer | None = None
    hole: bool = False
    """UNREADABLE: bytes are missing, rather than being no packet."""
    found: bytes = b""
    touches: bool = True
    """DATA: some packet names pages."""

    @property
    def other_version(self) -> int | None:
        """UNREADABLE: the version of what has the magic of a packet, and another version."""
        if self.hole or len(self.found) < MAGIC_VERSION.size:
            return None
        magic, version = MAGIC_VERSION.unpack_from(self.found)
        return version if magic == MULTIFD_MAGIC and version != MULTIFD_VERSION else None


@dataclass(slots=True)
class ChannelSurvey:
    """What one channel carries."""

    source: ByteSource
    init: ChannelInit | None = None
    starts_late: bool = False
    """The recording has not got the start of this stream."""
    page_size: int = 4096
    cut_headers: int = 0
    """Packets whose offset array is only partly recorded."""
    packets: int = 0
    sync: int = 0
    ram: int = 0
    device_state: int = 0
    normal_pages: int = 0
    zero_pages: int = 0
    items: list[Item] = field(default_factory=list)
    hits: defaultdict[PacketCondition, Hits] = field(default_factory=lambda: defaultdict(Hits))
    compressions: defaultdict[int, Hits] = field(default_factory=lambda: defaultdict(Hits))
    """Compression id to the packets with pages that carry it."""
    content_compressions: defaultdict[int, Hits] = field(default_factory=lambda: defaultdict(Hits))
    """The same of packets with normal pages: those that a destination without zero pages in packets looks at."""
    pages: defaultdict[PageKey, PageSet] = field(default_factory=page_sets)
    counts: list[NDArray[np.int64]] = field(default_factory=list)
    """(n, 4) segment, RAM packets without SYNC, normal and zero pages: stretches of packets in order."""
    numbers: list[NDArray[np.int64]] = field(default_factory=list)
    """Packet numbers of all RAM packets, in order."""
    syncs: list[NDArray[np.int64]] = field(default_factory=list)
    """Packet numbers of those that are SYNCs, in order."""
    alike: tuple[bytes, tuple[HeaderCondition, ...]] | None = None
    """Header of the last run of packets that were alike, and the conditions that held for it."""
    end: ChannelEnd | None = None
    experimental: bool = False
    """The packets have the layout of 3.0/3.1."""

    @property
    def unreadable(self) -> bool:
        """Bytes are missing where packets stand, so that counts are lower bounds."""
        return self.starts_late or any(item.kind is ItemKind.UNREADABLE and item.hole for item in self.items)

    @property
    def stops_being_packets(self) -> bool:
        return any(item.kind is ItemKind.UNREADABLE and not item.hole for item in self.items)

    @property
    def ends_at_boundary(self) -> bool:
        """The bytes there end behind a whole packet."""
        return self.end is not None and self.end.position is EndPosition.BOUNDARY

    @property
    def ends_in_sync(self) -> bool:
        return bool(self.items) and self.items[-1].kind is ItemKind.SYNC

    def packet_numbers(self) -> NDArray[np.int64]:
        return np.concatenate([*self.numbers, np.empty(0, np.int64)])

    def sync_numbers(self) -> NDArray[np.int64]:
        return np.concatenate([*self.syncs, np.empty(0, np.int64)])


def numbers_of(surveys: Iterable[ChannelSurvey]) -> NDArray[np.int64]:
    """The packet numbers of all channels together, ascending, each once."""
    return distinct(np.concatenate([np.empty(0, np.int64), *(survey.packet_numbers() for survey in surveys)]))


def survey_channel(
    source: ByteSource,
    *,
    page_size: int | None = None,
    blocks: Blocks | None = None,
    starts_with_init: bool = True,
    device_state: bool = True,
    progress: ProgressCallback | None = None,
) -> ChannelSurvey:
    """Read all headers of a channel once. Without ``device_state`` it is framed as destinations before 10.0 do, which
    do not know device-state packets."""
    survey = ChannelSurvey(source, starts_late=not starts_with_init)
    decoder = ChannelDecoder(source, page_size=page_size, starts_with_init=starts_with_init, device_state=device_state)
    payloads = PayloadChecker(source)
    if not starts_with_init:
        payloads.lose_context()
    for item in decoder.scan():
        survey.page_size = decoder.page_size or survey.page_size
        match item:
            case ChannelInit():
                survey.init = item
                survey.experimental = looks_like_3_0(read_known(source, item.length, 64))
            case PacketBatch():
                _batch(survey, item, blocks, payloads)
            case DeviceStatePacket():
                _device_state(survey, item)
            case Unreadable():
                payloads.lose_context()
                survey.items.append(
                    Item(
                        ItemKind.UNREADABLE,
                        item.offset,
                        item.offset + item.length,
                        0,
                        survey.sync,
                        hole=item.hole,
                        found=item.found,
                    )
                )
            case ChannelEnd():
                survey.end = item
        if progress is not None:
            progress("reading channels", min(decoder.position, source.size), source.size)
    return survey


def _batch(survey: ChannelSurvey, batch: PacketBatch, blocks: Blocks | None, payloads: PayloadChecker) -> None:
    columns = Columns(batch)
    syncs = np.flatnonzero(columns.sync)
    segments = survey.sync + np.cumsum(columns.sync) - columns.sync
    """A SYNC packet's own pages are loaded before it counts, so it belongs to the segment it ends."""
    for condition, found in _conditions(survey, columns):
        hits = survey.hits[condition]
        kept = found[: max(0, KEPT - len(hits.kept))]
        for index in kept:
            hits.add(_hit(batch, segments, int(index), condition.says(columns, int(index))))
        rest = found[len(kept) :]
        if len(rest):
            hits.more(len(rest), _distinct(segments[rest]))
    for problem in check_pages(columns, segments, blocks, survey.pages):
        survey.hits[problem.condition].add(_hit(batch, segments, problem.index, problem.message))
    _compression(survey, columns, segments)
    for index, found_there, message in payloads.check(columns):
        survey.hits[found_there].add(_hit(batch, segments, index, message))
    survey.numbers.append(columns.number)
    survey.packets += len(batch)
    survey.cut_headers += int((batch.known < batch.header_length).sum())
    survey.ram += len(batch) - len(syncs)
    counts = _counts(columns, syncs, survey.sync)
    survey.counts.append(counts)
    _, _, normal, zero = counts.sum(axis=0).tolist()
    survey.normal_pages += normal
    survey.zero_pages += zero
    _items(survey, batch, columns, syncs)
    survey.syncs.append(columns.number[syncs])
    survey.sync += len(syncs)


def _counts(columns: Columns, syncs: NDArray[np.int64], segment: int) -> NDArray[np.int64]:
    """As ``ChannelSurvey.counts``; packets with impossible counts have no pages."""
    counts = np.stack((~columns.sync, columns.normal * columns.possible, columns.zero * columns.possible), axis=1)
    starts = np.concatenate(([0], syncs + 1))
    starts = starts[starts < len(columns.batch)]
    numbers = segment + np.arange(len(starts))
    return np.column_stack((numbers, np.add.reduceat(counts, starts, axis=0)))


def _distinct(segments: NDArray[np.int64]) -> set[int]:
    """Segments never fall, so a batch inside one segment is seen at its ends."""
    if segments[0] == segments[-1]:
        return {int(segments[0])}
    return {int(segment) for segment in distinct(segments)}


def _conditions(survey: ChannelSurvey, columns: Columns) -> Iterator[tuple[HeaderCondition, NDArray[np.int64]]]:
    """Conditions that hold, with the packets they hold for.

    Packets that are full of pages and otherwise alike, as in a storm of zero pages, are checked once for all of them.
    """
    if not columns.full_of_pages:
        for condition in HEADER_CONDITIONS:
            found = condition.when(columns).nonzero()[0]
            if len(found):
                yield condition, found
        return
    if survey.alike is None or survey.alike[0] != columns.first_fixed:
        holding = tuple(condition for condition in HEADER_CONDITIONS if condition.when(columns)[0])
        survey.alike = columns.first_fixed, holding
    every = np.arange(len(columns.batch))
    for condition in survey.alike[1]:
        yield condition, every


def _hit(batch: PacketBatch, segments: NDArray[np.int64], index: int, message: str) -> Hit:
    return Hit(int(batch.offset[index]), batch.header_length, int(segments[index]), message)


def _compression(survey: ChannelSurvey, columns: Columns, segments: NDArray[np.int64]) -> None:
    """Note the compression id of packets with pages; on the wire it says how the payload is read."""
    _note_ids(survey.compressions, columns, segments, columns.has_pages & columns.possible)
    _note_ids(survey.content_compressions, columns, segments, (columns.normal > 0) & columns.possible)


def _note_ids(
    noted: defaultdict[int, Hits], columns: Columns, segments: NDArray[np.int64], wanted: NDArray[np.bool_]
) -> None:
    if columns.alike:
        ids = [int(columns.compression[0])] if wanted[0] else []
        found = [(number, 0, len(wanted)) for number in ids]
    else:
        numbers = np.where(wanted, columns.compression, -1)
        places = [(int(number), np.flatnonzero(numbers == number)) for number in distinct(numbers) if number >= 0]
        found = [(number, int(where[0]), len(where)) for number, where in places]
    for number, first, count in found:
        noted[number].add(_hit(columns.batch, segments, first, f"compression id {number:#x}"))
        noted[number].more(count - 1, set())


def _items(survey: ChannelSurvey, batch: PacketBatch, columns: Columns, syncs: NDArray[np.int64]) -> None:
    ends = batch.offset + batch.header_length + batch.payload
    start = 0
    for number, index in enumerate(int(i) for i in syncs):
        stop = index + bool(columns.has_pages[index])
        if stop > start:
            touches = bool(columns.has_pages[start:stop].any())
            first, behind = int(batch.offset[start]), int(ends[stop - 1])
            _add_data(survey, first, behind, stop - start, survey.sync + number, touches=touches)
        survey.items.append(Item(ItemKind.SYNC, int(batch.offset[index]), int(ends[index]), 1, survey.sync + number))
        start = index + 1
    if start < len(batch):
        touches = bool(columns.has_pages[start:].any())
        first, count = int(batch.offset[start]), len(batch) - start
        _add_data(survey, first, int(ends[-1]), count, survey.sync + len(syncs), touches=touches)


def _add_data(survey: ChannelSurvey, start: int, end: int, packets: int, segment: int, *, touches: bool) -> None:
    last = survey.items[-1] if survey.items else None
    if last is not None and last.kind is ItemKind.DATA and last.segment == segment and last.end == start:
        last.end = end
        last.packets += packets
        last.touches = last.touches or touches
    else:
        survey.items.append(Item(ItemKind.DATA, start, end, packets, segment, touches=touches))


def _device_state(survey: ChannelSurvey, packet: DeviceStatePacket) -> None:
    survey.packets += 1
    survey.device_state += 1
    survey.items.append(
        Item(
            ItemKind.DEVICE_STATE,
            packet.offset,
            packet.payload_offset + packet.payload_length,
            1,
            survey.sync,
            buffer=read_buffer(survey.source, packet),
        )
    )
