"""The pages of one RAM block in a mapped-ram file: a bitmap, and each page at its own place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analyzers.extraction.page_table import PageKind
from multifd_codec.main.events import RamBlock
from multifd_codec.source import Buffer, ByteSource, bytes_known, recorded

PIECE = 1 << 14
"""Bytes of bitmap looked at together."""
WINDOW = 1 << 20
"""Bytes of pages copied together."""
MAX_OFFSET = 1 << 62
"""Offsets in files are less; where a page lies has a sign in our tables."""


class MappedPart(NamedTuple):
    """Pages whose bit is set, in rising order."""

    kind: PageKind
    """MAPPED where their bytes are there, else UNKNOWN."""
    pages: NDArray[np.int64]
    offsets: NDArray[np.int64]
    """Of their bytes in the file."""


class MappedProblem(NamedTuple):
    """Why pages are unknown."""

    offset: int
    message: str
    missing: bool


@dataclass(slots=True)
class MappedPages:
    """One block of a mapped-ram file."""

    source: ByteSource
    page_size: int
    pages: int
    bitmap: int
    content: int
    """Offsets of bitmap and first page in the file."""
    taken: int = 0
    """Where the next block's may begin."""
    problems: list[MappedProblem] = field(default_factory=list)

    def parts(self) -> Iterator[MappedPart]:
        """Pages whose bit is set, some thousands at a time; all others are clear."""
        for start in range(0, self.pages if not self.problems else 0, PIECE * 8):
            count = min(PIECE * 8, self.pages - start)
            raw = bytes(self.source.read(self.bitmap + start // 8, (count + 7) // 8))
            if not raw.strip(b"\0"):
                continue
            bits = np.unpackbits(np.frombuffer(raw, np.uint8), count=count, bitorder="little").view(np.bool_)
            there = self._recorded(start, count)
            for kind, those in ((PageKind.MAPPED, bits & there), (PageKind.UNKNOWN, bits & ~there)):
                pages = np.flatnonzero(those) + start
                if len(pages):
                    yield MappedPart(kind, pages, self.content + pages * self.page_size)

    def _recorded(self, start: int, count: int) -> NDArray[np.bool_]:
        """Which of ``count`` pages from ``start`` on are in the file as a whole."""
        size, there = self.page_size, np.zeros(count, np.bool_)
        begin = self.content + start * size
        for offset, length in recorded(self.source, begin, begin + count * size):
            there[-(-(offset - begin) // size) : (offset - begin + length) // size] = True
        return there

    def copies(self, pages: NDArray[np.int64]) -> Iterator[tuple[int, Buffer]]:
        """The bytes of these pages: where they go in the RAM block, and what they are. Pages between that are clear
        are zeros, where they are few; stretches that are zero are left out, as in a sparse file."""
        step = max(1, WINDOW // self.page_size)
        bounds = [0, *(np.flatnonzero(pages[1:] // step != pages[:-1] // step) + 1).tolist(), len(pages)]
        for begin, end in pairwise(bounds):
            for first, data in self._window(pages[begin:end]):
                if not _is_zero(data):
                    yield first * self.page_size, data

    def _window(self, pages: NDArray[np.int64]) -> Iterator[tuple[int, Buffer]]:
        size, first = self.page_size, int(pages[0])
        span = int(pages[-1]) - first + 1
        offset = self.content + first * size
        if len(pages) < span <= 2 * len(pages) and bytes_known(self.source, offset) >= span * size:
            copied = np.frombuffer(self.source.read(offset, span * size), np.uint8).reshape(span, size).copy()
            clear = np.ones(span, np.bool_)
            clear[pages - first] = False
            copied[clear] = 0
            yield first, copied.reshape(-1).data
            return
        bounds = [0, *(np.flatnonzero(pages[1:] != pages[:-1] + 1) + 1).tolist(), len(pages)]
        for begin, end in pairwise(bounds):
            page = int(pages[begin])
            yield page, self.source.read(self.content + page * size, (end - begin) * size)


def _is_zero(data: Buffer) -> bool:
    return not any(data[:64]) and not np.frombuffer(data, np.uint64).any()


def mapped_pages(entry: RamBlock, source: ByteSource, page_size: int, taken: int = 0) -> MappedPages:
    """Where the pages of a block list entry with a mapped-ram header are. ``taken``: where the pages of the
    entry before it end; no block lies over another.

    The bitmap is read as a little-endian source writes it: its words have the byte order of the source's host.
    """
    header = entry.mapped_ram
    assert header is not None
    pages = entry.used_length // page_size
    end = max(taken, header.pages_offset + entry.used_length)
    found = MappedPages(source, page_size, pages, header.bitmap_offset, header.pages_offset, end)
    name = entry.block
    if header.page_size != page_size:
        message = f"mapped-ram header of {name!r}: page size {header.page_size}, the stream's is {page_size}"
        found.problems.append(MappedProblem(header.bitmap_offset, message, missing=False))
    elif pages and bytes_known(source, header.bitmap_offset) < (pages + 7) // 8:
        message = f"the bitmap of {name!r} lies beyond the end of the file"
        found.problems.append(MappedProblem(header.bitmap_offset, message, missing=True))
    elif pages and min(header.bitmap_offset, header.pages_offset) < taken:
        message = f"bitmap or pages of {name!r} lie in those of the block before it"
        found.problems.append(MappedProblem(header.bitmap_offset, message, missing=False))
    elif header.pages_offset + entry.used_length > MAX_OFFSET:
        message = f"the pages of {name!r} lie where no file ends"
        found.problems.append(MappedProblem(header.bitmap_offset, message, missing=True))
    return found
