"""ChannelInit: the first 64 bytes of every multifd channel.

Source: MultiFDInit_t in migration/multifd.c, unchanged from QEMU 3.0 to 11.1. Big-endian.
"""

from __future__ import annotations

from construct import Array, Bytes, Int8ub, Int32ub, Int64ub, Struct

MULTIFD_MAGIC = 0x11223344
MULTIFD_VERSION = 1

ChannelInit = Struct(
    "magic" / Int32ub,
    "version" / Int32ub,
    "uuid" / Bytes(16),
    "id" / Int8ub,
    "unused1" / Bytes(7),
    "unused2" / Array(4, Int64ub),
)
"""64 bytes. ``uuid`` is all zero when the source was started without ``-uuid``; the unused fields are sent as zero and
ignored. magic and version are plain integers, not constants: wrong ones must survive a round trip and be judged."""
