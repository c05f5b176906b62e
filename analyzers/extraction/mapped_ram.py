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
from multifd_codec.source import Buffer, ByteSource, bytes_known

PIECE = 1 << 20
"""Bytes of bitmap looked at together."""
MAX_COPY = 8 << 20
"""Page bytes handed out together."""
MAX_OFFSET = 1 << 62
"""Offsets in files are less; where a page lies has a sign in our tables."""


class MappedRun(NamedTuple):
    """Consecutive pages alike. ``data`` is None unless they are there."""

    first: int
    behind: int
    kind: PageKind
    offset: int
    """Of the first page's bytes in the file."""
    data: Buffer | None


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
    problems: list[MappedProblem] = field(default_factory=list)

    def runs(self) -> Iterator[MappedRun]:
        """Pages whose bit is set, in rising order; all others are clear."""
        for start in range(0, self.pages if not self.problems else 0, PIECE * 8):
            count = min(PIECE * 8, self.pages - start)
            raw = bytes(self.source.read(self.bitmap + start // 8, (count + 7) // 8))
            if not raw.strip(b"\0"):
                continue
            bits = np.unpackbits(np.frombuffer(raw, np.uint8), count=count, bitorder="little")
            yield from self._pieces(start, bits)

    def _pieces(self, start: int, bits: NDArray[np.uint8]) -> Iterator[MappedRun]:
        edges = [0, *(np.flatnonzero(bits[1:] != bits[:-1]) + 1).tolist(), len(bits)]
        for first, behind in pairwise(edges):
            if not bits[first]:
                continue
            step = MAX_COPY // self.page_size
            for page in range(start + first, start + behind, step):
                yield from self._content(page, min(page + step, start + behind))

    def _content(self, first: int, behind: int) -> Iterator[MappedRun]:
        offset = self.content + first * self.page_size
        there = min(bytes_known(self.source, offset), (behind - first) * self.page_size) // self.page_size
        if there:
            data = self.source.read(offset, there * self.page_size)
            yield MappedRun(first, first + there, PageKind.MAPPED, offset, data)
        if first + there < behind:
            yield MappedRun(first + there, behind, PageKind.UNKNOWN, offset + there * self.page_size, None)


def mapped_pages(entry: RamBlock, source: ByteSource, page_size: int) -> MappedPages:
    """Where the pages of a block list entry with a mapped-ram header are.

    The bitmap is read as a little-endian source writes it: its words have the byte order of the source's host.
    """
    header = entry.mapped_ram
    assert header is not None
    pages = entry.used_length // page_size
    found = MappedPages(source, page_size, pages, header.bitmap_offset, header.pages_offset)
    name = entry.block
    if header.page_size != page_size:
        message = f"mapped-ram header of {name!r}: page size {header.page_size}, the stream's is {page_size}"
        found.problems.append(MappedProblem(header.bitmap_offset, message, missing=False))
    elif pages and bytes_known(source, header.bitmap_offset) < (pages + 7) // 8:
        message = f"the bitmap of {name!r} lies beyond the end of the file"
        found.problems.append(MappedProblem(header.bitmap_offset, message, missing=True))
    elif header.pages_offset + entry.used_length > MAX_OFFSET:
        message = f"the pages of {name!r} lie where no file ends"
        found.problems.append(MappedProblem(header.bitmap_offset, message, missing=True))
    return found
