"""Records of the RAM section ("ram", instance 0, version 4) on the main channel.

Source: ram_load_precopy, parse_ramblock and the RAM_SAVE_FLAG_* list in migration/ram.c (QEMU 2.4 to 11.1). A record
starts with a big-endian 64-bit word: byte offset in the RAM block, or-ed with flags below the target page size.
"""

from __future__ import annotations

import enum
from functools import lru_cache
from typing import Any

from construct import Bytes, Construct, If, Int8ub, Int16ub, Int32ub, Int64ub, Pass, RepeatUntil, Struct, Switch, this

from multifd_codec.wire.qemufile import Str8

RAM_IDSTR = b"ram"
RAM_VERSION = 4
XBZRLE_ENCODING = 0x01
MAPPED_RAM_VERSION = 1


class RamFlags(enum.IntFlag):
    """Flags in the low bits of a record's word. Exactly one kind a record; CONTINUE is the only modifier."""

    FULL = 0x001
    """Obsolete since 2009."""
    ZERO = 0x002
    MEM_SIZE = 0x004
    PAGE = 0x008
    EOS = 0x010
    CONTINUE = 0x020
    """Same RAM block as the previous page record of this channel."""
    XBZRLE = 0x040
    HOOK = 0x080
    """RDMA only."""
    COMPRESS_PAGE = 0x100
    """Removed in 9.1."""
    MULTIFD_FLUSH = 0x200
    """Since 8.1."""


NAMED = RamFlags.ZERO | RamFlags.PAGE | RamFlags.XBZRLE | RamFlags.COMPRESS_PAGE
"""Kinds that name a RAM block (``Str8`` behind the word) unless CONTINUE is set."""

RamWord = Struct("word" / Int64ub)

ZeroRecord = Struct("word" / Int64ub, "fill" / Int8ub)
"""ZERO with CONTINUE: 9 bytes, what legacy zero-page detection sends by the million. ``fill`` is 0."""

ZeroFill = Struct("fill" / Int8ub)

XbzrlePage = Struct("encoding" / Int8ub, "length" / Int16ub)
"""``length`` bytes of encoded page follow; ``encoding`` is 1."""

CompressedPage = Struct("length" / Int32ub)
"""``length`` bytes of zlib data follow."""

MappedRamHeader = Struct(
    "version" / Int32ub,
    "page_size" / Int64ub,
    "bitmap_offset" / Int64ub,
    "pages_offset" / Int64ub,
)
"""28 bytes (MappedRamHeader, 9.0). Offsets count from the start of the file; the stream goes on behind the pages, at
``pages_offset`` + ``used_length``. Both are 0, and nothing is jumped over, for shared blocks left out (11.0)."""


@lru_cache(maxsize=8)
def block_entry(*, page_size: bool = False, guest_address: bool = False, mapped_ram: bool = False) -> Struct:
    """One entry of the block list; which optional fields are there is not on the wire.

    ``page_size``: postcopy-ram, for blocks whose page size is not the host's. ``guest_address``: x-ignore-shared.
    ``mapped_ram``: mapped-ram.
    """
    fields: list[Construct] = ["idstr" / Str8, "used_length" / Int64ub]
    if page_size:
        fields.append("page_size" / Int64ub)
    if guest_address:
        fields.append("guest_address" / Int64ub)
    if mapped_ram:
        fields.append("mapped_ram" / MappedRamHeader)
    return Struct(*fields)


def _adds_up(_entry: Any, entries: Any, context: Any) -> bool:
    total = context._.word & -context._params.page_size
    return bool(sum(entry.used_length for entry in entries) >= total)


def _kind(context: Any) -> int:
    return int(context.word & (context._params.page_size - 1) & ~RamFlags.CONTINUE)


def _named(context: Any) -> bool:
    flags = context.word & (context._params.page_size - 1)
    return bool(flags & NAMED) and not flags & RamFlags.CONTINUE


@lru_cache(maxsize=8)
def ram_record(entry: Struct) -> Struct:
    """Any record, whole, with that form of block list entry; parse and build with ``page_size`` (target, in bytes).

    The decoder does not use it, for speed: a property test proves that both agree. EOS, HOOK and MULTIFD_FLUSH are the
    word alone, and so are unknown flags.
    """
    return Struct(
        "word" / Int64ub,
        "idstr" / If(_named, Str8),
        "body"
        / Switch(
            _kind,
            {
                RamFlags.ZERO: ZeroFill,
                RamFlags.MEM_SIZE: Struct("blocks" / RepeatUntil(_adds_up, entry)),
                RamFlags.PAGE: Struct("page" / Bytes(this._params.page_size)),
                RamFlags.XBZRLE: Struct(*XbzrlePage.subcons, "data" / Bytes(this.length)),
                RamFlags.COMPRESS_PAGE: Struct(*CompressedPage.subcons, "data" / Bytes(this.length)),
            },
            default=Pass,
        ),
    )
