"""Packets of a multifd channel: the common header, RAM packets, device-state packets, flags.

Source: MultiFDPacket_t and MultiFDPacketDeviceState_t in migration/multifd.h. The RAM packet has this layout since
QEMU 4.0 (fields renamed 7.0, ``zero_pages`` taken from the reserved words in 9.0); device-state packets since 10.0.
All integers big-endian. magic, version and counts are not constrained here: judging them is the receiver's business.
"""

from __future__ import annotations

import enum
from functools import lru_cache

from construct import Array, Bytes, Int32ub, Int64ub, Struct

MULTIFD_PACKET_SIZE = 512 * 1024
"""Page bytes one RAM packet can announce, at every target page size (since 4.0)."""
RAMBLOCK_NAME_SIZE = 256


class PacketFlags(enum.IntFlag):
    """``flags`` of a packet. Compression ids are one bit each; bits not named here are ignored by every receiver."""

    SYNC = 0x01
    ZLIB = 0x02
    """Since 5.0."""
    ZSTD = 0x04
    """Since 5.0."""
    QPL = 0x08
    """Since 9.1."""
    UADK = 0x10
    """Since 9.1."""
    QATZIP = 0x20
    """Since 9.2."""
    DEVICE_STATE = 0x40
    """Since 10.0."""


SYNC = int(PacketFlags.SYNC)
"""A plain int: faster than the enumeration, and what numpy wants."""
KNOWN_FLAGS = sum(PacketFlags)
COMPRESSION_MASK = KNOWN_FLAGS - SYNC - int(PacketFlags.DEVICE_STATE)

PacketHeader = Struct(
    "magic" / Int32ub,
    "version" / Int32ub,
    "flags" / Int32ub,
)
"""12 bytes, common to both kinds of packet (MultiFDPacketHdr_t)."""

RamPacketFixed = Struct(
    *PacketHeader.subcons,
    "pages_alloc" / Int32ub,
    "normal_pages" / Int32ub,
    "next_packet_size" / Int32ub,
    "packet_num" / Int64ub,
    "zero_pages" / Int32ub,
    "unused32" / Int32ub,
    "unused64" / Array(3, Int64ub),
    "ramblock" / Bytes(RAMBLOCK_NAME_SIZE),
)
"""320 bytes in front of the offset array. ``normal_pages`` was called ``pages_used`` up to 6.2, ``zero_pages`` was
reserved before 9.0. ``ramblock`` is NUL-padded by 9.2 and later and holds stale bytes before."""

DeviceStatePacket = Struct(
    *PacketHeader.subcons,
    "idstr" / Bytes(256),
    "instance_id" / Int32ub,
    "next_packet_size" / Int32ub,
)
"""276 bytes, followed by ``next_packet_size`` bytes of payload."""


def pages_per_packet(page_size: int) -> int:
    """Entries of the offset array for a target page size in bytes (multifd_ram_page_count, 10.0)."""
    return MULTIFD_PACKET_SIZE // page_size


@lru_cache(maxsize=16)
def ram_packet(page_size: int) -> Struct:
    """The RAM packet for one target page size: the array always has ``pages_per_packet`` entries, used or not."""
    return Struct(*RamPacketFixed.subcons, "offset" / Array(pages_per_packet(page_size), Int64ub))
