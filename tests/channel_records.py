"""Records of multifd channels, made from nothing."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from multifd_codec.events import ChannelInit, DeviceStatePacket, RamPacket
from multifd_codec.framing import DEVICE, INIT
from multifd_codec.layout import layout
from multifd_codec.wire.handshake import MULTIFD_MAGIC, MULTIFD_VERSION
from multifd_codec.wire.packet import PacketFlags, pages_per_packet, ram_packet
from multifd_codec.wire.vfio import CONFIG_STATE, VFIODeviceStatePacket, VfioTagId
from tests.main_records import PAGE
from tests.streams import Record

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
    """A RAM packet of the releases from 9.2 on; without pages it is a SYNC."""
    pages = tuple(PAGE * entry for entry in (*normal, *zero))
    event = RamPacket(
        offset=0,
        length=layout(ram_packet(PAGE)).size,
        magic=MULTIFD_MAGIC,
        version=MULTIFD_VERSION,
        flags=0 if pages else int(PacketFlags.SYNC),
        pages_alloc=CAPACITY if pages else 0,
        normal_pages=len(normal),
        next_packet_size=len(payload),
        packet_num=number,
        zero_pages=len(zero),
        unused32=0,
        unused64=(0, 0, 0),
        ramblock=block.ljust(256, b"\0"),
        pages=pages + (0,) * (CAPACITY - len(pages)),
        payload_offset=0,
        payload_length=0,
        known=layout(ram_packet(PAGE)).size,
    )
    return Record(event._replace(**fields), payload)


def init(number: int, uuid: bytes = UUID) -> Record:
    event = ChannelInit(0, INIT.size, MULTIFD_MAGIC, MULTIFD_VERSION, uuid, number, bytes(7), (0, 0, 0, 0))
    return Record(event)


def state(index: int, data: bytes, flags: int = 0, device: bytes = DEVICES[0], version: int = 0) -> Record:
    """A device-state packet with a VFIO header."""
    payload = VFIODeviceStatePacket.build({"version": version, "idx": index, "flags": flags}) + data
    return bare_state(payload, device)


def bare_state(payload: bytes, device: bytes = DEVICES[0], flags: int = PacketFlags.DEVICE_STATE) -> Record:
    """A device-state packet with any payload."""
    name = device.ljust(256, b"\0")
    event = DeviceStatePacket(
        0, DEVICE.size, MULTIFD_MAGIC, MULTIFD_VERSION, int(flags), name, 0, len(payload), 0, len(payload)
    )
    return Record(event, payload)


def config(index: int, first: int = VfioTagId.DEV_CONFIG_STATE, last: int = VfioTagId.END_OF_STATE) -> Record:
    """The last device-state packet of a device."""
    data = struct.pack(">Q", first) + b"pci config".ljust(40, b".") + struct.pack(">Q", last)
    return state(index, data, CONFIG_STATE)


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
