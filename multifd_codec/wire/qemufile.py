"""The main channel around RAM records: file header, configuration, sections, footers, commands, vmdescription.

Source: migration/savevm.c and migration/migration.h (QEMU 2.4 to 11.1). All integers are big-endian; ``Str8`` is one
length byte and that many bytes, without terminator. Section bodies have no length on the wire. Nothing is constrained
here: wrong magic numbers, types and counts survive a round trip and are judged elsewhere.
"""

from __future__ import annotations

import enum
from functools import lru_cache

from construct import Array, Bytes, GreedyBytes, Int8ub, Int16ub, Int32ub, Int64ub, Prefixed, PrefixedArray, Struct

QEMU_VM_FILE_MAGIC = 0x5145564D
FILE_MARK = QEMU_VM_FILE_MAGIC.to_bytes(4, "big")
"""The first bytes of a main channel."""
QEMU_VM_FILE_VERSION = 3
QEMU_VM_FILE_VERSION_COMPAT = 2
"""Obsolete: refused by every release since 0.9."""

CONFIGURATION_PREFIX = b"configuration/"


class SectionType(enum.IntEnum):
    """The byte in front of everything in the section loop (QEMU_VM_* in migration/savevm.h)."""

    EOF = 0x00
    START = 0x01
    PART = 0x02
    END = 0x03
    FULL = 0x04
    SUBSECTION = 0x05
    """Only inside the body of a device or of the configuration."""
    VMDESCRIPTION = 0x06
    """Only directly behind EOF."""
    CONFIGURATION = 0x07
    """Only directly behind the file header."""
    COMMAND = 0x08
    FOOTER = 0x7E


class CommandId(enum.IntEnum):
    """``command`` of a COMMAND section (enum qemu_vm_cmd, migration/savevm.c); 11 since 10.0."""

    INVALID = 0
    OPEN_RETURN_PATH = 1
    PING = 2
    POSTCOPY_ADVISE = 3
    POSTCOPY_LISTEN = 4
    POSTCOPY_RUN = 5
    POSTCOPY_RAM_DISCARD = 6
    PACKAGED = 7
    ENABLE_COLO = 8
    POSTCOPY_RESUME = 9
    RECV_BITMAP = 10
    SWITCHOVER_START = 11


RECOVERY_MARK = bytes((SectionType.COMMAND, 0, CommandId.RECV_BITMAP, 0))
"""How the connection begins over which a paused postcopy goes on, that has no file header: with a RECV_BITMAP, whose
length is below 256."""


Str8 = Prefixed(Int8ub, GreedyBytes)
"""A name: 1 to 256 bytes on the wire."""

FileHeader = Struct("magic" / Int32ub, "version" / Int32ub)
"""The first 8 bytes of the main channel."""

Type = Struct("type" / Int8ub)

Configuration = Struct("type" / Int8ub, "name" / Prefixed(Int32ub, GreedyBytes))
"""Machine name, followed by subsections up to the first byte that is not SUBSECTION.

Absent for machine types up to 2.3."""

ConfigurationFixed = Struct("type" / Int8ub, "name_length" / Int32ub)
"""What stands in front of the machine name."""

Subsection = Struct("type" / Int8ub, "name" / Str8, "version_id" / Int32ub)
"""In front of the fields of a subsection, in the configuration and in device bodies."""

TargetPageBits = Struct("bits" / Int32ub)
"""configuration/target-page-bits: log2 of the target page size, when it is variable and not the machine's minimum."""

CapabilityList = Struct("names" / PrefixedArray(Int32ub, Str8))
"""configuration/capabilities: the validated ones that are on (x-ignore-shared, mapped-ram)."""

CapabilityCount = Struct("count" / Int32ub)

ConfigurationUuid = Struct("uuid" / Bytes(16))
"""configuration/uuid: sent with the capability validate-uuid."""

SectionPart = Struct("type" / Int8ub, "section_id" / Int32ub)
"""Header of PART and of END, and the whole of a footer."""

SectionVersion = Struct("instance_id" / Int32ub, "version_id" / Int32ub)

SectionStart = Struct(*SectionPart.subcons, "idstr" / Str8, *SectionVersion.subcons)
"""Header of START and of FULL; the body and (unless send-section-footer is off) a footer follow."""

SectionFooter = SectionPart

Command = Struct("type" / Int8ub, "command" / Int16ub, "length" / Int16ub)
"""``length`` bytes of payload follow. The blob of PACKAGED is not counted in it."""

Ping = Struct("value" / Int32ub)
"""The destination answers PONG with the same value on the return path."""

PostcopyAdvise = Struct("page_sizes" / Int64ub, "target_page_size" / Int64ub)
"""The page sizes of all RAM blocks or-ed together, and the target page size, in bytes. Absent (length 0) when only
dirty bitmaps are postcopied."""

Packaged = Struct("length" / Int32ub)
"""That many bytes follow: a section stream of their own, without file header."""

RecvBitmap = Struct("block" / Str8)

DiscardRange = Struct("start" / Int64ub, "length" / Int64ub)
"""Byte offset in the RAM block, and bytes."""

VmDescription = Struct("type" / Int8ub, "length" / Int32ub)
"""``length`` bytes of JSON text follow."""

COMMAND_LENGTHS: dict[int, tuple[int, ...]] = {
    CommandId.OPEN_RETURN_PATH: (0,),
    CommandId.PING: (Ping.sizeof(),),
    CommandId.POSTCOPY_ADVISE: (0, PostcopyAdvise.sizeof()),
    CommandId.POSTCOPY_LISTEN: (0,),
    CommandId.POSTCOPY_RUN: (0,),
    CommandId.PACKAGED: (Packaged.sizeof(),),
    CommandId.ENABLE_COLO: (0,),
    CommandId.POSTCOPY_RESUME: (0,),
    CommandId.SWITCHOVER_START: (0,),
}
"""Legal payload lengths in bytes; POSTCOPY_RAM_DISCARD and RECV_BITMAP depend on the name in them."""


DiscardHead = Struct("version" / Int8ub, "block_length" / Int8ub)
"""What RAM_DISCARD begins with, the length of its block's name included."""


@lru_cache(maxsize=64)
def ram_discard(ranges: int) -> Struct:
    """POSTCOPY_RAM_DISCARD with that many ranges (a sender puts at most 12 in one command)."""
    return Struct(
        "version" / Int8ub,
        "block" / Str8,
        "terminator" / Int8ub,
        "ranges" / Array(ranges, DiscardRange),
    )
