"""Conditions on RAM packet headers, as a table: each finds its places in a whole batch at once.

A condition says what is on the wire, not whether it is bad: that depends on sender and destination
(``analyzers.judge``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multifd_codec.channel.batch import PacketBatch
from multifd_codec.layout import layout
from multifd_codec.wire.handshake import MULTIFD_MAGIC, MULTIFD_VERSION
from multifd_codec.wire.packet import (
    COMPRESSION_MASK,
    KNOWN_FLAGS,
    PacketFlags,
    RamPacketFixed,
    pages_per_packet,
)

Mask = NDArray[np.bool_]
RECEIVE_BUFFER = 1 << 20
"""Bytes of a compressed payload a receiver has room for."""
OLD_ALLOC_FACTOR = 100
"""Up to 6.2 pages_alloc may be this many times the pages a packet can hold."""
STREAMED = int(PacketFlags.ZLIB | PacketFlags.ZSTD)


NUMBER = layout(RamPacketFixed).span("packet_num")


class Columns:
    """The integer fields of a batch in host byte order, and what follows from them."""

    def __init__(self, batch: PacketBatch) -> None:
        self.batch = batch
        self.capacity = pages_per_packet(batch.page_size)
        words = batch.bytes[:, : layout(RamPacketFixed).size].view(np.uint64)
        differing = words != words[0]
        differing[:, NUMBER.offset // NUMBER.size] = False
        self.alike = not differing.any()
        """All packets equal the first but for packet_num and the offset array."""
        self.flags = self._column("flags")
        self.alloc = self._column("pages_alloc")
        self.normal = self._column("normal_pages")
        self.zero = self._column("zero_pages")
        self.size = self._column("next_packet_size")
        self.full_of_pages = self.alike and int(self.normal[0] + self.zero[0]) == self.capacity
        self.sync: Mask = (self.flags & int(PacketFlags.SYNC)) != 0
        self.has_pages: Mask = (self.normal + self.zero) > 0
        self.compression = self.flags & COMPRESSION_MASK
        self.possible: Mask = (self.normal + self.zero) <= self.capacity
        self.zero_known = np.where(self.possible, self.zero, 0)
        """Zero pages, 0 where the count is impossible: releases before 9.0 do not read it."""

    def _column(self, name: str) -> NDArray[np.int64]:
        if self.alike:
            return np.full(len(self.batch), int(self.batch.rows[name][0]), np.int64)
        return self.batch.column(name)

    @cached_property
    def first_fixed(self) -> bytes:
        """The first packet's header in front of its offset array, the packet number left out."""
        raw = self.batch.bytes[0, : layout(RamPacketFixed).size].tobytes()
        return raw[: NUMBER.offset] + raw[NUMBER.offset + NUMBER.size :]

    @cached_property
    def magic(self) -> NDArray[np.int64]:
        return self.batch.column("magic")

    @cached_property
    def version(self) -> NDArray[np.int64]:
        return self.batch.column("version")

    @cached_property
    def number(self) -> NDArray[np.int64]:
        return self.batch.column("packet_num")

    @cached_property
    def plain_size(self) -> NDArray[np.int64]:
        return self.normal * self.batch.page_size


class Condition(NamedTuple):
    """One condition: ``key`` names it in the judge's tables, ``field`` is the wire field it is about."""

    key: str
    field: str
    mask: Callable[[Columns], Mask]
    message: Callable[[Columns, int], str]


def _reserved(columns: Columns) -> Mask:
    rows: Any = columns.batch.rows
    found: Mask = (rows["unused32"] != 0) | (rows["unused64"] != 0).any(axis=1)
    return found


def _unused_offsets(columns: Columns) -> Mask:
    """Entries of the offset array behind those that are counted are not zero."""
    rows: Any = columns.batch.rows
    used = np.minimum(columns.normal + columns.zero, columns.capacity)
    found: Mask = np.zeros(len(used), np.bool_)
    short = np.flatnonzero(used < columns.capacity)
    if len(short):
        behind = np.arange(columns.capacity) >= used[short, None]
        found[short] = ((rows["offset"][short] != 0) & behind).any(axis=1)
    return found


def _unused_name(columns: Columns) -> Mask:
    """A packet without pages names a RAM block."""
    found: Mask = ~columns.has_pages
    empty = np.flatnonzero(found)
    if len(empty):
        found[empty] = columns.batch.rows["ramblock"][empty].view(np.uint8).reshape(len(empty), -1).any(axis=1)
    return found


def _payload(key: str, methods: PacketFlags) -> Condition:
    """Pages that are compressed in one of these ways."""
    return Condition(
        key,
        "flags",
        lambda c: ((c.compression & int(methods)) != 0) & (c.normal > 0),
        lambda c, i: f"{c.normal[i]} pages with compression id {c.compression[i]:#x}",
    )


CONDITIONS: tuple[Condition, ...] = (
    Condition(
        "magic",
        "magic",
        lambda c: c.magic != MULTIFD_MAGIC,
        lambda c, i: f"magic {c.magic[i]:#010x}, expected {MULTIFD_MAGIC:#010x}",
    ),
    Condition(
        "version",
        "version",
        lambda c: c.version != MULTIFD_VERSION,
        lambda c, i: f"version {c.version[i]}, expected {MULTIFD_VERSION}",
    ),
    Condition(
        "undefined flags",
        "flags",
        lambda c: (c.flags & ~KNOWN_FLAGS) != 0,
        lambda c, i: f"undefined flag bits {c.flags[i] & ~KNOWN_FLAGS:#x} are set",
    ),
    Condition(
        "two compressions",
        "flags",
        lambda c: (c.compression & (c.compression - 1)) != 0,
        lambda c, i: f"compression bits {c.compression[i]:#x} name more than one method",
    ),
    Condition(
        "pages_alloc",
        "pages_alloc",
        lambda c: c.alloc > c.capacity,
        lambda c, i: f"pages_alloc {c.alloc[i]}, a packet holds at most {c.capacity} pages",
    ),
    Condition(
        "pages_alloc beyond 100",
        "pages_alloc",
        lambda c: c.alloc > OLD_ALLOC_FACTOR * c.capacity,
        lambda c, i: f"pages_alloc {c.alloc[i]}, even releases before 7.0 take at most {OLD_ALLOC_FACTOR * c.capacity}",
    ),
    Condition(
        "pages_alloc of data",
        "pages_alloc",
        lambda c: c.has_pages & (c.alloc < c.capacity),
        lambda c, i: f"pages_alloc {c.alloc[i]} on a packet with pages, senders say {c.capacity}",
    ),
    Condition(
        "normal_pages",
        "normal_pages",
        lambda c: c.normal > c.alloc,
        lambda c, i: f"normal_pages {c.normal[i]} exceeds pages_alloc {c.alloc[i]}",
    ),
    Condition(
        "offsets beyond packet",
        "normal_pages",
        lambda c: (c.normal > c.capacity) & (c.normal <= c.alloc),
        lambda c, i: f"{c.normal[i]} pages, the offset array has {c.capacity} entries",
    ),
    Condition(
        "zero_pages",
        "zero_pages",
        lambda c: (c.normal <= c.alloc) & (c.zero > c.alloc - c.normal),
        lambda c, i: f"zero_pages {c.zero[i]} exceeds pages_alloc {c.alloc[i]} less normal_pages {c.normal[i]}",
    ),
    Condition(
        "zero pages in packets",
        "zero_pages",
        lambda c: c.zero != 0,
        lambda c, i: f"zero_pages {c.zero[i]}, a field that releases before 9.0 neither send nor read",
    ),
    Condition(
        "plain size",
        "next_packet_size",
        lambda c: (c.compression == 0) & (c.normal > 0) & c.possible & (c.size != c.plain_size),
        lambda c, i: f"next_packet_size {c.size[i]}, {c.normal[i]} pages are {c.plain_size[i]} bytes",
    ),
    Condition(
        "plain zero pages with size",
        "next_packet_size",
        lambda c: (c.compression == 0) & (c.normal == 0) & (c.zero > 0) & (c.size != 0),
        lambda c, i: f"next_packet_size {c.size[i]} on a packet with zero pages only",
    ),
    Condition(
        "compressed zero pages with size",
        "next_packet_size",
        lambda c: (c.compression != 0) & (c.normal == 0) & (c.zero > 0) & (c.size != 0),
        lambda c, i: f"next_packet_size {c.size[i]} on a compressed packet with zero pages only",
    ),
    Condition(
        "empty with size",
        "next_packet_size",
        lambda c: ~c.has_pages & (c.size != 0),
        lambda c, i: f"next_packet_size {c.size[i]} on a packet without pages",
    ),
    Condition(
        "payload beyond buffer",
        "next_packet_size",
        lambda c: ((c.compression & STREAMED) != 0) & (c.normal > 0) & (c.size > RECEIVE_BUFFER),
        lambda c, i: f"next_packet_size {c.size[i]} exceeds the receive buffer of {RECEIVE_BUFFER} bytes",
    ),
    Condition(
        "qatzip beyond buffer",
        "next_packet_size",
        lambda c: (c.compression == int(PacketFlags.QATZIP)) & (c.normal > 0) & (c.size > RECEIVE_BUFFER),
        lambda c, i: f"next_packet_size {c.size[i]} exceeds the receive buffer of {RECEIVE_BUFFER} bytes",
    ),
    Condition(
        "empty without SYNC",
        "flags",
        lambda c: ~c.sync & ~c.has_pages,
        lambda c, i: "neither SYNC nor pages",
    ),
    Condition(
        "SYNC with pages",
        "flags",
        lambda c: c.sync & c.has_pages,
        lambda c, i: f"SYNC on a packet with {c.normal[i] + c.zero[i]} pages",
    ),
    Condition(
        "SYNC with other flags",
        "flags",
        lambda c: c.sync & ((c.flags & KNOWN_FLAGS) != int(PacketFlags.SYNC)),
        lambda c, i: f"flags {c.flags[i]:#x} on a SYNC packet, 9.0 and later send 0x1",
    ),
    Condition(
        "SYNC says pages_alloc",
        "pages_alloc",
        lambda c: c.sync & ~c.has_pages & (c.alloc != 0),
        lambda c, i: f"pages_alloc {c.alloc[i]} on a SYNC packet, 9.2 and later send 0",
    ),
    Condition(
        "SYNC says no pages_alloc",
        "pages_alloc",
        lambda c: c.sync & ~c.has_pages & (c.alloc == 0),
        lambda c, i: "pages_alloc 0 on a SYNC packet, as 9.2 and later send it",
    ),
    _payload("zlib or zstd payload", PacketFlags.ZLIB | PacketFlags.ZSTD),
    _payload("qpl or uadk payload", PacketFlags.QPL | PacketFlags.UADK),
    _payload("qatzip payload", PacketFlags.QATZIP),
    Condition("stale bytes", "unused64", _reserved, lambda c, i: "reserved words of the header are not zero"),
    Condition(
        "stale offsets",
        "offset",
        _unused_offsets,
        lambda c, i: f"entries of the offset array behind the {c.normal[i] + c.zero[i]} that count are not zero",
    ),
    Condition("stale name", "ramblock", _unused_name, lambda c, i: "a RAM block's name on a packet without pages"),
)
"""``SYNC says ...``, ``... payload`` and ``zero pages in packets`` are no violations: they tell releases apart."""
