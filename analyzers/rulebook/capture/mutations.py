"""Quality of the recording: MFD901 to MFD911. Most of these leave the stream as it is and spoil its recording."""

from __future__ import annotations

import struct
from random import Random

from analyzers.mutation.legal import another_round
from analyzers.mutation.mutation import Mutation, Place, same, untouched
from analyzers.mutation.shape import Shape, avoid, block_of, need, payload_size, pick, used_pages
from captures.write.tap import Again, Lost, Tap
from multifd_codec.channel.events import ChannelInit, RamPacket
from multifd_codec.draft.draft import Draft, Record, raw
from multifd_codec.main import events as ev
from multifd_codec.source import StreamEnd
from multifd_codec.wire.handshake import MULTIFD_MAGIC, MULTIFD_VERSION
from multifd_codec.wire.packet import PacketFlags, pages_per_packet

SMALL_SNAPLEN = 200
"""Cuts the headers of packets, not those of frames."""
HEADER_3_0 = struct.Struct(">5IQ256s")
BITMAP_SECTION = b"\x01" + struct.pack(">I", 0x1000) + b"\x0cdirty-bitmap" + struct.pack(">II", 0, 1)

LOOKS_LIKE = frozenset(
    {
        "MFD101",
        "MFD130",
        "MFD209",
        "MFD210",
        "MFD211",
        "MFD225",
        "MFD227",
        "MFD228",
        "MFD301",
        "MFD302",
        "MFD303",
        "MFD908",
    }
)
"""What packets of another layout look like to who takes them for those of today."""

WITHOUT = {
    "MFD907": "a TLS session cannot be made from a stream that is read; captures/samples has a recorded one",
    "MFD910": "frames of two link types need pcapng, which is read but not written",
}
"""Rules no mutation can violate, and why."""


def page_content(draft: Draft, random: Random) -> Place:
    """Page content that is not read: plain, and in one packet of its round only."""
    shape = Shape(draft)
    need(not shape.compression, "pages that are not compressed")
    found = [p.record for p in shape.content if payload_size(p.record) > 64]
    return pick(random, found, "a packet with content")


def some_packet(draft: Draft, random: Random) -> Place:
    """A packet that another one follows."""
    shape = Shape(draft)
    found = [r for line in draft.channels for r in line[1:-1] if isinstance(r.event, RamPacket)]
    need(shape.packets, "a multifd channel")
    return pick(random, found, "several packets on a channel")


def packet_header(draft: Draft, random: Random) -> Place:
    return some_packet(draft, random)


def a_channel(draft: Draft, random: Random) -> Place:
    """The ChannelInit of a channel."""
    found = [line[0] for line in draft.channels if len(line) > 2 and isinstance(line[0].event, ChannelInit)]
    return pick(random, found, "a multifd channel")


def lost_content(draft: Draft, place: Place) -> Tap:
    assert isinstance(place, Record)
    header = place.event.length
    return Tap(lost=(Lost(place, header + 16, header + 48),))


def lost_header(draft: Draft, place: Place) -> Tap:
    assert isinstance(place, Record)
    return Tap(lost=(Lost(place, 0, 128),))


def cut_frames(draft: Draft, place: Place) -> Tap:
    return Tap(snaplen=SMALL_SNAPLEN)


def began_late(draft: Draft, place: Place) -> Tap:
    assert isinstance(place, Record)
    position = next(i for i, line in enumerate(draft.channels) if any(record is place for record in line))
    first = draft.channels[position][1]
    return Tap(unopened=frozenset({position}), lost=(Lost(place, 0, 64), Lost(first, 0, len(first.encoded()))))


def open_end(draft: Draft, place: Place) -> Tap:
    return Tap(ends={name: StreamEnd.OPEN for name, _ in draft.lines()})


def reset_end(draft: Draft, place: Place) -> Tap:
    return Tap(ends={name: StreamEnd.RESET for name, _ in draft.lines() if name != "main"})


def differs(draft: Draft, place: Place) -> Tap:
    assert isinstance(place, Record)
    data = place.encoded()[-32:]
    return Tap(again=(Again(place, bytes(byte ^ 0xFF for byte in data)),))


def equals(draft: Draft, place: Place) -> Tap:
    assert isinstance(place, Record)
    return Tap(again=(Again(place, place.encoded()[-32:]),))


def whole(draft: Draft, place: Place) -> Tap:
    return Tap()


def cut_file(draft: Draft, place: Place) -> Tap:
    """The last frame, a bare acknowledgement, is cut."""
    return Tap(short=20)


def anywhere(draft: Draft, random: Random) -> Place:
    Shape(draft).multifd()
    return None, None


def unknown_iterable(draft: Draft, random: Random) -> Place:
    """A START section of a device whose body nobody can read, in place of everything behind it."""
    start = Shape(draft).ram_section(ev.SectionStart)
    described = [record for record in draft.main if isinstance(record.event, ev.VmDescription)]
    at = next(i for i, record in enumerate(draft.main) if record is start.last) + 1
    added = raw(BITMAP_SECTION + b"\xaa" * 5000)
    draft.main[at:] = [added, *described]
    return "main", None


def of_3_0(draft: Draft, random: Random) -> Place:
    """A channel's packets have the layout of the experiment in 3.0."""
    shape = Shape(draft)
    shape.multifd()
    avoid(shape.states, "device state: it would be missing as well")
    position = random.randrange(len(draft.channels))
    line = draft.channels[position]
    need(line and isinstance(line[0].event, ChannelInit), "a ChannelInit")
    block = next(iter(shape.blocks), b"ram0")
    line[1:] = [raw(_packet_3_0(shape, record.event, block)) for record in line if isinstance(record.event, RamPacket)]
    return draft.name(position), None


def _packet_3_0(shape: Shape, event: RamPacket, default: bytes) -> bytes:
    capacity = pages_per_packet(shape.page_size)
    pages = used_pages(event)
    flags = event.flags & PacketFlags.SYNC
    block = block_of(event) or default
    head = HEADER_3_0.pack(MULTIFD_MAGIC, MULTIFD_VERSION, flags, capacity, len(pages), event.packet_num, block)
    return head + struct.pack(f">{capacity}Q", *(pages + (0,) * capacity)[:capacity])


MUTATIONS = (
    Mutation("MFD901", "page content is lost", page_content, page_content, tap=lost_content, near_tap=whole),
    Mutation(
        "MFD901",
        "a packet header is lost",
        packet_header,
        packet_header,
        also=frozenset({"MFD908"}),
        tap=lost_header,
        near_tap=whole,
    ),
    Mutation(
        "MFD902",
        "frames cut after 200 bytes",
        anywhere,
        anywhere,
        also=frozenset({"MFD908", "MFD909"}),
        tap=cut_frames,
        near_tap=whole,
    ),
    Mutation(
        "MFD903", "a channel begins late", a_channel, a_channel, also=frozenset({"MFD908", "MFD901"}), tap=began_late,
        near_tap=whole,
    ),
    Mutation("MFD904", "connections stay open", anywhere, anywhere, tap=open_end, near_tap=reset_end),
    Mutation("MFD905", "bytes sent again differ", some_packet, some_packet, tap=differs, near_tap=equals),
    Mutation(
        "MFD906", "a file cut by 20 bytes", anywhere, anywhere, also=frozenset({"MFD904"}), tap=cut_file,
        near_tap=whole,
    ),
    Mutation(
        "MFD908",
        "a packet header is lost",
        packet_header,
        packet_header,
        also=frozenset({"MFD901"}),
        tap=lost_header,
        near_tap=whole,
    ),
    Mutation("MFD909", "a device nobody knows", unknown_iterable, same(another_round)),
    Mutation(
        "MFD911",
        "packets of 3.0",
        of_3_0,
        untouched,
        also=LOOKS_LIKE,
    ),
)  # fmt: skip
