"""Framing of channels: MFD101, 102, 129, 130."""

from __future__ import annotations

from random import Random
from typing import Any

from analyzers.mutation.edits import NO_STATE, one, sets
from analyzers.mutation.legal import another_round
from analyzers.mutation.mutation import COMPLETES, CRASHES, FAILS, HANGS, Edit, Mutation, Place, same, untouched
from analyzers.mutation.shape import Shape, block_of, payload_size, pick, records, used_pages
from analyzers.rulebook.device_state.packet_edits import a_packet, shuffled
from multifd_codec.draft.channel_records import ram_record
from multifd_codec.draft.draft import Draft, Record, raw
from multifd_codec.wire.handshake import MULTIFD_MAGIC

WRONG_MAGIC = MULTIFD_MAGIC + 1
A_PACKET = one(lambda s: records(s.paired_data) or s.plain_syncs, "a packet")
"""One that is read for certain: one with pages, if there is any."""
A_SYNC = one(lambda s: s.plain_syncs[:-1], "a SYNC without pages")
COUNTS = frozenset({"MFD301", "MFD302"})


def packet_as_page(**wrong: int) -> Edit:
    """A guest page that holds such a packet is just content."""

    def edit(draft: Draft, random: Random) -> None:
        shape = Shape(draft)
        if shape.compression:
            another_round(draft, random)
            return
        alone = [p.record for p in shape.content if payload_size(p.record) and _alone(shape, p.record)]
        record = pick(random, alone, "a packet with content")
        packet = ram_record(7, block_of(record.event), (shape.page_size,), page_size=shape.page_size).set(**wrong)
        page = packet.encoded().ljust(shape.page_size, b"\1")[: shape.page_size]
        record.payload = page + bytes(record.payload[shape.page_size :])

    def edit_or_leave(draft: Draft, random: Random) -> None:
        if Shape(draft).content:
            edit(draft, random)

    return same(edit_or_leave)


def _alone(shape: Shape, record: Record) -> bool:
    """Whether the first page of a packet is in no other packet: up to 7.2 it may be, with the same content."""
    first = (block_of(record.event), record.event.pages[0])
    return not any(
        first[1] in used_pages(p.record.event) and block_of(p.record.event) == first[0]
        for p in shape.data
        if p.record is not record
    )


def behind_the_last_rendezvous(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    shape.multifd()
    line = pick(random, draft.channels, "a channel")
    numbers = [p.record.event.packet_num for p in shape.packets if hasattr(p.record.event, "packet_num")]
    added = ram_record(max(numbers, default=-1) + 1, flags=0, magic=WRONG_MAGIC, page_size=shape.page_size)
    line.append(added)
    return added


def half_a_header(draft: Draft, random: Random) -> Place:
    Shape(draft).multifd()
    added = raw(b"\x11\x22\x33\x44\0")
    pick(random, draft.channels, "a channel").append(added)
    return added


def cut_last_sync(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    shape.multifd()
    pairs = zip(draft.channels, shape.syncs, strict=True)
    last = [line[-1] for line, syncs in pairs if syncs and line[-1] is syncs[-1]]
    record = pick(random, last, "a channel that ends in a SYNC")
    record.event, record.payload = None, record.encoded()[:-100]
    return record


def no_last_sync(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    shape.multifd()
    records = len(shape.rendezvous)
    channels = [n for n, syncs in enumerate(shape.syncs) if len(syncs) >= records]
    channel = pick(random, channels, "a SYNC for each rendezvous")
    for record in shape.syncs[channel][records - 1 :]:
        if record.event.normal_pages + record.event.zero_pages:
            record.set(flags=record.event.flags & ~1)
        else:
            draft.drop(record)
    draft.renumber()
    return end_of_channel(draft, channel)


def nothing_behind_the_init(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    shape.multifd(2)
    NO_STATE(shape)
    channel = random.randrange(len(draft.channels))
    del draft.channels[channel][1:]
    draft.renumber()
    return end_of_channel(draft, channel)


def end_of_channel(draft: Draft, position: int) -> Place:
    return draft.name(position), sum(record.size() for record in draft.channels[position])


def idle_channel(draft: Draft, random: Random) -> Any:
    """One channel carries nothing but SYNCs, its pages travel on the next one."""
    shape = Shape(draft)
    shape.multifd()
    repeats = shape.old_syncs
    if len(draft.channels) < 2 or shape.compression or repeats or any(p.record.event.sync for p in shape.data):
        return another_round(draft, random)
    idle = random.randrange(len(draft.channels))
    other = (idle + 1) % len(draft.channels)
    for packet in shape.data:
        if packet.channel == idle and packet.segment < len(shape.syncs[other]):
            draft.move(packet.record, before=shape.syncs[other][packet.segment])
    draft.renumber()
    return None


AS_PAGE = packet_as_page(magic=WRONG_MAGIC)

MUTATIONS = (
    Mutation("MFD101", "magic of a data packet", HANGS, sets(A_PACKET, magic=WRONG_MAGIC), AS_PAGE, "magic"),
    Mutation("MFD101", "magic behind the last rendezvous", COMPLETES | FAILS, behind_the_last_rendezvous,
        packet_as_page(magic=0), "magic", also=frozenset({"MFD224", "MFD301"})),
    Mutation("MFD102", "version of a data packet", HANGS, sets(A_PACKET, version=2), packet_as_page(version=2),
        "version"),
    Mutation("MFD101", "magic of device state", FAILS | HANGS | CRASHES, sets(a_packet, magic=0xFF), same(shuffled),
        "magic"),
    Mutation("MFD102", "version of device state", FAILS | HANGS | CRASHES, sets(a_packet, version=2), same(shuffled),
        "version"),
    Mutation("MFD102", "version of a SYNC", HANGS, sets(A_SYNC, version=2), packet_as_page(version=2), "version"),
    Mutation("MFD129", "half a header behind the last SYNC", COMPLETES | FAILS, half_a_header, same(another_round)),
    Mutation("MFD129", "a last SYNC that is cut", HANGS, cut_last_sync, untouched, also=COUNTS | {"MFD228"}),
    Mutation("MFD130", "no last SYNC", HANGS, no_last_sync, same(idle_channel), also=COUNTS),
    Mutation("MFD130", "nothing behind the init", HANGS, nothing_behind_the_init, same(idle_channel), also=COUNTS),
)  # fmt: skip
