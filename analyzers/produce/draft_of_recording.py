"""A recorded migration as a draft: records that can be edited, encoded unedited to the recorded bytes."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from captures.model import CapturedChannel, ChannelKind, Migration, StreamSource
from captures.write.tap import Tap
from multifd_codec.channel.decoder import ChannelDecoder, encode_event
from multifd_codec.channel.events import ChannelEnd, ChannelInit, DeviceStatePacket, RamPacket, Unreadable
from multifd_codec.draft.draft import Draft, Line, Record, raw
from multifd_codec.errors import ChannelName, HoleError, InputError
from multifd_codec.main import events as ev
from multifd_codec.main.decoder import MainDecoder
from multifd_codec.main.rendezvous import Rendezvous, mode_of_records
from multifd_codec.source import Buffer, ByteSource, StreamEnd


class RecordedPacket(Record):
    """A packet whose payload stays in the recording until it is asked for or replaced: payload that was sent in several
    frames is no view, and all of it would not fit into memory."""

    __slots__ = ("_given", "_length", "_offset", "_source")

    def __init__(self, event: RamPacket | DeviceStatePacket, source: ByteSource) -> None:
        self.event = event
        self._source = source
        self._offset = event.payload_offset
        self._length = max(0, min(event.payload_length, source.size - event.payload_offset))
        self._given: Buffer | None = None

    @property
    def payload(self) -> Buffer:
        """Read anew each time."""
        return self._source.read(self._offset, self._length) if self._given is None else self._given

    @payload.setter
    def payload(self, payload: Buffer) -> None:
        self._given = payload

    def copy(self) -> Record:
        """Its payload stays where it is, too."""
        copied = RecordedPacket.__new__(RecordedPacket)
        copied.event, copied._given = self.event, self._given
        copied._source, copied._offset, copied._length = self._source, self._offset, self._length
        return copied

    def pieces(self) -> Iterator[Buffer]:
        if self._given is not None or self.event is None:
            yield from super().pieces()
            return
        yield encode_event(self.event)
        end = self._offset + self._length
        for start in range(self._offset, end, PIECE):
            yield self._source.read(start, min(PIECE, end - start))

    def size(self) -> int:
        if self._given is not None or self.event is None:
            return super().size()
        return len(encode_event(self.event)) + self._length


PIECE = 1 << 18
"""Payload is passed on in pieces of this size."""
Placed = tuple[int, Record]
"""A record and its offset."""


class _Timed(NamedTuple):
    """When a record was sent, as far as the recording tells: by rising key."""

    key: tuple[int, ...]
    record: Record


def draft_of_migration(migration: Migration, page_size: int | None = None) -> Draft:
    """The records of a migration, to be edited.

    Payload stays where it is, to be read while the recording is open, except that of a mapped-ram file with several RAM
    blocks. Bytes that are no record become raw ones, runs of zero pages on main one record each. The order is that
    of the frames; without a capture, round by round. ``page_size``: target page size in bytes, by default what frames.

    Raises HoleError when bytes are missing in the recording, InputError when a channel cannot be read (TLS) or there
    are two main channels.
    """
    mains = [channel for channel in migration.channels if channel.kind is ChannelKind.MAIN]
    others = [channel for channel in migration.channels if channel.kind is not ChannelKind.MAIN]
    for name, channel in zip(migration.names, migration.channels, strict=True):
        _check(name, channel)
    if len(mains) > 1:
        raise InputError(f"{len(mains)} main channels: which of them the others belong to is not known")
    main = list(_main(mains[0].source, page_size)) if mains else []
    channels = [list(_channel(channel, page_size)) for channel in others]
    draft = Draft([record for _, record in main], [[record for _, record in line] for line in channels])
    sources = [channel.source for channel in (*mains, *others)]
    lines = [main, *channels] if mains else channels
    draft.order = _by_frame(list(zip(sources, lines, strict=True))) or by_rounds(draft)
    return draft


def _check(name: ChannelName, channel: CapturedChannel) -> None:
    if channel.kind is ChannelKind.TLS:
        raise InputError(f"{channel.label} is a TLS session: give its key log (--keylog)")
    hole = channel.source.next_hole(0)
    if hole is not None:
        message = f"{hole.end - hole.start} bytes are missing in the recording ({hole.reason}): it cannot be edited"
        raise HoleError(message, channel=name, offset=hole.start)
    if not channel.start_captured:
        raise HoleError("the start was not recorded: it cannot be edited", channel=name, offset=0)


def _channel(channel: CapturedChannel, page_size: int | None) -> Iterator[Placed]:
    source = channel.source
    decoder = ChannelDecoder(source, page_size=page_size, starts_with_init=channel.starts_with_init)
    behind = 0
    for event in decoder.events():
        match event:
            case ChannelInit():
                yield event.offset, Record(event)
                behind = event.offset + event.length
            case RamPacket() | DeviceStatePacket():
                yield event.offset, RecordedPacket(event, source) if event.payload_length else Record(event)
                behind = event.payload_offset + event.payload_length
            case Unreadable():
                yield event.offset, raw(_view(source, event.offset, event.length))
                behind = event.offset + event.length
            case ChannelEnd() if behind < source.size:
                yield behind, raw(_view(source, behind, source.size - behind))


def _main(source: ByteSource, page_size: int | None) -> Iterator[Placed]:
    for item in MainDecoder(source, page_size=page_size).walk():
        match item:
            case ev.Missing():
                continue
            case ev.Skipped() | ev.Trailing() | ev.StreamStopped() | ev.MainEnd():
                if item.length:
                    yield item.offset, raw(_view(source, item.offset, item.length))
            case ev.DeviceBody():
                yield item.offset, Record(item, _view(source, item.offset, item.length))
            case ev.BlockList():
                yield item.offset, Record(item, _behind_entries(source, item))
            case ev.ZeroPageRun():
                yield item.offset, Record(item)
            case _:
                length = getattr(item, "payload_length", 0)
                payload = _view(source, item.payload_offset, length) if length else b""  # type: ignore[union-attr]
                yield item.offset, Record(item, payload)


def _behind_entries(source: ByteSource, event: ev.BlockList) -> Buffer:
    """What stands behind the entries of a mapped-ram file's block list, joined."""
    if not any(block.behind for block in event.blocks):
        return b""
    bare = Record(event._replace(blocks=())).encoded()
    position = event.offset + len(bare)
    parts: list[Buffer] = []
    for block in event.blocks:
        entry = Record(event._replace(blocks=(block._replace(behind=0),))).encoded()
        position += len(entry) - len(bare)
        if block.behind:
            parts.append(_view(source, position, block.behind))
            position += block.behind
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _view(source: ByteSource, offset: int, length: int) -> Buffer:
    return source.read(offset, max(0, min(length, source.size - offset))) if offset < source.size else b""


def _by_frame(lines: list[tuple[StreamSource, list[Placed]]]) -> list[Record]:
    """All records in the order in which their first bytes were recorded; empty when that is not known.

    Of records that share a frame, as of connections that start in the same one, main's come first.
    """
    timed: list[_Timed] = []
    for position, (source, line) in enumerate(lines):
        for number, (offset, record) in enumerate(line):
            frame = source.frame_at(min(offset, max(0, source.size - 1)))
            if frame is None:
                return []
            timed.append(_Timed((frame, position, number), record))
    timed.sort(key=lambda entry: entry.key)
    return [entry.record for entry in timed]


def by_rounds(draft: Draft) -> list[Record]:
    """An order in which a source could have sent the records: main's header, then round by round the packets of all
    channels in turn, and behind them main's records up to the rendezvous."""
    is_rendezvous = Rendezvous(mode_of_records(record.event for record in draft.main))
    rounds: defaultdict[int, tuple[list[Line], Line]] = defaultdict(lambda: ([], []))
    for line in draft.channels:
        for number, segment in enumerate(_segments(line)):
            rounds[number][0].append(segment)
    number = 0
    for record in draft.main[1:]:
        rounds[number][1].append(record)
        number += is_rendezvous(record.event)
    order = draft.main[:1]
    for number in sorted(rounds):
        lines, main = rounds[number]
        turns = itertools.zip_longest(*lines)
        order += [record for turn in turns for record in turn if record is not None]
        order += main
    return order


def _segments(line: Line) -> Iterator[Line]:
    """A channel cut behind each SYNC."""
    segment: Line = []
    for record in line:
        segment.append(record)
        if isinstance(record.event, RamPacket) and record.event.sync:
            yield segment
            segment = []
    if segment:
        yield segment


def tap_of(migration: Migration) -> Tap:
    """Connections of the draft end as those of the recording did."""
    mains = [channel for channel in migration.channels if channel.kind is ChannelKind.MAIN]
    others = [channel for channel in migration.channels if channel.kind is not ChannelKind.MAIN]
    ends: dict[ChannelName, StreamEnd] = {position: channel.source.end for position, channel in enumerate(others)}
    if mains:
        ends["main"] = mains[0].source.end
    return Tap(ends=ends)
