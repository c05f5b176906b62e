"""What a multifd channel carries, as frozen values: decoders yield them, encoders take them.

Offsets count bytes from the start of the channel's stream. Payload is never stored: an event says where it lies.
Reserved and stale bytes are kept, so that encoding what was decoded gives the same bytes.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from multifd_codec.names import block_name, text, until_nul
from multifd_codec.source import StreamEnd
from multifd_codec.wire.packet import COMPRESSION_MASK, SYNC


class ChannelInit(NamedTuple):
    """The first 64 bytes of a multifd channel (MultiFDInit_t, migration/multifd.c)."""

    offset: int
    length: int
    magic: int
    version: int
    uuid: bytes
    id: int
    unused1: bytes
    unused2: tuple[int, ...]


class RamPacket(NamedTuple):
    """One RAM packet, with or without pages, with or without SYNC."""

    offset: int
    length: int
    """Header length in bytes: 320 and 8 for each entry of the offset array."""
    magic: int
    version: int
    flags: int
    pages_alloc: int
    normal_pages: int
    next_packet_size: int
    packet_num: int
    zero_pages: int
    unused32: int
    unused64: tuple[int, ...]
    ramblock: bytes
    """All 256 bytes; ``block`` is the name in it."""
    pages: tuple[int, ...]
    """The whole offset array, byte offsets in the block: first the normal pages, then the zero pages, then padding."""
    payload_offset: int
    payload_length: int
    """Bytes a receiver reads behind the header: pages when plain, ``next_packet_size`` when compressed."""
    known: int
    """Header bytes that were recorded; less than ``length`` when snaplen cut the offset array (rest reads as zero)."""

    @property
    def sync(self) -> bool:
        return bool(self.flags & SYNC)

    @property
    def compression(self) -> int:
        return self.flags & COMPRESSION_MASK

    @property
    def block(self) -> str:
        """Name of the RAM block as a receiver reads it, undecodable bytes escaped."""
        return text(block_name(self.ramblock))


class DeviceStatePacket(NamedTuple):
    """One device-state packet (10.0 and later)."""

    offset: int
    length: int
    magic: int
    version: int
    flags: int
    idstr: bytes
    """All 256 bytes; ``device`` is the savevm id in it."""
    instance_id: int
    next_packet_size: int
    payload_offset: int
    payload_length: int

    @property
    def device(self) -> str:
        return text(until_nul(self.idstr))


class Unreadable(NamedTuple):
    """Bytes in which no packet could be framed: a hole over a header, or bytes that are no packet.

    Decoding goes on behind them at the next plausible header; how many packets they held is not known.
    """

    offset: int
    length: int
    hole: bool
    """True when bytes are missing from the recording (also: it starts in the middle of a packet), False when they are
    there but are no packet."""
    found: bytes
    """The first bytes there (up to 12), as a receiver would have read them; empty for a hole."""


class EndPosition(enum.StrEnum):
    """Where in the packet grammar a stream ends."""

    BOUNDARY = "at a packet boundary"
    INIT = "inside the channel init"
    COMMON_HEADER = "inside the 12-byte packet header"
    AFTER_COMMON_HEADER = "directly after the 12-byte packet header"
    HEADER = "inside a packet header"
    PAYLOAD = "inside a payload"


class ChannelEnd(NamedTuple):
    """The end of what was recorded of a channel."""

    offset: int
    """Size of the stream."""
    position: EndPosition
    record: int
    """Offset of the record that is cut; equals ``offset`` at a boundary."""
    missing: int
    """Bytes that record still wants (for a header whose kind is not known yet: of the 12 common bytes)."""
    end: StreamEnd


ChannelEvent = ChannelInit | RamPacket | DeviceStatePacket | Unreadable | ChannelEnd
