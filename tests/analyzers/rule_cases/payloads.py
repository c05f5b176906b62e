"""Page payloads: MFD217 to MFD223."""

from __future__ import annotations

import struct

from analyzers.findings import Severity
from multifd_codec.draft.draft import Record
from multifd_codec.wire.packet import PacketFlags
from tests.analyzers.rule_cases.case import COMPLETES, CRASHES, HANGS, LOSES, Case, Near
from tests.analyzers.rule_cases.packets import set_pages
from tests.channel_records import contained, page
from tests.migrations import V72, V90, like
from tests.streams import Stream

ZLIB = like(compression=int(PacketFlags.ZLIB))
ZSTD = like(compression=int(PacketFlags.ZSTD))
QPL = like(compression=int(PacketFlags.QPL))
QATZIP = like(compression=int(PacketFlags.QATZIP))
BUFFER = 1 << 20
EMPTY_BLOCK = b"\0\0\0\xff\xff"
"""A stored deflate block without content."""


def sized(record: Record, payload: bytes) -> Record:
    record.payload = payload
    return record.set(next_packet_size=len(payload))


def stored_block(content: bytes) -> bytes:
    """A deflate block that is not compressed, as at level 0."""
    return b"\0" + struct.pack("<HH", len(content), len(content) ^ 0xFFFF) + content


def just_one_buffer(stream: Stream) -> None:
    """A payload of exactly 1 MiB, by empty blocks in front of what it holds."""
    block = stored_block(page(2, 1))
    padding, rest = divmod(BUFFER - len(block), len(EMPTY_BLOCK))
    assert rest == 0
    sized(last_payload(stream), EMPTY_BLOCK * padding + block)


def last_payload(stream: Stream) -> Record:
    """Nothing on its channel depends on the context behind it."""
    return stream.data(0, -1)


def stored(stream: Stream) -> None:
    """The last payload of channel 0 is not compressed at all."""
    sized(last_payload(stream), stored_block(page(2, 1)) + EMPTY_BLOCK)


def turns_zero(stream: Stream) -> Record:
    """Page 0 has content in the first round and is zero in the second."""
    return sized(set_pages(stream.data(0, 2), (1,), (0,)), contained(page(1, 1)))


CASES = (
    Case("MFD217", "a size of one page too many", COMPLETES, near=Near(make=ZSTD)),
    Case(
        "MFD218",
        "a size on compressed zero pages",
        CRASHES,
        near=Near(),
        edit=lambda s: s.zeros(0).set(next_packet_size=100),
        make=ZLIB,
        name="next_packet_size",
    ),
    Case(
        "MFD218",
        "a size on plain zero pages",
        COMPLETES,
        near=Near(make=like(V72)),
        edit=lambda s: s.zeros(0).set(next_packet_size=100),
        name="next_packet_size",
        severity=Severity.WARNING,
    ),
    Case(
        "MFD218",
        "a size on a SYNC of 9.0",
        COMPLETES,
        near=Near(make=like(V72)),
        edit=lambda s: s.sync(0).set(next_packet_size=4096),
        make=like(V90),
        name="next_packet_size",
        severity=Severity.WARNING,
    ),
    Case(
        "MFD219",
        "a payload beyond the receive buffer",
        CRASHES | HANGS | COMPLETES | LOSES,
        near=Near(just_one_buffer),
        make=ZLIB,
    ),
    Case("MFD219", "a payload beyond the receive buffer for 11.1", HANGS, near=Near(just_one_buffer), make=ZLIB),
    Case("MFD220", "a page longer than a page", CRASHES, make=QPL),
    Case(
        "MFD220",
        "lengths that do not add up",
        CRASHES,
        near=Near(make=like(compression=int(PacketFlags.UADK))),
        make=QPL,
    ),
    Case(
        "MFD221",
        "a payload beyond the receive buffer",
        HANGS,
        near=Near(lambda s: sized(s.data(0), s.data(0).payload.ljust(BUFFER, b"\0"))),
        make=QATZIP,
    ),
    Case("MFD222", "a payload that is damaged", HANGS, near=Near(stored), make=ZLIB),
    Case("MFD222", "a payload with a page less", HANGS, make=ZSTD),
    Case("MFD223", "bytes behind the last page", COMPLETES, near=Near(stored), make=ZLIB),
    Case(
        "MFD211",
        "uadk keeps a page that turns zero",
        LOSES,
        near=Near(turns_zero, make=QPL),
        make=like(compression=int(PacketFlags.UADK)),
        severity=Severity.ERROR,
    ),
)
