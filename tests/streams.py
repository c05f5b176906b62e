"""Migrations in memory, as lists of records that a test edits and then encodes and judges.

``tests.migrations`` builds healthy ones. A ``Record`` is an event of the codec and the bytes that follow it; raw bytes
are a record without event. Offsets are those of the encoding, whatever the events say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from analyzers.findings import ChannelName, Report
from analyzers.lint import LintOptions, lint_recording
from captures.model import CapturedChannel, CaptureNote, ChannelKind, Migration, Recording
from multifd_codec.channel import encode_event
from multifd_codec.events import ChannelInit, DeviceStatePacket, RamPacket
from multifd_codec.main_events import MainEvent
from multifd_codec.mainstream_encode import WithPayload, encode_main
from multifd_codec.source import BufferSource, Hole, StreamEnd
from multifd_codec.wire.packet import PacketFlags

CHANNEL_EVENTS = (ChannelInit, RamPacket, DeviceStatePacket)
Event = ChannelInit | RamPacket | DeviceStatePacket | MainEvent


class MemorySource(BufferSource):
    """A stream in memory; ``frames`` lists (offset, frame) as a capture would have them."""

    frames: tuple[tuple[int, int], ...] = ()

    def frame_at(self, offset: int) -> int | None:
        return max((pair for pair in self.frames if pair[0] <= offset), default=(0, None))[1]

    def time_at(self, offset: int) -> float | None:
        return None


@dataclass(slots=True, eq=False, repr=False)
class Record:
    """One event with its payload, or raw bytes."""

    event: Any
    payload: bytes = b""

    def set(self, **changes: object) -> Self:
        self.event = self.event._replace(**changes)
        return self

    def __repr__(self) -> str:
        """Short: failing tests print whole migrations of these."""
        return f"{type(self.event).__name__}+{len(self.payload)}"

    def copy(self) -> Record:
        return Record(self.event, self.payload)

    def encoded(self) -> bytes:
        if self.event is None:
            return self.payload
        if isinstance(self.event, CHANNEL_EVENTS):
            return encode_event(self.event) + self.payload
        item = WithPayload(self.event, self.payload) if self.payload else self.event
        return b"".join(bytes(piece) for piece in encode_main([item]))


def raw(data: bytes) -> Record:
    """Bytes that are no record."""
    return Record(None, data)


Line = list[Record]
"""The records of one channel, in order."""


@dataclass(slots=True)
class Stream:
    """A whole migration."""

    main: Line
    channels: list[Line]
    ends: dict[ChannelName, StreamEnd] = field(default_factory=dict)
    """How a channel's recording ends, by position; CLOSED unless said otherwise."""
    holes: dict[ChannelName, list[Hole]] = field(default_factory=dict)
    cut: dict[ChannelName, int] = field(default_factory=dict)
    """Bytes taken off the end of an encoded channel."""
    kinds: dict[int, ChannelKind] = field(default_factory=dict)
    """What a channel is recognised as, by position; MULTIFD unless said otherwise."""
    frames: dict[ChannelName, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    notes: tuple[CaptureNote, ...] = ()
    more: tuple[CapturedChannel, ...] = ()
    """Further connections."""

    # What to find.

    def lines(self) -> Iterator[tuple[ChannelName, Line]]:
        if self.main:
            yield "main", self.main
        yield from enumerate(self.channels)

    def line(self, record: Record) -> Line:
        return next(line for _, line in self.lines() if any(record is other for other in line))

    def init(self, channel: int) -> Record:
        return next(r for r in self.channels[channel] if isinstance(r.event, ChannelInit))

    def rams(self, channel: int) -> list[Record]:
        return [record for record in self.channels[channel] if isinstance(record.event, RamPacket)]

    def data(self, channel: int, number: int = 0) -> Record:
        """The channel's RAM packet with pages of that number."""
        return [r for r in self.rams(channel) if r.event.normal_pages + r.event.zero_pages][number]

    def zeros(self, channel: int, number: int = 0) -> Record:
        """The channel's packet with zero pages only of that number."""
        return [r for r in self.rams(channel) if r.event.zero_pages and not r.event.normal_pages][number]

    def sync(self, channel: int, number: int = -1) -> Record:
        return [r for r in self.rams(channel) if r.event.sync][number]

    def state(self, channel: int, number: int = 0) -> Record:
        """The channel's device-state packet of that number."""
        return [r for r in self.channels[channel] if isinstance(r.event, DeviceStatePacket)][number]

    def states(self) -> list[Record]:
        return [r for line in self.channels for r in line if isinstance(r.event, DeviceStatePacket)]

    def on_main(self, kind: type | tuple[type, ...], number: int = 0) -> Record:
        return [r for r in self.main if isinstance(r.event, kind)][number]

    # How to edit.

    def drop(self, record: Record) -> Record:
        line = self.line(record)
        line[:] = [other for other in line if other is not record]
        return record

    def before(self, place: Record, *records: Record) -> Record:
        line = self.line(place)
        at = next(i for i, other in enumerate(line) if other is place)
        line[at:at] = records
        return records[0]

    def behind(self, place: Record, *records: Record) -> Record:
        line = self.line(place)
        at = next(i for i, other in enumerate(line) if other is place) + 1
        line[at:at] = records
        return records[0]

    def move(self, record: Record, *, before: Record) -> Record:
        self.drop(record)
        return self.before(before, record)

    def renumber(self) -> None:
        """Give packets dense numbers again: round by round, channel by channel."""
        keyed: list[tuple[int, int, Record]] = []
        for channel in range(len(self.channels)):
            segment = 0
            for record in self.rams(channel):
                keyed.append((segment, channel, record))
                segment += bool(record.event.flags & PacketFlags.SYNC)
        for number, (_, _, record) in enumerate(sorted(keyed, key=lambda entry: entry[:2])):
            record.set(packet_num=number)

    # How to judge.

    def place(self, record: Record) -> tuple[ChannelName, int]:
        """Channel (by its ChannelInit's id) and offset of a record."""
        for name, line in self.lines():
            offset = 0
            for other in line:
                if other is record:
                    return (self.name(name), offset)
                offset += len(other.encoded())
        raise LookupError(record)

    def name(self, position: ChannelName) -> ChannelName:
        if position == "main":
            return "main"
        first = self.channels[position][0].event if self.channels[position] else None
        return first.id if isinstance(first, ChannelInit) else position

    def source(self, name: ChannelName) -> MemorySource:
        line = self.main if name == "main" else self.channels[name]
        data = b"".join(record.encoded() for record in line)
        source = MemorySource(
            data[: max(0, len(data) - self.cut.get(name, 0))],
            end=self.ends.get(name, StreamEnd.CLOSED),
            holes=self.holes.get(name, ()),
        )
        source.frames = self.frames.get(name, ())
        return source

    def recording(self) -> Recording:
        channels = [
            CapturedChannel(
                ChannelKind.MAIN if name == "main" else self.kinds.get(name, ChannelKind.MULTIFD),
                None if name == "main" else name,
                self.source(name),
                label(name),
            )
            for name, _ in self.lines()
        ]
        channels += self.more
        size = sum(channel.source.size for channel in channels)
        migration = Migration(tuple(channels), notes=self.notes)
        return Recording(Path("stream"), "folder", size, 0, (migration,))

    def lint(self, **options: Any) -> Report:
        (report,) = lint_recording(self.recording(), LintOptions(**options))
        return report


def label(name: ChannelName) -> str:
    """Where the channel of that name claims to come from."""
    return f"{name}.bin" if name == "main" else f"channel-{name}.bin"
