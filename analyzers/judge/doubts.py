"""What main carries that a destination may refuse or that may spoil memory: the stream alone does not decide it.

Measured with 7.2 and 10.0 (docs/fidelity.md): which RAM blocks a destination has, and how large they are, is not on the
wire; the packets of the channels tell when the block list contradicts them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from analyzers.findings import Actor, Kind, Reason
from analyzers.judge.content import Channels
from analyzers.judge.infer import Sender
from analyzers.rulebook.conditions import PacketCondition
from analyzers.rulebook.packets.page_rules import (
    OUTSIDE_BLOCK,
    UNKNOWN_BLOCK,
    UNKNOWN_BLOCK_OF_ZERO_PAGES,
    ZERO_PAGE_OUTSIDE_BLOCK,
)
from analyzers.survey.channel import ChannelSurvey
from analyzers.survey.main import MainSurvey
from analyzers.survey.pages import EMPTY, Runs, merge, overlap
from analyzers.survey.vfio import SectionKind
from multifd_codec.dialect.compression import STREAMED
from multifd_codec.dialect.releases import DestinationHabits
from multifd_codec.source import StreamEnd
from multifd_codec.wire.vfio import VfioTagId

SEVERAL = 2
"""Packets that contradict the block list from which on the list may be what is wrong."""


def doubts(channels: Channels, main: MainSurvey | None) -> Iterator[tuple[int, str]]:
    """Offset on main, and why the load may fail there."""
    if main is None:
        return
    yield from main.doubts
    yield from _unsure_tags(main)
    if main.setup is None or not main.blocks:
        return
    surveys = [survey for _, survey in channels]
    unknown = _hits(surveys, UNKNOWN_BLOCK, UNKNOWN_BLOCK_OF_ZERO_PAGES)
    known = any(block in main.blocks for s in surveys for _, block, _ in s.pages)
    if unknown >= SEVERAL and not known:
        yield main.setup, "every packet names a RAM block that is not in the block list: the list may be wrong"
    if _hits(surveys, OUTSIDE_BLOCK, ZERO_PAGE_OUTSIDE_BLOCK) >= SEVERAL:
        yield main.setup, "packets name pages beyond the block list's lengths: the list may be wrong"
    if (
        main.eof is None
        or main.may_skip_pages
        or main.source.holes()
        or any(_partly_recorded(survey) for survey in surveys)
    ):
        return
    if any(condition.hides_pages for survey in surveys for condition in survey.hits):
        return
    page_size = surveys[0].page_size if surveys else 4096
    behind = _behind_last(channels, main)
    for block, length in main.blocks.items():
        if block in behind and behind[block] * page_size * 2 <= length:
            yield main.setup, f"no page of the second half of {block!r} is sent: the block list may be wrong"


def _unsure_tags(main: MainSurvey) -> Iterator[tuple[int, str]]:
    """Tags that need something of the destination, in sections where no source puts them: it says nothing of what the
    source has."""
    for tag, usual, needs in (
        (VfioTagId.DEV_INIT_DATA_SENT, SectionKind.PART, "switchover-ack"),
        (VfioTagId.DEV_CONFIG_LOAD_READY, SectionKind.OTHER, "x-migration-load-config-after-iter"),
    ):
        places = [place for seen in main.vfio.values() if (place := seen.first(tag)) is not None]
        if places and not any(tag in seen.tags[usual] for seen in main.vfio.values()):
            yield min(places), f"{tag.name}, and whether {needs} is on cannot be told"


def _hits(surveys: Sequence[ChannelSurvey], *conditions: PacketCondition) -> int:
    return sum(survey.hits[found].count for survey in surveys for found in conditions if found in survey.hits)


def _partly_recorded(survey: ChannelSurvey) -> bool:
    return survey.unreadable or bool(survey.source.holes()) or survey.source.end is not StreamEnd.CLOSED


def _behind_last(channels: Channels, main: MainSurvey) -> dict[str, int]:
    """Number behind the last page that is sent of each block, by whatever channel."""
    found: dict[str, int] = {}
    sets = [(block, pages) for _, survey in channels for (_, block, _), pages in survey.pages.items()]
    sets += [(block, pages) for (_, _, block, _), pages in main.pages.items()]
    for block, pages in sets:
        runs = pages.runs()
        if len(runs):
            found[block] = max(found.get(block, 0), int(runs[:, 1].max()))
    return found


def foreign_pages(
    channels: Channels, main: MainSurvey | None, sender: Sender, destination: DestinationHabits
) -> list[Reason]:
    """Pages that their sender does not put there: what they hold need not be what the source had."""
    if main is None or main.postcopy:
        return []
    normal: dict[str, list[Runs]] = defaultdict(list)
    every: dict[str, list[Runs]] = defaultdict(list)
    packets_carry_zero = False
    for _, survey in channels:
        for (_, block, zero), pages in survey.pages.items():
            packets_carry_zero = packets_carry_zero or zero
            every[block].append(pages.runs())
            if not zero:
                normal[block].append(pages.runs())
    reasons = []
    if packets_carry_zero and destination.zero_pages and not sender.maybe(lambda habits: habits.zero_pages):
        reasons.append(Reason(Kind.ZERO_PAGES_UNHEARD_OF, Actor.SOURCE))
    if main.zero_fill is not None and not destination.zero_fill_checked:
        reasons.append(Reason(Kind.ZERO_RECORD_FILLS, Actor.MAIN, "main", main.zero_fill))
    reasons += _out_of_order(channels, sender)
    for (_, _, block, zero), pages in main.pages.items():
        on_channels = (normal if zero else every).get(block, [])
        page = overlap((pages.runs(), merge(np.concatenate([EMPTY, *on_channels]))))
        if page is not None and (packets_carry_zero or not zero):
            kind = Kind.ZERO_PAGE_ON_MAIN if zero else Kind.CONTENT_ON_MAIN
            reasons.append(Reason(kind, Actor.MAIN, "main", block=block, page=page[0]))
    return reasons


def _out_of_order(channels: Channels, sender: Sender) -> Iterator[Reason]:
    """zlib and zstd pages refer back to earlier ones: in another order they may still unpack, to something else."""
    dense = sender.surely(lambda habits: habits.packet_num_dense)
    for number, survey in channels:
        if any(compression & STREAMED for compression in survey.compressions):
            steps = np.diff(survey.packet_numbers())
            if (steps < 0).any() or (dense and not steps.all()):
                yield Reason(Kind.PACKETS_OUT_OF_ORDER, Actor.CHANNEL, number)
