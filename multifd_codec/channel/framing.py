"""Where the next packet of a multifd channel starts, for one target page size.

A channel has no length fields that a receiver trusts: a plain RAM packet is followed by exactly
``normal_pages * page_size`` bytes, a compressed one by ``next_packet_size`` bytes if it has normal pages, a
device-state packet by ``next_packet_size`` bytes (multifd_recv_thread and the recv methods of migration/multifd*.c, 4.0
to 11.1).
"""

from __future__ import annotations

import enum

from multifd_codec.layout import layout
from multifd_codec.names import is_printable, until_nul
from multifd_codec.source import ByteSource, StreamEnd, pieces, read_known
from multifd_codec.wire.handshake import MULTIFD_MAGIC, MULTIFD_VERSION, ChannelInit
from multifd_codec.wire.packet import (
    COMPRESSION_MASK,
    DeviceStatePacket,
    PacketFlags,
    PacketHeader,
    RamPacketFixed,
    pages_per_packet,
    ram_packet,
)

INIT = layout(ChannelInit)
HEADER = layout(PacketHeader)
FIXED = layout(RamPacketFixed)
DEVICE = layout(DeviceStatePacket)
COUNTS = FIXED.part("flags", "pages_alloc", "normal_pages", "next_packet_size", "zero_pages")
ORDINARY = FIXED.part("magic", "version", "flags", "normal_pages", "next_packet_size", "zero_pages")
MAGIC_VERSION = HEADER.part("magic", "version")
MARK = MAGIC_VERSION.pack(MULTIFD_MAGIC, MULTIFD_VERSION)
"""The eight bytes every ChannelInit and every packet starts with."""

PAGE_SIZES = (4096, 16384, 65536, 8192, 1024, 2048, 32768, 256)
"""Target page sizes in QEMU, most frequent first; 256 is that of AVR."""
DEVICE_STATE_FLAG = int(PacketFlags.DEVICE_STATE)
"""As an integer: masking with an enum member costs more than reading the header."""


class Fit(enum.Enum):
    """Whether a packet can start at an offset."""

    YES = 1
    NO = 2
    UNKNOWN = 3
    """The bytes are not (yet) there."""


def ram_payload(flags: int, normal_pages: int, next_packet_size: int, page_size: int) -> int:
    """Payload bytes a receiver reads behind a RAM packet."""
    if normal_pages == 0:
        return 0
    return next_packet_size if flags & COMPRESSION_MASK else normal_pages * page_size


def starts_packet(source: ByteSource, offset: int) -> Fit:
    """Whether ``offset`` carries magic and version, or is exactly the end of a closed stream."""
    if offset >= source.size:
        if source.end is StreamEnd.OPEN:
            return Fit.UNKNOWN
        return Fit.YES if offset == source.size else Fit.NO
    head = read_known(source, offset, len(MARK))
    if head == MARK:
        return Fit.YES
    return Fit.UNKNOWN if MARK.startswith(head) else Fit.NO


def length_at(source: ByteSource, offset: int, page_size: int) -> int | None:
    """Header and payload length of the packet at ``offset`` as a receiver reads it; None when its counts are not there
    or more than a packet can have."""
    head = read_known(source, offset, DEVICE.size)
    if len(head) >= DEVICE.size and HEADER.struct.unpack_from(head)[2] & DEVICE_STATE_FLAG:
        return DEVICE.size + int(DEVICE.struct.unpack_from(head)[-1])
    if len(head) < COUNTS.size:
        return None
    flags, _, normal, size, zero = COUNTS.unpack_from(head)
    if normal + zero > pages_per_packet(page_size):
        return None
    return layout(ram_packet(page_size)).size + ram_payload(flags, normal, size, page_size)


def looks_like_packet(source: ByteSource, offset: int, page_size: int) -> Fit:
    """Whether ``offset``, found by searching, is a packet rather than page content that happens to hold the mark.

    Counts must be possible, names must be printable, and the packet must end at another packet. UNKNOWN: so far so
    good, but it reaches behind what is recorded.
    """
    head = read_known(source, offset, FIXED.size)
    if not head.startswith(MARK[: len(head)]):
        return Fit.NO
    if len(head) < HEADER.size:
        return Fit.UNKNOWN
    length = length_at(source, offset, page_size)
    if length is None:
        return Fit.UNKNOWN if len(head) < COUNTS.size else Fit.NO
    device = HEADER.struct.unpack_from(head)[2] & DEVICE_STATE_FLAG
    name_span = DEVICE.span("idstr") if device else FIXED.span("ramblock")
    name = until_nul(head[name_span.offset : name_span.offset + name_span.size])
    if not is_printable(name):
        return Fit.NO
    return starts_packet(source, offset + length)


def find_packet(source: ByteSource, offset: int, page_size: int, *, waits: bool = False) -> int | None:
    """The first offset from ``offset`` on that looks like a packet, skipping holes; None when there is none.

    With ``waits`` a place that further bytes could still refute counts as none (so far).
    """
    for position, piece in pieces(source, offset, source.size, overlap=len(MARK) - 1):
        found = piece.find(MARK)
        while found >= 0:
            fit = looks_like_packet(source, position + found, page_size)
            if fit is Fit.UNKNOWN and waits:
                return None
            if fit is not Fit.NO:
                return position + found
            found = piece.find(MARK, found + 1)
    return None


def infer_page_size(source: ByteSource, offset: int, *, waits: bool = False) -> int | None:
    """The target page size with which the packet at ``offset`` is followed by another packet (or the end).

    Device-state packets in front are skipped: they do not depend on the page size. 4096 when nothing decides; with
    ``waits`` None while further bytes could still decide.
    """
    while True:
        head = read_known(source, offset, DEVICE.size)
        if len(head) < DEVICE.size or not HEADER.struct.unpack_from(head)[2] & DEVICE_STATE_FLAG:
            break
        offset += DEVICE.size + int(DEVICE.struct.unpack_from(head)[-1])
    if len(head) < COUNTS.size:
        return None if waits else PAGE_SIZES[0]
    pages_alloc = int(COUNTS.unpack_from(head)[1])
    lengths = ((length_at(source, offset, page_size), page_size) for page_size in PAGE_SIZES)
    # Shortest first: a longer one that fits as well only jumps over packets. A packet of one page is as long with pages
    # of 1024 bytes as with 4096: a sender states how many a packet can hold.
    candidates = [
        (length, pages_alloc != pages_per_packet(size), size) for length, size in lengths if length is not None
    ]
    for length, _, page_size in sorted(candidates, key=lambda candidate: candidate[:2]):
        fit = starts_packet(source, offset + length)
        if fit is Fit.YES:
            return page_size
        if waits and fit is Fit.UNKNOWN:
            return None
    return PAGE_SIZES[0]
