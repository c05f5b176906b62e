"""Guest memory from decoded items, and nothing else: what fuzzing compares with the plan of a sender."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence

from analyzers.extraction.order import MAIN, PacketPages, channel_steps, in_order
from analyzers.extraction.payloads import ChannelPayloads, Unexpanded
from analyzers.extraction.stores import MAX_IN_MEMORY
from analyzers.extraction.xbzrle import decode_xbzrle
from multifd_codec.channel.batch import PacketBatch
from multifd_codec.channel.decoder import ScanItem
from multifd_codec.dialect.releases import Mode
from multifd_codec.errors import FormatError, InputError
from multifd_codec.main import events as ev
from multifd_codec.main.rendezvous import Rendezvous, mode_of_records
from multifd_codec.source import Buffer, ByteSource
from multifd_codec.wire.packet import SYNC

CARRIERS = frozenset({ev.BlockList, ev.ZeroPageRun, ev.ZeroPage, ev.Page, ev.XbzrlePage, ev.CompressedPage})
"""Records on main that memory depends on."""
KEPT = CARRIERS | {ev.Flush, ev.EndOfRam, ev.Command}
"""Those that its order depends on, too."""


def rebuild_memory(
    main_items: Sequence[ev.MainItem],
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
    packets name. Raises InputError when the blocks have more than ``limit`` bytes, HoleError when pages are not in a
    source.
    """
    records = [item for item in main_items if type(item) in KEPT]
    if mode is None:
        mode = mode_of_records(records)
    last = None if apply_all else rounds_reached(records, channel_items, mode)
    memory = _Memory(page_size, limit)
    payloads = [ChannelPayloads(source) for source in sources[1:]]
    ended: set[int] = set()
    for _, position, item in in_order(
        records, [channel_steps(items) for items in channel_items], Rendezvous(mode), last
    ):
        if position == MAIN:
            memory.record(item, sources[0])  # type: ignore[arg-type]
        elif isinstance(item, PacketPages) and position not in ended and not memory.packet(item, payloads[position]):
            ended.add(position)
    return {name: block.data for name, block in memory.blocks.items()}


def rounds_reached(main_items: Iterable[ev.MainItem], channel_items: Sequence[Iterable[ScanItem]], mode: Mode) -> int:
    """Rendezvous that complete, by counting: as many as main has records and every channel SYNCs."""
    is_rendezvous = Rendezvous(mode)
    return min(sum(map(is_rendezvous, main_items)), *(sum(_syncs(items)) for items in channel_items), 1 << 62)


def _syncs(items: Iterable[ScanItem]) -> Iterator[int]:
    for item in items:
        if isinstance(item, PacketBatch):
            yield sum(flags & SYNC for flags in item.rows["flags"].tolist())


class _Block:
    """One RAM block. Pages that were never written with content are zero already, and are left alone."""

    __slots__ = ("_page_size", "_written", "data")

    def __init__(self, size: int, page_size: int) -> None:
        self.data = bytearray(size)
        self._page_size = page_size
        self._written = bytearray(size // page_size + 2)
        """A byte for each page: 1 once content was written to it."""

    def grow(self, size: int) -> None:
        if size > len(self.data):
            self.data += bytes(size - len(self.data))
            self._written += bytes(size // self._page_size + 2 - len(self._written))

    def put(self, offset: int, content: Buffer) -> None:
        """Write whole pages; they lie inside the block."""
        length, size = len(content), self._page_size
        self.data[offset : offset + length] = content
        first, behind = offset // size, -(-(offset + length) // size)
        self._written[first:behind] = b"\1" * (behind - first)

    def clear(self, offsets: list[int]) -> None:
        """These pages become zero; consecutive ones in one go."""
        if not offsets:
            return
        size = self._page_size
        first, behind = offsets[0], offsets[-1] + size
        if offsets == list(range(first, behind, size)):
            if self._written.find(1, first // size, -(-behind // size)) >= 0:
                self.data[first:behind] = bytes(behind - first)
            return
        zero = bytes(size)
        for offset in offsets:
            if self._written.find(1, offset // size, -(-(offset + size) // size)) >= 0:
                self.data[offset : offset + size] = zero


class _Memory:
    """RAM blocks in memory, without a record of where their pages came from."""

    def __init__(self, page_size: int, limit: int) -> None:
        self.blocks: dict[str, _Block] = {}
        self._page_size = page_size
        self._left = limit
        self._listed = False

    def packet(self, packet: PacketPages, payloads: ChannelPayloads) -> bool:
        """Load a packet; False when a receiver refuses it."""
        name, size, normal = packet.block, packet.page_size, packet.normal
        block = self.blocks.get(name)
        if not packet.possible or size != self._page_size or (block is None and self._listed):
            return False
        offsets = packet.offsets.tolist()
        behind = max(offsets, default=0) + size
        if min(offsets, default=0) < 0 or len(offsets) < normal:
            return False
        if block is None:
            block = self._add(name, 0)
        if not self._listed:
            self._take(name, max(0, behind - len(block.data)))
            block.grow(behind)
        if behind > len(block.data):
            return False
        if len(offsets) > normal:
            block.clear(offsets[normal:])
        if not normal:
            return True
        if packet.compression:
            try:
                data = payloads.expanded(packet)
            except Unexpanded as error:
                return not error.malformed
        else:
            data = payloads.source.read(packet.payload, packet.payload_length)
        if len(data) != normal * size:
            return False
        if packet.run >= normal:
            block.put(offsets[0], data)
            return True
        view = memoryview(data)
        for index, offset in enumerate(offsets[:normal]):
            block.put(offset, view[index * size : (index + 1) * size])
        return True

    def record(self, item: ev.MainItem, source: ByteSource) -> None:
        """Load what a record on main carries."""
        if type(item) not in CARRIERS:
            return
        if isinstance(item, ev.BlockList):
            for entry in item.blocks:
                if entry.block not in self.blocks:
                    self._add(entry.block, entry.used_length)
            self._listed = True
            return
        assert isinstance(item, (ev.ZeroPageRun, ev.ZeroPage, ev.Page, ev.XbzrlePage, ev.CompressedPage))
        block, size = self.blocks.get(item.block or ""), self._page_size
        if block is None:
            return
        limit = len(block.data) - size
        if isinstance(item, ev.ZeroPageRun):
            block.clear([offset for offset in item.pages.tolist() if offset <= limit])
        elif item.addr > limit:
            return
        elif isinstance(item, ev.ZeroPage):
            block.put(item.addr, bytes([item.fill]) * size)
        else:
            old = bytes(block.data[item.addr : item.addr + size])
            data = record_page(item, source, size, old)
            if data is not None:
                block.put(item.addr, data)

    def _add(self, name: str, size: int) -> _Block:
        block = self.blocks[name] = _Block(self._take(name, size), self._page_size)
        return block

    def _take(self, name: str, size: int) -> int:
        if size > self._left:
            raise InputError(f"RAM block {name!r}: {size} bytes are too many to rebuild in memory")
        self._left -= size
        return size


def record_page(
    item: ev.Page | ev.XbzrlePage | ev.CompressedPage, source: ByteSource, page_size: int, old: bytes
) -> Buffer | None:
    """The page a record on main carries; ``old`` is what the page held before. None when it is malformed or cut.

    Raises HoleError when it is not in the recording.
    """
    data = source.read(item.payload_offset, item.payload_length)
    if len(data) < item.payload_length:
        return None
    if isinstance(item, ev.Page):
        return data
    try:
        if isinstance(item, ev.XbzrlePage):
            return decode_xbzrle(bytes(data), old)
        page = zlib.decompressobj().decompress(data, page_size + 1)
    except (FormatError, zlib.error):
        return None
    return page if len(page) == page_size else None
