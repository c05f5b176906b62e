"""Records of multifd channels made from nothing: what a sender, a mutation or a test puts together.

Pages are given as byte offsets in their RAM block, names as bytes. Defaults are those of the newest release; whoever
imitates an older one sets the fields it fills differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from multifd_codec.channel.events import ChannelInit, DeviceStatePacket, RamPacket
from multifd_codec.channel.framing import DEVICE, INIT
from multifd_codec.draft.draft import Record
from multifd_codec.layout import compile_struct, layout
from multifd_codec.source import Buffer
from multifd_codec.wire.handshake import MULTIFD_MAGIC, MULTIFD_VERSION
from multifd_codec.wire.packet import RAMBLOCK_NAME_SIZE, SYNC, PacketFlags, pages_per_packet, ram_packet
from multifd_codec.wire.vfio import CONFIG_STATE, VFIODeviceStatePacket, VfioTag, VfioTagId

VFIO_HEADER = layout(VFIODeviceStatePacket)
_TAG = compile_struct(VfioTag)


def channel_init(number: int, uuid: bytes = bytes(16)) -> Record[ChannelInit]:
    """The ChannelInit of a channel; ``uuid`` is 16 bytes."""
    return Record(ChannelInit(0, INIT.size, MULTIFD_MAGIC, MULTIFD_VERSION, uuid, number, bytes(7), (0, 0, 0, 0)))


def ram_record(
    packet_num: int,
    block: bytes = b"",
    normal: Sequence[int] = (),
    zero: Sequence[int] = (),
    payload: Buffer = b"",
    *,
    page_size: int = 4096,
    **fields: Any,
) -> Record[RamPacket]:
    """A RAM packet; without pages it is a SYNC. ``payload`` is what follows it, ``fields`` are set at last."""
    capacity = pages_per_packet(page_size)
    length = layout(ram_packet(page_size)).size
    pages = (*normal, *zero)
    event = RamPacket(
        offset=0,
        length=length,
        magic=MULTIFD_MAGIC,
        version=MULTIFD_VERSION,
        flags=0 if pages else SYNC,
        pages_alloc=capacity if pages else 0,
        normal_pages=len(normal),
        next_packet_size=len(payload),
        packet_num=packet_num,
        zero_pages=len(zero),
        unused32=0,
        unused64=(0, 0, 0),
        ramblock=block.ljust(RAMBLOCK_NAME_SIZE, b"\0"),
        pages=pages + (0,) * (capacity - len(pages)),
        payload_offset=0,
        payload_length=len(payload),
        known=length,
    )
    return Record(event._replace(**fields) if fields else event, payload)


def device_state_packet(
    payload: Buffer, device: bytes, instance_id: int = 0, flags: int = PacketFlags.DEVICE_STATE
) -> Record[DeviceStatePacket]:
    """A device-state packet with any payload."""
    name = device.ljust(DEVICE.span("idstr").size, b"\0")
    size = len(payload)
    event = DeviceStatePacket(
        0, DEVICE.size, MULTIFD_MAGIC, MULTIFD_VERSION, int(flags), name, instance_id, size, 0, size
    )
    return Record(event, payload)


def vfio_buffer(
    index: int, data: bytes, device: bytes, instance_id: int = 0, *, flags: int = 0, version: int = 0
) -> Record[DeviceStatePacket]:
    """A device-state packet with a VFIO header: buffer ``index`` of the device's state."""
    return device_state_packet(VFIO_HEADER.struct.pack(version, index, flags) + data, device, instance_id)


def vfio_config(
    index: int,
    config: bytes,
    device: bytes,
    instance_id: int = 0,
    *,
    first: int = VfioTagId.DEV_CONFIG_STATE,
    last: int = VfioTagId.END_OF_STATE,
) -> Record[DeviceStatePacket]:
    """The last device-state packet of a VFIO device: ``config`` is its PCI config vmstate."""
    data = _TAG.pack(first) + config + _TAG.pack(last)
    return vfio_buffer(index, data, device, instance_id, flags=CONFIG_STATE)
