"""How a draft becomes a capture: what the tap saw of each connection, and what it missed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from captures.model import StreamSource
from captures.write.replacing import replaced
from captures.write.writer import PcapWriter
from multifd_codec.draft.draft import Draft, Record
from multifd_codec.errors import ChannelName
from multifd_codec.source import Buffer, StreamEnd

FLUSH_BYTES = 1 << 20
"""Bytes of one connection that are collected before they are written."""


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


def write_draft(path: Path, draft: Draft, tap: Tap | None = None, return_path: StreamSource | None = None) -> None:
    """Write a draft as a pcap, its records in the order of ``Draft.sent``; the return path behind them.

    The file is complete or not there. Memory used does not depend on sizes of payload. Raises EncodeError for a record
    that cannot be encoded, OSError.
    """
    tap = tap or Tap()
    with replaced(path) as part, part.open("wb", buffering=FLUSH_BYTES) as target:
        with PcapWriter(target, snaplen=tap.snaplen) as writer:
            _write(writer, draft, tap, return_path)
        target.flush()
        if tap.short:
            target.truncate(max(0, target.tell() - tap.short))


def _write(writer: PcapWriter, draft: Draft, tap: Tap, return_path: StreamSource | None) -> None:
    numbers = {name: writer.connect(opened=name not in tap.unopened) for name, _ in draft.lines()}
    lost = {id(entry.record): entry for entry in tap.lost}
    again = {id(entry.record): entry for entry in tap.again}
    current: ChannelName | None = None
    waiting: list[Buffer] = []
    size = 0
    for name, record in draft.sent():
        special = id(record) in lost or id(record) in again
        if waiting and (name != current or size >= FLUSH_BYTES or special):
            assert current is not None
            writer.send(numbers[current], _joined(waiting))
            waiting, size = [], 0
        current = name
        if not special:
            for piece in record.pieces():
                waiting.append(piece)
                size += len(piece)
            continue
        _send(writer, numbers[name], record, lost.get(id(record)), again.get(id(record)))
    if waiting and current is not None:
        writer.send(numbers[current], _joined(waiting))
    if return_path is not None and "main" in numbers:
        for data in _known(return_path):
            writer.reply(numbers["main"], data)
    for name, number in numbers.items():
        writer.finish(number, tap.ends.get(name, StreamEnd.CLOSED))


def _send(writer: PcapWriter, number: int, record: Record, lost: Lost | None, again: Again | None) -> None:
    data = record.encoded()
    if lost is None:
        writer.send(number, data)
    else:
        writer.send(number, data[: lost.start])
        writer.skip(number, min(lost.end, len(data)) - lost.start)
        writer.send(number, data[lost.end :])
    if again is not None:
        writer.repeat(number, again.data)


def _known(source: StreamSource) -> Iterator[Buffer]:
    """The bytes up to the first hole."""
    hole = source.next_hole(0)
    end = source.size if hole is None else hole.start
    for start in range(0, end, FLUSH_BYTES):
        yield source.read(start, min(FLUSH_BYTES, end - start))


def _joined(pieces: list[Buffer]) -> Buffer:
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
