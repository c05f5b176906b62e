"""Sets of guest pages as sorted runs: which pages a round carried, whether two channels carried the same one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from multifd_codec.arrays import distinct

Runs = NDArray[np.int64]
"""(n, 2) first page and page behind the last one, in rising order, not touching each other."""

MERGE_AT = 1 << 16
"""Runs collected before they are merged: bounds memory to what the guest's fragmentation needs."""
MAX_RUNS = 4_000_000
"""Runs kept for one set; beyond it the set is incomplete and says so (64 MB)."""

EMPTY: Runs = np.empty((0, 2), np.int64)


def merge(runs: Runs) -> Runs:
    """Sorted, with overlapping and touching runs joined."""
    if len(runs) < 2:
        return runs
    runs = runs[np.argsort(runs[:, 0], kind="stable")]
    ends = np.maximum.accumulate(runs[:, 1])
    starts_new = np.concatenate(([True], runs[1:, 0] > ends[:-1]))
    first = np.flatnonzero(starts_new)
    last = np.concatenate((first[1:] - 1, [len(runs) - 1]))
    return np.stack((runs[first, 0], ends[last]), axis=1)


def overlap(sets: Iterable[Runs]) -> tuple[int, int] | None:
    """First stretch of pages (first, behind last) that lies in two of the sets, each merged in itself; None if none."""
    joined = np.concatenate([*sets, EMPTY])
    joined = joined[np.argsort(joined[:, 0], kind="stable")]
    ends = np.maximum.accumulate(joined[:, 1]) if len(joined) else joined[:, 1]
    hits = np.flatnonzero(joined[1:, 0] < ends[:-1])
    if not len(hits):
        return None
    first = int(joined[hits[0] + 1, 0])
    return first, int(min(joined[hits[0] + 1, 1], ends[hits[0]]))


def shared(sets: Iterable[Runs]) -> Runs:
    """All pages that lie in two or more of the sets, each merged in itself."""
    joined = np.concatenate([*sets, EMPTY])
    joined = joined[np.argsort(joined[:, 0], kind="stable")]
    if len(joined) < 2:
        return EMPTY
    ends = np.maximum.accumulate(joined[:, 1])[:-1]
    hits = np.flatnonzero(joined[1:, 0] < ends)
    return merge(np.stack((joined[hits + 1, 0], np.minimum(joined[hits + 1, 1], ends[hits])), axis=1))


def without(runs: Runs, removed: Runs) -> Runs:
    """Pages of ``runs`` that are not in ``removed``; both merged."""
    if not len(runs) or not len(removed):
        return runs
    edges = distinct(np.concatenate((runs.reshape(-1), removed.reshape(-1))))
    pieces = np.stack((edges[:-1], edges[1:]), axis=1)
    kept = contains(runs, pieces[:, 0]) & ~contains(removed, pieces[:, 0])
    return merge(pieces[kept])


def contains(runs: Runs, pages: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the pages lie in the runs (merged)."""
    at = np.searchsorted(runs[:, 0], pages, side="right") - 1
    return (at >= 0) & (pages < runs[np.maximum(at, 0), 1]) if len(runs) else np.zeros(len(pages), np.bool_)


def missing(runs: Runs, count: int) -> tuple[int, int, int]:
    """(number of pages of 0..count-1 in no run, first and behind-last page of the first such stretch)."""
    runs = merge(runs)
    edges = np.concatenate(([[0, 0]], np.clip(runs, 0, count), [[count, count]]))
    gaps = edges[1:, 0] - edges[:-1, 1]
    holes = np.flatnonzero(gaps > 0)
    if not len(holes):
        return 0, 0, 0
    return int(gaps[holes].sum()), int(edges[holes[0], 1]), int(edges[holes[0] + 1, 0])


def runs_of(sorted_pages: NDArray[np.int64]) -> Runs:
    """Runs of page numbers in rising order (duplicates allowed)."""
    if not len(sorted_pages):
        return EMPTY
    breaks = np.flatnonzero(np.diff(sorted_pages) > 1)
    first = sorted_pages[np.concatenate(([0], breaks + 1))]
    last = sorted_pages[np.concatenate((breaks, [len(sorted_pages) - 1]))]
    return np.stack((first, last + 1), axis=1)


@dataclass(slots=True)
class PageSet:
    """A growing set of pages of one RAM block."""

    parts: list[Runs] = field(default_factory=list)
    size: int = 0
    """Runs when they were merged last."""
    pending: int = 0
    """Runs since then: as many again before the next time, or storms of pages that do not touch would take forever."""
    merged: bool = False
    """There is one part, in order and without overlap."""
    complete: bool = True
    """False when pages were left out because there were too many runs."""

    def add(self, runs: Runs) -> None:
        if not self.complete:
            return
        self.parts.append(runs)
        self.merged = False
        self.pending += len(runs)
        if self.pending >= max(MERGE_AT, self.size):
            self.size = len(self.runs())
            self.complete = self.size <= MAX_RUNS
            self.pending = 0

    def runs(self) -> Runs:
        """All pages so far."""
        if not self.merged:
            self.parts, self.merged = [merge(np.concatenate([*self.parts, EMPTY]))], True
        return self.parts[0]


PageKey = tuple[int, str, bool]
"""(segment: number of SYNCs in front, RAM block, whether the pages are zero pages)."""


def page_sets() -> defaultdict[PageKey, PageSet]:
    """An empty collection of page sets by segment, block and kind."""
    return defaultdict(PageSet)
