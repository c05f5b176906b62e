"""What a tap saw of each connection when a draft was recorded, and what it missed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from multifd_codec.draft.draft import Record
from multifd_codec.errors import ChannelName
from multifd_codec.source import StreamEnd


class Lost(NamedTuple):
    """Bytes ``start`` (inclusive) to ``end`` (exclusive) of a record that the capture lacks."""

    record: Record
    start: int
    end: int


class Again(NamedTuple):
    """The last bytes of a record were sent once more, as ``data``."""

    record: Record
    data: bytes


@dataclass(frozen=True, slots=True)
class Tap:
    """By default a perfect tap. Channels are named by their position."""

    ends: dict[ChannelName, StreamEnd] = field(default_factory=dict)
    """How connections end; CLOSED unless said otherwise."""
    unopened: frozenset[ChannelName] = frozenset()
    """Connections that were open already when the capture began."""
    lost: tuple[Lost, ...] = ()
    again: tuple[Again, ...] = ()
    snaplen: int | None = None
    """Bytes of each frame that are kept."""
    short: int = 0
    """Bytes missing at the end of the file."""
