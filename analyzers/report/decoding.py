"""Events of a recording, channel by channel, with the filters of ``multifd decode``."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from analyzers.report.event_record import detail_text, event_record, kind_of
from analyzers.report.header_bytes import FieldBytes, field_bytes, hex_lines, vfio_header
from analyzers.report.texts import printable
from captures.model import CapturedChannel, ChannelKind, Migration
from multifd_codec.channel.decoder import ChannelDecoder
from multifd_codec.channel.events import DeviceStatePacket
from multifd_codec.errors import ChannelName, InputError
from multifd_codec.main.decoder import MainDecoder

HEADINGS = ("channel", "offset", "length", "frame", "kind", "fields")


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


class Located(NamedTuple):
    """An event with its channel, and with what decoded it."""

    name: ChannelName
    channel: CapturedChannel
    decoder: MainDecoder | ChannelDecoder
    event: Any

    def fields(self) -> Iterator[FieldBytes]:
        """The bytes of the record, field by field."""
        inside = self.decoder.fields if isinstance(self.decoder, MainDecoder) else None
        return field_bytes(self.channel.source, self.event, inside)


def decoded(migrations: Sequence[Migration], wanted: Filter, page_size: int | None) -> Iterator[Located]:
    """The events that ``wanted`` takes, one channel after the other: main, then by id.

    Raises InputError at once, not at the first event, when there is no such channel or none can be decoded.
    """
    named = [pair for migration in migrations for pair in _in_order(migration)]
    readable = [(name, channel) for name, channel in named if channel.kind is not ChannelKind.TLS]
    if not readable:
        raise InputError("all channels are TLS sessions; give a key log with --keylog")
    chosen = [(name, channel) for name, channel in readable if wanted.channel in (None, name)]
    if not chosen:
        present = dict.fromkeys(str(name) for name, _ in readable)
        raise InputError(f"there is no channel {wanted.channel}; there are {', '.join(present)}")
    return _events(chosen, wanted, page_size)


def _events(
    channels: Sequence[tuple[ChannelName, CapturedChannel]], wanted: Filter, page_size: int | None
) -> Iterator[Located]:
    for name, channel in channels:
        decoder = channel.decoder(page_size)
        for event in decoder.events():
            if wanted.stop is not None and event.offset >= wanted.stop:
                break
            if wanted.takes(event):
                yield Located(name, channel, decoder, event)


def _in_order(migration: Migration) -> list[tuple[ChannelName, CapturedChannel]]:
    named = zip(migration.names, migration.channels, strict=True)
    return sorted(named, key=lambda pair: -1 if isinstance(pair[0], str) else pair[0])


def json_lines(events: Iterable[Located], *, hexadecimal: bool = False) -> Iterator[str]:
    """One JSON object a line: channel, frame, and the event's record; with ``fields`` when bytes are asked for."""
    for located in events:
        record = _record(located)
        if hexadecimal:
            record["fields"] = [
                {"name": field.name, "offset": field.offset, "hex": field.data.hex(), "value": field.value}
                for field in located.fields()
            ]
        yield json.dumps(record) + "\n"


def text_lines(events: Iterable[Located], *, hexadecimal: bool = False) -> Iterator[str]:
    """A table with fixed columns (it is printed as it is decoded), header bytes below each line if asked for."""
    yield _row(HEADINGS)
    for located in events:
        record = _record(located)
        frame = "" if record["frame"] is None else record["frame"]
        details = printable(detail_text(record))
        yield _row((record["channel"], record["offset"], record["length"], frame, record["kind"], details))
        if hexadecimal:
            for text in hex_lines(located.fields()):
                yield text + "\n"


def _record(located: Located) -> dict[str, Any]:
    frame = located.channel.source.frame_at(located.event.offset)
    record = {"channel": located.name, "frame": frame, **event_record(located.event)}
    if isinstance(located.event, DeviceStatePacket):
        record["vfio"] = vfio_header(located.channel.source, located.event)
    return record


def _row(cells: Collection[Any]) -> str:
    channel, offset, length, frame, kind, details = cells
    return f"{channel:<7}  {offset:>12}  {length:>8}  {frame:>8}  {kind:<14}  {details}".rstrip() + "\n"
