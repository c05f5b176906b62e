"""Packets: their header fields, and the pages that they name (the edits of these in page_edits.py)."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from analyzers.mutation.legal import (
    another_round,
    as_containers,
    fits_containers,
    last_paired_sync,
    resend,
    resend_zero,
    split_zeros,
    swap_offsets,
)
from analyzers.mutation.mutation import Edit, Mutation, Place, same
from analyzers.mutation.shape import Shape, avoid, block_of, need, packets_where, pick, sent_in_round
from analyzers.rulebook.packets.page_edits import (
    behind_the_last,
    byte_behind_the_name,
    misaligned_again,
    misaligned_normal,
    misaligned_zero,
    on_two_channels,
    page_twice,
    unlisted_block,
    zero_page_twice,
)
from multifd_codec.channel.events import RamPacket
from multifd_codec.draft.channel_records import ram_record
from multifd_codec.draft.draft import Draft, Record
from multifd_codec.wire.packet import COMPRESSION_MASK, PacketFlags

SYNC = int(PacketFlags.SYNC)
ZLIB, ZSTD = int(PacketFlags.ZLIB), int(PacketFlags.ZSTD)
UNDEFINED_BITS = range(7, 32)
KEPT = int(PacketFlags.QPL | PacketFlags.UADK | PacketFlags.QATZIP)
"""Compression ids with which some destinations keep what a page held when it turns zero."""
NEWER = frozenset({"MFD206", "MFD417", "MFD515"})
"""What a stream of 10.0 has got that the older destination does not know."""


def data_packet(draft: Draft, random: Random) -> Record:
    """A packet with pages; one is sent again where there are none."""
    found = [p.record for p in Shape(draft).paired_data]
    return random.choice(found) if found else resend(draft, random)


def undefined_bit(draft: Draft, random: Random) -> Place:
    record = data_packet(draft, random)
    return record.set(flags=record.event.flags | 1 << random.choice(UNDEFINED_BITS))


def two_methods(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    packets = [p.record for p in shape.last_contents] or [p.record for p in shape.zeros]
    record = pick(random, packets, "a packet with pages")
    return record.set(flags=record.event.flags & ~COMPRESSION_MASK | ZLIB | ZSTD)


def another_method(draft: Draft, random: Random) -> Place:
    """Where packets have zero pages only, nothing is compressed in a wrong way."""
    shape = Shape(draft)
    other = ZSTD if shape.compression == ZLIB else ZLIB
    if not shape.compression:
        need(shape.content or len(shape.zeros) > 1, "several packets with pages")
        record = pick(random, [p.record for p in shape.zeros], "a packet with zero pages only")
    else:
        record = pick(random, [p.record for p in shape.last_contents], "a packet with content")
    return record.set(flags=record.event.flags & ~COMPRESSION_MASK | other)


def containers(method: PacketFlags) -> Edit:
    def edit(draft: Draft, random: Random) -> Place:
        shape = Shape(draft)
        if shape.compression != method:
            as_containers(draft, int(method))
            shape = Shape(draft)
        return shape.data[0].record

    return edit


def pages_alloc(change: int) -> Edit:
    def edit(draft: Draft, random: Random) -> Place:
        return data_packet(draft, random).set(pages_alloc=Shape(draft).capacity + change)

    return edit


def small_pages_alloc(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    packets = [p for p in shape.paired_data if p.record.event.normal_pages + p.record.event.zero_pages < shape.capacity]
    if packets:
        return pick(random, packets, "").record.set(pages_alloc=shape.capacity - 1)
    record = split_zeros(draft, random) if shape.zeros else resend(draft, random)
    return record.set(pages_alloc=shape.capacity - 1)


def roomy_packet(draft: Draft, random: Random) -> None:
    """A packet that is not full, its pages_alloc as always."""
    shape = Shape(draft)
    if shape.zeros:
        split_zeros(draft, random)
    else:
        resend(draft, random)


def too_many_normal(draft: Draft, random: Random) -> Place:
    return data_packet(draft, random).set(normal_pages=Shape(draft).capacity + 1)


def too_many_zero(draft: Draft, random: Random) -> Place:
    record = data_packet(draft, random)
    return record.set(zero_pages=record.event.pages_alloc - record.event.normal_pages + 1)


def zero_pages_there(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    if not shape.zero_pages_in_packets:
        need(not shape.compression, "zero pages in its packets")
        return resend_zero(draft, random)
    found = [p.record for p in shape.data if p.record.event.zero_pages]
    return found[0]


def normal_then_zero(draft: Draft, random: Random) -> Place:
    """A page that had content is zero in the last round."""
    avoid(Shape(draft).compression & KEPT, "pages in containers: some destinations keep their content anyway")
    return turned_zero(draft, random)


def turned_zero(draft: Draft, random: Random) -> Record:
    shape = Shape(draft)
    shape.multifd()
    need(shape.zero_pages_in_packets, "zero pages in its packets")
    last = len(shape.rendezvous) - 1
    taken = sent_in_round(shape, last)
    pages = [
        (packet.channel, block_of(event), offset)
        for packet in shape.content
        if packet.segment < last
        for event in (packet.record.event,)
        for offset in event.pages[: event.normal_pages]
        if (block_of(event), offset) not in taken
    ]
    channel, block, offset = pick(random, pages, "a page with content that its last round does not carry")
    record = ram_record(0, block, [], [offset], page_size=shape.page_size, flags=shape.compression)
    draft.before(last_paired_sync(shape, channel), record)
    draft.renumber()
    return record


def uadk_keeps_zero(draft: Draft, random: Random) -> Place:
    """The page's container keeps what it had: uadk does not mark pages as received."""
    shape = Shape(draft)
    plain = shape.compression != PacketFlags.UADK
    if plain:
        fits_containers(shape)
    place = turned_zero(draft, random)
    if plain:
        as_containers(draft, int(PacketFlags.UADK))
    return place


def zero_or_again(draft: Draft, random: Random) -> None:
    """Such a page where no destination keeps its content; elsewhere a page that is sent again."""
    if Shape(draft).compression & KEPT:
        resend(draft, random)
    else:
        normal_then_zero(draft, random)


def empty_packet(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    record = ram_record(0, flags=0, page_size=shape.page_size)
    if shape.old_syncs:
        record.set(pages_alloc=shape.capacity)
    places = [p.record for p in shape.paired_data] or shape.plain_syncs
    draft.before(pick(random, places, "a packet"), record)
    draft.renumber()
    return record


def merged(test: str) -> Edit:
    """A SYNC becomes a flag of the packet in front of it."""

    def edit(draft: Draft, random: Random) -> Place:
        shape = Shape(draft)
        found = []
        for line in draft.channels:
            for front, sync in pairwise(line):
                if not (isinstance(front.event, RamPacket) and isinstance(sync.event, RamPacket)):
                    continue
                if sync.event.sync and not sync.event.normal_pages + sync.event.zero_pages and _fits(front, test):
                    found.append((front, sync))
        front, sync = pick(random, found, f"{test} in front of a SYNC")
        draft.drop(sync)
        front.set(flags=front.event.flags | SYNC)
        if any(p.record.event.flags & SYNC for p in shape.data) and not shape.zero_pages_in_packets:
            draft.behind(front, ram_record(0, flags=0, page_size=shape.page_size, pages_alloc=shape.capacity))
        draft.renumber()
        return front

    return edit


def _fits(record: Record, test: str) -> bool:
    event = record.event
    if event.flags & SYNC:
        return False
    return bool(event.normal_pages) if "content" in test else bool(event.zero_pages and not event.normal_pages)


def there_with_content(draft: Draft, random: Random) -> Place:
    """A SYNC that carries pages with content, or one that is made so."""
    found = [p.record for p in Shape(draft).content if p.record.event.flags & SYNC]
    return found[0] if found else merged("a packet with content")(draft, random)


def method_on_sync(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    need(shape.since_9_0, "SYNCs of 9.0 or later")
    return pick(random, shape.plain_syncs, "a SYNC without pages").set(flags=SYNC | (shape.compression or ZLIB))


def reserved_word(draft: Draft, random: Random) -> Place:
    words = [0, 0, 0]
    words[random.randrange(3)] = random.getrandbits(32) | 1
    return data_packet(draft, random).set(unused64=tuple(words))


def unused_offset(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    need(not shape.old_syncs, "headers that are clean, as from 9.2 on")
    room = packets_where(shape.paired_data, lambda e: e.normal_pages + e.zero_pages < shape.capacity)
    record = random.choice(room) if room else pick(random, shape.plain_syncs, "a packet that is not full")
    return record.set(pages=(*record.event.pages[:-1], shape.page_size))


def name_on_sync(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    need(not shape.old_syncs, "headers that are clean, as from 9.2 on")
    need(shape.blocks, "a block list on main")
    record = pick(random, shape.plain_syncs, "a SYNC without pages")
    return record.set(ramblock=next(iter(shape.blocks)).ljust(256, b"\0"))


def going_back(draft: Draft, random: Random) -> Place:
    """Two packets in a row change their numbers."""
    pairs = []
    for channel in range(len(draft.channels)):
        packets = draft.rams(channel)
        pairs += [
            (first, second)
            for first, second in pairwise(packets[1:])
            if first.event.packet_num < second.event.packet_num
        ]
    first, second = pick(random, pairs, "several packets on a channel")
    low, high = first.event.packet_num, second.event.packet_num
    first.set(packet_num=high)
    return second.set(packet_num=low)


def a_gap(draft: Draft, random: Random) -> Place:
    """One number is never used."""
    shape = Shape(draft)
    need(shape.dense_numbers and shape.since_9_0, "dense numbers, as from 9.0 on")
    packets = [p.record for p in shape.packets if isinstance(p.record.event, RamPacket)]
    need(len(packets) > 2 * len(draft.channels), "packets behind its first SYNCs")
    gap = random.randrange(2 * len(draft.channels), len(packets))
    for record in packets:
        if record.event.packet_num >= gap:
            record.set(packet_num=record.event.packet_num + 1)
    return None, None


def number_twice(draft: Draft, random: Random) -> Place:
    """The last packet of one channel gets the number of the last of another."""
    shape = Shape(draft)
    need(shape.dense_numbers and shape.since_9_0, "dense numbers, as from 9.0 on")
    shape.multifd(2)
    need(all(map(draft.rams, shape.by_id)), "packets on every channel")
    ends = [draft.rams(channel)[-1] for channel in shape.by_id]
    other, last = sorted(ends, key=lambda record: record.event.packet_num)[-2:]
    last.set(packet_num=other.event.packet_num)
    # The one on the channel with the higher id is found.
    return next(record for record in reversed(ends) if record is last or record is other)


def renumbered(draft: Draft, random: Random) -> None:
    draft.renumber()


FULL, ONCE_MORE = same(another_round), same(resend)
OLD = {"profile": "qemu-8.2"}
UADK, QPL = containers(PacketFlags.UADK), containers(PacketFlags.QPL)

MUTATIONS = (
    Mutation("MFD203", "an undefined bit", undefined_bit, FULL, "flags"),
    Mutation(
        "MFD204",
        "zlib and zstd at once",
        two_methods,
        FULL,
        "flags",
        also=frozenset({"MFD205", "MFD222", "MFD218", "MFD129", "MFD101"}),
    ),
    Mutation("MFD205", "one packet of another method", another_method, FULL, "flags"),
    Mutation(
        "MFD206",
        "qpl for a destination without it",
        QPL,
        QPL,
        "flags",
        {"profile": "qemu-9.0"},
        {},
        also=NEWER - {"MFD206"},
    ),
    Mutation(
        "MFD206",
        "uadk taken for plain pages",
        UADK,
        UADK,
        "flags",
        {"profile": "qemu-9.0"},
        {},
        also=NEWER - {"MFD206"},
    ),
    Mutation("MFD207", "one page more than a packet has", pages_alloc(1), FULL, "pages_alloc"),
    Mutation("MFD208", "a smaller pages_alloc", small_pages_alloc, same(roomy_packet), "pages_alloc"),
    Mutation("MFD209", "more pages than the array has", too_many_normal, FULL, "normal_pages"),
    Mutation("MFD210", "one zero page too many", too_many_zero, FULL, "zero_pages", also=frozenset({"MFD211"})),
    Mutation(
        "MFD211",
        "zero pages for a destination that ignores them",
        zero_pages_there,
        FULL,
        "zero_pages",
        OLD,
        {},
        also=NEWER,
    ),
    Mutation(
        "MFD211",
        "a page with content then zero for such a destination",
        normal_then_zero,
        normal_then_zero,
        "zero_pages",
        OLD,
        {},
        also=NEWER,
    ),
    Mutation("MFD211", "uadk keeps a page that turns zero", uadk_keeps_zero, same(zero_or_again), "zero_pages"),
    Mutation("MFD224", "an empty packet from a new sender", empty_packet, FULL, "flags"),
    Mutation(
        "MFD225",
        "SYNC on a packet with zero pages",
        merged("a packet with zero pages only"),
        FULL,
        "flags",
        also=frozenset({"MFD226"}),
    ),
    Mutation(
        "MFD225",
        "SYNC on a packet with content",
        merged("a packet with content"),
        FULL,
        "flags",
        also=frozenset({"MFD226", "MFD224"}),
    ),
    Mutation(
        "MFD225",
        "SYNC on a packet with content for 9.2",
        there_with_content,
        FULL,
        "flags",
        {"profile": "qemu-9.2"},
        {},
        also=NEWER | {"MFD224", "MFD226"},
    ),
    Mutation("MFD226", "zlib on a SYNC", method_on_sync, FULL, "flags"),
    Mutation("MFD227", "a reserved word", reserved_word, FULL, "unused64"),
    Mutation("MFD227", "an unused offset", unused_offset, FULL, "offset"),
    Mutation("MFD227", "a block name on a SYNC", name_on_sync, FULL, "ramblock"),
    Mutation("MFD228", "numbers going back", going_back, same(renumbered), "packet_num"),
    Mutation("MFD228", "a gap", a_gap, same(renumbered), "packet_num"),
    Mutation("MFD228", "a number twice", number_twice, same(renumbered), "packet_num"),
    Mutation("MFD212", "a block that is not listed", unlisted_block, same(byte_behind_the_name), "ramblock"),
    Mutation("MFD213", "a page behind the last", behind_the_last, ONCE_MORE, "offset"),
    Mutation("MFD214", "a normal page not aligned", misaligned_normal, same(swap_offsets), "offset"),
    Mutation("MFD214", "a zero page not aligned", misaligned_zero, same(swap_offsets), "offset"),
    Mutation("MFD214", "a page sent again not aligned", misaligned_again, ONCE_MORE, "offset"),
    Mutation("MFD215", "a page twice in one packet", page_twice, ONCE_MORE, "offset"),
    Mutation("MFD215", "a zero page twice in one packet", zero_page_twice, ONCE_MORE, "offset"),
    Mutation("MFD216", "a page on two channels in one round", on_two_channels(same_content=False), ONCE_MORE, "offset"),
    Mutation("MFD216", "the same content on two channels", on_two_channels(same_content=True), ONCE_MORE, "offset"),
)
