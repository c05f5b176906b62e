"""The fields of many RAM packets at once, and what follows from them: rules and surveys look at whole batches."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from multifd_codec.channel.batch import PacketBatch
from multifd_codec.layout import layout
from multifd_codec.wire.packet import COMPRESSION_MASK, SYNC, RamPacketFixed, pages_per_packet

Mask = NDArray[np.bool_]
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
        self.sync: Mask = (self.flags & SYNC) != 0
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

    @property
    def unused_words(self) -> Mask:
        """Reserved words of the header are not zero."""
        rows = self.batch.rows
        found: Mask = (rows["unused32"] != 0) | (rows["unused64"] != 0).any(axis=1)
        return found

    @property
    def unused_offsets(self) -> Mask:
        """Entries of the offset array behind those that are counted are not zero."""
        used = np.minimum(self.normal + self.zero, self.capacity)
        found: Mask = np.zeros(len(used), np.bool_)
        short = np.flatnonzero(used < self.capacity)
        if len(short):
            behind = np.arange(self.capacity) >= used[short, None]
            found[short] = ((self.batch.rows["offset"][short] != 0) & behind).any(axis=1)
        return found

    @property
    def unused_name(self) -> Mask:
        """A packet without pages names a RAM block."""
        found: Mask = ~self.has_pages
        empty = np.flatnonzero(found)
        if len(empty):
            found[empty] = self.batch.rows["ramblock"][empty].view(np.uint8).reshape(len(empty), -1).any(axis=1)
        return found
