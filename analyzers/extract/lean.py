"""Guest memory from decoded items, and nothing else: what fuzzing compares with the plan of a sender."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence

from analyzers.extract.order import MAIN, PacketPages, Rendezvous, channel_steps, in_order
from analyzers.extract.payloads import ChannelPayloads, Unexpanded
from analyzers.extract.stores import MAX_IN_MEMORY, MemoryStore
from analyzers.extract.xbzrle import decode_xbzrle
from multifd_codec.batch import PacketBatch
from multifd_codec.channel import ScanItem
from multifd_codec.dialect import Mode
from multifd_codec.errors import FormatError
from multifd_codec.main_events import (
    BlockList,
    CompressedPage,
    Flush,
    MainItem,
    Page,
    XbzrlePage,
    ZeroPage,
    ZeroPageRun,
)
from multifd_codec.source import Buffer, ByteSource
from multifd_codec.wire.packet import PacketFlags

SYNC = int(PacketFlags.SYNC)


def rebuild_memory(
    main_items: Sequence[MainItem],
    channel_items: Sequence[Sequence[ScanItem]],
    sources: Sequence[ByteSource],
    page_size: int,
    *,
    mode: Mode | None = None,
    apply_all: bool = False,
    limit: int = MAX_IN_MEMORY,
) -> dict[str, bytearray]:
    """RAM block name to its content as a correct destination has it when everything it reads is loaded.

    ``sources``: main's, then each channel's, in the order of ``channel_items``. ``mode``: per-round when there is a
    FLUSH on main, else per-section. ``apply_all``: what stands behind a SYNC that is never released is loaded, too.
    A channel ends at the first packet a receiver refuses. Blocks are those of the block list; without one those that
    packets name. Raises InputError when the blocks have more than ``limit`` bytes.
    """
    if mode is None:
        mode = Mode.PER_ROUND if any(isinstance(item, Flush) for item in main_items) else Mode.PER_SECTION
    last = None if apply_all else rounds_reached(main_items, channel_items, mode)
    memory = _Memory(page_size, limit)
    payloads = [ChannelPayloads(source) for source in sources[1:]]
    ended: set[int] = set()
    for _, position, item in in_order(main_items, [channel_steps(items) for items in channel_items], mode, last):
        if position == MAIN:
            memory.record(item, sources[0])  # type: ignore[arg-type]
        elif isinstance(item, PacketPages) and position not in ended and not memory.packet(item, payloads[position]):
            ended.add(position)
    return memory.store.blocks


def rounds_reached(main_items: Iterable[MainItem], channel_items: Sequence[Iterable[ScanItem]], mode: Mode) -> int:
    """Rendezvous that complete, by counting: as many as main has records and every channel SYNCs."""
    is_rendezvous = Rendezvous(mode)
    return min(sum(map(is_rendezvous, main_items)), *(sum(_syncs(items)) for items in channel_items), 1 << 62)


def _syncs(items: Iterable[ScanItem]) -> Iterator[int]:
    for item in items:
        if isinstance(item, PacketBatch):
            yield int(((item.rows["flags"] & SYNC) != 0).sum())


class _Memory:
    """RAM blocks in memory, without a record of where their pages came from."""

    def __init__(self, page_size: int, limit: int) -> None:
        self.store = MemoryStore(limit)
        self._page_size = page_size
        self._listed = False
        self._zero = bytes(page_size)

    def packet(self, packet: PacketPages, payloads: ChannelPayloads) -> bool:
        """Load a packet; False when a receiver refuses it."""
        name, size = packet.block, packet.page_size
        block = self.store.blocks.get(name)
        if not packet.possible or (block is None and self._listed):
            return False
        offsets = packet.offsets.tolist()
        behind = max(offsets, default=0) + size
        if min(offsets, default=0) < 0 or (self._listed and behind > len(block or b"")):
            return False
        if block is None:
            self.store.add(name, 0)
            block = self.store.blocks[name]
        if not self._listed:
            self.store.finish(name, behind)
        normal = packet.normal
        zero = self._zero if size == self._page_size else bytes(size)
        for offset in offsets[normal:]:
            block[offset : offset + size] = zero
        if not normal:
            return True
        if packet.compression:
            try:
                data = payloads.expanded(packet)
            except Unexpanded as error:
                return not error.malformed
        else:
            data = payloads.source.read(packet.payload, packet.payload_length)
        if len(data) < normal * size or len(offsets) < normal:
            return False
        if packet.one_run:
            block[offsets[0] : offsets[0] + len(data)] = data
            return True
        view = memoryview(data)
        for index, offset in enumerate(offsets[:normal]):
            block[offset : offset + size] = view[index * size : (index + 1) * size]
        return True

    def record(self, item: MainItem, source: ByteSource) -> None:
        """Load what a record on main carries."""
        if isinstance(item, BlockList):
            for block in item.blocks:
                if block.block not in self.store.blocks:
                    self.store.add(block.block, block.used_length)
            self._listed = True
        elif isinstance(item, ZeroPageRun):
            for offset in item.pages.tolist():
                self._put(item.block, offset, self._zero)
        elif isinstance(item, ZeroPage):
            self._put(item.block, item.addr, bytes([item.fill]) * self._page_size)
        elif isinstance(item, Page | XbzrlePage | CompressedPage):
            data = record_page(item, source, self._page_size, self._old(item.block, item.addr))
            if data is not None:
                self._put(item.block, item.addr, data)

    def _old(self, block: str | None, offset: int) -> bytes:
        known = block is not None and block in self.store.blocks
        return self.store.read(block, offset, self._page_size) if known and block is not None else self._zero

    def _put(self, name: str | None, offset: int, data: Buffer) -> None:
        block = self.store.blocks.get(name) if name is not None else None
        if block is not None and offset + len(data) <= len(block):
            block[offset : offset + len(data)] = data


def record_page(
    item: Page | XbzrlePage | CompressedPage, source: ByteSource, page_size: int, old: bytes
) -> Buffer | None:
    """The page a record on main carries; ``old`` is what the page held before. None when it is malformed or cut.

    Raises HoleError when it is not in the recording.
    """
    data = source.read(item.payload_offset, item.payload_length)
    if len(data) < item.payload_length:
        return None
    if isinstance(item, Page):
        return data
    try:
        if isinstance(item, XbzrlePage):
            return decode_xbzrle(bytes(data), old)
        page = zlib.decompressobj().decompress(data, page_size + 1)
    except (FormatError, zlib.error):
        return None
    return page if len(page) == page_size else None
