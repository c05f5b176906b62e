"""A migration as records that can be edited and encoded again: what mutations, tests and fuzzing work on.

A ``Record`` is an event of the codec and the bytes that follow it; raw bytes are a record without event. Offsets are
those of the encoding, whatever the events say. Drafts come from the reference sender (``draft_of``) or from a recording
(analyzers.produce).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypeVar

from multifd_codec.channel.decoder import encode_event
from multifd_codec.channel.events import ChannelInit, DeviceStatePacket, RamPacket
from multifd_codec.errors import ChannelName
from multifd_codec.main.encode import encode_item
from multifd_codec.source import Buffer

CHANNEL_EVENTS = (ChannelInit, RamPacket, DeviceStatePacket)


if TYPE_CHECKING:
    import typing_extensions

    Event_co = typing_extensions.TypeVar("Event_co", covariant=True, default=Any)
else:
    Event_co = TypeVar("Event_co", covariant=True)
Found = TypeVar("Found")


@dataclass(slots=True, eq=False, repr=False)
class Record(Generic[Event_co]):
    """One event with its payload, or raw bytes.

    ``Record[RamPacket]`` has such an event, ``Record[None]`` is raw bytes; of a plain ``Record`` it is not known.
    """

    event: Event_co
    """A ChannelEvent, a MainItem, or None."""
    payload: Buffer = b""

    def set(self, **changes: object) -> Self:
        """Change fields of the event."""
        event: Any = self.event
        self.event = event._replace(**changes)
        return self

    def __repr__(self) -> str:
        """Short: failing tests print whole migrations of these."""
        return f"{type(self.event).__name__}+{len(self.payload)}"

    def copy(self) -> Record[Event_co]:
        return Record(self.event, self.payload)

    def pieces(self) -> Iterator[Buffer]:
        """The bytes on the wire. Raises EncodeError when a value does not fit its field."""
        event: Any = self.event
        if event is None:
            yield self.payload
        elif isinstance(event, CHANNEL_EVENTS):
            yield encode_event(event)
            if self.payload:
                yield self.payload
        else:
            yield from encode_item(event, self.payload if len(self.payload) else None)

    def encoded(self) -> bytes:
        """The bytes on the wire, joined."""
        return b"".join(self.pieces())

    def size(self) -> int:
        """Their number."""
        return sum(map(len, self.pieces()))


def raw(data: Buffer) -> Record[None]:
    """Bytes that are no record."""
    return Record(None, data)


Line = list[Record]
"""The records of one channel, in order."""


class Sent(NamedTuple):
    """One record on its way: which channel carries it."""

    channel: ChannelName
    record: Record


@dataclass(slots=True)
class Draft:
    """A whole migration."""

    main: Line
    channels: list[Line]
    order: list[Record] = field(default_factory=list)
    """The order in which records were sent, over all channels; records that are not in it follow the one in front of
    them on their channel."""

    # What to find.

    def lines(self) -> Iterator[tuple[ChannelName, Line]]:
        """The channels there are, main first."""
        if self.main:
            yield "main", self.main
        yield from enumerate(self.channels)

    def line(self, record: Record) -> Line:
        """The channel a record is on. Raises StopIteration when it is on none."""
        return next(line for _, line in self.lines() if any(record is other for other in line))

    def init(self, channel: int) -> Record[ChannelInit]:
        return _having(self.channels[channel], ChannelInit)[0]

    def rams(self, channel: int) -> list[Record[RamPacket]]:
        return _having(self.channels[channel], RamPacket)

    def data(self, channel: int, number: int = 0) -> Record[RamPacket]:
        """The channel's RAM packet with pages of that number."""
        return [r for r in self.rams(channel) if r.event.normal_pages + r.event.zero_pages][number]

    def zeros(self, channel: int, number: int = 0) -> Record[RamPacket]:
        """The channel's packet with zero pages only of that number."""
        return [r for r in self.rams(channel) if r.event.zero_pages and not r.event.normal_pages][number]

    def sync(self, channel: int, number: int = -1) -> Record[RamPacket]:
        return [r for r in self.rams(channel) if r.event.sync][number]

    def state(self, channel: int, number: int = 0) -> Record[DeviceStatePacket]:
        """The channel's device-state packet of that number."""
        return _having(self.channels[channel], DeviceStatePacket)[number]

    def states(self) -> list[Record[DeviceStatePacket]]:
        return [record for line in self.channels for record in _having(line, DeviceStatePacket)]

    def on_main(self, kind: type[Found] | tuple[type[Found], ...], number: int = 0) -> Record[Found]:
        return _having(self.main, kind)[number]

    # How to edit.

    def drop(self, record: Record[Found]) -> Record[Found]:
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
                segment += record.event.sync
        for number, (_, _, record) in enumerate(sorted(keyed, key=lambda entry: entry[:2])):
            record.set(packet_num=number)

    # How to encode.

    def place(self, record: Record) -> tuple[ChannelName, int]:
        """Channel (by its ChannelInit's id) and offset of a record. Raises LookupError."""
        for name, line in self.lines():
            offset = 0
            for other in line:
                if other is record:
                    return (self.name(name), offset)
                offset += other.size()
        raise LookupError(record)

    def name(self, position: ChannelName) -> ChannelName:
        """The id that a channel's ChannelInit states; its position without one."""
        if position == "main":
            return "main"
        first = self.channels[position][0].event if self.channels[position] else None
        return first.id if isinstance(first, ChannelInit) else position

    def encoded(self, name: ChannelName) -> bytes:
        """One channel's bytes."""
        return b"".join(p for record in (self.main if name == "main" else self.channels[name]) for p in record.pieces())

    def sent(self) -> Iterator[Sent]:
        """All records in an order in which they can be sent: each channel's as they stand, and of different channels
        as ``order`` has them."""
        when = {id(record): moment for moment, record in enumerate(self.order)}
        keyed: list[tuple[int, int, Sent]] = []
        for position, (name, line) in enumerate(self.lines()):
            moment = 0
            for record in line:
                moment = max(moment, when.get(id(record), moment))
                keyed.append((moment, position, Sent(name, record)))
        # Stable, so that a channel's records keep their order.
        keyed.sort(key=lambda entry: entry[:2])
        for _, _, sent in keyed:
            yield sent


def _having(line: Line, kind: type[Found] | tuple[type[Found], ...]) -> list[Record[Found]]:
    """The records with events of that kind."""
    return [record for record in line if isinstance(record.event, kind)]


def draft_of(sent: Iterable[Sent], channels: int) -> Draft:
    """What a sender sends, to be edited."""
    draft = Draft([], [[] for _ in range(channels)])
    for name, record in sent:
        (draft.main if name == "main" else draft.channels[name]).append(record)
        draft.order.append(record)
    return draft
