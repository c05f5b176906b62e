"""A RAM block while it is rebuilt, and what bounds rebuilding."""

from __future__ import annotations

from dataclasses import dataclass

from analyzers.extraction.page_table import PageTable

MAX_BLOCK = 1 << 52
"""Bytes a RAM block can have; what claims more is not believed."""
MOST_BLOCKS = 1000
"""RAM blocks that are rebuilt unless they are asked for by name: each is a file, and an entry of the list is short."""
MAX_PROBLEMS = 100
"""Problems that are kept; all are counted."""
LEAST_WRITABLE = 1 << 30
"""Bytes of pages that are written, however small the recording is."""
WRITABLE_PER_BYTE = 512
"""A recorded byte makes for these many more: a page of one byte value takes few, packed or as a ZERO record."""
TOO_MUCH = "the pages up to here have too many bytes for a recording of this size: further ones are left out"
MAX_CONFLICTING = 1 << 20
"""Pages in conflict that are kept."""


@dataclass(slots=True)
class Block:
    """One RAM block while it is rebuilt. ``size`` is None while no block list says it."""

    name: str
    size: int | None
    table: PageTable
    wanted: bool = True
    """Whether it is rebuilt."""
    reach: int = 0
    """Behind the last byte named."""
    unnamed: int = 0
    """Pages that packets carry whose offsets were not recorded."""
