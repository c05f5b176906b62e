"""Dirty pages to packets: how a source fills its batch of pages, and where zero pages go.

Sources: find_dirty_block, ram_save_multifd_page (migration/ram.c), multifd_queue_page (migration/multifd.c,
multifd-nocomp.c), multifd_send_zero_page_detect (migration/multifd-zero-page.c, 9.0).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multifd_codec.plan.page_content import PageArray
from multifd_codec.plan.plan import Pages, Round


class Batch(NamedTuple):
    """What one data packet carries."""

    block: str
    normal: NDArray[np.int64]
    """Byte offsets of its normal pages."""
    pages: PageArray
    zero: list[int]
    """Byte offsets of its zero pages."""


class ZeroPages(NamedTuple):
    """Zero pages found by the migration thread (zero-page-detection ``legacy``)."""

    block: str
    offsets: NDArray[np.int64]


class Batches:
    """The batch being filled. It is sent when full, when the RAM block changes, and before each SYNC."""

    def __init__(self, page_size: int, capacity: int, zero_pages: str) -> None:
        self.page_size = page_size
        self.capacity = capacity
        self.zero_pages = zero_pages
        self._block = ""
        self._count = 0
        self._normal: list[NDArray[np.int64]] = []
        self._pages: list[PageArray] = []
        self._zero: list[int] = []

    def add(self, pages: Pages, generation: int) -> Iterator[Batch | ZeroPages]:
        """Queue dirty pages of one block; what goes out on the way."""
        if pages.block != self._block:
            yield from self.flush()
            self._block = pages.block
        first, end = pages.first, pages.first + pages.count
        while first < end:
            count = min(end - first, self.capacity - self._count)
            content = pages.content.pages(pages.block, first, count, self.page_size, generation)
            offsets = np.arange(first, first + count, dtype=np.int64) * self.page_size
            zeros = self._zeros(pages, content, first, count, generation)
            if zeros is not None:
                offsets, content, zero = offsets[~zeros], content[~zeros], offsets[zeros]
                if self.zero_pages == "legacy":
                    yield ZeroPages(self._block, zero)
                else:
                    self._zero += zero.tolist()
                    self._count += len(zero)
            if len(offsets):
                self._normal.append(offsets)
                self._pages.append(content)
                self._count += len(offsets)
            if self._count == self.capacity:
                yield from self.flush()
            first += count

    def _zeros(
        self, pages: Pages, content: PageArray, first: int, count: int, generation: int
    ) -> NDArray[np.bool_] | None:
        """Which pages are treated as zero; None when none is."""
        if self.zero_pages == "none":
            return None
        zeros = pages.content.zeros(pages.block, first, count, generation)
        if zeros is None:
            zeros = content.max(axis=1) == 0
        return zeros if zeros.any() else None

    def flush(self) -> Iterator[Batch]:
        """The batch as it is, if there is anything in it."""
        if self._count:
            normal = self._normal[0] if len(self._normal) == 1 else np.concatenate([_NO_OFFSETS, *self._normal])
            empty = np.empty((0, self.page_size), np.uint8)
            pages = self._pages[0] if len(self._pages) == 1 else np.concatenate([empty, *self._pages])
            yield Batch(self._block, normal, pages, self._zero)
        self._count, self._normal, self._pages, self._zero = 0, [], [], []


_NO_OFFSETS = np.empty(0, np.int64)


def split(one: Round) -> list[tuple[Pages, ...]]:
    """The pages of a round by PART section, about equally many in each."""
    if one.sections == 1:
        return [one.pages]
    total = sum(pages.count for pages in one.pages)
    cuts = [total * number // one.sections for number in range(1, one.sections + 1)]
    sections: list[list[Pages]] = [[] for _ in cuts]
    done, number = 0, 0
    for pages in one.pages:
        first, end = pages.first, pages.first + pages.count
        while first < end:
            while done >= cuts[number]:
                number += 1
            count = min(end - first, cuts[number] - done)
            sections[number].append(replace(pages, first=first, count=count))
            first, done = first + count, done + count
    return [tuple(section) for section in sections]
