"""Records of multifd channels, made from nothing."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from multifd_codec.draft.channel_records import channel_init, device_state_packet, ram_record, vfio_buffer, vfio_config
from multifd_codec.draft.draft import Record
from multifd_codec.wire.packet import PacketFlags, pages_per_packet
from multifd_codec.wire.vfio import VfioTagId
from tests.main_records import PAGE

CAPACITY = pages_per_packet(PAGE)
DEVICES = (b"0000:00:05.0/vfio", b"0000:00:06.0/vfio")
UUID = bytes(range(16))


def page(number: int, generation: int = 0) -> bytes:
    """Content of a guest page: half of it can be compressed."""
    return random.Random(1000 * generation + number).randbytes(PAGE // 2) + bytes([number % 255 + 1]) * (PAGE // 2)


def ram(
    number: int,
    block: bytes = b"",
    normal: Sequence[int] = (),
    zero: Sequence[int] = (),
    payload: bytes = b"",
    **fields: Any,
) -> Record:
    """A RAM packet; pages are given by number. Without pages it is a SYNC."""
    offsets = [[PAGE * entry for entry in pages] for pages in (normal, zero)]
    return ram_record(number, block, *offsets, payload, **fields)


def init(number: int, uuid: bytes = UUID) -> Record:
    return channel_init(number, uuid)


def state(index: int, data: bytes, flags: int = 0, device: bytes = DEVICES[0], version: int = 0) -> Record:
    """A device-state packet with a VFIO header."""
    return vfio_buffer(index, data, device, flags=flags, version=version)


def bare_state(payload: bytes, device: bytes = DEVICES[0], flags: int = PacketFlags.DEVICE_STATE) -> Record:
    """A device-state packet with any payload."""
    return device_state_packet(payload, device, flags=flags)


def config(index: int, first: int = VfioTagId.DEV_CONFIG_STATE, last: int = VfioTagId.END_OF_STATE) -> Record:
    """The last device-state packet of a device."""
    return vfio_config(index, b"pci config".ljust(40, b"."), DEVICES[0], first=first, last=last)


Compress = Callable[[bytes], bytes]


def compressor(compression: int) -> Compress:
    """What one channel does to the pages of each packet."""
    if compression == PacketFlags.ZLIB:
        stream = zlib.compressobj(1)
        return lambda pages: stream.compress(pages) + stream.flush(zlib.Z_SYNC_FLUSH)
    if compression == PacketFlags.ZSTD:
        import zstandard

        frame = zstandard.ZstdCompressor().compressobj()
        return lambda pages: frame.compress(pages) + frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    if compression in (PacketFlags.QPL, PacketFlags.UADK):
        return contained
    return bytes


def contained(pages: bytes) -> bytes:
    """A length table and the pages, every other one as it is."""
    parts = [pages[at : at + PAGE] for at in range(0, len(pages), PAGE)]
    parts = [zlib.compress(part) if number % 2 else part for number, part in enumerate(parts)]
    return struct.pack(f">{len(parts)}I", *map(len, parts)) + b"".join(parts)
