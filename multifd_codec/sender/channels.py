"""The multifd channels of a source: headers as each release fills them, numbers, what is left over in them.

Sources: multifd_send_fill_packet, multifd_send_sync_main, multifd_send_thread (migration/multifd.c, 4.0 to 11.1);
multifd_ram_fill_packet (multifd-nocomp.c, 9.2 on).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multifd_codec.channel.events import RamPacket
from multifd_codec.compression import PageCompressor, compressor
from multifd_codec.dialect.releases import SenderHabits
from multifd_codec.draft.channel_records import channel_init, ram_record
from multifd_codec.draft.draft import Record, Sent
from multifd_codec.plan.page_content import PageArray
from multifd_codec.plan.plan import Habits, MigrationPlan
from multifd_codec.source import Buffer
from multifd_codec.wire.packet import SYNC, pages_per_packet


@dataclass(slots=True)
class _Channel:
    """One channel thread and its packet buffer."""

    compress: PageCompressor
    left_over: RamPacket | None = None
    """The header as it was filled last; up to 9.1 only what is set is overwritten."""
    pending: Record | None = None
    """A data packet that a SYNC may still be merged into."""


class Channels:
    """All multifd channels of one source. Each method yields what goes out, in a legal order."""

    def __init__(self, plan: MigrationPlan, habits: Habits) -> None:
        self.sender: SenderHabits = habits.release.sender
        self.page_size = plan.page_size
        self.capacity = pages_per_packet(plan.page_size)
        self.compression = habits.compression.flag
        self.uuid = plan.uuid.bytes
        self.merge_sync = plan.merge_sync
        self._chance = random.Random(plan.seed)
        self._number = 0
        self._channels = [_Channel(compressor(habits.compression.name)) for _ in range(plan.channels)]
        order = plan.channel_order or self._shuffled(plan.channels)
        self._next = itertools.cycle(order)

    def _shuffled(self, count: int) -> Sequence[int]:
        """Channels take turns, not always in the same order: whoever is idle takes the next job."""
        turns = [list(range(count)) for _ in range(8 if count > 1 else 1)]
        for turn in turns[1:]:
            self._chance.shuffle(turn)
        return [number for turn in turns for number in turn]

    def open(self) -> Iterator[Sent]:
        """The ChannelInits."""
        for number in range(len(self._channels)):
            yield Sent(number, channel_init(number, self.uuid))

    def take_number(self) -> int:
        self._number += 1
        return self._number - 1

    def data(self, block: str, offsets: NDArray[np.int64], pages: PageArray, zeros: Sequence[int]) -> Iterator[Sent]:
        """One packet: normal pages at ``offsets`` with content ``pages``, zero pages at ``zeros``."""
        number, position = self.take_number(), next(self._next)
        channel = self._channels[position]
        normal = offsets.tolist()
        if self.compression and not normal and self.sender.drops_zero_only_compressed:
            return
        payload: Buffer = b""
        if normal:
            payload = pages.reshape(-1).data
            if self.compression:
                payload = channel.compress.payload(payload, len(normal), self.page_size)
        record = ram_record(
            number,
            block.encode(),
            normal,
            zeros,
            payload,
            page_size=self.page_size,
            flags=self.compression,
            pages_alloc=self.capacity,
        )
        self._fill(channel, record, len(normal) + len(zeros))
        if not self.merge_sync:
            yield Sent(position, record)
            return
        if channel.pending is not None:
            yield Sent(position, channel.pending)
        channel.pending = record

    def sync(self) -> Iterator[Sent]:
        """A SYNC on every channel."""
        for position, channel in enumerate(self._channels):
            number = self.take_number()
            merged = channel.pending is not None and self._chance.random() < self.merge_sync
            if channel.pending is not None:
                if merged:
                    event = channel.pending.event
                    channel.pending.set(flags=event.flags | SYNC, packet_num=number)
                    channel.left_over = channel.pending.event
                yield Sent(position, channel.pending)
                channel.pending = None
            yield Sent(position, self._empty(channel, number, 0 if merged else SYNC))

    def settle(self) -> Iterator[Sent]:
        """No SYNC follows for now: data packets that waited for one go out as they are."""
        for position, channel in enumerate(self._channels):
            if channel.pending is not None:
                yield Sent(position, channel.pending)
                channel.pending = None

    def device_state(self, record: Record) -> Sent:
        """A device-state packet, on whichever channel is next."""
        return Sent(next(self._next), record)

    def _empty(self, channel: _Channel, number: int, flags: int) -> Record:
        """A packet without pages: a SYNC, or (up to 8.2) what a thread owes behind a merged one."""
        alloc = 0 if self.sender.sync_pages_alloc_zero else self.capacity
        record = ram_record(number, page_size=self.page_size, flags=flags, pages_alloc=alloc)
        if self.sender.sync_size_stale and channel.left_over is not None:
            record.set(next_packet_size=channel.left_over.next_packet_size)
        self._fill(channel, record, 0)
        return record

    def _fill(self, channel: _Channel, record: Record, used: int) -> None:
        """What older releases leave in the header: the last RAM block's name, the last offsets behind those used."""
        last = channel.left_over
        if self.sender.header_stale:
            if last is not None:
                changes = {"pages": record.event.pages[:used] + last.pages[used:]}
                record.set(**changes if used else {**changes, "ramblock": last.ramblock})
            channel.left_over = record.event
