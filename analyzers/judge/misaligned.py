"""Pages at an offset that is no multiple of the page size: they lie over two pages, and no receiver minds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from analyzers.findings import Actor, Kind, Reason
from analyzers.judge.content import Channels, Pages, batches, locate
from analyzers.rulebook.packets.page_rules import MISALIGNED, MISALIGNED_ZERO_PAGE
from analyzers.survey.channel import ChannelSurvey
from analyzers.survey.hits import Hit
from analyzers.survey.main import MainSurvey
from analyzers.survey.memory import block_name
from analyzers.survey.pages import EMPTY, Runs, contains, merge
from multifd_codec.dialect.releases import DestinationHabits, Mode
from multifd_codec.source import bytes_known


def misaligned_zero_pages(channels: Channels, destination: DestinationHabits) -> Iterator[Reason]:
    """Zero pages that lie over two pages: cleared only if the first of them was received before."""
    if not destination.zero_pages:
        return
    for number, survey in channels:
        for hit in survey.hits[MISALIGNED_ZERO_PAGE].kept if MISALIGNED_ZERO_PAGE in survey.hits else ():
            for batch, columns, _ in batches(survey, hit.offset, hit.offset + 1, hit.segment):
                normal = int(columns.normal[0])
                if int(columns.compression[0]) & destination.normal_pages_unmarked:
                    continue
                offsets = batch.rows["offset"][0].astype(np.int64)[normal : normal + int(columns.zero[0])]
                block = block_name(batch, 0)
                for offset in offsets[offsets % survey.page_size != 0].tolist():
                    page = np.array([offset // survey.page_size], np.int64)
                    if contains(_content(channels, block, before=hit.segment), page).any():
                        yield Reason(
                            Kind.ZERO_PAGE_OVER_TWO,
                            Actor.CHANNEL,
                            number,
                            hit.offset,
                            block=block,
                            block_offset=offset,
                        )


def harmless(
    channels: Channels,
    main: MainSurvey | None,
    mode: Mode,
    survey: ChannelSurvey,
    reached: int,
    *,
    if_unread: bool = False,
) -> set[int]:
    """Segments of a channel in which normal pages lie over two pages and spoil nothing: both are loaded again, or have
    never had content, and get none. ``if_unread``: compressed pages are taken to have none."""
    hits = survey.hits.get(MISALIGNED)
    if hits is None or len(hits.kept) < hits.count:
        return set()
    result = set(hits.segments)
    for hit in hits.kept:
        block, touched, spoiled = _touched(survey, hit)
        spoiled = spoiled[~contains(_loaded_later(channels, main, mode, block, hit.segment, reached), spoiled)]
        fresh = not contains(_content(channels, block, before=hit.segment), spoiled).any()
        if len(spoiled) and not (
            fresh
            and _only_zeros(survey, hit, spoiled, if_unread=if_unread)
            and _alone(channels, survey, hit, block, touched)
        ):
            result.discard(hit.segment)
    return result


def _touched(survey: ChannelSurvey, hit: Hit) -> tuple[str, Pages, Pages]:
    """RAM block, the pages that the packet's misaligned pages lie over, and those of them that the channel does not
    load again in this round: the pages of a packet are read in order."""
    for batch, columns, _ in batches(survey, hit.offset, hit.offset + 1, hit.segment):
        block = block_name(batch, 0)
        offsets = batch.rows["offset"][0].astype(np.int64)[: int(columns.normal[0])]
        spoiled: set[int] = set()
        touched: set[int] = set()
        for page, within in zip(*(part.tolist() for part in np.divmod(offsets, survey.page_size)), strict=True):
            if within:
                touched |= {page, page + 1}
                spoiled |= {page, page + 1}
            else:
                spoiled.discard(page)
        behind = locate(survey, {block: _pages(spoiled)}, hit.segment, hit.segment)
        mended = {page for (_, page), at in behind.items() if at.packet > hit.offset and at.payload is not None}
        return block, _pages(touched), _pages(spoiled - mended)
    return "", _pages(()), _pages(())


def _pages(numbers: Iterable[int]) -> Pages:
    return np.array(sorted(numbers), np.int64)


def _only_zeros(survey: ChannelSurvey, hit: Hit, spoiled: Pages, *, if_unread: bool) -> bool:
    """Whether the packet writes zeros only to these pages."""
    for batch, columns, _ in batches(survey, hit.offset, hit.offset + 1, hit.segment):
        count, page_size = int(columns.normal[0]), survey.page_size
        start = int(batch.offset[0]) + batch.header_length
        if columns.compression[0] or bytes_known(survey.source, start) < count * page_size:
            return if_unread
        first, within = np.divmod(batch.rows["offset"][0].astype(np.int64)[:count], page_size)
        writes = np.isin(first, spoiled) | ((within != 0) & np.isin(first + 1, spoiled))
        places = (start + int(entry) * page_size for entry in np.flatnonzero(writes))
        return not any(bytes(survey.source.read(place, page_size)).strip(b"\0") for place in places)
    return False


def _alone(channels: Channels, survey: ChannelSurvey, hit: Hit, block: str, touched: Pages) -> bool:
    """Whether no other packet of the segment names these pages."""
    return all(
        other is survey and place.packet == hit.offset
        for _, other in channels
        for place in locate(other, {block: touched}, hit.segment, hit.segment).values()
    )


def _loaded_later(
    channels: Channels, main: MainSurvey | None, mode: Mode, block: str, segment: int, reached: int
) -> Runs:
    """Pages behind the rendezvous that ends a segment: on channels as far as they are released, and on main."""
    runs = [
        pages.runs()
        for _, survey in channels
        for (later, name, _), pages in survey.pages.items()
        if name == block and segment < later < reached
    ]
    runs += [
        pages.runs()
        for (flushes, ends, name, _), pages in (main.pages.items() if main is not None else ())
        if name == block and (ends if mode is Mode.PER_SECTION else flushes) > segment
    ]
    return merge(np.concatenate([EMPTY, *runs]))


def _content(channels: Channels, block: str, *, before: int) -> Runs:
    """Pages that were sent with content in earlier rounds."""
    runs = [
        pages.runs()
        for _, survey in channels
        for (earlier, name, zero), pages in survey.pages.items()
        if name == block and not zero and earlier < before
    ]
    return merge(np.concatenate([EMPTY, *runs]))
