"""Many RAM packets of one channel at once, as numpy columns: what the linter works on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multifd_codec.channel.events import RamPacket
from multifd_codec.layout import layout
from multifd_codec.wire.packet import ram_packet


@dataclass(frozen=True, eq=False)
class PacketBatch:
    """Consecutive RAM packets of one channel, n of them."""

    page_size: int
    offset: NDArray[np.int64]
    """(n,) offset of each packet in the channel's stream."""
    rows: NDArray[Any]
    """(n,) structured array of the RAM packet's layout, big-endian as on the wire."""
    payload: NDArray[np.int64]
    """(n,) payload bytes a receiver reads behind each header."""
    known: NDArray[np.int64]
    """(n,) header bytes that were recorded; the rest of a row is zero."""

    def __len__(self) -> int:
        return len(self.offset)

    @property
    def header_length(self) -> int:
        return self.rows.dtype.itemsize

    @cached_property
    def bytes(self) -> NDArray[np.uint8]:
        """(n, header_length) the headers as bytes."""
        return self.rows.view(np.uint8).reshape(len(self), self.header_length)

    def column(self, name: str) -> NDArray[np.int64]:
        """(n,) one integer field of the header in host byte order. ``packet_num`` keeps its lower 63 bits."""
        return self.rows[name].astype(np.int64)

    def pages(self) -> NDArray[np.uint64]:
        """(n, pages per packet) the offset arrays in host byte order, padding included."""
        result: NDArray[np.uint64] = self.rows["offset"].astype(np.uint64)
        return result

    def packet(self, index: int) -> RamPacket:
        """One packet as an event."""
        index = range(len(self))[index]
        return next(self._packets(slice(index, index + 1)))

    def packets(self) -> Iterator[RamPacket]:
        return self._packets(slice(None))

    def _packets(self, which: slice) -> Iterator[RamPacket]:
        length = self.header_length
        headers = layout(ram_packet(self.page_size)).struct.iter_unpack(self.rows[which].tobytes())
        places = (self.offset[which].tolist(), self.payload[which].tolist(), self.known[which].tolist())
        for values, offset, payload, known in zip(headers, *places, strict=True):
            event = (offset, length, *values[:9], values[9:12], values[12], values[13:])
            yield RamPacket._make((*event, offset + length, payload, known))
