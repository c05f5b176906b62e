"""A multifd channel: bytes to events and back.

``ChannelDecoder.scan`` is the one decoder; it yields runs of RAM packets as ``PacketBatch`` and everything else as
events. ``ChannelDecoder.events`` is the same with batches expanded. Payload is skipped, never read.

Both follow a receiver exactly as long as it could go on, and a person's interest behind that: a packet whose magic is
wrong but whose framing holds is still yielded, and bytes that are no packet are skipped to the next plausible header
(``Unreadable``). What a real destination would have done at each of these places is the analyzers' business.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from multifd_codec.channel import framing
from multifd_codec.channel.batch import PacketBatch
from multifd_codec.channel.events import (
    ChannelEnd,
    ChannelEvent,
    ChannelInit,
    DeviceStatePacket,
    EndPosition,
    RamPacket,
    Unreadable,
)
from multifd_codec.channel.framing import COUNTS, DEVICE, FIXED, HEADER, INIT, Fit
from multifd_codec.errors import EncodeError
from multifd_codec.layout import layout
from multifd_codec.source import Buffer, ByteSource, StreamEnd, bytes_known, read_known
from multifd_codec.wire.handshake import MULTIFD_MAGIC, MULTIFD_VERSION
from multifd_codec.wire.packet import MULTIFD_PACKET_SIZE, pages_per_packet, ram_packet

QUIET = 8
"""After so many packets in a row without payload, many more are looked at together."""
BATCH_BYTES = 1 << 20
"""A batch is handed out when its headers reach this size: bounded memory, small enough for the CPU's caches, and large
enough that numpy's work outweighs that of calling it."""

ScanItem = ChannelInit | PacketBatch | DeviceStatePacket | Unreadable | ChannelEnd
_PAGE_ENTRY = layout(ram_packet(MULTIFD_PACKET_SIZE)).span("offset").size
PayloadOf = Callable[[RamPacket | DeviceStatePacket], Buffer]


class ChannelDecoder:
    """Decodes one multifd channel from ``source``.

    ``page_size`` in bytes; inferred from the first packets when None. ``starts_with_init`` is False for a stream whose
    first bytes were not recorded: decoding then begins at the first plausible packet. With ``growing``, a source that
    is still OPEN is expected to get more bytes: ``scan`` and ``events`` yield what further bytes cannot change and
    return, to be called again. ``position`` (with ``page_size``) starts at the packet boundary there. Without
    ``device_state`` the flag DEVICE_STATE means nothing, as for receivers before 10.0. They raise nothing, whatever the
    bytes.
    """

    def __init__(
        self,
        source: ByteSource,
        *,
        page_size: int | None = None,
        starts_with_init: bool = True,
        growing: bool = False,
        position: int = 0,
        device_state: bool = True,
    ) -> None:
        self.source = source
        self._device_flag = framing.DEVICE_STATE_FLAG if device_state else 0
        self.page_size = page_size
        self.growing = growing
        self.position = position
        """Offset of the next record; behind ``source.size`` while a payload has not arrived."""
        self._last_record = 0
        self._awaits_init = starts_with_init and position == 0
        self._searches = not starts_with_init and position == 0
        self._ended = False

    def events(self) -> Iterator[ChannelEvent]:
        """Everything on the channel, in order, ending in ChannelEnd."""
        for item in self.scan():
            if isinstance(item, PacketBatch):
                yield from item.packets()
            else:
                yield item

    def scan(self) -> Iterator[ScanItem]:
        """Like ``events``, with runs of RAM packets as batches."""
        if self._awaits_init:
            init = self._init()
            if init is not None:
                yield init
        if not self._awaits_init and self._prepare():
            yield from self._packets()
        if not self._waits and not self._ended:
            self._ended = True
            yield self.end()

    def end(self) -> ChannelEnd:
        """Where the bytes there are end, in the grammar."""
        size, last = self.source.size, self.source.end
        if self.position == size:
            return ChannelEnd(size, EndPosition.BOUNDARY, size, 0, last)
        if self.position > size:
            return ChannelEnd(size, EndPosition.PAYLOAD, self._last_record, self.position - size, last)
        rest = size - self.position
        if self._awaits_init:
            return ChannelEnd(size, EndPosition.INIT, self.position, INIT.size - rest, last)
        if rest < HEADER.size:
            return ChannelEnd(size, EndPosition.COMMON_HEADER, self.position, HEADER.size - rest, last)
        where = EndPosition.AFTER_COMMON_HEADER if rest == HEADER.size else EndPosition.HEADER
        head = read_known(self.source, self.position, HEADER.size)
        device = len(head) == HEADER.size and HEADER.struct.unpack(head)[2] & self._device_flag
        wanted = DEVICE.size if device else layout(ram_packet(self.page_size or framing.PAGE_SIZES[0])).size
        return ChannelEnd(size, where, self.position, wanted - rest, last)

    @property
    def _waits(self) -> bool:
        """Whether more bytes are expected."""
        return self.growing and self.source.end is StreamEnd.OPEN

    def _init(self) -> ChannelInit | None:
        known = bytes_known(self.source, 0)
        if known < INIT.size:
            if known < self.source.size:  # a hole over the init: go on behind it
                self._awaits_init, self._searches = False, True
            return None
        values = INIT.struct.unpack(self.source.read(0, INIT.size))
        self.position, self._awaits_init = INIT.size, False
        return ChannelInit._make((0, INIT.size, *values[:5], tuple(values[5:])))

    def _prepare(self) -> bool:
        """Make sure the page size is known; False while the bytes that tell it have not arrived."""
        if self.page_size is None:
            start: int | None = self.position
            if self._searches or framing.starts_packet(self.source, self.position) is Fit.NO:
                found = (framing.find_packet(self.source, self.position, size) for size in framing.PAGE_SIZES[:3])
                start = min((offset for offset in found if offset is not None), default=None)
            if start is None:
                self.page_size = None if self._waits else framing.PAGE_SIZES[0]
            else:
                self.page_size = framing.infer_page_size(self.source, start, waits=self._waits)
        return self.page_size is not None

    def _packets(self) -> Iterator[ScanItem]:
        assert self.page_size is not None
        pending = _Pending(self.page_size)
        ahead, quiet = 1, 0
        has_holes = self._searches or self.source.next_hole(self.position) is not None
        while True:
            if pending.bytes >= BATCH_BYTES:
                yield pending.flush()
            if ahead > 1:
                run = self._run_without_payload(ahead, pending)
                ahead = min(2 * ahead, 2 * BATCH_BYTES // pending.header_length) if run == ahead else 1
                quiet = 0
                if run:
                    continue
            item = None if has_holes else self._ordinary(pending)
            if item is None:
                item = self._one(pending)
            if item is None:
                break
            if isinstance(item, int):
                quiet = quiet + 1 if item == 0 else 0
                ahead = QUIET if quiet == QUIET else 1
                continue
            quiet = 0
            if pending.bytes:
                yield pending.flush()
            if item.length:
                yield item
        if pending.bytes:
            yield pending.flush()

    def _run_without_payload(self, count: int, pending: _Pending) -> int:
        """Take up to ``count`` consecutive RAM packets without payload in one go; how many there were."""
        length = pending.header_length
        count = min(count, bytes_known(self.source, self.position) // length)
        if count == 0:
            return 0
        rows = np.frombuffer(self.source.read(self.position, count * length), dtype=pending.dtype, count=count)
        fits = (
            (rows["magic"] == MULTIFD_MAGIC)
            & (rows["version"] == MULTIFD_VERSION)
            & (rows["flags"] & self._device_flag == 0)
            & (rows["normal_pages"] == 0)
            & (rows["zero_pages"] <= pages_per_packet(pending.page_size))
        )
        run = count if fits.all() else int(np.argmin(fits))
        if run:
            pending.add_rows(self.position, rows[:run])
            self._last_record = self.position + (run - 1) * length
            self.position += run * length
        return run

    def _ordinary(self, pending: _Pending) -> int | DeviceStatePacket | Unreadable | None:
        """The common case of ``_one``, a whole RAM packet with possible counts; None for everything else."""
        position, length = self.position, pending.header_length
        head = bytes(self.source.read(position, length))
        if len(head) < length:
            return None
        magic, version, flags, normal, size, zero = framing.ORDINARY.unpack_from(head)
        if magic != MULTIFD_MAGIC or version != MULTIFD_VERSION or flags & self._device_flag:
            return None
        if normal + zero > pending.capacity:
            return None
        payload = framing.ram_payload(flags, normal, size, pending.page_size)
        pending.add(position, head, payload)
        self._last_record = position
        self.position = position + length + payload
        return payload

    def _one(self, pending: _Pending) -> int | DeviceStatePacket | Unreadable | None:
        """Decode one record; a RAM packet goes to ``pending``, its payload length is returned. None: nothing more."""
        position = self.position
        if self._searches:
            return self._skip(position, search_from=position)
        if position >= self.source.size:
            return None
        known = bytes_known(self.source, position)
        cut = position + known < self.source.size
        """A hole ends the known bytes, not the end of the stream."""
        head = bytes(self.source.read(position, min(known, pending.header_length)))
        if known < HEADER.size:
            return self._skip(position, search_from=position + known) if cut else None
        if not head.startswith(framing.MARK):
            fit = self._fits_without_mark(position)
            if fit is Fit.UNKNOWN and self._waits:
                return None
            if fit is not Fit.YES:
                return self._skip(position, search_from=position + 1)
        device = HEADER.struct.unpack_from(head)[2] & self._device_flag
        wanted = DEVICE.size if device else pending.header_length
        if known < wanted and (device or not cut or known < FIXED.size):
            return self._skip(position, search_from=position + known) if cut else None
        if device:
            return self._device_state(head)
        flags, _, normal, size, zero = COUNTS.unpack_from(head)
        payload: int | None = framing.ram_payload(flags, normal, size, pending.page_size)
        if normal + zero > pages_per_packet(pending.page_size):
            payload = self._payload_of_impossible_packet(flags, normal, size)
            if payload is None:
                return None
        assert payload is not None
        pending.add(position, head, payload)
        self._last_record = position
        self.position = position + pending.header_length + payload
        return payload

    def _device_state(self, head: bytes) -> DeviceStatePacket:
        values = DEVICE.struct.unpack_from(head)
        position, size = self.position, values[-1]
        self._last_record = position
        self.position = position + DEVICE.size + size
        return DeviceStatePacket._make((position, DEVICE.size, *values, position + DEVICE.size, size))

    def _fits_without_mark(self, position: int) -> Fit:
        """Whether the record at ``position``, its mark wrong, is followed by a packet as if it were one itself."""
        assert self.page_size is not None
        length = framing.length_at(self.source, position, self.page_size)
        if length is None:
            return Fit.UNKNOWN if bytes_known(self.source, position) < COUNTS.size else Fit.NO
        return framing.starts_packet(self.source, position + length)

    def _payload_of_impossible_packet(self, flags: int, normal: int, size: int) -> int | None:
        """How much to skip behind a packet no receiver accepts, so that the packets behind it are still seen."""
        assert self.page_size is not None
        behind = self.position + layout(ram_packet(self.page_size)).size
        for payload in (framing.ram_payload(flags, normal, size, self.page_size), size, 0):
            fit = framing.starts_packet(self.source, behind + payload)
            if fit is Fit.YES:
                return payload
            if fit is Fit.UNKNOWN and self._waits:
                return None
        return 0

    def _skip(self, position: int, *, search_from: int) -> Unreadable | None:
        """Go on at the next plausible packet; None while further bytes could still change which one that is."""
        assert self.page_size is not None
        target = framing.find_packet(self.source, search_from, self.page_size, waits=self._waits)
        if target is None:
            if self._waits:
                return None
            target = self.source.size
        hole = self.source.next_hole(position)
        missing = self._searches or (hole is not None and hole.start < target)
        found = b"" if self._searches else read_known(self.source, position, HEADER.size)
        self._searches = False
        self.position = target
        return Unreadable(position, target - position, missing, found)


class _Pending:
    """RAM packets collected for the next batch."""

    def __init__(self, page_size: int) -> None:
        self.page_size = page_size
        self.dtype = layout(ram_packet(page_size)).dtype
        self.header_length = self.dtype.itemsize
        self.capacity = pages_per_packet(page_size)
        self.bytes = 0
        self._parts: list[tuple[NDArray[np.int64], np.ndarray, NDArray[np.int64], NDArray[np.int64]]] = []
        self._singles: list[tuple[int, bytes, int]] = []

    def add(self, offset: int, head: bytes, payload: int) -> None:
        self._singles.append((offset, head, payload))
        self.bytes += self.header_length

    def add_rows(self, offset: int, rows: np.ndarray) -> None:
        self._close_singles()
        count = len(rows)
        offsets = offset + self.header_length * np.arange(count, dtype=np.int64)
        self._parts.append((offsets, rows, np.zeros(count, np.int64), np.full(count, self.header_length, np.int64)))
        self.bytes += count * self.header_length

    def flush(self) -> PacketBatch:
        self._close_singles()
        parts = self._parts
        self._parts = []
        self.bytes = 0
        if len(parts) == 1:
            return PacketBatch(self.page_size, *parts[0])
        offsets, rows, payload, known = zip(*parts, strict=True)
        # As bytes: numpy would turn the fields of joined structured arrays into host byte order.
        joined = np.concatenate([part.view(np.uint8) for part in rows]).view(self.dtype)
        return PacketBatch(
            self.page_size, np.concatenate(offsets), joined, np.concatenate(payload), np.concatenate(known)
        )

    def _close_singles(self) -> None:
        if not self._singles:
            return
        offsets, heads, payload = zip(*self._singles, strict=True)
        known = np.array([len(head) for head in heads], np.int64)
        padded = b"".join(head.ljust(self.header_length, b"\0") for head in heads)
        rows = np.frombuffer(padded, dtype=self.dtype)
        self._parts.append((np.array(offsets, np.int64), rows, np.array(payload, np.int64), known))
        self._singles.clear()


def encode_event(event: ChannelInit | RamPacket | DeviceStatePacket) -> bytes:
    """The bytes of one record without payload. Raises EncodeError when a value does not fit its field."""
    # An event's fields are the record's, in wire order, between its place and that of its payload.
    try:
        match event:
            case RamPacket():
                entries = (event.length - FIXED.size) // _PAGE_ENTRY
                form = layout(ram_packet(MULTIFD_PACKET_SIZE // max(1, entries))).struct
                return form.pack(*event[2:11], *event.unused64, event.ramblock, *event.pages)
            case DeviceStatePacket():
                return DEVICE.struct.pack(*event[2:8])
            case ChannelInit():
                return INIT.struct.pack(*event[2:7], *event.unused2)
    except struct.error as error:
        raise EncodeError(str(error), offset=event.offset) from None


def encode_channel(
    events: Iterable[ChannelEvent], payload_of: PayloadOf, unreadable: Callable[[Unreadable], Buffer] | None = None
) -> Iterator[Buffer]:
    """The bytes of a channel, piece by piece: each record followed by its payload.

    ``payload_of`` gives the payload of a packet, ``unreadable`` the bytes of a stretch that is no packet (left out when
    None). Decoding a recording and encoding it again gives the same bytes.
    """
    for event in events:
        match event:
            case ChannelInit():
                yield encode_event(event)
            case RamPacket() | DeviceStatePacket():
                yield encode_event(event)
                if event.payload_length:
                    yield payload_of(event)
            case Unreadable():
                if unreadable is not None:
                    yield unreadable(event)
            case ChannelEnd():
                return
