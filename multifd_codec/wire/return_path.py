"""Messages from the destination back to the source, on the main channel's own connection.

Source: enum mig_rp_message_type and source_return_path_thread in migration/migration.c, ramblock_recv_bitmap_send in
migration/ram.c (QEMU 2.5 to 11.1). Big-endian but for the bitmap itself.
"""

from __future__ import annotations

import enum

from construct import Bytes, Int16ub, Int32ub, Int64ub, Struct, this

from multifd_codec.wire.qemufile import Str8

MAX_PAYLOAD = 512
"""The source refuses a longer ``length``."""
RECV_BITMAP_ENDING = 0x0123456789ABCDEF


class ReturnPathType(enum.IntEnum):
    """``type`` of a message (MIG_RP_MSG_*)."""

    INVALID = 0
    SHUT = 1
    """The last message: 0 when the destination loaded everything."""
    PONG = 2
    REQ_PAGES_ID = 3
    REQ_PAGES = 4
    RECV_BITMAP = 5
    RESUME_ACK = 6
    SWITCHOVER_ACK = 7
    """Since 8.1."""


Message = Struct("type" / Int16ub, "length" / Int16ub)
"""``length`` bytes of payload follow; RECV_BITMAP has more behind it that is not counted."""

Shut = Struct("value" / Int32ub)
Pong = Struct("value" / Int32ub)
ResumeAck = Struct("value" / Int32ub)
"""1."""

ReqPages = Struct("start" / Int64ub, "length" / Int32ub)
"""Byte offset in the RAM block last requested by name, and bytes."""

ReqPagesId = Struct(*ReqPages.subcons, "block" / Str8)

RecvBitmap = Struct("block" / Str8)

ReceivedBitmap = Struct("size" / Int64ub, "bitmap" / Bytes(this.size), "ending" / Int64ub)
"""Behind a RECV_BITMAP message, outside its length. ``size`` bytes, a multiple of 8; little-endian, bit set = page
received. ``ending`` is RECV_BITMAP_ENDING."""

ReceivedBitmapSize = Struct("size" / Int64ub)
ReceivedBitmapEnding = Struct("ending" / Int64ub)

PAYLOADS: dict[int, Struct] = {
    ReturnPathType.SHUT: Shut,
    ReturnPathType.PONG: Pong,
    ReturnPathType.REQ_PAGES_ID: ReqPagesId,
    ReturnPathType.REQ_PAGES: ReqPages,
    ReturnPathType.RECV_BITMAP: RecvBitmap,
    ReturnPathType.RESUME_ACK: ResumeAck,
    ReturnPathType.SWITCHOVER_ACK: Struct(),
}
