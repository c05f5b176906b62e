"""What RAM sections of the main channel carry, as frozen values; events.py says what the fields have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multifd_codec.main.problems import Problems
from multifd_codec.names import text
from multifd_codec.wire.ram import RamFlags, ZeroRecord


class MappedRam(NamedTuple):
    """The mapped-ram header of a block list entry; offsets count from the start of the file."""

    version: int
    page_size: int
    bitmap_offset: int
    pages_offset: int


class RamBlock(NamedTuple):
    """One entry of the block list. Sizes in bytes; optional fields are None when they are not on the wire."""

    idstr: bytes
    used_length: int
    page_size: int | None = None
    guest_address: int | None = None
    mapped_ram: MappedRam | None = None
    behind: int = 0
    """Bytes between this entry and the next record: bitmap and pages of a mapped-ram file, else 0."""

    @property
    def block(self) -> str:
        return text(self.idstr)


class BlockList(NamedTuple):
    """MEM_SIZE with all its entries; ``length`` includes what lies between them in a mapped-ram file."""

    offset: int
    length: int
    total: int
    blocks: tuple[RamBlock, ...]
    flags: int = RamFlags.MEM_SIZE
    problems: Problems = ()


class ZeroPage(NamedTuple):
    """A ZERO record. ``addr`` is the byte offset in the RAM block."""

    offset: int
    length: int
    addr: int
    idstr: bytes | None
    """The block named in this record, None with CONTINUE."""
    block: str | None
    """The block it is about; None when that is not known."""
    fill: int = 0
    flags: int = RamFlags.ZERO
    problems: Problems = ()


@dataclass(frozen=True, slots=True, eq=False)
class ZeroPageRun:
    """n consecutive ZERO|CONTINUE records with fill byte 0, in one block, alike in ``problems``; only ``walk`` yields
    them."""

    offset: int
    length: int
    block: str | None
    pages: NDArray[np.uint64]
    """(n,) ``addr`` of each record, in stream order."""
    problems: Problems = ()

    def records(self) -> Iterator[ZeroPage]:
        """The records one by one."""
        size = ZeroRecord.sizeof()
        flags = int(RamFlags.ZERO | RamFlags.CONTINUE)
        for index, addr in enumerate(self.pages.tolist()):
            offset = self.offset + index * size
            problems = tuple(problem._replace(offset=offset) for problem in self.problems)
            yield ZeroPage(offset, size, addr, None, self.block, 0, flags, problems)


class Page(NamedTuple):
    """A PAGE record: the payload is one target page. On main only without multifd, or in postcopy."""

    offset: int
    length: int
    addr: int
    idstr: bytes | None
    block: str | None
    payload_offset: int
    payload_length: int
    flags: int = RamFlags.PAGE
    problems: Problems = ()


class XbzrlePage(NamedTuple):
    """An XBZRLE record: the payload is the encoded difference."""

    offset: int
    length: int
    addr: int
    idstr: bytes | None
    block: str | None
    encoding: int
    payload_offset: int
    payload_length: int
    flags: int = RamFlags.XBZRLE
    problems: Problems = ()


class CompressedPage(NamedTuple):
    """A COMPRESS_PAGE record (up to 9.0): the payload is zlib data."""

    offset: int
    length: int
    addr: int
    idstr: bytes | None
    block: str | None
    payload_offset: int
    payload_length: int
    flags: int = RamFlags.COMPRESS_PAGE
    problems: Problems = ()


class Flush(NamedTuple):
    """MULTIFD_FLUSH (8.1 and later): a rendezvous in per-round mode. ``addr`` is sent as 0 and ignored."""

    offset: int
    length: int
    addr: int = 0
    flags: int = RamFlags.MULTIFD_FLUSH
    problems: Problems = ()


class EndOfRam(NamedTuple):
    """EOS: ends a RAM section's body; a rendezvous in per-section mode. ``addr`` is sent as 0 and ignored."""

    offset: int
    length: int
    addr: int = 0
    flags: int = RamFlags.EOS
    problems: Problems = ()


class Hook(NamedTuple):
    """HOOK: RDMA only, nothing follows on this stream."""

    offset: int
    length: int
    addr: int = 0
    flags: int = RamFlags.HOOK
    problems: Problems = ()


class UnknownRamRecord(NamedTuple):
    """A word whose flags no destination accepts; what follows it is not known."""

    offset: int
    length: int
    addr: int
    flags: int
    problems: Problems = ()
