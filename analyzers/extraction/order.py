"""The order in which a destination loads what the channels carry, as far as rendezvous fix it.

Round ``r`` of a migration is what main carries in front of its record number ``r`` (from 0) that is a rendezvous, and
what each channel carries in front of its SYNC number ``r``, that SYNC's own pages included. All of a round is loaded
before anything of the next. Inside a round the order of main and channels is not defined (protocol reference, S-15):
here main comes first, then the channels by position.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multifd_codec.channel.batch import PacketBatch
from multifd_codec.channel.decoder import ScanItem
from multifd_codec.channel.events import ChannelEnd, ChannelInit, DeviceStatePacket, Unreadable
from multifd_codec.layout import layout
from multifd_codec.main.events import MainItem
from multifd_codec.main.rendezvous import Rendezvous
from multifd_codec.names import block_name, text
from multifd_codec.wire.packet import COMPRESSION_MASK, SYNC, ram_packet

MAIN = -1
"""The main channel, among positions of multifd channels."""


class PacketPages(NamedTuple):
    """The pages of one RAM packet. Offsets are bytes in the RAM block."""

    offset: int
    """Of the packet in its channel."""
    number: int
    """``packet_num``."""
    block: str
    page_size: int
    offsets: NDArray[np.int64]
    """(normal + zero,) first the normal pages, then the zero pages; shorter where the header was cut."""
    normal: int
    zero: int
    compression: int
    payload: int
    """Offset of the payload."""
    payload_length: int
    run: int
    """So many of the first offsets are consecutive pages (at least 1); what is behind the used ones may count, too."""
    possible: bool
    """normal + zero is at most what a packet can hold; if not, nothing else here can be trusted."""


Step = PacketPages | DeviceStatePacket | Unreadable | ChannelEnd | None
"""One step of a channel; None is a SYNC."""


def channel_steps(items: Iterable[ScanItem], stop: int | None = None, *, zero_pages: bool = True) -> Iterator[Step]:
    """What a channel does to memory and devices, in order; records from offset ``stop`` on are left out.

    Without ``zero_pages`` that field counts as 0.
    """
    names: dict[bytes, str] = {}
    for item in items:
        if isinstance(item, ChannelInit):
            continue
        if stop is not None and not isinstance(item, PacketBatch) and item.offset >= stop:
            return
        if isinstance(item, PacketBatch):
            yield from _packets(item, names, stop, zero_pages=zero_pages)
            if stop is not None and len(item) and int(item.offset[-1]) >= stop:
                return
        else:
            yield item


def _packets(batch: PacketBatch, names: dict[bytes, str], stop: int | None, *, zero_pages: bool) -> Iterator[Step]:
    rows, page_size = batch.rows, batch.page_size
    form = layout(ram_packet(page_size)).span("offset")
    flags, normals, zeros = rows["flags"].tolist(), rows["normal_pages"].tolist(), rows["zero_pages"].tolist()
    numbers, payloads = rows["packet_num"].tolist(), batch.payload.tolist()
    offsets = rows["offset"].astype(np.int64)
    breaks = (offsets[:, 1:] - offsets[:, :-1]) != page_size
    runs = np.where(breaks.any(axis=1), breaks.argmax(axis=1) + 1, offsets.shape[1]).tolist()
    known = batch.known.tolist()
    header, capacity = batch.header_length, offsets.shape[1]
    blocks = rows["ramblock"]
    for index, offset in enumerate(batch.offset.tolist()):
        if stop is not None and offset >= stop:
            return
        normal, zero, flag = normals[index], zeros[index] if zero_pages else 0, flags[index]
        count = normal + zero
        if count:
            raw = blocks[index].tobytes()
            name = names.get(raw)
            if name is None:
                name = names[raw] = text(block_name(raw))
            named = (
                count if known[index] == header else min(count, (known[index] - form.offset) * capacity // form.size)
            )
            yield PacketPages(
                offset,
                numbers[index],
                name,
                page_size,
                offsets[index, : max(0, named)],
                normal,
                zero,
                flag & COMPRESSION_MASK,
                offset + header,
                payloads[index],
                runs[index],
                count <= capacity,
            )
        if flag & SYNC:
            yield None


class Ordered(NamedTuple):
    """One thing that is loaded."""

    round: int
    position: int
    """Of the channel; MAIN for main."""
    item: MainItem | PacketPages | DeviceStatePacket | Unreadable | ChannelEnd


def in_order(
    main: Iterable[MainItem], channels: Sequence[Iterator[Step]], is_rendezvous: Rendezvous, last_round: int | None
) -> Iterator[Ordered]:
    """Everything of rounds 0 to ``last_round`` (None: all there are), round by round."""
    records = iter(main)
    live = dict(enumerate(channels))
    number, main_ended = 0, False
    while live or not main_ended:
        if not main_ended:
            main_ended = True
            for record in records:
                yield Ordered(number, MAIN, record)
                if is_rendezvous(record):
                    main_ended = False
                    break
        for position, steps in list(live.items()):
            for step in steps:
                if step is None:
                    break
                yield Ordered(number, position, step)
            else:
                del live[position]
        if number == last_round:
            return
        number += 1
