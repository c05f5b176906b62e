"""What stands in guest pages: the same for the same plan, always, and made as fast as memory can be copied.

A page's content depends on what it is asked for (seed, RAM block, page number, generation) and on nothing else, so the
sender and whoever checks its streams make the same bytes without keeping them.
"""

from __future__ import annotations

import random
import zlib
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from multifd_codec.source import Buffer

PageArray = NDArray[np.uint8]
"""(pages, page size) bytes."""

POOL_PAGES = 64
"""Different pages there are, but for their stamps."""
STAMP = 16
"""Bytes at the start of a page that no other page has."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


class PageContent(Protocol):
    """Makes pages."""

    def pages(self, block: str, first: int, count: int, page_size: int, generation: int) -> PageArray:
        """(count, page_size) content of pages ``first`` on of a RAM block when they are sent the ``generation``-th
        time."""

    def zeros(self, block: str, first: int, count: int, generation: int) -> NDArray[np.bool_] | None:
        """(count,) which of them are zero; None when only looking at them tells."""


class Zero(NamedTuple):
    """Nothing but zero pages."""

    def pages(self, block: str, first: int, count: int, page_size: int, generation: int) -> PageArray:
        return np.zeros((count, page_size), np.uint8)

    def zeros(self, block: str, first: int, count: int, generation: int) -> NDArray[np.bool_]:
        return np.ones(count, np.bool_)


class Pattern(NamedTuple):
    """Pages that all differ: half of each is noise, half repeats, so that they can be compressed to about half."""

    seed: int = 0
    zero_share: float = 0.0
    """Part of the pages, picked by seed, that are zero."""

    def pages(self, block: str, first: int, count: int, page_size: int, generation: int) -> PageArray:
        numbers = np.arange(first, first + count, dtype=np.uint64)
        salt = _salt(self.seed, block, generation)
        made = np.empty((count, page_size), np.uint8)
        pool = _pool(page_size)
        for start in range(0, count, POOL_PAGES):
            part = made[start : start + POOL_PAGES]
            row = (first + start + int(salt)) % POOL_PAGES
            part[:] = pool[row : row + len(part)]
        stamps = made[:, :STAMP].view(">u8")
        stamps[:, 0] = salt
        stamps[:, 1] = numbers
        zeros = self.zeros(block, first, count, generation)
        if zeros is not None and self.zero_share > 0:
            made[zeros] = 0
        return made

    def zeros(self, block: str, first: int, count: int, generation: int) -> NDArray[np.bool_]:
        if self.zero_share <= 0:
            return np.zeros(count, np.bool_)
        numbers = np.arange(first, first + count, dtype=np.uint64)
        hashed = _splitmix(numbers + _salt(self.seed, block, 0))
        return (hashed >> np.uint64(11)) < np.uint64(int(min(1.0, self.zero_share) * (1 << 53)))


class Given(NamedTuple):
    """Pages given as bytes, the first of them at page ``first``."""

    data: Buffer
    first: int = 0

    def pages(self, block: str, first: int, count: int, page_size: int, generation: int) -> PageArray:
        start = (first - self.first) * page_size
        flat = np.frombuffer(self.data, np.uint8, count=count * page_size, offset=start)
        return flat.reshape(count, page_size)

    def zeros(self, block: str, first: int, count: int, generation: int) -> None:
        return None


@lru_cache(maxsize=8)
def _pool(page_size: int) -> PageArray:
    """(2 * POOL_PAGES, page_size), the second half like the first: POOL_PAGES of them in a row from any row of the
    first. Made once, by Python's generator since its output never changes."""
    noise = random.Random(page_size)
    half = page_size // 2
    pages = (noise.randbytes(half) + noise.randbytes(32) * (half // 32) for _ in range(POOL_PAGES))
    return np.frombuffer(2 * b"".join(pages), np.uint8).reshape(2 * POOL_PAGES, page_size)


@lru_cache(maxsize=1024)
def _salt(seed: int, block: str, generation: int) -> np.uint64:
    """Never 0 in its upper half, so that a stamped page is not zero."""
    low = zlib.crc32(f"{seed}/{block}/{generation}".encode())
    high = zlib.crc32(f"{generation}/{block}/{seed}".encode()) | 1
    return np.uint64(high << 32 | low)


def _splitmix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's output function: numbers in a row become independent ones."""
    mixed = values * _GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[0]
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[1]
    return mixed ^ (mixed >> np.uint64(31))
