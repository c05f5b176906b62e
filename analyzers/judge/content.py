"""Where the content of chosen guest pages lies on a channel, and whether two places hold the same."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analyzers.survey.channel import ChannelSurvey
from analyzers.survey.memory import block_names
from multifd_codec.channel.batch import PacketBatch
from multifd_codec.channel.columns import Columns
from multifd_codec.channel.decoder import ChannelDecoder
from multifd_codec.source import bytes_known

Channels = Sequence[tuple[int, ChannelSurvey]]
"""Multifd channels by id."""
Pages = NDArray[np.int64]
"""Page numbers in rising order."""


class Place(NamedTuple):
    """What a packet says of one page. ``payload`` is None for a zero page."""

    segment: int
    payload: int | None
    """Offset of the page's bytes in the channel's stream."""
    readable: bool
    """The page's bytes stand plain in the recording."""
    packet: int
    """Offset of the packet that names it."""
    first: bool = False
    """It is the packet's first page."""
    fills: bool = False
    """It is the last page of a packet that can hold no more."""


class NamedPage(NamedTuple):
    """One page of one packet."""

    block: str
    page: int
    place: Place


def batches(survey: ChannelSurvey, start: int, end: int, segment: int) -> Iterator[tuple[PacketBatch, Columns, Pages]]:
    """Batches of the packets from the packet boundary ``start`` up to ``end``, with each packet's segment."""
    decoder = ChannelDecoder(survey.source, page_size=survey.page_size, position=start)
    for item in decoder.scan():
        if not isinstance(item, PacketBatch):
            if decoder.position >= end:
                return
            continue
        inside = item.offset < end
        if not inside.any():
            return
        columns = Columns(item)
        yield item, columns, np.where(inside, segment + np.cumsum(columns.sync) - columns.sync, -1)
        segment += int(columns.sync.sum())
        if not inside.all():
            return


Skipping = Callable[[str, Pages, NDArray[np.bool_]], NDArray[np.bool_]]
"""Of pages of a block, which are zero pages given, those that are not asked for."""


def named_pages(
    survey: ChannelSurvey, start: int, end: int, segment: int, *, skipping: Skipping | None = None
) -> Iterator[NamedPage]:
    """Every page named by the packets from ``start`` to ``end``, in order; without those that are skipped."""
    for batch, columns, segments in batches(survey, start, end, segment):
        names = {int(i): name for name, members in block_names(batch) for i in members}
        for index in np.flatnonzero((segments >= 0) & columns.has_pages & (columns.normal <= columns.capacity)):
            offsets = batch.rows["offset"][index].astype(np.int64)
            if skipping is not None:
                normal, count = int(columns.normal[index]), int(columns.normal[index] + columns.zero_known[index])
                zero = np.arange(count) >= normal
                if skipping(names[int(index)], offsets[:count] // survey.page_size, zero).all():
                    continue
            for page, place in _places(survey, batch, columns, int(index), int(segments[index]), offsets):
                yield NamedPage(names[int(index)], page, place)


def locate(
    survey: ChannelSurvey, wanted: Mapping[str, Pages], first_segment: int, last_segment: int
) -> dict[tuple[str, int], Place]:
    """The last place on this channel, within the segments given, of each wanted page. Reads those segments only."""
    found: dict[tuple[str, int], Place] = {}
    first = bisect_left(survey.items, first_segment, key=lambda item: item.segment)
    behind = bisect_right(survey.items, last_segment, key=lambda item: item.segment)
    if first >= behind:
        return found
    start, end = survey.items[first], survey.items[behind - 1].end
    for batch, columns, segments in batches(survey, start.offset, end, start.segment):
        rows = (segments >= first_segment) & (segments <= last_segment) & columns.has_pages
        rows &= columns.normal <= columns.capacity
        if not rows.any():
            continue
        for name, members in block_names(batch):
            pages = wanted.get(name)
            if pages is None:
                continue
            for index in members[rows[members]]:
                offsets = batch.rows["offset"][index].astype(np.int64)
                if not np.isin(offsets // survey.page_size, pages).any():
                    continue
                for page, place in _places(survey, batch, columns, int(index), int(segments[index]), offsets):
                    if page in pages:
                        found[name, page] = place
    return found


def _places(
    survey: ChannelSurvey, batch: PacketBatch, columns: Columns, index: int, segment: int, offsets: Pages
) -> Iterator[tuple[int, Place]]:
    normal, zero = int(columns.normal[index]), int(columns.zero_known[index])
    plain = columns.compression[index] == 0
    packet = int(batch.offset[index])
    payload = packet + batch.header_length
    for entry in range(normal + zero):
        page = int(offsets[entry]) // survey.page_size
        if entry >= normal:
            yield page, Place(segment, None, readable=True, packet=packet)
        else:
            at = payload + entry * survey.page_size
            readable = bool(plain) and bytes_known(survey.source, at) >= survey.page_size
            yield page, Place(segment, at, readable, packet, entry == 0, entry + 1 == columns.capacity)


def packet_offset(survey: ChannelSurvey, number: int) -> int | None:
    """Offset of the RAM packet of that number (from 0) on its channel."""
    start = survey.items[0].offset if survey.items else 0
    for batch, _, _ in batches(survey, start, survey.source.size, 0):
        if number < len(batch):
            return int(batch.offset[number])
        number -= len(batch)
    return None


def content(survey: ChannelSurvey, place: Place) -> bytes | None:
    """The page's bytes; empty for a zero page, also when it is sent as bytes; None when they cannot be read."""
    if place.payload is None:
        return b""
    if not place.readable:
        return None
    data = bytes(survey.source.read(place.payload, survey.page_size))
    return data if data.strip(b"\0") else b""
