"""TCP connections of a capture, put together from the segments collected, and only those that may be channels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from captures.conduct import Endpoint
from captures.connection import Connection
from captures.formats.joined import JoinedRecords, Sliceable
from captures.formats.records import CaptureFormat
from captures.frames.columns import take
from captures.frames.flows import FlowTable
from captures.identity import SEARCH_LENGTH
from captures.links import ACK, FIN, RST, SYN
from captures.model import CaptureNote, NoteKind
from captures.tcp.behaviour import Side, observe
from captures.tcp.collect import MARK_SIZE, Collected, ControlColumns, DataColumns
from captures.tcp.reassembly import Direction, Reassembled, distance, reassemble
from captures.tcp.streams import SegmentSource
from multifd_codec.arrays import distinct
from multifd_codec.channel.framing import MARK

SEARCH_SEGMENTS = 1 << 14
"""How many segments of a connection whose start was not recorded are searched for packets, at most."""
LARGEST_REORDERING = 1 << 20
"""A SYN may be recorded behind data that starts this close to it: recording threads race."""


@dataclass(slots=True)
class _Era:
    """One of the connections that used the same endpoints one after the other. ``first``: sequence number of the first
    byte of each side, as far as SYNs say; ``client``: the side that opened."""

    start: int
    first: list[int | None] = field(default_factory=lambda: [None, None])
    client: int | None = None


class _Side(NamedTuple):
    """What one side sent."""

    data: DataColumns
    control: ControlColumns

    def between(self, start: int, stop: int) -> _Side:
        """What it sent in the frames from ``start`` (inclusive) to ``stop``."""
        data, control = (slice(*frames.searchsorted([start, stop])) for frames in (self.data.frame, self.control.frame))
        return _Side(take(self.data, data), take(self.control, control))

    def frames(self) -> Iterator[int]:
        """First and last frames."""
        for column in (self.data.frame, self.control.frame):
            if len(column):
                yield int(column[0])
                yield int(column[-1])

    def has(self, flags: int) -> bool:
        return bool((self.control.flags & flags).any())


MOST_ATTEMPTS = 1024
"""Directions of connections; a migration has at most 256 connections."""
MOST_CONNECTIONS = 1024
"""Put together of one capture, those that carry most: a hundred thousand may begin like a channel."""


class Conversations:
    """Each connection is put together at most once."""

    def __init__(
        self, view: Sliceable, collected: Collected, flows: FlowTable, records: CaptureFormat | JoinedRecords
    ) -> None:
        """``view`` as in SegmentSource; ``records`` say when and where frames were seen."""
        self._view = view
        self._collected = collected
        self._flows = flows
        self._time = records.time
        self._interface = records.interface
        self._reverse = flows.reverse()
        self._done: set[tuple[int, int]] = set()
        self._made = 0
        self.left_out = 0
        """Pairs of endpoints, and connections between the same two, beyond MOST_CONNECTIONS."""

    def candidates(self) -> list[Connection]:
        """Connections with a segment that starts like a channel, and those of which that cannot be said. What joins a
        migration only by its endpoints is not among them: ``to`` gives that."""
        collected, count = self._collected, len(self._flows)
        bounds = collected.data_bounds
        short = np.zeros(count, np.bool_)
        filled = np.flatnonzero(bounds[1:] > bounds[:-1])
        short[filled] = collected.data.captured[bounds[filled]] < MARK_SIZE
        syn = np.flatnonzero(collected.control.flags & SYN)
        opener = collected.control_bounds.searchsorted(syn, "right") - 1
        openers = distinct(opener << 32 | collected.control.sequence[syn].astype(np.int64)) >> 32
        opened = np.bincount(openers, minlength=count)
        opened_back = np.where(self._reverse >= 0, opened[self._reverse], 0)
        likely = collected.marked | short | (opened > 1) | (opened_back > 1)
        unopened = filled[(opened + opened_back == 0)[filled] & ~likely[filled]]
        with_packets = [flow for flow in unopened.tolist() if self._may_hold_packets(flow)]
        return self._connections(np.concatenate([filled[likely[filled]], np.array(with_packets, np.int64)]))

    def _may_hold_packets(self, flow: int) -> bool:
        """Whether the first data segments of a flow, in the order of their frames, hold the mark of a packet."""
        start, stop = self._collected.data_bounds[flow : flow + 2].tolist()
        data = take(self._collected.data, slice(start, min(stop, start + SEARCH_SEGMENTS)))
        reached = data.captured.cumsum(dtype=np.int64) <= SEARCH_LENGTH
        reached[:1] = True
        spans = zip(data.position[reached].tolist(), data.captured[reached].tolist(), strict=True)
        view = self._view
        return MARK in b"".join([view[position : position + length] for position, length in spans])

    def to(self, receivers: Iterable[Endpoint]) -> list[Connection]:
        """Further connections to these endpoints, also those of which only the answers were recorded."""
        flows = self._flows
        return self._connections(
            np.concatenate(
                [side(receiver) for receiver in set(receivers) for side in (flows.flows_to, flows.flows_from)]
            )
        )

    def without_data(self) -> list[Connection]:
        """All connections of a recording in which none carries a byte, if it is such a one and they are few."""
        if self._collected.data_bounds[-1] or len(self._flows) > MOST_ATTEMPTS:
            return []
        return self._connections(np.arange(len(self._flows), dtype=np.int64))

    def _connections(self, flows: NDArray[np.int64]) -> list[Connection]:
        found: list[Connection] = []
        if len(flows) > MOST_CONNECTIONS:
            flows = flows[np.argsort(-self._bytes(flows), kind="stable")]
        for flow, back in zip(flows.tolist(), self._reverse[flows].tolist(), strict=True):
            pair = (min(flow, back), max(flow, back))
            if pair in self._done:
                continue
            self._done.add(pair)
            if self._made < MOST_CONNECTIONS:
                found += self._pair(flow, back)
            else:
                self.left_out += 1
        return found

    def _bytes(self, flows: NDArray[np.int64]) -> NDArray[np.int64]:
        """What each flow carries, retransmissions included."""
        bounds = self._collected.data_bounds
        carried = np.concatenate([[0], self._collected.data.length.cumsum(dtype=np.int64)])
        sizes: NDArray[np.int64] = carried[bounds[flows + 1]] - carried[bounds[flows]]
        return sizes

    def _pair(self, flow: int, back: int) -> Iterator[Connection]:
        sides = (self._side(flow), self._side(back))
        eras = _eras(sides)
        stops = [*(era.start for era in eras[1:]), 1 << 32]
        found = [
            (era, sides if len(eras) == 1 else tuple(side.between(era.start, stop) for side in sides))
            for era, stop in zip(eras, stops, strict=True)
        ]
        if len(found) > 1:
            found = [one for one in found if not _is_one_syn(one[1])] or found[:1]
        for era, parts in found:
            frames = [frame for part in parts for frame in part.frames()]
            if frames and self._made >= MOST_CONNECTIONS:
                self.left_out += 1
            elif frames:
                self._made += 1
                yield self._connection(flow, era, parts, min(frames), max(frames))

    def _side(self, flow: int) -> _Side:
        collected = self._collected
        if flow < 0:
            return _Side(take(collected.data, slice(0)), take(collected.control, slice(0)))
        return _Side(collected.data_of(flow), collected.control_of(flow))

    def _connection(self, flow: int, era: _Era, parts: tuple[_Side, ...], first: int, last: int) -> Connection:
        client = era.client
        if client is None:
            client = int(len(parts[1].data.frame) > len(parts[0].data.frame))
        server = 1 - client
        reset = any(part.has(RST) for part in parts)
        endpoints = self._flows.endpoints(flow)
        streams: list[SegmentSource | None] = []
        notes: list[tuple[CaptureNote, ...]] = []
        for side in (client, server):
            recorded = _direction(parts[side], parts[1 - side], era.first[side], reset)
            done = reassemble(recorded, self._view)
            streams.append(self._source(done) if done.size or era.first[side] is not None else None)
            notes.append((*_fragments(parts[side]), *done.notes))
        acknowledged = (parts[client].control.flags & (SYN | RST | ACK)) == ACK
        return Connection(
            client=endpoints[client],
            server=endpoints[server],
            to_server=streams[0],
            to_client=streams[1],
            first_frame=first,
            last_frame=last,
            opened=era.first != [None, None],
            closed=reset or any(part.has(FIN) for part in parts),
            established=any(part.data.length.size for part in parts) or bool(acknowledged.any()),
            notes_to_server=notes[0],
            notes_to_client=notes[1],
            conduct=observe(
                Side(*parts[client], era.first[client]),
                Side(*parts[server], era.first[server]),
                self._time,
                self._interface,
            ),
        )

    def _source(self, done: Reassembled) -> SegmentSource:
        return SegmentSource(self._view, done.pieces, done.holes, done.size, done.end, self._time)


def _eras(sides: tuple[_Side, _Side]) -> list[_Era]:
    """Parts the frames between two endpoints where a new connection opens: at a SYN unlike that of the one before."""
    eras = [_Era(0)]
    numbers: list[_Numbers] = []
    for frame, side, sequence, acknowledgement, flags in sorted(_syns(sides)):
        era, first = eras[-1], (sequence + 1) % 0x1_0000_0000
        if era.first[side] == first:
            continue
        answers = bool(flags & ACK)
        if answers:
            fits = era.first[side] is None and era.first[1 - side] in (None, acknowledgement)
        else:
            fits = era.first == [None, None] and _may_open(sides, side, era.start, frame, first)
        if not fits:
            numbers = numbers or [_numbers(sides, number) for number in (0, 1)]
            if numbers[side].go_on(frame, era.first[side], first):
                continue
            era = _Era(frame)
            eras.append(era)
        era.first[side] = first
        era.client = 1 - side if answers else side
        if answers:
            era.first[1 - side] = acknowledgement
    return eras


class _Numbers(NamedTuple):
    """Sequence numbers at which one side stood, as its own segments but SYNs and the other's acknowledgements have it,
    and the frames that say so, in order."""

    frame: NDArray[np.int64]
    number: NDArray[np.int64]

    def go_on(self, frame: int, first: int | None, other: int) -> bool:
        """Whether a SYN that would begin at ``other`` opens nothing: what comes behind ``frame`` goes on from what came
        before it, or from ``first`` where nothing did."""
        at, behind = self.frame.searchsorted(frame).item(), self.frame.searchsorted(frame, "right").item()
        before = int(self.number[at - 1]) if at else first
        if before is None or behind == len(self.frame):
            return False
        follows = int(self.number[behind])
        return abs(distance(follows, before)) < abs(distance(follows, other))


def _numbers(sides: tuple[_Side, _Side], number: int) -> _Numbers:
    own, peer = sides[number], sides[1 - number]
    said, heard = own.control.flags & (SYN | RST) == 0, peer.control.flags & ACK != 0
    frames = (own.data.frame, own.control.frame[said], peer.control.frame[heard])
    numbers = (own.data.sequence, own.control.sequence[said], peer.control.acknowledgement[heard])
    frame, at = (np.concatenate(columns).astype(np.int64) for columns in (frames, numbers))
    order = frame.argsort(kind="stable")
    return _Numbers(frame[order], at[order])


def _is_one_syn(parts: tuple[_Side, ...]) -> bool:
    """Whether there is nothing but a SYN, or one repeated: beside a connection between the same ends it is a stray."""
    there = [part for part in parts if len(part.data.frame) or len(part.control.frame)]
    return all(not len(part.data.frame) and bool((part.control.flags & SYN).all()) for part in there) and len(there) < 2


def _syns(sides: tuple[_Side, _Side]) -> Iterator[tuple[int, int, int, int, int]]:
    """Frame, side, sequence number, acknowledgement and flags of each SYN."""
    for number, side in enumerate(sides):
        control = side.control
        rows = np.flatnonzero(control.flags & SYN)
        columns = (control.frame, control.sequence, control.acknowledgement, control.flags)
        for frame, sequence, acknowledgement, flags in zip(*(column[rows].tolist() for column in columns), strict=True):
            yield frame, number, sequence, acknowledgement, flags


def _may_open(sides: tuple[_Side, _Side], side: int, start: int, frame: int, first: int) -> bool:
    """Whether all data recorded before a SYN (in ``frame``) can belong to the connection that it opens."""
    if len(sides[1 - side].between(start, frame).data.sequence):
        return False
    before = sides[side].between(start, frame).data.sequence
    return all(0 <= distance(sequence, first) <= LARGEST_REORDERING for sequence in before[:1].tolist())


def _direction(side: _Side, peer: _Side, first: int | None, reset: bool) -> Direction:
    fins = np.flatnonzero(side.control.flags & FIN)
    acknowledging = (peer.control.flags & (ACK | RST)) == ACK
    return Direction(
        side.data,
        first=first,
        fin=int(side.control.end[fins[-1]]) if len(fins) else None,
        acknowledged=distinct(peer.control.acknowledgement[acknowledging]).tolist(),
        reset=reset,
    )


def _fragments(side: _Side) -> Iterator[CaptureNote]:
    rows = np.flatnonzero(side.control.fragment)
    if len(rows):
        text = f"{len(rows)} segments came in IP fragments, of which only the first one is read"
        yield CaptureNote(NoteKind.LOST_SEGMENTS, text, frame=int(side.control.frame[rows[0]]))
