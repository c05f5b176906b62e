"""What a migration does to guest memory when it completes: pages lost, raced, or never sent."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from analyzers.findings import Actor, Kind, Location, Reason
from analyzers.judge.content import Channels, NamedPage, Place, content, locate, named_pages
from analyzers.judge.effects import Fault
from analyzers.judge.infer import Sender
from analyzers.judge.loaded import Loaded
from analyzers.judge.misaligned import misaligned_zero_pages
from analyzers.receiver.script import Act, ChannelStep, Script
from analyzers.receiver.solve import lockstep, segments
from analyzers.rulebook.packets.page_rules import REPEATED_NORMAL_PAGE
from analyzers.survey.channel import ChannelSurvey, numbers_of
from analyzers.survey.main import MainSurvey
from analyzers.survey.pages import EMPTY, Runs, merge, missing, overlap, shared, without
from multifd_codec.dialect.releases import DestinationHabits, Mode

MAX_COMPARED = 4096
"""Pages whose content is compared one by one before the answer is taken to be: it differs."""


@dataclass(slots=True)
class Overlap:
    """The same page twice where the order is not fixed."""

    round: int
    block: str
    first_page: int
    behind_page: int
    """First page and the page behind the last of the first stretch."""
    pages: int
    """All pages of this round and block that are there twice."""
    channels: tuple[int | str, int]
    differs: bool


class KeptZeroPage(NamedTuple):
    """A page that was sent with content, then as a zero page which the destination does not clear."""

    position: int
    """Position of the channel that carries it as a zero page."""
    offset: int | None
    """Offset of that packet."""
    block: str
    page: int


@dataclass(slots=True)
class MemoryVerdict:
    """What is certain and what is a race."""

    wrong: list[Reason] = field(default_factory=list)
    """Guest memory ends up wrong whatever the order."""
    raced: list[Reason] = field(default_factory=list)
    """Guest memory may end up wrong."""
    overlaps: list[Overlap] = field(default_factory=list)
    kept_zero_pages: list[KeptZeroPage] = field(default_factory=list)
    never_sent: int = 0

    def add(self, other: MemoryVerdict) -> None:
        """What another check found, behind what is there."""
        self.wrong += other.wrong
        self.raced += other.raced
        self.overlaps += other.overlaps
        self.kept_zero_pages += other.kept_zero_pages
        self.never_sent += other.never_sent


Known = dict[object, Any]
"""What was found for one destination and is the same for others, by what it depends on."""


def mark_lost_data(
    script: Script,
    channels: Channels,
    main: MainSurvey | None,
    found: dict[int, Fault],
    known: Known,
    *,
    channels_first: bool = False,
) -> Script:
    """Set ``matters`` on the steps that may stay unread and whose pages would change guest memory. ``known`` as in
    ``judge_memory``. ``channels_first``: channels that main does not wait for at its end are faster."""
    reached = lockstep(script).reached + channels_first
    if ("loaded", reached) not in known:
        known["loaded", reached] = Loaded(channels, main, reached)
    loaded = known["loaded", reached]

    def changes(position: int, start: int, end: int, segment: int) -> bool:
        key = ("changes", reached, position, start, end)
        if key not in known:
            known[key] = _differs(channels[position][1], loaded, start, end, segment)
        return bool(known[key])

    streams = []
    for position, steps in enumerate(script.channels):
        survey = channels[position][1]
        marked: list[ChannelStep] = []
        for segment, _, step in segments(steps):
            differs = False
            if step.act is Act.DATA and segment >= reached:
                differs = changes(position, step.offset, step.end, segment)
            elif step.act is Act.ERROR and position in found:
                differs = step.matters or changes(position, step.offset, survey.source.size, segment)
            marked.append(replace(step, matters=True) if differs else step)
        streams.append(tuple(marked))
    return script._replace(channels=tuple(streams))


def _differs(survey: ChannelSurvey, loaded: Loaded, start: int, end: int, segment: int) -> bool:
    """Whether loading the packets from ``start`` to ``end`` changes guest memory."""
    compared = 0
    group: list[NamedPage] = []

    def group_differs() -> bool:
        loaded.look_up([named for named in group if loaded.has_content(named.block, named.page)])
        return any(not loaded.same(survey, named) for named in group)

    for named in named_pages(survey, start, end, segment, skipping=loaded.stays_zero):
        if not loaded.has_content(named.block, named.page):
            if not loaded.same(survey, named):
                return True
            continue
        group.append(named)
        compared += 1
        if compared > MAX_COMPARED:
            return True
    return group_differs()


def judge_memory(
    channels: Channels,
    main: MainSurvey | None,
    destination: DestinationHabits,
    sender: Sender,
    mode: Mode,
    known: Known,
    *,
    gaps: bool,
) -> MemoryVerdict:
    """What is wrong with page content whoever reads first. ``gaps``: packet numbers are missing. ``known`` is of the
    same channels, sender and ``gaps``, and grows."""

    def found(key: tuple[object, ...], check: Callable[[MemoryVerdict], None]) -> None:
        if key not in known:
            known[key] = MemoryVerdict()
            check(known[key])
        verdict.add(known[key])

    verdict = MemoryVerdict()
    unread_same = sender.maybe(lambda habits: habits.repeats_page)
    on_main = mode if main is not None and main.pages else None
    found(("overlaps", on_main), lambda own: _overlaps(own, channels, main, mode, unread_same=unread_same))
    if destination.zero_pages or sender.maybe(lambda habits: habits.zero_pages):
        marks = destination.zero_pages, destination.normal_pages_unmarked
        found(("stale", *marks), lambda own: _stale_zero_pages(own, channels, destination))
    verdict.wrong += misaligned_zero_pages(channels, destination)
    if main is not None and main.overlapping is not None:
        verdict.wrong.append(Reason(Kind.REGIONS_OVERLAP, Actor.MAIN, "main", because=main.overlapping))
    twice = bool(verdict.overlaps)
    found(("coverage", twice), lambda own: _coverage(own, channels, main, sender, gaps=gaps, twice=twice))
    found(("dropped",), lambda own: _dropped_zero_pages(own, channels, sender))
    return verdict


def _dropped_zero_pages(verdict: MemoryVerdict, channels: Channels, sender: Sender) -> None:
    """Compressed packets of zero pages only are numbered but not sent (9.0 to 9.2, cdc3970f85): harmless while memory
    is fresh, but pages that had content before keep it."""
    compressed = any(number for _, survey in channels for number in survey.compressions)
    if not compressed or not sender.maybe(lambda habits: habits.drops_zero_only_compressed):
        return
    numbers = numbers_of(survey for _, survey in channels)
    second = [number for _, survey in channels for number in survey.sync_numbers()[1:2]]
    if not second:
        return
    behind = numbers[numbers >= max(second)]  # the second SYNC ends the first round of pages
    if len(behind) and int(behind[-1]) - int(behind[0]) + 1 > len(behind):
        verdict.raced.append(Reason(Kind.ZERO_PACKETS_MISSING, Actor.SOURCE))


def _overlaps(
    verdict: MemoryVerdict, channels: Channels, main: MainSurvey | None, mode: Mode, *, unread_same: bool
) -> None:
    """Pages on two channels in one round. ``unread_same``: content that cannot be read is taken to be the same, since
    the sender is one that repeats pages and the page stands where it repeats them; its guest is stopped, or the page
    would be sent again."""
    rounds: dict[tuple[int, str], list[tuple[int, Runs]]] = defaultdict(list)
    normal: dict[tuple[int, str], list[tuple[int, Runs]]] = defaultdict(list)
    for position, (_, survey) in enumerate(channels):
        mine: dict[tuple[int, str], list[Runs]] = defaultdict(list)
        for (segment, block, zero), pages in survey.pages.items():
            mine[segment, block].append(pages.runs())
            if not zero:
                normal[segment, block].append((position, pages.runs()))
        for key, runs in mine.items():
            rounds[key].append((position, merge(np.concatenate(runs))))
    by_block: dict[str, list[tuple[int, Runs]]] = defaultdict(list)
    for (segment, block), sets in sorted(rounds.items()):
        by_block[block] += [(segment, runs) for _, runs in sets]
    for (segment, block), sets in sorted(rounds.items()):
        twice = shared(runs for _, runs in sets)
        if not len(twice):
            continue
        found = (int(twice[0, 0]), int(twice[0, 1]))
        pair = [position for position, runs in sets if len(shared((runs, twice[:1])))][:2]
        ids = (channels[pair[0]][0], channels[pair[1]][0])
        final = _not_sent_again(twice, segment, by_block[block])
        differs = bool(len(final)) and _contents_differ(channels, pair, block, final, segment, unread_same=unread_same)
        count = int((twice[:, 1] - twice[:, 0]).sum())
        verdict.overlaps.append(Overlap(segment, block, *found, count, ids, differs))
        if differs:
            reason = Reason(Kind.PAGE_ON_TWO_CHANNELS, Actor.CHANNEL, ids[0], block=block, page=found[0])
            verdict.raced.append(reason._replace(also=(Location(ids[1]),)))
    if main is not None:
        _zero_records(verdict, channels, main, mode, normal)


def _not_sent_again(pages: Runs, segment: int, rounds: Sequence[tuple[int, Runs]]) -> Runs:
    """Those of ``pages`` that no round behind ``segment`` carries; ``rounds`` in rising order."""
    for _, runs in rounds[bisect_right(rounds, segment, key=lambda entry: entry[0]) :]:
        if not len(pages):
            break
        first = np.searchsorted(runs[:, 1], pages[0, 0], side="right")
        behind = np.searchsorted(runs[:, 0], pages[-1, 1], side="left")
        pages = without(pages, runs[first:behind])
    return pages


def _zero_records(
    verdict: MemoryVerdict,
    channels: Channels,
    main: MainSurvey,
    mode: Mode,
    normal: dict[tuple[int, str], list[tuple[int, Runs]]],
) -> None:
    """Pages that are a ZERO record on main and a normal page on a channel in the same round."""
    for (flushes, ends, block, zero), pages in main.pages.items():
        segment = ends if mode is Mode.PER_SECTION else flushes
        for position, runs in normal.get((segment, block), []) if zero else ():
            found = overlap((pages.runs(), runs))
            if found is not None:
                number = channels[position][0]
                count = found[1] - found[0]
                verdict.overlaps.append(Overlap(segment, block, *found, count, ("main", number), differs=True))
                reason = Reason(Kind.PAGE_ON_MAIN_TOO, Actor.CHANNEL, number, block=block, page=found[0])
                verdict.raced.append(reason._replace(also=(Location("main"),)))


def _contents_differ(
    channels: Channels, positions: Sequence[int], block: str, pages: Runs, segment: int, *, unread_same: bool
) -> bool:
    """Whether two channels carry other bytes for one of the pages in one round."""
    if int((pages[:, 1] - pages[:, 0]).sum()) > MAX_COMPARED:
        return True
    numbers = np.concatenate([np.arange(first, behind, dtype=np.int64) for first, behind in pages])
    places = [locate(channels[position][1], {block: numbers}, segment, segment) for position in positions]
    for page in numbers.tolist():
        if not all((block, page) in found for found in places):
            continue
        contents = [content(channels[p][1], found[block, page]) for p, found in zip(positions, places, strict=True)]
        if None in contents:
            if not (unread_same and _repeats(*(found[block, page] for found in places))):
                return True
        elif contents[0] != contents[1]:
            return True
    return False


def _repeats(one: Place, other: Place) -> bool:
    """Whether it is the last page of a full packet that starts another packet again (up to 7.2)."""
    return (one.fills and other.first) or (other.fills and one.first)


def _stale_zero_pages(verdict: MemoryVerdict, channels: Channels, destination: DestinationHabits) -> None:
    """Pages sent as normal, later as zero, by a destination that then leaves the old content."""
    compression = {number for _, survey in channels for number in survey.compressions}
    if destination.zero_pages and not any(number & destination.normal_pages_unmarked for number in compression):
        return
    normal: dict[str, list[tuple[int, Runs]]] = defaultdict(list)
    zero: list[tuple[int, int, str, Runs]] = []
    for position, (_, survey) in enumerate(channels):
        for (segment, block, is_zero), pages in survey.pages.items():
            if is_zero:
                zero.append((position, segment, block, pages.runs()))
            else:
                normal[block].append((segment, pages.runs()))
    for position, segment, block, runs in zero:
        earlier = merge(np.concatenate([EMPTY, *(r for s, r in normal.get(block, []) if s < segment)]))
        later = merge(np.concatenate([EMPTY, *(r for s, r in normal.get(block, []) if s > segment)]))
        found = overlap((earlier, without(merge(runs), later)))
        if found is not None:
            page = found[0]
            place = locate(channels[position][1], {block: np.array([page], np.int64)}, segment, segment)
            at = place.get((block, page))
            offset = at.packet if at is not None else None
            if not verdict.kept_zero_pages:
                number = channels[position][0]
                reason = Reason(Kind.ZERO_PAGE_NOT_CLEARED, Actor.CHANNEL, number, offset, block=block, page=page)
                verdict.wrong.append(reason)
            verdict.kept_zero_pages.append(KeptZeroPage(position, offset, block, page))


def _coverage(
    verdict: MemoryVerdict, channels: Channels, main: MainSurvey | None, sender: Sender, *, gaps: bool, twice: bool
) -> None:
    """Pages of the block list that nobody ever sends. ``twice``: some page stands on two channels in one round."""
    if main is None or main.blocks is None or main.eof is None or main.postcopy or main.capabilities:
        return
    if main.may_skip_pages or not (channels or main.pages or main.iterates):
        return  # without an iteration nothing was pending: memory is shared with the destination (cpr-transfer)
    if any(survey.unreadable or survey.stops_being_packets or survey.cut_headers for _, survey in channels):
        return
    page_size = channels[0][1].page_size if channels else main.page_size or 4096
    sent: dict[str, list[Runs]] = defaultdict(list)
    for _, survey in channels:
        for (_, block, _), pages in survey.pages.items():
            sent[block].append(pages.runs())
            if not pages.complete:
                return
    for (_, _, block, _), pages in main.pages.items():
        sent[block].append(pages.runs())
    total, reason = 0, None
    for block, length in main.blocks.items():
        count, first, _ = missing(np.concatenate([EMPTY, *sent.get(block, [])]), length // page_size)
        total += count
        if count and reason is None:
            reason = Reason(Kind.PAGES_NEVER_SENT, Actor.SOURCE, block=block, pages=count)
            reason = reason._replace(block_offset=first * page_size)
    verdict.never_sent = total
    if reason is None:
        return
    compressed = any(number for _, survey in channels for number in survey.compressions)
    content = any(survey.normal_pages for _, survey in channels)
    drops = sender.maybe(lambda habits: habits.drops_zero_only_compressed)
    if compressed and drops:
        return  # packets of zero pages only were not sent: memory is zero there anyway
    if not content and drops:
        gaps = False  # without content nobody knows whether packets are compressed
    repeated = any(REPEATED_NORMAL_PAGE in survey.hits for _, survey in channels) or twice
    (verdict.wrong if gaps or repeated else verdict.raced).append(reason)
