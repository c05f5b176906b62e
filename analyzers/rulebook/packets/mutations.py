"""Packets: their header fields, and the pages that they name."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from random import Random

from analyzers.findings import Severity
from analyzers.mutation.edits import LISTED, having, one, one_or_resent, sets
from analyzers.mutation.legal import (
    CLEAN_SYNCS,
    another_round,
    as_containers,
    fits_containers,
    fresh_page,
    last_paired_sync,
    named,
    resend,
    resend_zero,
    split_zeros,
    swap_offsets,
)
from analyzers.mutation.main_edits import unlisted
from analyzers.mutation.mutation import COMPLETES, HANGS, LOSES, Edit, Mutation, Place, same
from analyzers.mutation.shape import Segmented, Shape, avoid, block_of, need, pick, records, sent_in_round, used_pages
from analyzers.rulebook.device_state.packet_edits import a_packet, shuffled
from multifd_codec.channel.events import RamPacket
from multifd_codec.dialect.compression import unmarked_by
from multifd_codec.dialect.releases import OLDEST
from multifd_codec.dialect.words import since
from multifd_codec.draft.channel_records import ram_record
from multifd_codec.draft.draft import Draft, Record
from multifd_codec.wire.packet import COMPRESSION_MASK, SYNC, PacketFlags

ZLIB, ZSTD = int(PacketFlags.ZLIB), int(PacketFlags.ZSTD)
UNDEFINED_BITS = range(7, 32)
CLEAN_HEADERS = f"headers that are clean, as from {since(lambda r: not r.sender.header_stale)} on"
DENSE_NUMBERS = f"dense numbers, as from {since(lambda r: r.sender.packet_num_dense)} on"
KEPT = unmarked_by(OLDEST)
"""Compression ids with which some destinations keep what a page held when it turns zero."""
NEWER = frozenset({"MFD206", "MFD417", "MFD515"})
"""What a stream of 10.0 has got that the older destination does not know."""


A_DATA_PACKET = one_or_resent(lambda s: records(s.paired_data))
A_SYNC = partial(one, lambda s: s.plain_syncs, "a SYNC without pages")
CLEAN = having(lambda s: not s.old_syncs, CLEAN_HEADERS)


def another_method(draft: Draft, random: Random) -> Place:
    """Where packets have zero pages only, nothing is compressed in a wrong way."""
    shape = Shape(draft)
    other = ZSTD if shape.compression == ZLIB else ZLIB
    if not shape.compression:
        need(shape.content or len(shape.zeros) > 1, "several packets with pages")
        record = pick(random, records(shape.zeros), "a packet with zero pages only")
    else:
        record = pick(random, records(shape.last_contents), "a packet with content")
    return record.set(flags=record.event.flags & ~COMPRESSION_MASK | other)


def containers(method: PacketFlags) -> Edit:
    def edit(draft: Draft, random: Random) -> Place:
        shape = Shape(draft)
        if shape.compression != method:
            as_containers(draft, int(method))
            shape = Shape(draft)
        return shape.data[0].record

    return edit


def room_made(draft: Draft, random: Random) -> Record:
    """A packet that is not full, made so."""
    return split_zeros(draft, random) if Shape(draft).zeros else resend(draft, random)


def with_room(draft: Draft, random: Random) -> Record:
    """A packet that is not full."""
    found = not_full(Shape(draft))
    return pick(random, found, "") if found else room_made(draft, random)


def not_full(shape: Shape) -> list[Record]:
    """The packets with pages that have room for more."""
    return records(shape.paired_data, lambda e: e.normal_pages + e.zero_pages < shape.capacity)


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
    places = records(shape.paired_data) or shape.plain_syncs
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


def reserved_word(draft: Draft, random: Random) -> Place:
    words = [0, 0, 0]
    words[random.randrange(3)] = random.getrandbits(32) | 1
    return A_DATA_PACKET(draft, random).set(unused64=tuple(words))


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
    need(shape.dense_numbers and shape.since_9_0, DENSE_NUMBERS)
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
    need(shape.dense_numbers and shape.since_9_0, DENSE_NUMBERS)
    shape.multifd(2)
    need(all(map(draft.rams, shape.by_id)), "packets on every channel")
    ends = [draft.rams(channel)[-1] for channel in shape.by_id]
    other, last = sorted(ends, key=lambda record: record.event.packet_num)[-2:]
    last.set(packet_num=other.event.packet_num)
    # The one on the channel with the higher id is found.
    return next(record for record in reversed(ends) if record is last or record is other)


def renumbered(draft: Draft, random: Random) -> None:
    draft.renumber()


CACHE_LINE = 64
"""How far a page is moved: any amount that is no multiple of the page size will do."""


behind_the_last = sets(
    one_or_resent(lambda s: records(s.paired_data), LISTED),
    pages=lambda e, s, r: replaced(e.pages, r.randrange(len(used_pages(e))), s.blocks[block_of(e)]),
)
"""A packet names the page behind the last one of its block."""


def replaced(pages: tuple[int, ...], number: int, offset: int) -> tuple[int, ...]:
    """Another offset in the place of one."""
    return (*pages[:number], offset, *pages[number + 1 :])


def _misaligned(draft: Draft, random: Random, packets: list[Segmented], what: str) -> Place:
    shape = Shape(draft)
    choices = []
    for packet in packets:
        event = packet.record.event
        limit = shape.blocks.get(block_of(event), 0) - 2 * shape.page_size
        normal = range(event.normal_pages)
        numbers = normal if what == "normal" else range(len(normal), len(normal) + event.zero_pages)
        choices += [(packet.record, number) for number in numbers if event.pages[number] <= limit]
    record, number = pick(random, choices, f"a {what} page in a packet")
    moved = record.event.pages[number] + CACHE_LINE * random.randrange(1, shape.page_size // CACHE_LINE)
    return record.set(pages=replaced(record.event.pages, number, moved))


def misaligned_normal(draft: Draft, random: Random) -> Place:
    return _misaligned(draft, random, Shape(draft).content, "normal")


def misaligned_zero(draft: Draft, random: Random) -> Place:
    return _misaligned(draft, random, Shape(draft).zeros, "zero")


def misaligned_again(draft: Draft, random: Random) -> Place:
    """Without a page in any packet: one that is sent again."""
    shape = Shape(draft)
    block, offset = fresh_page(shape, random)
    need(offset + 2 * shape.page_size <= shape.blocks[block], "a RAM block of several pages")
    return resend(draft, random, page=(block, offset + CACHE_LINE))


def page_twice(draft: Draft, random: Random) -> Place:
    """The same content twice: whichever is written last, the page is right."""
    return resend(draft, random, count=2)


def zero_page_twice(draft: Draft, random: Random) -> Place:
    need(Shape(draft).zero_pages_in_packets, "zero pages in its packets")
    return resend_zero(draft, random, 2)


def on_two_channels(*, same_content: bool) -> Edit:
    def edit(draft: Draft, random: Random) -> Place:
        shape = Shape(draft)
        shape.multifd(2)
        page = fresh_page(shape, random)
        lower = random.randrange(len(draft.channels) - 1)
        first, second = shape.by_id[lower : lower + 2]
        content = random.randbytes(shape.page_size)
        other = content if same_content else random.randbytes(shape.page_size)
        resend(draft, random, channel=second, page=page, content=content)
        # The packet on the channel with the lower id is the one that is found.
        return resend(draft, random, channel=first, page=page, content=other)

    return edit


LAST_PAGES = one(lambda s: records(s.last_contents) or records(s.zeros), "a packet with pages")
UNDEFINED_BIT = sets(A_DATA_PACKET, flags=lambda e, s, r: e.flags | 1 << r.choice(UNDEFINED_BITS))
BIT_OF_DEVICE_STATE = sets(a_packet, flags=lambda e, s, r: e.flags | 1 << r.choice(UNDEFINED_BITS))
TWO_METHODS = sets(LAST_PAGES, flags=lambda e, s, r: e.flags & ~COMPRESSION_MASK | ZLIB | ZSTD)
LARGE_ALLOC = sets(A_DATA_PACKET, pages_alloc=lambda e, s, r: s.capacity + 1)
SMALL_ALLOC = sets(with_room, pages_alloc=lambda e, s, r: s.capacity - 1)
TOO_MANY_NORMAL = sets(A_DATA_PACKET, normal_pages=lambda e, s, r: s.capacity + 1)
TOO_MANY_ZERO = sets(A_DATA_PACKET, zero_pages=lambda e, s, r: e.pages_alloc - e.normal_pages + 1)
METHOD_ON_SYNC = sets(
    A_SYNC(having(lambda s: s.since_9_0, f"SYNCs of {CLEAN_SYNCS}")),
    flags=lambda e, s, r: SYNC | (s.compression or ZLIB),
)
UNUSED_OFFSET = sets(
    one(lambda s: not_full(s) or s.plain_syncs, "a packet that is not full", CLEAN),
    pages=lambda e, s, r: (*e.pages[:-1], s.page_size),
)
NAME_ON_SYNC = sets(A_SYNC(CLEAN, LISTED), ramblock=lambda e, s, r: named(next(iter(s.blocks))))
UNLISTED = sets(one_or_resent(lambda s: records(s.paired_data), LISTED), ramblock=lambda e, s, r: named(unlisted(s)))
BEHIND_THE_NAME = sets(A_DATA_PACKET, ramblock=lambda e, s, r: e.ramblock[:-1] + b"x")
FULL, ONCE_MORE = same(another_round), same(resend)
OLD = {"profile": "qemu-8.2"}
UADK, QPL = containers(PacketFlags.UADK), containers(PacketFlags.QPL)

MUTATIONS = (
    Mutation("MFD203", "an undefined bit", COMPLETES, UNDEFINED_BIT, FULL, "flags"),
    Mutation("MFD203", "an undefined bit of device state", COMPLETES, BIT_OF_DEVICE_STATE, same(shuffled), "flags"),
    Mutation("MFD204", "zlib and zstd at once", HANGS, TWO_METHODS, FULL, "flags",
        also=frozenset({"MFD205", "MFD222", "MFD218", "MFD129", "MFD101"})),
    Mutation("MFD205", "one packet of another method", HANGS, another_method, FULL, "flags"),
    Mutation("MFD206", "qpl for a destination without it", HANGS, QPL, QPL, "flags", {"profile": "qemu-9.0"}, {},
        also=NEWER - {"MFD206"}, severity=Severity.ERROR),
    Mutation("MFD206", "uadk taken for plain pages", HANGS, UADK, UADK, "flags", {"profile": "qemu-9.0"}, {},
        also=NEWER - {"MFD206"}, severity=Severity.ERROR),
    Mutation("MFD207", "one page more than a packet has", HANGS, LARGE_ALLOC, FULL, "pages_alloc"),
    Mutation("MFD208", "a smaller pages_alloc", COMPLETES, SMALL_ALLOC, same(room_made), "pages_alloc"),
    Mutation("MFD209", "more pages than the array has", HANGS, TOO_MANY_NORMAL, FULL, "normal_pages"),
    Mutation("MFD210", "one zero page too many", HANGS, TOO_MANY_ZERO, FULL, "zero_pages", also=frozenset({"MFD211"})),
    Mutation("MFD211", "zero pages for a destination that ignores them", COMPLETES, zero_pages_there, FULL,
        "zero_pages", OLD, {}, also=NEWER),
    Mutation("MFD211", "a page with content then zero for such a destination", LOSES, normal_then_zero,
        normal_then_zero, "zero_pages", OLD, {}, also=NEWER),
    Mutation("MFD211", "uadk keeps a page that turns zero", LOSES, uadk_keeps_zero, same(zero_or_again), "zero_pages",
        severity=Severity.ERROR),
    Mutation("MFD224", "an empty packet from a new sender", COMPLETES, empty_packet, FULL, "flags",
        severity=Severity.WARNING),
    Mutation("MFD225", "SYNC on a packet with zero pages", COMPLETES, merged("a packet with zero pages only"), FULL,
        "flags", also=frozenset({"MFD226"})),
    Mutation("MFD225", "SYNC on a packet with content", COMPLETES, merged("a packet with content"), FULL, "flags",
        also=frozenset({"MFD226", "MFD224"})),
    Mutation("MFD225", "SYNC on a packet with content for 9.2", HANGS, there_with_content, FULL, "flags",
        {"profile": "qemu-9.2"}, {}, also=NEWER | {"MFD224", "MFD226"}, severity=Severity.ERROR),
    Mutation("MFD226", "zlib on a SYNC", COMPLETES, METHOD_ON_SYNC, FULL, "flags"),
    Mutation("MFD227", "a reserved word", COMPLETES, reserved_word, FULL, "unused64"),
    Mutation("MFD227", "an unused offset", COMPLETES, UNUSED_OFFSET, FULL, "offset"),
    Mutation("MFD227", "a block name on a SYNC", COMPLETES, NAME_ON_SYNC, FULL, "ramblock"),
    Mutation("MFD228", "numbers going back", COMPLETES, going_back, same(renumbered), "packet_num"),
    Mutation("MFD228", "a gap", COMPLETES, a_gap, same(renumbered), "packet_num"),
    Mutation("MFD228", "a number twice", COMPLETES, number_twice, same(renumbered), "packet_num"),
    Mutation("MFD212", "a block that is not listed", HANGS, UNLISTED, same(BEHIND_THE_NAME), "ramblock"),
    Mutation("MFD213", "a page behind the last", HANGS, behind_the_last, ONCE_MORE, "offset"),
    Mutation("MFD214", "a normal page not aligned", LOSES, misaligned_normal, same(swap_offsets), "offset"),
    Mutation("MFD214", "a zero page not aligned", COMPLETES, misaligned_zero, same(swap_offsets), "offset"),
    Mutation("MFD214", "a page sent again not aligned", LOSES, misaligned_again, ONCE_MORE, "offset"),
    Mutation("MFD215", "a page twice in one packet", COMPLETES, page_twice, ONCE_MORE, "offset"),
    Mutation("MFD215", "a zero page twice in one packet", COMPLETES, zero_page_twice, ONCE_MORE, "offset"),
    Mutation("MFD216", "a page on two channels in one round", COMPLETES | LOSES, on_two_channels(same_content=False),
        ONCE_MORE, "offset"),
    Mutation("MFD216", "the same content on two channels", COMPLETES, on_two_channels(same_content=True), ONCE_MORE,
        "offset"),
)  # fmt: skip
