"""Loads pages into a store in the order they are given, and keeps track of where each came from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analyzers.extraction.block import MAX_BLOCK, MAX_CONFLICTING, MAX_PROBLEMS, MOST_BLOCKS, TOO_MUCH, Block
from analyzers.extraction.lean import record_page
from analyzers.extraction.mapped_ram import MappedPages, mapped_pages
from analyzers.extraction.order import MAIN, Ordered, PacketPages
from analyzers.extraction.page_table import Marked, PageKind, Pages, PageTable, Room, Stamp
from analyzers.extraction.payloads import ChannelPayloads, Unexpanded
from analyzers.extraction.results import Conflict, Problem
from analyzers.extraction.runs import consecutive, stretches
from analyzers.extraction.stores import Later, Store, TooLongError
from multifd_codec.errors import ChannelName, HoleError
from multifd_codec.main.events import BlockList, CompressedPage, Page, RamBlock, XbzrlePage, ZeroPage, ZeroPageRun
from multifd_codec.source import Buffer, ByteSource, bytes_known
from multifd_codec.wire.ram import ZeroRecord


@dataclass(slots=True)
class Loader:
    """Where pages go. ``channels`` are the names of the multifd channels by position."""

    store: Store
    page_size: int
    sources: Sequence[ByteSource]
    channels: Sequence[ChannelName]
    main: ByteSource | None = None
    wanted: Collection[str] | None = None
    """Blocks that are rebuilt, None for the first MOST_BLOCKS."""
    provenance: bool = False
    blocks: dict[str, Block] = field(default_factory=dict)
    listed: bool = False
    problems: list[Problem] = field(default_factory=list)
    refused: int = 0
    """Problems that no destination would get over."""
    missing: int = 0
    """Problems that are holes in the recording."""
    conflicts: list[tuple[str, NDArray[np.int64], int, ChannelName]] = field(default_factory=list)
    """RAM block, pages, round, channel."""
    conflicting: int = 0
    ended: set[int] = field(default_factory=set)
    payloads: list[ChannelPayloads] = field(default_factory=list)
    room: Room = field(default_factory=Room)
    writable: int = 1 << 62
    """Bytes of pages that may still be written."""
    spent: bool = False
    """It was said that this was not enough."""
    _mapped_end: int = 0
    """Behind the last pages of a mapped-ram file that were listed."""

    def __post_init__(self) -> None:
        self.payloads = [ChannelPayloads(source) for source in self.sources]

    def problem(self, position: int, offset: int | None, message: str, *, missing: bool = False) -> None:
        """Note what keeps memory from being complete. ``missing``: bytes are not in the recording."""
        if missing:
            self.missing += 1
        else:
            self.refused += 1
        self.remark(position, offset, message)

    def remark(self, position: int, offset: int | None, message: str) -> None:
        """Note what is worth knowing, and no more."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(self.channel(position), offset, message))

    def channel(self, position: int) -> ChannelName:
        """The channel's name."""
        return "main" if position == MAIN else self.channels[position]

    def packet(self, ordered: Ordered, packet: PacketPages) -> None:
        """Load one packet: its zero pages, then its normal pages. A channel ends where a destination refuses one."""
        position = ordered.position
        if position in self.ended:
            return
        if not packet.possible:
            self._end(position, packet, f"{packet.normal} normal and {packet.zero} zero pages in one packet")
            return
        block = self._block(packet.block)
        if block is None:
            self._end(position, packet, f"RAM block {packet.block!r} is not in the block list")
            return
        low, high = (int(packet.offsets.min()), int(packet.offsets.max())) if len(packet.offsets) else (0, 0)
        limit = (MAX_BLOCK if block.size is None else block.size) - packet.page_size
        if len(packet.offsets) and (low < 0 or high > limit):
            beyond = (low if low < 0 else high) % (1 << 64)
            self._end(position, packet, f"offset {beyond:#x} is not in RAM block {packet.block!r}")
            return
        unnamed = packet.normal + packet.zero - len(packet.offsets)
        if unnamed:
            block.unnamed += unnamed
            self.problem(position, packet.offset, f"{unnamed} page offsets are not in the recording", missing=True)
        if not block.wanted:
            self._skip_payload(position, packet)
            return
        block.reach = max(block.reach, high + packet.page_size)
        zero = packet.offsets[packet.normal :]
        if len(zero):
            stamp = Stamp(PageKind.ZERO, ordered.round, position, packet.offset, packet.number)
            one_run = packet.run >= len(zero) if not packet.normal else consecutive(zero, packet.page_size)
            self.zero(block, zero, stamp, one_run=one_run)
        if packet.normal:
            self._normal(block, ordered, packet)

    def _end(self, position: int, packet: PacketPages, reason: str) -> None:
        self.ended.add(position)
        self.problem(position, packet.offset, f"{reason}: a destination reads this channel no further")

    def _skip_payload(self, position: int, packet: PacketPages) -> None:
        """Keep the compression context going for the blocks that are wanted."""
        if packet.compression and packet.normal:
            try:
                self.payloads[position].expanded(packet)
            except Unexpanded as error:
                if error.first:
                    self.problem(position, packet.offset, error.reason, missing=not error.malformed)

    def _normal(self, block: Block, ordered: Ordered, packet: PacketPages) -> None:
        position, size = ordered.position, packet.page_size
        offsets = packet.offsets[: packet.normal]
        stamp = Stamp(PageKind.NORMAL, ordered.round, position, packet.offset, packet.number)
        unknown = stamp._replace(kind=PageKind.UNKNOWN)
        if packet.compression:
            try:
                data = self.payloads[position].expanded(packet)
            except Unexpanded as error:
                if error.first:
                    self.problem(position, packet.offset, error.reason, missing=not error.malformed)
                if error.malformed:
                    self.ended.add(position)
                else:
                    self.ram_unknown(block, offsets, unknown)
                return
            self._copy(block, offsets, data, stamp, one_run=packet.run >= packet.normal)
            return
        source = self.sources[position]
        wanted = packet.normal * size
        if bytes_known(source, packet.payload) >= wanted:
            self._uncompressed(block, packet, offsets, source, stamp)
            return
        self.problem(position, packet.offset, "pages of this packet are not in the recording", missing=True)
        there = [bytes_known(source, packet.payload + index * size) >= size for index in range(len(offsets))]
        for index in np.flatnonzero(there).tolist():
            data = source.read(packet.payload + index * size, size)
            self._copy(block, offsets[index : index + 1], data, stamp, one_run=True)
        self.ram_unknown(block, offsets[~np.array(there, np.bool_)], unknown)

    def _uncompressed(
        self, block: Block, packet: PacketPages, offsets: NDArray[np.int64], source: ByteSource, stamp: Stamp
    ) -> None:
        """Pages that nothing was said about before are copied when all is known, in the order of the block."""
        size, one_run, length = packet.page_size, packet.run >= packet.normal, packet.normal * packet.page_size
        marked = block.table.mark(self._pages(offsets, one_run=one_run), stamp)
        rising = one_run or bool((offsets[1:] > offsets[:-1]).all())
        if not (marked.fresh and rising and length <= self.writable):
            data = source.read(packet.payload, length)
            self._put(block, offsets, data, stamp, marked, one_run=one_run)
            return
        self.writable -= length
        for first, behind in stretches(offsets, size, one_run=one_run):
            at, length = packet.payload + first * size, (behind - first) * size
            self.store.later(block.name, Later(int(offsets[first]), source, at, length))

    def ram_unknown(self, block: Block, offsets: NDArray[np.int64], stamp: Stamp) -> None:
        """These pages were sent, with content that is not known: what they held before stays in the file."""
        block.table.mark(self._pages(offsets, one_run=False), stamp)

    def zero(self, block: Block, offsets: NDArray[np.int64], stamp: Stamp, *, one_run: bool) -> None:
        """Pages become zero; nothing is written where nothing was."""
        size = self.page_size
        marked = block.table.mark(self._pages(offsets, one_run=one_run), stamp)
        if marked.again is not None:
            self._conflict(block, marked.again, stamp)
        if marked.held is None:
            return
        held = np.unique(marked.held)
        for first, behind in stretches(held, 1, one_run=False):
            begin, end = int(held[first]) * size, (int(held[behind - 1]) + 1) * size
            self._zeros(block, offsets, begin, end)

    def _zeros(self, block: Block, offsets: NDArray[np.int64], begin: int, end: int) -> None:
        """What pages at ``offsets`` cover of these bytes becomes zero."""
        size = self.page_size
        if not np.bitwise_or.reduce(offsets) & (size - 1):
            self.store.zero(block.name, begin, end - begin)
            return
        for offset in offsets[(offsets < end) & (offsets > begin - size)].tolist():
            start = max(offset, begin)
            self.store.zero(block.name, start, min(offset + size, end) - start)

    def _copy(self, block: Block, offsets: NDArray[np.int64], data: Buffer, stamp: Stamp, *, one_run: bool) -> None:
        """Pages get content; consecutive ones in one go."""
        marked = block.table.mark(self._pages(offsets, one_run=one_run), stamp)
        self._put(block, offsets, data, stamp, marked, one_run=one_run)

    def _put(
        self,
        block: Block,
        offsets: NDArray[np.int64],
        data: Buffer,
        stamp: Stamp,
        marked: Marked,
        *,
        one_run: bool,
    ) -> None:
        size = self.page_size
        if marked.again is not None:
            again = self._differing(block, marked.again, offsets, data)
            if len(again):
                self._conflict(block, again, stamp)
        view = memoryview(data)
        for first, behind in stretches(offsets, size, one_run=one_run):
            if not self._written(block, int(offsets[first]), view[first * size : behind * size], stamp):
                self.ram_unknown(block, offsets[first:behind], stamp._replace(kind=PageKind.UNKNOWN))

    def _written(self, block: Block, offset: int, data: Buffer, stamp: Stamp) -> bool:
        """Whether these bytes could be put where they belong."""
        if len(data) > self.writable:
            if not self.spent:
                self.problem(stamp.position, None, TOO_MUCH, missing=True)
            self.spent = True
            return False
        self.writable -= len(data)
        try:
            self.store.write(block.name, offset, data)
        except TooLongError as error:
            at = stamp.offset if isinstance(stamp.offset, int) else None
            self.problem(stamp.position, at, f"RAM block {block.name!r}, page at {offset:#x}: {error}", missing=True)
            return False
        return True

    def _differing(
        self, block: Block, again: NDArray[np.int64], offsets: NDArray[np.int64], data: Buffer
    ) -> NDArray[np.int64]:
        """Those of the pages ``again`` whose content is another than the one there."""
        size, found = self.page_size, []
        for page in again.tolist():
            index = int(np.flatnonzero(offsets // size == page)[0]) if (offsets // size == page).any() else None
            old = self.store.read(block.name, page * size, size)
            if index is None or bytes(data[index * size : (index + 1) * size]) != old:
                found.append(page)
        return np.array(found, np.int64)

    def _conflict(self, block: Block, pages: NDArray[np.int64], stamp: Stamp) -> None:
        self.conflicting += len(pages)
        if self.conflicting <= MAX_CONFLICTING:
            self.conflicts.append((block.name, pages, stamp.round, self.channel(stamp.position)))

    def final_conflicts(self) -> list[Conflict]:
        """Conflicts about pages that no later round carries again."""
        found = []
        for name, pages, number, channel in self.conflicts:
            final = pages[self.blocks[name].table.rounds(pages) == number]
            if len(final):
                found.append(Conflict(name, int(final.min()) * self.page_size, len(final), number, channel))
        return found

    def _pages(self, offsets: NDArray[np.int64], *, one_run: bool) -> Pages:
        """Page numbers; a page that is not aligned touches two."""
        size = self.page_size
        if one_run and not int(offsets[0]) % size:
            first = int(offsets[0]) // size
            return range(first, first + len(offsets))
        if not len(offsets) or not np.bitwise_or.reduce(offsets) & (size - 1):
            return offsets // size
        return np.unique(np.concatenate((offsets // size, (offsets + size - 1) // size)))

    def record(self, ordered: Ordered) -> None:
        """Load what a record on main carries."""
        item, source = ordered.item, self.main
        assert source is not None
        if isinstance(item, BlockList):
            self.listed = True
            for entry in item.blocks:
                self._listed(entry, source)
            return
        if isinstance(item, ZeroPageRun):
            offsets = item.pages.astype(np.int64)
            at = item.offset + ZeroRecord.sizeof() * np.arange(len(offsets), dtype=np.int64)
            self._zero_records(item.block, offsets, Stamp(PageKind.ZERO_RECORD, ordered.round, MAIN, at))
        elif isinstance(item, ZeroPage) and not item.fill:
            if self._target(item.block, item.addr, item.addr, item.offset) is not None:
                stamp = Stamp(PageKind.ZERO_RECORD, ordered.round, MAIN, item.offset)
                self._zero_records(item.block, np.array([item.addr], np.int64), stamp)
        elif isinstance(item, ZeroPage | Page | XbzrlePage | CompressedPage):
            self._page_record(item, ordered.round, source)

    def _zero_records(self, name: str | None, offsets: NDArray[np.int64], stamp: Stamp) -> None:
        at = stamp.offset if isinstance(stamp.offset, int) else int(stamp.offset[0])
        block = self._target(name, int(offsets.min()), int(offsets.max()), at)
        if block is not None:
            self.zero(block, offsets, stamp, one_run=consecutive(offsets, self.page_size))

    def _page_record(
        self, item: ZeroPage | Page | XbzrlePage | CompressedPage, number: int, source: ByteSource
    ) -> None:
        block = self._target(item.block, item.addr, item.addr, item.offset)
        if block is None:
            return
        offsets = np.array([item.addr], np.int64)
        stamp = Stamp(PageKind.PAGE_RECORD, number, MAIN, item.offset)
        try:
            if isinstance(item, ZeroPage):
                data: Buffer | None = bytes([item.fill]) * self.page_size
            else:
                old = self.store.read(block.name, item.addr, self.page_size) if isinstance(item, XbzrlePage) else b""
                known = not isinstance(item, XbzrlePage) or block.table.known(item.addr // self.page_size)
                data = record_page(item, source, self.page_size, old) if known else None
                if not known:
                    self.ram_unknown(block, offsets, stamp._replace(kind=PageKind.UNKNOWN))
                    return
        except HoleError:
            self.problem(MAIN, item.offset, "this page is not in the recording", missing=True)
            self.ram_unknown(block, offsets, stamp._replace(kind=PageKind.UNKNOWN))
            return
        if data is None:
            self.problem(MAIN, item.offset, "this page is cut or malformed")
            self.ram_unknown(block, offsets, stamp._replace(kind=PageKind.UNKNOWN))
            return
        self._copy(block, offsets, data, stamp, one_run=True)

    def _target(self, name: str | None, low: int, high: int, at: int) -> Block | None:
        """The block a record on main is about; None, and a problem, when it is not in one."""
        block = None if name is None else self._block(name)
        limit = MAX_BLOCK if block is None or block.size is None else block.size
        if block is None or low < 0 or high + self.page_size > limit:
            self.problem(MAIN, at, f"a page at {high % (1 << 64):#x} of RAM block {name!r}, which there is not")
            return None
        if not block.wanted:
            return None
        block.reach = max(block.reach, high + self.page_size)
        return block

    def _block(self, name: str) -> Block | None:
        block = self.blocks.get(name)
        if block is None and not self.listed:
            block = self._add(name, None)
        return block

    def _add(self, name: str, size: int | None) -> Block:
        steps = {
            PageKind.ZERO_RECORD: ZeroRecord.sizeof(),
            PageKind.MAPPED: self.page_size,
            PageKind.UNKNOWN: self.page_size,  # of a mapped-ram file cut short
        }
        pages = None if size is None else -(-size // self.page_size)
        table = PageTable(provenance=self.provenance, steps=steps, pages=pages, room=self.room)
        wanted = len(self.blocks) < MOST_BLOCKS if self.wanted is None else name in self.wanted
        block = self.blocks[name] = Block(name, size, table, wanted)
        if wanted:
            self.store.add(name, size)
        return block

    def _listed(self, entry: RamBlock, source: ByteSource) -> None:
        name = entry.block
        size = entry.used_length if entry.used_length <= MAX_BLOCK else None
        if size is None:
            self.problem(MAIN, None, f"RAM block {name!r} of {entry.used_length} bytes: more than there can be")
        block = self.blocks.get(name)
        if block is None:
            block = self._add(name, size)
        elif block.size is None:
            block.size = size
        elif entry.mapped_ram is not None:
            self.problem(MAIN, None, f"RAM block {name!r} is listed again")
            return
        if entry.mapped_ram is not None and block.wanted:
            pages = mapped_pages(entry, source, self.page_size, self._mapped_end)
            self._mapped_end = pages.taken
            self._mapped(block, pages)

    def _mapped(self, block: Block, pages: MappedPages) -> None:
        for problem in pages.problems:
            self.problem(MAIN, problem.offset, problem.message, missing=problem.missing)
        block.table.default = PageKind.UNKNOWN if pages.problems else PageKind.CLEAR
        for part in pages.parts():
            block.table.mark(part.pages, Stamp(part.kind, 0, MAIN, part.offsets))
            if part.kind is PageKind.MAPPED:
                for offset, data in pages.copies(part.pages):
                    if not self._written(block, offset, data, Stamp(part.kind, 0, MAIN, pages.content + offset)):
                        first = offset // self.page_size
                        lost = range(first, first + len(data) // self.page_size)
                        block.table.mark(lost, Stamp(PageKind.UNKNOWN, 0, MAIN, pages.content + offset))
        if block.table.overflowed:
            block.table.default = PageKind.UNKNOWN
        block.reach = max(block.reach, block.size or 0)
