"""Where each page of a RAM block came from: small arrays for the parts of the block that were named, and no others.

A block's length is what a stream claims, so nothing here is as long as the block; and pages that were named one here,
one there would take a part each, so the parts of all blocks share a limit.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

CHUNK_SHIFT = 8
CHUNK = 1 << CHUNK_SHIFT
"""Pages of one chunk."""
CHUNK_OVERHEAD = 800
"""Bytes that a chunk takes besides its pages."""
LEAST_ROOM = 96 << 20
"""Bytes of page tables that every migration may have: a guest of 40 GiB, or of 15 GiB with provenance."""
ROOM_PER_BYTE = 3
"""A recorded byte makes room for these many more: a zero page takes 8 in its packet, and 23 here."""


class PageKind(enum.IntEnum):
    """What a page holds. From UNKNOWN on its bytes may be other than zero."""

    NEVER_SENT = 0
    ZERO = 1
    """A zero page of a packet."""
    ZERO_RECORD = 2
    """A ZERO record on main."""
    CLEAR = 3
    """A clear bit in the bitmap of a mapped-ram file."""
    UNKNOWN = 4
    """Sent, but its content is not in the recording or cannot be read."""
    NORMAL = 5
    """A normal page of a packet."""
    PAGE_RECORD = 6
    """A PAGE, XBZRLE or COMPRESS_PAGE record on main, or a ZERO record with another fill byte."""
    MAPPED = 7
    """A set bit in the bitmap of a mapped-ram file."""

    @property
    def label(self) -> str:
        return _LABELS[self]


_LABELS = {
    PageKind.NEVER_SENT: "never sent",
    PageKind.ZERO: "zero",
    PageKind.ZERO_RECORD: "ZERO record",
    PageKind.CLEAR: "bitmap clear",
    PageKind.UNKNOWN: "unknown",
    PageKind.NORMAL: "normal",
    PageKind.PAGE_RECORD: "page record",
    PageKind.MAPPED: "bitmap set",
}


class Stamp(NamedTuple):
    """Where pages come from."""

    kind: PageKind
    round: int
    position: int
    """Of the channel, -1 for main."""
    offset: int | NDArray[np.int64]
    """Of the packet or record in its channel; for several records an array, one each page."""
    number: int = -1
    """``packet_num``, -1 for records on main."""


PLACE = np.dtype([("kind", "u1"), ("position", "i2"), ("round", "u4")])
PROVENANCE = np.dtype([*PLACE.descr, ("offset", "i8"), ("number", "u8")])
"""One page. ``round`` is one more than the round, 0 for a page never sent; ``number`` is any of 64 bits."""

Pages = range | NDArray[np.int64]
"""Page numbers: consecutive, or any."""


class Marked(NamedTuple):
    """What was there before."""

    held: NDArray[np.int64] | None
    """Pages that may have held other bytes than zeros; None for none."""
    again: NDArray[np.int64] | None
    """Pages that another channel named in the same round; None for none."""
    fresh: bool = False
    """Nothing was ever marked there."""


class Run(NamedTuple):
    """Consecutive pages alike in everything a Stamp says."""

    first: int
    behind: int
    kind: PageKind
    round: int
    position: int
    offset: int
    """Of the packet, or of the first page's record."""
    number: int


class Room:
    """Bytes that are left for the page tables of all blocks; without an argument there is no end of them."""

    def __init__(self, recorded: int | None = None) -> None:
        """``recorded``: bytes of all streams that are in the recording."""
        self._left = 1 << 62 if recorded is None else LEAST_ROOM + ROOM_PER_BYTE * recorded

    def take(self, size: int) -> bool:
        """Whether there are ``size`` bytes more."""
        self._left -= size
        return self._left >= 0


class PageTable:
    """The pages of one RAM block. ``provenance``: packet offsets and numbers are kept, too."""

    def __init__(
        self,
        *,
        provenance: bool = False,
        steps: Mapping[PageKind, int] | None = None,
        pages: int | None = None,
        room: Room | None = None,
    ) -> None:
        """``steps``: bytes from one page's offset to the next one's where pages of a kind have their own, and still are
        one run. ``pages``: as many as the block has, if that is known."""
        self._dtype = PROVENANCE if provenance else PLACE
        self._provenance = provenance
        self._steps = np.zeros(len(PageKind), np.int64)
        for kind, step in (steps or {}).items():
            self._steps[kind] = step
        self._pages = pages
        self._room = room or Room()
        self.overflowed = False
        """Pages were marked that there was no room for: every page not in the table is UNKNOWN."""
        self._chunks: dict[int, dict[str, NDArray[Any]]] = {}
        self.default = PageKind.NEVER_SENT
        """What pages are that were not marked."""

    def mark(self, pages: Pages, stamp: Stamp) -> Marked:
        """Note that these pages are there now (or are unknown now)."""
        if not len(pages):
            return Marked(None, None)
        low = pages[0] if isinstance(pages, range) else int(pages.min())
        high = pages[-1] if isinstance(pages, range) else int(pages.max())
        first, last = low >> CHUNK_SHIFT, high >> CHUNK_SHIFT
        if first == last:
            where = _inside(pages, first)
            return self._mark(first, where, pages, stamp, stamp.offset)
        held: list[NDArray[np.int64]] = []
        again: list[NDArray[np.int64]] = []
        fresh = True
        for number, part in _parts(pages, first, last):
            offset = stamp.offset if isinstance(stamp.offset, int) else stamp.offset[part]
            mine: Pages = pages[part]
            marked = self._mark(number, _inside(mine, number), mine, stamp, offset)
            fresh &= marked.fresh
            if marked.held is not None:
                held.append(marked.held)
            if marked.again is not None:
                again.append(marked.again)
        return Marked(np.concatenate(held) if held else None, np.concatenate(again) if again else None, fresh)

    def _mark(
        self, number: int, where: slice | NDArray[np.int64], pages: Pages, stamp: Stamp, offset: int | NDArray[np.int64]
    ) -> Marked:
        chunk = self._chunks.get(number) or self._added(number)
        if chunk is None:
            return Marked(None, None)
        kinds, rounds, positions = chunk["kind"], chunk["round"], chunk["position"]
        held = again = None
        some = kinds[where] >= PageKind.UNKNOWN
        if some.any():
            held = np.asarray(pages, np.int64)[some]
        before = rounds[where]
        fresh = not before.any()
        same = before == stamp.round + 1
        if same.any():
            same &= positions[where] != stamp.position
            if same.any():
                again = np.asarray(pages, np.int64)[same]
        kinds[where], rounds[where], positions[where] = stamp.kind, stamp.round + 1, stamp.position
        if self._provenance:
            chunk["offset"][where], chunk["number"][where] = offset, max(0, stamp.number)
        return Marked(held, again, fresh)

    def _added(self, number: int) -> dict[str, NDArray[Any]] | None:
        size = CHUNK if self._pages is None else min(CHUNK, self._pages - (number << CHUNK_SHIFT))
        if self.overflowed or not self._room.take(size * self._dtype.itemsize + CHUNK_OVERHEAD):
            self.overflowed, self.default = True, PageKind.UNKNOWN
            return None
        chunk = self._chunks[number] = {name: np.zeros(size, self._dtype[name]) for name in self._dtype.names or ()}
        chunk["kind"][:] = self.default
        return chunk

    def doubt(self) -> None:
        """Records that name pages are missing: what was not marked may have been sent."""
        self.default = PageKind.UNKNOWN
        for chunk in self._chunks.values():
            kinds = chunk["kind"]
            kinds[kinds == PageKind.NEVER_SENT] = PageKind.UNKNOWN

    def known(self, page: int) -> bool:
        """Whether the page's content is known; a page never sent is zero."""
        chunk = self._chunks.get(page >> CHUNK_SHIFT)
        return not self.overflowed if chunk is None else int(chunk["kind"][page & (CHUNK - 1)]) != PageKind.UNKNOWN

    def rounds(self, pages: NDArray[np.int64]) -> NDArray[np.int64]:
        """The round each page comes from, -1 for one that was not marked."""
        found = np.full(len(pages), -1, np.int64)
        for number in set((pages >> CHUNK_SHIFT).tolist()) & self._chunks.keys():
            mine = pages >> CHUNK_SHIFT == number
            found[mine] = self._chunks[number]["round"][pages[mine] & (CHUNK - 1)].astype(np.int64) - 1
        return found

    def count(self, total: int) -> dict[PageKind, int]:
        """Pages of each kind in a block of ``total`` pages."""
        counts = dict.fromkeys(PageKind, 0)
        for number, chunk in self._chunks.items():
            inside = chunk["kind"][: max(0, total - (number << CHUNK_SHIFT))]
            for kind, found in enumerate(np.bincount(inside, minlength=len(PageKind)).tolist()):
                counts[PageKind(kind)] += found
        counts[self.default] += total - sum(counts.values())
        return counts

    def stretches(self, kind: PageKind, total: int) -> Iterator[tuple[int, int]]:
        """(first page, page behind the last) of each stretch of a kind, in rising order."""
        pending: tuple[int, int] | None = None
        for first, behind in self._pieces(kind, total):
            if pending is not None and pending[1] == first:
                pending = pending[0], behind
                continue
            if pending is not None:
                yield pending
            pending = first, behind
        if pending is not None:
            yield pending

    def _pieces(self, kind: PageKind, total: int) -> Iterator[tuple[int, int]]:
        position = 0
        for number in sorted(self._chunks):
            start = number << CHUNK_SHIFT
            if start >= total:
                break
            if kind is self.default and start > position:
                yield position, start
            mask = np.zeros(min(CHUNK, total - start) + 2, np.int8)
            mask[1:-1] = self._chunks[number]["kind"][: len(mask) - 2] == kind
            edges = np.flatnonzero(mask[1:] != mask[:-1]).reshape(-1, 2) + start
            yield from map(tuple, edges.tolist())
            position = start + len(mask) - 2
        if kind is self.default and position < total:
            yield position, total

    def runs(self, total: int) -> Iterator[Run]:
        """All pages in rising order, folded; needs ``provenance``."""
        pending: Run | None = None
        for run in self._runs(total):
            if pending is not None and self._goes_on(pending, run):
                pending = pending._replace(behind=run.behind)
                continue
            if pending is not None:
                yield pending
            pending = run
        if pending is not None:
            yield pending

    def _goes_on(self, run: Run, after: Run) -> bool:
        """Whether they are one run that only the end of a chunk has parted."""
        if run[2:5] != after[2:5] or run.number != after.number:
            return False
        step = int(self._steps[run.kind]) if run.round >= 0 else 0
        return after.offset in (run.offset, run.offset + step * (run.behind - run.first))

    def _runs(self, total: int) -> Iterator[Run]:
        position = 0
        for number in sorted(self._chunks):
            start = number << CHUNK_SHIFT
            if start >= total:
                break
            if start > position:
                yield Run(position, start, self.default, -1, -1, -1, -1)
            size = min(CHUNK, total - start)
            columns = {name: values[:size] for name, values in self._chunks[number].items()}
            yield from self._folded(start, columns)
            position = start + size
        if position < total:
            yield Run(position, total, self.default, -1, -1, -1, -1)

    def _folded(self, start: int, columns: dict[str, NDArray[Any]]) -> Iterator[Run]:
        kinds, offsets = columns["kind"], columns["offset"]
        breaks = np.zeros(max(0, len(kinds) - 1), np.bool_)
        for name in ("kind", "round", "position", "number"):
            breaks |= columns[name][1:] != columns[name][:-1]
        steps = offsets[1:] - offsets[:-1]
        breaks |= (steps != 0) & (steps != self._steps[kinds[1:]])
        heads = np.concatenate(([0], np.flatnonzero(breaks) + 1))
        tails = [*heads[1:].tolist(), len(kinds)]
        rows = (columns[name][heads].tolist() for name in ("kind", "round", "position", "offset", "number"))
        for head, tail, kind, number, position, offset, packet in zip(heads.tolist(), tails, *rows, strict=True):
            if number:
                sent = packet if position >= 0 else -1
                yield Run(start + head, start + tail, PageKind(kind), number - 1, position, offset, sent)
            else:
                yield Run(start + head, start + tail, PageKind(kind), -1, -1, -1, -1)


def _inside(pages: Pages, chunk: int) -> slice | NDArray[np.int64]:
    start = chunk << CHUNK_SHIFT
    if isinstance(pages, range):
        return slice(pages.start - start, pages.stop - start)
    return pages - start


def _parts(pages: Pages, first: int, last: int) -> Iterator[tuple[int, Any]]:
    """(chunk, which of the pages lie in it)."""
    if isinstance(pages, range):
        for number in range(first, last + 1):
            start = number << CHUNK_SHIFT
            yield number, slice(max(0, start - pages.start), max(0, start + CHUNK - pages.start))
        return
    chunks = pages >> CHUNK_SHIFT
    order: NDArray[np.int64] | None = None
    if (chunks[1:] < chunks[:-1]).any():
        order = np.argsort(chunks, kind="stable")
        chunks = chunks[order]
    bounds = [0, *(np.flatnonzero(chunks[1:] != chunks[:-1]) + 1).tolist(), len(chunks)]
    for begin, end in pairwise(bounds):
        yield int(chunks[begin]), slice(begin, end) if order is None else order[begin:end]
