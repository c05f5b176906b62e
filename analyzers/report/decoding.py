"""Events of a recording, channel by channel or by time, with the filters of ``multifd decode``.

Where an input has times, a record's is that of the frame that carries its first byte, an end's that of the frame that
closed the connection: ``time`` in seconds since the epoch, ``seconds`` from the migration's first frame.
"""

from __future__ import annotations

import enum
import heapq
import itertools
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from analyzers.report.event_record import RamRecords, detail_text, event_record, kind_of
from analyzers.report.header_bytes import FieldBytes, field_bytes, hex_lines, vfio_header
from analyzers.report.texts import printable
from captures.conduct import Moment
from captures.model import CapturedChannel, ChannelKind, Migration
from multifd_codec.channel.batch import PacketBatch
from multifd_codec.channel.decoder import ChannelDecoder
from multifd_codec.channel.events import ChannelEnd, DeviceStatePacket, RamPacket
from multifd_codec.errors import ChannelName, InputError
from multifd_codec.main.decoder import MainDecoder
from multifd_codec.main.events import MainEnd

HEADINGS = ("channel", "offset", "length", "frame", "seconds", "kind", "fields")
ENDS = frozenset((ChannelEnd, MainEnd))


class Order(enum.StrEnum):
    """In which order records come."""

    CHANNEL = "channel"
    """One channel after the other: main, then by id."""
    TIME = "time"
    """As they were recorded: by the frame of the first byte, main first. A record never stands in front of one that its
    channel carries before it, in whatever order their bytes came."""


class Filter(NamedTuple):
    """Which events to show. ``start`` and ``stop`` are stream offsets; a record counts when any of it lies between."""

    channel: ChannelName | None = None
    kinds: frozenset[str] = frozenset()
    start: int = 0
    stop: int | None = None

    def takes(self, event: Any) -> bool:
        if self.kinds and kind_of(event) not in self.kinds:
            return False
        length = int(getattr(event, "length", 0)) + int(getattr(event, "payload_length", 0) or 0)
        return event.offset + max(1, length) > self.start and (self.stop is None or event.offset < self.stop)


class Line(NamedTuple):
    """A channel to decode, and the clock it is on. ``begin``: the migration's first frame, seconds since the epoch."""

    name: ChannelName
    channel: CapturedChannel
    begin: float | None
    closed: Moment | None
    """When the sender closed the connection."""


class Located(NamedTuple):
    """An event with its channel, and with what decoded it."""

    line: Line
    decoder: MainDecoder | ChannelDecoder
    event: Any

    def fields(self) -> Iterator[FieldBytes]:
        """The bytes of the record, field by field."""
        inside = self.decoder.fields if isinstance(self.decoder, MainDecoder) else None
        return field_bytes(self.line.channel.source, self.event, inside)

    @property
    def moment(self) -> Moment | None:
        """The frame it was recorded in; None without frames, and for what was not recorded."""
        line, event = self.line, self.event
        if type(event) in ENDS:
            return line.closed
        source, offset = line.channel.source, event.offset
        frame = source.frame_at(offset)
        return None if frame is None else Moment(frame, source.time_at(offset))

    def record(self) -> dict[str, Any]:
        """As a plain dictionary; ``seconds`` and ``time`` are there where the input has times."""
        record = _placed(self.line, self.moment)
        record.update(event_record(self.event))
        if isinstance(self.event, DeviceStatePacket):
            record["vfio"] = vfio_header(self.line.channel.source, self.event)
        return record


class LocatedPacket:
    """The same of a RAM packet in a batch: of millions of them the record is made of columns, and the event only for
    those who ask for it."""

    __slots__ = ("_batch", "_index", "decoder", "line")

    def __init__(self, line: Line, decoder: ChannelDecoder, batch: RamRecords, index: int) -> None:
        self.line, self.decoder, self._batch, self._index = line, decoder, batch, index

    @property
    def event(self) -> RamPacket:
        return self._batch.batch.packet(self._index)

    def fields(self) -> Iterator[FieldBytes]:
        return field_bytes(self.line.channel.source, self.event, None)

    @property
    def moment(self) -> Moment | None:
        source, offset = self.line.channel.source, self._batch.offset[self._index]
        frame = source.frame_at(offset)
        return None if frame is None else Moment(frame, source.time_at(offset))

    def record(self) -> dict[str, Any]:
        rows, source = self._batch, self.line.channel.source
        frame = source.frame_at(rows.offset[self._index])
        if rows.placed is None or rows.placed["frame"] != frame:
            rows.placed = _placed(self.line, self.moment)
        record = dict(rows.placed)
        rows.add(self._index, record)
        return record


AnyLocated = Located | LocatedPacket


def _placed(line: Line, moment: Moment | None) -> dict[str, Any]:
    """What a record begins with."""
    record: dict[str, Any] = {"channel": line.name, "frame": None if moment is None else moment.frame}
    if line.begin is not None:
        time = None if moment is None else moment.seconds
        record["seconds"] = None if time is None else round(time - line.begin, 6)
        record["time"] = None if time is None else round(time, 6)
    return record


def decoded(
    migrations: Sequence[Migration], wanted: Filter, page_size: int | None, order: Order = Order.CHANNEL
) -> Iterator[AnyLocated]:
    """The events that ``wanted`` takes, of one migration after the other.

    Raises InputError at once, not at the first event, when there is no such channel, none can be decoded, or there are
    no frames to order them by.
    """
    lines = [_lines(migration) for migration in migrations]
    readable = [[line for line in part if line.channel.kind is not ChannelKind.TLS] for part in lines]
    if not any(readable):
        raise InputError("all channels are TLS sessions; give a key log with --keylog")
    chosen = [[line for line in part if wanted.channel in (None, line.name)] for part in readable]
    if not any(chosen):
        present = dict.fromkeys(str(line.name) for part in readable for line in part)
        raise InputError(f"there is no channel {wanted.channel}; there are {', '.join(present)}")
    if order is Order.CHANNEL:
        return (event for part in chosen for line in part for event in _events(line, wanted, page_size))
    carrying = [line.channel.source for part in chosen for line in part if line.channel.source.size]
    if carrying and all(source.frame_at(0) is None for source in carrying):
        raise InputError("there is no order by time: this input has no frames and no times")
    return itertools.chain.from_iterable(_merged(part, wanted, page_size) for part in chosen)


def _lines(migration: Migration) -> list[Line]:
    """Main, then by id."""
    span = migration.span
    begin = None if span is None else span.begin
    ends = ((connection.label, connection.to_destination.gave_up) for connection in migration.connections)
    closed = {label: end for label, end in ends if end is not None}
    pairs = zip(migration.names, migration.channels, strict=True)
    lines = [Line(name, channel, begin, closed.get(channel.label)) for name, channel in pairs]
    return sorted(lines, key=lambda line: -1 if isinstance(line.name, str) else line.name)


def _events(line: Line, wanted: Filter, page_size: int | None) -> Iterator[AnyLocated]:
    decoder = line.channel.decoder(page_size)
    all_of_it = wanted == Filter(wanted.channel)
    if all_of_it and isinstance(decoder, ChannelDecoder):
        for item in decoder.scan():
            if isinstance(item, PacketBatch):
                rows = RamRecords(item)
                yield from (LocatedPacket(line, decoder, rows, index) for index in range(len(item)))
            else:
                yield Located(line, decoder, item)
        return
    for event in decoder.events():
        if wanted.stop is not None and event.offset >= wanted.stop:
            break
        if wanted.takes(event):
            yield Located(line, decoder, event)


def _merged(lines: Sequence[Line], wanted: Filter, page_size: int | None) -> Iterator[AnyLocated]:
    framed = (_framed(position, _events(line, wanted, page_size)) for position, line in enumerate(lines))
    return (event for _, _, event in heapq.merge(*framed, key=lambda entry: entry[:2]))


def _framed(position: int, events: Iterator[AnyLocated]) -> Iterator[tuple[int, int, AnyLocated]]:
    """Each event with the last frame so far, so that frames never fall."""
    frame = 0
    for event in events:
        moment = event.moment
        frame = max(frame, moment.frame) if moment is not None else frame
        yield frame, position, event


def json_lines(events: Iterable[AnyLocated], *, hexadecimal: bool = False) -> Iterator[str]:
    """One JSON object a line: channel, frame, and the event's record; with ``fields`` when bytes are asked for."""
    encoded = _encoder()
    for located in events:
        record = located.record()
        if hexadecimal:
            record["fields"] = [
                {"name": field.name, "offset": field.offset, "hex": field.data.hex(), "value": field.value}
                for field in located.fields()
            ]
        yield encoded(record) + "\n"


def _encoder() -> Callable[[dict[str, Any]], str]:
    """Five times as fast with orjson, of the extra ``fast``; the same JSON in ASCII, but for spaces."""
    try:
        import orjson  # noqa: PLC0415 -- an extra
    except ImportError:
        return json.dumps

    def encoded(record: dict[str, Any]) -> str:
        try:
            line = orjson.dumps(record)
        except TypeError:  # an integer of more than 64 bits, a lone surrogate
            return json.dumps(record)
        return line.decode() if line.isascii() else json.dumps(record)

    return encoded


def text_lines(events: Iterable[AnyLocated], *, hexadecimal: bool = False) -> Iterator[str]:
    """A table with fixed columns (it is printed as it is decoded), header bytes below each line if asked for. The
    seconds are left out where the input has no times."""
    events = iter(events)
    first = next(events, None)
    timed = first is not None and first.line.begin is not None
    yield _row(HEADINGS, timed=timed)
    for located in () if first is None else itertools.chain((first,), events):
        record = located.record()
        frame = "" if record["frame"] is None else record["frame"]
        seconds = "" if record.get("seconds") is None else f"{record['seconds']:.6f}"
        cells = (
            record["channel"],
            record["offset"],
            record["length"],
            frame,
            seconds,
            record["kind"],
            detail_text(record),
        )
        yield _row(cells, timed=timed)
        if hexadecimal:
            for text in hex_lines(located.fields()):
                yield printable(text) + "\n"


def _row(cells: Collection[Any], *, timed: bool) -> str:
    channel, offset, length, frame, seconds, kind, details = cells
    time = f"  {seconds:>11}" if timed else ""
    row = f"{channel:<7}  {offset:>12}  {length:>8}  {frame:>8}{time}  {kind:<14}  {details}"
    return printable(row.rstrip()) + "\n"
