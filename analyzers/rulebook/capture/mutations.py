"""Quality of the recording: MFD901 to MFD911. Most of these leave the stream as it is and spoil its recording."""

from __future__ import annotations

import struct
from random import Random

from analyzers.mutation.edits import NO_STATE, asks, having, multifd, one
from analyzers.mutation.legal import another_round
from analyzers.mutation.mutation import COMPLETES, HANGS, UNDECIDED, Mutation, Place, same, untouched
from analyzers.mutation.shape import Shape, block_of, need, payload_size, used_pages
from analyzers.rulebook.capture.spoilt import Spoilt
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

LOOKS_LIKE = frozenset({f"MFD{n}" for n in (101, 130, 209, 210, 211, 225, 227, 228, 301, 302, 303, 908)})
"""What packets of another layout look like to who takes them for those of today."""

WITHOUT = {
    "MFD907": "a TLS session cannot be made from a stream that is read; captures/samples has a recorded one",
    "MFD910": "frames of two link types need pcapng, which is read but not written",
}
"""Rules no mutation can violate, and why."""


PAGE_CONTENT = one(
    lambda s: [p.record for p in s.content if payload_size(p.record) > 64],
    "a packet with content",
    having(lambda s: not s.compression, "pages that are not compressed"),
)
"""Page content that is not read: plain, and in one packet of its round only."""
A_PACKET = one(
    lambda s: [r for line in s.draft.channels for r in line[1:-1] if isinstance(r.event, RamPacket)],
    "several packets on a channel",
    having(lambda s: s.packets, "a multifd channel"),
)
"""A packet that another one follows."""
AN_INIT = one(
    lambda s: [line[0] for line in s.draft.channels if len(line) > 2 and isinstance(line[0].event, ChannelInit)],
    "a multifd channel",
)
ANY = asks(multifd())


def lost_content(draft: Draft, place: Place) -> Tap:
    assert isinstance(place, Record)
    header = place.event.length
    return Tap(lost=(Lost(place, header + 16, header + 48),))


def lost_header(draft: Draft, place: Place) -> Tap:
    assert isinstance(place, Record)
    return Tap(lost=(Lost(place, 0, 128),))


def began_late(draft: Draft, place: Place) -> Tap:
    assert isinstance(place, Record)
    position = next(i for i, line in enumerate(draft.channels) if any(record is place for record in line))
    first = draft.channels[position][1]
    return Tap(unopened=frozenset({position}), lost=(Lost(place, 0, 64), Lost(first, 0, len(first.encoded()))))


def cut_frames(draft: Draft, place: Place) -> Tap:
    return Tap(snaplen=SMALL_SNAPLEN)


def cut_file(draft: Draft, place: Place) -> Tap:
    """The last frame, a bare acknowledgement, is cut."""
    return Tap(short=20)


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
    NO_STATE(shape)
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
    Spoilt("MFD901", "page content is lost", COMPLETES, PAGE_CONTENT, PAGE_CONTENT, tap=lost_content),
    Spoilt("MFD901", "a packet header is lost", UNDECIDED, A_PACKET, A_PACKET, also=frozenset({"MFD908"}),
        tap=lost_header),
    Spoilt("MFD902", "frames cut after 200 bytes", UNDECIDED, ANY, ANY, also=frozenset({"MFD908", "MFD909"}),
        tap=cut_frames),
    Spoilt("MFD903", "a channel begins late", UNDECIDED, AN_INIT, AN_INIT, also=frozenset({"MFD908", "MFD901"}),
        tap=began_late),
    Spoilt("MFD904", "connections stay open", COMPLETES, ANY, ANY, tap=open_end, near_tap=reset_end),
    Spoilt("MFD905", "bytes sent again differ", COMPLETES, A_PACKET, A_PACKET, tap=differs, near_tap=equals),
    Spoilt("MFD906", "a file cut by 20 bytes", COMPLETES, ANY, ANY, also=frozenset({"MFD904"}), tap=cut_file),
    Spoilt("MFD908", "a packet header is lost", UNDECIDED, A_PACKET, A_PACKET, also=frozenset({"MFD901"}),
        tap=lost_header),
    Mutation("MFD909", "a device nobody knows", UNDECIDED, unknown_iterable, same(another_round)),
    Mutation("MFD911", "packets of 3.0", HANGS, of_3_0, untouched, also=LOOKS_LIKE),
)  # fmt: skip
