"""The rounds of a migration: how much each carried, and when.

SYNCs and the records of main that they pair with cut a migration into segments. Per round, a round is a segment with
pages, and those without that follow it: a source sends FLUSH both when it comes to the end of RAM and when it finds
nothing more to send. Per section every section ends in one: there a round goes on until it would send a page again, or
the END section begins. Round 0 is what stands in front of the first pages.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analyzers.survey.channel import ItemKind
from analyzers.survey.main import Record
from analyzers.survey.migration import Surveyed, SurveyedChannel
from analyzers.survey.pages import EMPTY, Runs, merge, overlap
from analyzers.survey.vfio import SectionKind
from multifd_codec.dialect.releases import Mode
from multifd_codec.wire.ram import RamWord

WORD = int(RamWord.sizeof())
SegmentPages = dict[int, dict[str, list[Runs]]]
"""Segment to RAM block to the pages that channels and main carried in it."""


@dataclass(slots=True)
class Round:
    """``begin`` and ``end`` in seconds of the recording's clock; None without times."""

    number: int | None
    """0: in front of the first pages. None: what follows the last SYNC without a page, like device state."""
    segments: range
    main_bytes: int = 0
    channel_bytes: int = 0
    ram_packets: int = 0
    """Without SYNC."""
    normal_pages: int = 0
    zero_pages: int = 0
    main_pages: int = 0
    """Pages on main, of either kind; those above travelled on channels."""
    begin: float | None = None
    end: float | None = None

    @property
    def bytes(self) -> int:
        return self.main_bytes + self.channel_bytes

    @property
    def seconds(self) -> float | None:
        return None if self.begin is None or self.end is None else self.end - self.begin

    @property
    def rate(self) -> float | None:
        """MB/s."""
        return self.bytes / self.seconds / 1e6 if self.seconds else None


def rounds_of(surveyed: Surveyed, mode: Mode) -> list[Round]:
    """The rounds in order; every byte, packet and page of the migration is in one of them."""
    edges = [_channel_edges(one) for one in surveyed.channels]
    main_edges = _main_edges(surveyed, mode)
    segments = max(len(each) - 1 for each in (*edges, main_edges))
    pages = segment_pages(surveyed, mode, segments - 1)
    counts = _counts(surveyed, mode, segments)
    rounds = list(_joined(pages, segments, _end_section(surveyed, mode), mode))
    span = surveyed.migration.span
    begin = None if span is None else span.begin
    for one in rounds:
        first, behind = one.segments.start, one.segments.stop
        parts = [(each, channel.captured.source) for each, channel in zip(edges, surveyed.channels, strict=True)]
        one.channel_bytes = sum(_edge(each, behind) - _edge(each, first) for each in edges)
        one.main_bytes = _edge(main_edges, behind) - _edge(main_edges, first)
        if surveyed.mains and (behind == segments or not one.channel_bytes):
            parts.append((main_edges, surveyed.mains[0].source))
        one.ram_packets, one.normal_pages, one.zero_pages, one.main_pages = counts[first:behind].sum(axis=0).tolist()
        one.begin = begin
        times = (
            source.time_at(_edge(each, behind) - 1)
            for each, source in parts
            if _edge(each, behind) > _edge(each, first)
        )
        known = [time for time in times if time is not None]
        if known and begin is not None:
            one.end = begin = max(begin, *known)
    return [one for one in rounds if one.bytes]


def segment_pages(surveyed: Surveyed, mode: Mode, last: int = sys.maxsize) -> SegmentPages:
    """Segments up to ``last``, which takes what stands behind it. A page is in as many parts as it was sent, unless it
    was sent several times in one segment of a channel."""
    found: SegmentPages = defaultdict(lambda: defaultdict(list))
    for survey in surveyed.surveys:
        for (segment, block, _), pages in survey.pages.items():
            found[min(segment, last)][block].append(pages.runs())
    if surveyed.main is not None:
        for (flushes, ends, block, _), pages in surveyed.main.pages.items():
            segment = flushes if mode is Mode.PER_ROUND else flushes + ends
            found[min(segment, last)][block].append(pages.runs())
    return found


def number_of(runs: Iterable[Runs]) -> int:
    """Pages in them, those that stand in two counted twice."""
    return sum(int((each[:, 1] - each[:, 0]).sum()) for each in runs)


def _counts(surveyed: Surveyed, mode: Mode, segments: int) -> NDArray[np.int64]:
    """(segments, 4) RAM packets, normal and zero pages on channels; pages on main."""
    counts = np.zeros((segments, 4), np.int64)
    for survey in surveyed.surveys:
        for part in survey.counts:
            np.add.at(counts[:, :3], np.minimum(part[:, 0], segments - 1), part[:, 1:])
    if surveyed.main is not None and surveyed.main.pages:
        for segment, blocks in segment_pages(replace(surveyed, channels=()), mode, segments - 1).items():
            counts[segment, 3] = sum(map(number_of, blocks.values()))
    return counts


def _joined(pages: SegmentPages, segments: int, end: int | None, mode: Mode) -> Iterator[Round]:
    """``end``: segment of the END section."""
    number, start = 0, 0
    sent: dict[str, Runs] = {}
    for segment in range(segments):
        if segment not in pages:
            continue
        parts: dict[str, Runs] = {}
        if mode is Mode.PER_SECTION:
            parts = {block: merge(np.concatenate(runs)) for block, runs in pages[segment].items()}
        again = any(overlap((sent.get(block, EMPTY), runs)) for block, runs in parts.items())
        if mode is Mode.PER_ROUND or number == 0 or segment == end or again:
            if segment > start:
                yield Round(number, range(start, segment))
            number, start, sent = number + 1, segment, {}
        sent |= {block: merge(np.concatenate((sent.get(block, EMPTY), runs))) for block, runs in parts.items()}
    tail = segments - 1
    if start < tail and tail not in pages:
        yield Round(number, range(start, tail))
        yield Round(None, range(tail, segments))
    else:
        yield Round(number, range(start, segments))


def _end_section(surveyed: Surveyed, mode: Mode) -> int | None:
    records = _records(surveyed, mode)
    ends = (position for position, record in enumerate(records) if record.section is SectionKind.END)
    return next(ends, None)


def _records(surveyed: Surveyed, mode: Mode) -> list[Record]:
    """Those that the source's SYNCs pair with."""
    if surveyed.main is None or surveyed.mapped_ram:
        return []
    return [record for record in surveyed.main.records if record.is_rendezvous(mode)]


def _channel_edges(one: SurveyedChannel) -> list[int]:
    """Where segments begin, and where the stream ends."""
    syncs = [item.end for item in one.survey.items if item.kind is ItemKind.SYNC]
    return [0, *syncs, one.captured.source.size]


def _main_edges(surveyed: Surveyed, mode: Mode) -> list[int]:
    if surveyed.main is None:
        return [0, 0]
    return [0, *(record.offset + WORD for record in _records(surveyed, mode)), surveyed.main.source.size]


def _edge(edges: Sequence[int], segment: int) -> int:
    """Where a segment begins; behind the last one, where the stream ends."""
    return edges[min(segment, len(edges) - 1)]
