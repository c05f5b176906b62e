"""Page payloads: MFD217 to 223."""

from __future__ import annotations

import struct
from random import Random

from analyzers.findings import Severity
from analyzers.mutation.edits import having, one, one_or_resent, refills, resized, sets
from analyzers.mutation.legal import CLEAN_SYNCS, as_containers, resend
from analyzers.mutation.mutation import COMPLETES, CRASHES, HANGS, LOSES, Mutation, Place, same, untouched
from analyzers.mutation.shape import Shape, need, records
from multifd_codec.compression.streams import EMPTY_BLOCK, raw_block
from multifd_codec.dialect.compression import STREAMED, Payload, flags_of, names_of
from multifd_codec.draft.draft import Draft, Record
from multifd_codec.wire.packet import PacketFlags
from multifd_codec.wire.payload import MAX_COMPRESSED_PAYLOAD

COMPRESSED = f"pages compressed with {names_of(Payload.STREAM)}"
LAST_PAYLOAD = one(
    lambda s: records(s.last_contents, lambda e: e.flags & STREAMED) if s.compression & STREAMED else (), COMPRESSED
)
"""A compressed payload on whose context nothing depends."""
QATZIP = one(
    lambda s: records(s.content),
    "a packet with content",
    having(lambda s: s.compression == PacketFlags.QATZIP, "pages compressed with qatzip"),
)
PLAIN = one_or_resent(
    lambda s: records(s.content), having(lambda s: not s.compression, "pages that are not compressed")
)


def padded(payload: bytes, shape: Shape, random: Random) -> bytes:
    """As large as it may be, by empty blocks behind the pages."""
    block = EMPTY_BLOCK if shape.compression == PacketFlags.ZLIB else raw_block(b"")
    return payload + block * ((MAX_COMPRESSED_PAYLOAD - len(payload)) // len(block))


def with_more(payload: bytes, shape: Shape, random: Random) -> bytes:
    """A page more than the packet says."""
    page = random.randbytes(shape.page_size)
    return payload + (b"rest" if shape.compression == PacketFlags.ZLIB else raw_block(page))


def as_qpl(draft: Draft, random: Random) -> None:
    if not Shape(draft).compression & flags_of(Payload.LENGTHS):
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
    return resized(record, struct.pack(f">{len(lengths)}I", *lengths) + pages)


def long_page(draft: Draft, random: Random) -> Place:
    """The first page of a container is a byte longer than a page."""
    record, (first, *others), pages = a_container(draft, random)
    length = Shape(draft).page_size + 1
    return contained(record, [length, *others], pages[:first].ljust(length, b"\0") + pages[first:])


def wrong_sum(draft: Draft, random: Random) -> Place:
    """The first page of a container is a byte shorter than it is."""
    record, (first, *others), pages = a_container(draft, random)
    return contained(record, [first - 1, *others], pages)


ONCE_MORE = same(resend)
BUFFERED = same(refills(LAST_PAYLOAD, padded))

SIZE_TOO_LARGE = sets(PLAIN, next_packet_size=lambda e, s, r: e.next_packet_size + s.page_size)
SIZE_OF_ZERO_PAGES = sets(one(lambda s: records(s.zeros), "a packet with zero pages only"), next_packet_size=100)
# Up to 8.1 it is left over from an earlier packet.
SIZE_OF_SYNC = sets(
    one(lambda s: s.plain_syncs, "a SYNC without pages", having(lambda s: s.since_9_0, f"SYNCs of {CLEAN_SYNCS}")),
    next_packet_size=4096,
)
BEYOND_BUFFER = refills(LAST_PAYLOAD, lambda payload, s, r: payload.ljust(MAX_COMPRESSED_PAYLOAD + 1, b"\0"))
QATZIP_BEYOND = refills(QATZIP, lambda payload, s, r: payload.ljust(MAX_COMPRESSED_PAYLOAD + 1, b"\0"))
QATZIP_BUFFERED = same(refills(QATZIP, lambda payload, s, r: payload.ljust(MAX_COMPRESSED_PAYLOAD, b"\0")))
# Its first bits announce a block of a kind that there is none of.
DAMAGED = refills(LAST_PAYLOAD, lambda payload, s, r: b"\xff" * len(payload))
PAGE_LESS = sets(
    one(
        lambda s: records(s.content, lambda e: e.zero_pages),
        "a packet with content and zero pages",
        having(lambda s: s.compression & STREAMED, COMPRESSED),
    ),
    normal_pages=lambda e, s, r: e.normal_pages + 1,
    zero_pages=lambda e, s, r: e.zero_pages - 1,
)
LEFT_OVER = refills(LAST_PAYLOAD, with_more)

MUTATIONS = (
    Mutation("MFD217", "a size of one page too many", COMPLETES, SIZE_TOO_LARGE, ONCE_MORE, "next_packet_size"),
    Mutation("MFD218", "a size on zero pages", COMPLETES, SIZE_OF_ZERO_PAGES, untouched, "next_packet_size",
        severity=Severity.WARNING),
    Mutation("MFD218", "a size on a SYNC", COMPLETES, SIZE_OF_SYNC, untouched, "next_packet_size",
        severity=Severity.WARNING),
    Mutation("MFD219", "a payload beyond the receive buffer", COMPLETES | LOSES | HANGS | CRASHES, BEYOND_BUFFER,
        BUFFERED, "next_packet_size"),
    Mutation("MFD219", "a payload beyond the receive buffer for 11.1", HANGS, BEYOND_BUFFER, BUFFERED,
        "next_packet_size", {"profile": "qemu-11.1"}),
    Mutation("MFD220", "a page longer than a page", CRASHES, long_page, same(as_qpl), "payload"),
    Mutation("MFD220", "lengths that do not add up", CRASHES, wrong_sum, same(as_qpl), "payload"),
    Mutation("MFD221", "a payload beyond the receive buffer", HANGS, QATZIP_BEYOND, QATZIP_BUFFERED,
        "next_packet_size"),
    Mutation("MFD222", "a payload that is damaged", HANGS, DAMAGED, ONCE_MORE, "payload"),
    Mutation("MFD222", "a payload with a page less", HANGS, PAGE_LESS, ONCE_MORE, "payload"),
    Mutation("MFD223", "bytes behind the last page", COMPLETES, LEFT_OVER, ONCE_MORE, "payload"),
)  # fmt: skip
