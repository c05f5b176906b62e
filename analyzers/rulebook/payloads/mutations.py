"""Page payloads: MFD217 to 223."""

from __future__ import annotations

import struct
from random import Random

from analyzers.mutation.legal import EMPTY_BLOCK, as_containers, raw_block, resend
from analyzers.mutation.mutation import Mutation, Place, same, untouched
from analyzers.mutation.shape import Shape, need, packets_where, pick
from multifd_codec.draft.draft import Draft, Record
from multifd_codec.wire.packet import PacketFlags

BUFFER = 1 << 20
"""Bytes of a compressed payload that a receiver has room for."""
STREAMED = int(PacketFlags.ZLIB | PacketFlags.ZSTD)


def sized(record: Record, payload: bytes) -> Record:
    """Replace the payload."""
    record.payload = payload
    return record.set(next_packet_size=len(payload), payload_length=len(payload))


def last_payload(draft: Draft, random: Random) -> Record:
    """A compressed payload on whose context nothing depends."""
    shape = Shape(draft)
    need(shape.compression & STREAMED, "pages compressed with zlib or zstd")
    packets = packets_where(shape.last_contents, lambda e: e.flags & STREAMED)
    return pick(random, packets, "pages compressed with zlib or zstd")


def plain_size(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    need(not shape.compression, "pages that are not compressed")
    record = random.choice(shape.content).record if shape.content else resend(draft, random)
    return record.set(next_packet_size=record.event.next_packet_size + shape.page_size)


def size_of_zero_pages(draft: Draft, random: Random) -> Place:
    records = [p.record for p in Shape(draft).zeros]
    return pick(random, records, "a packet with zero pages only").set(next_packet_size=100)


def size_of_sync(draft: Draft, random: Random) -> Place:
    """Up to 8.1 it is left over from an earlier packet."""
    shape = Shape(draft)
    need(shape.since_9_0, "SYNCs of 8.2 or later")
    return pick(random, shape.plain_syncs, "a SYNC without pages").set(next_packet_size=4096)


def beyond_buffer(draft: Draft, random: Random) -> Place:
    record = last_payload(draft, random)
    return sized(record, bytes(record.payload).ljust(BUFFER + 1, b"\0"))


def just_one_buffer(draft: Draft, random: Random) -> None:
    """As large as it may be, by empty blocks behind the pages."""
    record = last_payload(draft, random)
    block = EMPTY_BLOCK if record.event.flags & PacketFlags.ZLIB else raw_block(b"")
    payload = bytes(record.payload)
    sized(record, payload + block * ((BUFFER - len(payload)) // len(block)))


def as_qpl(draft: Draft, random: Random) -> None:
    if Shape(draft).compression not in (PacketFlags.QPL, PacketFlags.UADK):
        as_containers(draft, int(PacketFlags.QPL))


def a_container(draft: Draft, random: Random) -> tuple[Record, list[int], bytes]:
    """A packet, the length table and the pages of its container, which then is in one piece."""
    need(Shape(draft).content, "a packet with content")
    as_qpl(draft, random)
    record = random.choice(Shape(draft).content).record
    line = draft.line(record)
    at = next(i for i, other in enumerate(line) if other is record) + 1
    payload = bytes(record.payload)
    if at < len(line) and line[at].event is None:
        payload += line.pop(at).encoded()
    table = struct.Struct(f">{record.event.normal_pages}I")
    return record, list(table.unpack_from(payload)), payload[table.size :]


def contained(record: Record, lengths: list[int], pages: bytes) -> Record:
    return sized(record, struct.pack(f">{len(lengths)}I", *lengths) + pages)


def long_page(draft: Draft, random: Random) -> Place:
    """The first page of a container is a byte longer than a page."""
    record, (first, *others), pages = a_container(draft, random)
    length = Shape(draft).page_size + 1
    return contained(record, [length, *others], pages[:first].ljust(length, b"\0") + pages[first:])


def wrong_sum(draft: Draft, random: Random) -> Place:
    """The first page of a container is a byte shorter than it is."""
    record, (first, *others), pages = a_container(draft, random)
    return contained(record, [first - 1, *others], pages)


def qatzip_beyond_buffer(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    need(shape.compression == PacketFlags.QATZIP, "pages compressed with qatzip")
    record = pick(random, shape.content, "a packet with content").record
    return sized(record, bytes(record.payload).ljust(BUFFER + 1, b"\0"))


def qatzip_just_one_buffer(draft: Draft, random: Random) -> None:
    shape = Shape(draft)
    need(shape.compression == PacketFlags.QATZIP, "pages compressed with qatzip")
    record = pick(random, shape.content, "a packet with content").record
    sized(record, bytes(record.payload).ljust(BUFFER, b"\0"))


def damaged(draft: Draft, random: Random) -> Place:
    """A payload is overwritten: its first bits announce a block of a kind that there is none of."""
    record = last_payload(draft, random)
    return sized(record, b"\xff" * len(record.payload))


def a_page_less(draft: Draft, random: Random) -> Place:
    """The payload has one page less than the packet says."""
    shape = Shape(draft)
    need(shape.compression & STREAMED, "pages compressed with zlib or zstd")
    packets = packets_where(shape.content, lambda e: e.zero_pages)
    record = pick(random, packets, "a packet with content and zero pages")
    event = record.event
    return record.set(normal_pages=event.normal_pages + 1, zero_pages=event.zero_pages - 1)


def left_over(draft: Draft, random: Random) -> Place:
    """A page more than the packet says."""
    record = last_payload(draft, random)
    page = random.randbytes(Shape(draft).page_size)
    method = record.event.flags & STREAMED
    more = b"rest" if method == PacketFlags.ZLIB else raw_block(page)
    return sized(record, bytes(record.payload) + more)


ONCE_MORE = same(resend)
BUFFERED = same(just_one_buffer)

MUTATIONS = (
    Mutation("MFD217", "a size of one page too many", plain_size, ONCE_MORE, "next_packet_size"),
    Mutation("MFD218", "a size on zero pages", size_of_zero_pages, untouched, "next_packet_size"),
    Mutation("MFD218", "a size on a SYNC", size_of_sync, untouched, "next_packet_size"),
    Mutation("MFD219", "a payload beyond the receive buffer", beyond_buffer, BUFFERED, "next_packet_size"),
    Mutation(
        "MFD219",
        "a payload beyond the receive buffer for 11.1",
        beyond_buffer,
        BUFFERED,
        "next_packet_size",
        {"profile": "qemu-11.1"},
    ),
    Mutation("MFD220", "a page longer than a page", long_page, same(as_qpl), "payload"),
    Mutation("MFD220", "lengths that do not add up", wrong_sum, same(as_qpl), "payload"),
    Mutation(
        "MFD221",
        "a payload beyond the receive buffer",
        qatzip_beyond_buffer,
        same(qatzip_just_one_buffer),
        "next_packet_size",
    ),
    Mutation("MFD222", "a payload that is damaged", damaged, ONCE_MORE, "payload"),
    Mutation("MFD222", "a payload with a page less", a_page_less, ONCE_MORE, "payload"),
    Mutation("MFD223", "bytes behind the last page", left_over, ONCE_MORE, "payload"),
)
