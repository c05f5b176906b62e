"""Edits that keep a migration legal: what mutations start from, and what near misses are."""

from __future__ import annotations

import struct
from collections.abc import Set
from random import Random

from analyzers.mutation.main_edits import configuration, last_iteration, part_section
from analyzers.mutation.mutation import LacksError
from analyzers.mutation.shape import (
    Segmented,
    Shape,
    avoid,
    block_of,
    need,
    payload_size,
    pick,
    sent_in_round,
    used_pages,
)
from multifd_codec.compression import CODECS
from multifd_codec.dialect.compression import Payload, of_flags
from multifd_codec.dialect.words import which
from multifd_codec.draft.channel_records import ram_record
from multifd_codec.draft.draft import Draft, Record
from multifd_codec.draft.main_records import end_of_ram, flush
from multifd_codec.main import events as ev
from multifd_codec.wire.packet import RAMBLOCK_NAME_SIZE

CLEAN_SYNCS = which(lambda r: not r.sender.sync_carries_pages, "or")
"""Releases whose SYNC packets are nothing but SYNCs."""
MAX_SOUGHT = 1 << 16
"""Pages of a block among which one is sought that no packet carries."""


def sync_record(shape: Shape) -> Record:
    """A SYNC as this stream has them."""
    for record in shape.plain_syncs:
        return record.copy()
    old = any(p.record.event.sync for p in shape.data)
    return ram_record(0, page_size=shape.page_size, pages_alloc=shape.capacity if old else 0)


# Rounds.


def another_round(draft: Draft, random: Random) -> Record:
    """One rendezvous more: a PART section without pages, and the SYNC for it on every channel; the section's header."""
    shape = Shape(draft)
    shape.multifd()
    section = last_iteration(shape)
    inside = set(map(id, section.records))
    passed = 0
    for number, record in enumerate(shape.rendezvous, 1):
        if id(record) in inside:
            passed = number
    need(all(len(syncs) >= passed for syncs in shape.syncs) and passed, "a SYNC for each rendezvous")
    body = [flush(), end_of_ram()] if shape.per_round else [end_of_ram()]
    lines = part_section(shape, *body)
    draft.behind(section.last, *lines)
    for syncs in shape.syncs:
        place = syncs[passed - 1]
        line = draft.line(place)
        at = next(i for i, record in enumerate(line) if record is place)
        owed = at + 1 < len(line) and _is_empty(line[at + 1])
        draft.behind(line[at + 1] if owed else place, sync_record(shape))
    draft.renumber()
    return lines[0]


def _is_empty(record: Record) -> bool:
    event = record.event
    return hasattr(event, "pages_alloc") and not (event.sync or event.normal_pages + event.zero_pages)


def more_syncs(draft: Draft, count: int, *channels: int) -> Record:
    """Further SYNCs behind everything else; the last one."""
    shape = Shape(draft)
    shape.multifd()
    added: Record | None = None
    for channel in channels or range(len(draft.channels)):
        for _ in range(count):
            added = sync_record(shape)
            draft.channels[channel].append(added)
    draft.renumber()
    assert added is not None
    return added


# Packets.


def last_paired_sync(shape: Shape, channel: int) -> Record:
    """The SYNC of the last rendezvous."""
    number = len(shape.rendezvous)
    need(number >= 2 and len(shape.syncs[channel]) >= number, "two rendezvous with a SYNC for each")
    return shape.syncs[channel][number - 1]


def fresh_page(shape: Shape, random: Random) -> tuple[bytes, int]:
    """(block, offset) of a page that the last round does not carry yet."""
    need(shape.blocks, "a block list on main")
    taken = sent_in_round(shape, len(shape.rendezvous) - 1)
    listed = [(block, length // shape.page_size) for block, length in shape.blocks.items() if length >= shape.page_size]
    need(listed, "a RAM block")
    for _ in range(1000):
        block, pages = random.choice(listed)
        offset = random.randrange(pages) * shape.page_size
        if (block, offset) not in taken:
            return block, offset
    for block, pages in listed:
        for number in range(pages):
            if (block, number * shape.page_size) not in taken:
                return block, number * shape.page_size
    raise LacksError("this stream lacks a page that its last round does not carry")


def never_normal(shape: Shape, random: Random, but: Set[tuple[bytes, int]] = frozenset()) -> tuple[bytes, int]:
    """(block, offset) of a page that no packet carries with content, and that is none of ``but``: it may be a ZERO
    record on main at any time."""
    need(shape.blocks, "a block list on main")
    taken = but | {
        (block_of(p.record.event), offset)
        for p in shape.data
        for offset in p.record.event.pages[: p.record.event.normal_pages]
    }
    pages = [
        (block, offset)
        for block, length in shape.blocks.items()
        for offset in range(0, min(length, MAX_SOUGHT * shape.page_size), shape.page_size)
        if (block, offset) not in taken
    ]
    return pick(random, pages, "a page that no packet carries with content")


def resend(
    draft: Draft,
    random: Random,
    *,
    channel: int | None = None,
    count: int = 1,
    page: tuple[bytes, int] | None = None,
    content: bytes | None = None,
    before: Record | None = None,
) -> Record:
    """A page that was written to is sent again, with new content, in the last round: a packet in front of the last
    paired SYNC (or of ``before``). ``count``: how often the packet lists it."""
    shape = Shape(draft)
    shape.multifd()
    channel = random.randrange(len(draft.channels)) if channel is None else channel
    place = before or last_paired_sync(shape, channel)
    block, offset = page or fresh_page(shape, random)
    data = content if content is not None else random.randbytes(shape.page_size)
    record = ram_record(0, block, [offset] * count, page_size=shape.page_size)
    payload = compressed(shape, place, data * count)
    record.payload = payload
    record.set(next_packet_size=len(payload), payload_length=len(payload), flags=shape.compression)
    draft.before(place, record)
    draft.renumber()
    return record


def resend_zero(draft: Draft, random: Random, entries: int = 1) -> Record:
    """A page that never had content is zero in the last round: a packet of zero pages only that lists it ``entries``
    times."""
    shape = Shape(draft)
    shape.multifd()
    channel = random.randrange(len(draft.channels))
    place = last_paired_sync(shape, channel)
    block, offset = never_normal(shape, random, sent_in_round(shape, len(shape.rendezvous) - 1))
    record = ram_record(0, block, [], [offset] * entries, page_size=shape.page_size, flags=shape.compression)
    draft.before(place, record)
    draft.renumber()
    return record


def compressed(shape: Shape, place: Record, pages: bytes) -> bytes:
    """A payload with these pages for a packet in front of ``place``, whatever the channel's context.

    Raises LacksError where later payloads of that channel depend on the context.
    """
    method = of_flags(shape.compression)
    size = shape.page_size
    if method is not None and method.payload is Payload.LENGTHS:
        count = len(pages) // size
        return struct.pack(f">{count}I", *[size] * count) + pages
    stored = None if method is None else CODECS[method.name].stored
    if stored is None:
        return pages
    line = shape.draft.line(place)
    at = next(i for i, record in enumerate(line) if record is place)
    need(not any(_has_content(record) for record in line[at:]), "a last payload in front of its last SYNC")
    first = not any(_has_content(record) for record in line[:at])
    return stored(pages, first)


def _has_content(record: Record) -> bool:
    return bool(getattr(record.event, "normal_pages", 0))


def fits_containers(shape: Shape) -> list[Record]:
    """The packets with pages of a stream that ``as_containers`` can change. Raises LacksError."""
    need(shape.compression == 0, "pages that are not compressed")
    need(shape.since_9_0, f"packets of {CLEAN_SYNCS}")
    avoid(shape.states, "device state: it is not sent beside compression")
    packets = [p.record for p in shape.data]
    need(any(r.event.normal_pages for r in packets), "a packet with content")
    need(all(payload_size(r) == r.event.normal_pages * shape.page_size for r in packets), "whole payloads")
    return packets


def as_containers(draft: Draft, method: int) -> None:
    """All pages with content travel in qpl or uadk containers, each page stored as it is. Raises LacksError."""
    shape = Shape(draft)
    packets = fits_containers(shape)
    for record in packets:
        event = record.event
        record.set(flags=event.flags | method)
        if not event.normal_pages:
            continue
        table = struct.pack(f">{event.normal_pages}I", *[shape.page_size] * event.normal_pages)
        size = len(table) + payload_size(record)
        pages = record.copy()
        pages.event = None
        draft.behind(record, pages)
        record.payload = table
        record.set(next_packet_size=size, payload_length=size)


def swap_offsets(draft: Draft, random: Random) -> None:
    """Two zero pages of a packet change places; where there are none, two pages with content."""
    shape = Shape(draft)
    choices: list[tuple[Segmented, int, int]] = []
    for packet in shape.paired_data:
        event = packet.record.event
        if event.zero_pages >= 2:
            choices.append((packet, event.normal_pages, event.normal_pages + event.zero_pages - 1))
    if not choices:
        for packet in shape.content:
            event = packet.record.event
            others = {
                (block_of(o.record.event), offset)
                for o in shape.data
                if o.segment == packet.segment and o.record is not packet.record
                for offset in used_pages(o.record.event)
            }
            last = event.normal_pages - 1
            ends = {(block_of(event), event.pages[0]), (block_of(event), event.pages[last])}
            if last >= 2 and not ends & others:
                choices.append((packet, 0, last))
    packet, first, second = pick(random, choices, "a packet with several pages")
    pages = list(packet.record.event.pages)
    pages[first], pages[second] = pages[second], pages[first]
    packet.record.set(pages=tuple(pages))


def named(block: bytes) -> bytes:
    """A RAM block's name as it stands in a packet."""
    return block.ljust(RAMBLOCK_NAME_SIZE, b"\0")


def split_zeros(draft: Draft, random: Random) -> Record:
    """A packet of zero pages becomes two; the first of them."""
    shape = Shape(draft)
    packet = pick(random, [p for p in shape.zeros if p.record.event.zero_pages >= 2], "a packet with zero pages only")
    record = packet.record
    event = record.event
    half = event.zero_pages // 2
    pages = used_pages(event)
    first, second = pages[:half], pages[half:]
    rest = record.copy()
    for each, own in ((record, first), (rest, second)):
        each.set(zero_pages=len(own), pages=own + (0,) * (shape.capacity - len(own)))
    draft.behind(record, rest)
    draft.renumber()
    return record


def another_part(draft: Draft, random: Random) -> None:
    """A PART section with nothing but EOS."""
    shape = Shape(draft)
    if draft.channels and not shape.per_round:
        another_round(draft, random)
        return
    draft.behind(last_iteration(shape).last, *part_section(shape, end_of_ram()))


def with_subsections(draft: Draft, random: Random) -> None:
    """The configuration says more: page size and UUID."""
    record = configuration(draft)
    shape = Shape(draft)
    have = {type(part) for part in record.event.subsections}
    uuid = next((line[0].event.uuid for line in draft.channels if hasattr(line[0].event, "uuid")), bytes(16))
    bits = shape.page_size.bit_length() - 1
    more = [ev.TargetPageBits(0, 0, 1, bits), ev.ConfigurationUuid(0, 0, 1, uuid)]
    parts = record.event.subsections + tuple(part for part in more if type(part) not in have)
    record.set(subsections=parts)
