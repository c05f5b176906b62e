"""Hypothesis strategies for the bytes of multifd channels, legal in framing and arbitrary in content."""

from __future__ import annotations

from hypothesis import strategies as st

from multifd_codec.channel import encode_channel
from multifd_codec.events import ChannelEvent, ChannelInit, DeviceStatePacket, RamPacket
from multifd_codec.framing import DEVICE, INIT
from multifd_codec.layout import layout
from multifd_codec.wire.packet import pages_per_packet, ram_packet

MAGIC = 0x11223344
BLOCKS = [b"", b"ram0", b"pc.ram", b"/rom@etc/acpi/tables"]
FLAGS = [0, 1, 2, 4, 3, 0x81]

inits = st.builds(
    lambda uuid, number, unused: ChannelInit(0, INIT.size, MAGIC, 1, uuid, number, unused, (0, 0, 0, 0)),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 255),
    st.sampled_from([bytes(7), b"garbage"]),
)


@st.composite
def ram_packets(draw: st.DrawFn, page_size: int) -> RamPacket:
    capacity = pages_per_packet(page_size)
    flags = draw(st.sampled_from(FLAGS))
    normal = draw(st.integers(0, 2))
    zero = draw(st.sampled_from([0, 1, capacity - normal]))
    compressed = flags & 0x3E
    size = draw(st.integers(1, 300)) if compressed and normal else draw(st.sampled_from([0, normal * page_size, 4096]))
    pages = tuple(page_size * draw(st.integers(0, 1 << 20)) for _ in range(min(3, normal + zero)))
    return RamPacket(
        offset=0,
        length=layout(ram_packet(page_size)).size,
        magic=MAGIC,
        version=1,
        flags=flags,
        pages_alloc=draw(st.sampled_from([0, capacity])),
        normal_pages=normal,
        next_packet_size=size,
        packet_num=draw(st.integers(0, 1 << 40)),
        zero_pages=zero,
        unused32=draw(st.sampled_from([0, 7])),
        unused64=(0, 0, 0),
        ramblock=draw(st.sampled_from(BLOCKS)).ljust(256, b"\0"),
        pages=pages + (0,) * (capacity - len(pages)),
        payload_offset=0,
        payload_length=(size if compressed else normal * page_size) if normal else 0,
        known=layout(ram_packet(page_size)).size,
    )


device_packets = st.builds(
    lambda name, size: DeviceStatePacket(0, DEVICE.size, MAGIC, 1, 0x40, name.ljust(256, b"\0"), 0, size, 0, size),
    st.sampled_from([b"0000:00:05.0/vfio", b"0000:00:06.0/vfio"]),
    st.integers(1, 300),
)


def placed(events: list[ChannelEvent]) -> list[ChannelEvent]:
    """The events with the offsets they have on the wire."""
    result: list[ChannelEvent] = []
    offset = 0
    for event in events:
        if isinstance(event, ChannelInit):
            result.append(event)
            offset += event.length
        elif isinstance(event, RamPacket | DeviceStatePacket):
            result.append(event._replace(offset=offset, payload_offset=offset + event.length))
            offset += event.length + event.payload_length
    return result


def encoded(events: list[ChannelEvent], fill: bytes = b"\x5a") -> bytes:
    return b"".join(bytes(part) for part in encode_channel(events, lambda event: fill * event.payload_length))


@st.composite
def channels(draw: st.DrawFn, page_size: int = 65536) -> list[ChannelEvent]:
    """A ChannelInit and some packets, the first a SYNC as every sender has it, placed."""
    packets = draw(st.lists(st.one_of(ram_packets(page_size), device_packets), max_size=8))
    sync = draw(ram_packets(page_size))._replace(
        flags=1, normal_pages=0, zero_pages=0, next_packet_size=0, payload_length=0
    )
    return placed([draw(inits), sync, *packets])
