"""The connections of a migration on one clock: when something moved last, and who closed first."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from captures.conduct import Alert, Half, Moment, Pause
from captures.model import ChannelKind, Migration, MigrationConnection, StreamSource
from captures.tls import AlertDescription, Records, is_tls, read_records
from multifd_codec.errors import ChannelName
from multifd_codec.source import read_known
from multifd_codec.wire.qemufile import SectionType

LAST_WORDS = 0.5
"""Seconds before a connection is closed in which who closes it may still send."""


DOCUMENTATION = ("192.0.2.", "198.51.100.", "203.0.113.")


class NamedConnection(NamedTuple):
    """``name`` is that of the channel; for what is no channel, its port on the source's side."""

    name: ChannelName
    connection: MigrationConnection
    is_channel: bool
    tls: tuple[Records, Records] | None = None
    """The TLS records to the destination and to the source, when it is a TLS session recorded from its start."""

    @property
    def halves(self) -> tuple[Half, Half]:
        return self.connection.to_destination, self.connection.to_source

    def alerts(self, way: int) -> tuple[Alert, ...]:
        """TLS alerts to the destination (0) or to the source (1), as far as they are known."""
        if self.tls is None:
            return ()
        opened = self.connection.deciphered
        return (*self.tls[way].alerts, *(opened[way].alerts if opened is not None else ()))

    def close_notify(self, way: int) -> Moment | None:
        """That of a direction, if it is known to be there."""
        notices = (one for one in self.alerts(way) if one.description == AlertDescription.CLOSE_NOTIFY)
        return next((one.moment for one in notices), None)

    def gave_up(self, way: int) -> Moment | None:
        """When a side closed. A destination may only be seen to say so: the source's RST crosses its FIN."""
        closed = self.halves[way].gave_up
        return self.close_notify(way) if closed is None and way else closed


@dataclass(frozen=True)
class Timeline:
    """``connections`` in the order in which they were opened."""

    connections: tuple[NamedConnection, ...]
    recorded_until: Moment | None = None
    """The last frame of the recording."""

    @cached_property
    def first(self) -> Moment:
        """The first frame of the migration."""
        return min(self._moments())

    @cached_property
    def last(self) -> Moment:
        """Its last frame; that of the recording where nobody closed: had anything come, it would be there."""
        last = max(self._moments())
        return last if self.closed is not None or self.recorded_until is None else max(last, self.recorded_until)

    def seconds(self, moment: Moment) -> float:
        """From the first frame of the migration; 0 where the capture has no clock."""
        if moment.seconds is None or self.first.seconds is None:
            return 0.0
        return moment.seconds - self.first.seconds

    def between(self, earlier: Moment, later: Moment) -> float:
        return self.seconds(later) - self.seconds(earlier)

    @cached_property
    def recovery(self) -> NamedConnection | None:
        """The connection over which a paused postcopy went on last."""
        recoveries = [named for named in self.connections if named.connection.kind is ChannelKind.RECOVERY]
        return recoveries[-1] if recoveries else None

    @cached_property
    def mains(self) -> tuple[NamedConnection, ...]:
        """The connection, or those, that main's end is sent on."""
        if self.recovery is not None:
            return (self.recovery,)
        return tuple(named for named in self.connections if named.name == "main")

    @cached_property
    def both_ways(self) -> bool:
        """What both sides did was recorded. One direction alone says nothing of the other, and nobody takes part in
        what was only written as a capture."""
        return not self._made_up and any(
            named.connection.to_destination.acknowledged or named.connection.to_source.gave_up is not None
            for named in self.connections
        )

    @property
    def _made_up(self) -> bool:
        """Addresses that are kept for documentation (RFC 5737): our own writer uses them."""
        return any(named.connection.destination.address.startswith(DOCUMENTATION) for named in self.connections)

    @cached_property
    def source_closed(self) -> Moment | None:
        """The first FIN or RST of the source on a connection that came about."""
        return self._closed(0)

    @cached_property
    def destination_closed(self) -> Moment | None:
        """The same of the destination."""
        return self._closed(1)

    @cached_property
    def closed(self) -> Moment | None:
        """The first one of both."""
        return min((m for m in (self.source_closed, self.destination_closed) if m is not None), default=None)

    @cached_property
    def silence(self) -> Pause:
        """The last stretch before anybody closed in which nothing moved: no new byte, no connection that came about.

        One that ends shortly before that counts: who gives up may send what is left.
        """
        end = self.closed or self.last
        moved = sorted(m for m in self._progress() if m <= end)
        final = Pause(moved[-1] if moved else self.first, end)
        if self.closed is None or self.between(*final) > LAST_WORDS:
            return final
        pauses = [pause for pause in self._silences() if self.between(pause.until, end) <= LAST_WORDS]
        return max([final, *pauses], key=lambda pause: self.between(*pause))

    def _silences(self) -> list[Pause]:
        """Stretches in which no connection moved: what all their pauses have in common."""
        common = [Pause(self.first, self.last)]
        for named in self.connections:
            opened = [attempt.moment for attempt in named.connection.attempts if attempt.answers]
            for half in named.halves:
                if half.first_data is None or half.last_new is None:
                    continue
                starts = [self.first, *(pause.since for pause in half.pauses), half.last_new]
                ends = [half.first_data, *(pause.until for pause in half.pauses), self.last]
                idle = [Pause(*pair) for pair in zip(starts, ends, strict=True)]
                common = [
                    Pause(max(one.since, other.since), min(one.until, other.until))
                    for one in common
                    for other in idle
                    if max(one.since, other.since) < min(one.until, other.until)
                ]
            common = [part for one in common for part in _without(one, opened)]
        return common

    def _closed(self, way: int) -> Moment | None:
        # What closed before a paused postcopy went on was the pause.
        resumed = 0 if self.recovery is None else self.recovery.connection.first_frame
        closed = (named.gave_up(way) for named in self.connections if named.connection.answered)
        return min((moment for moment in closed if moment is not None and moment.frame >= resumed), default=None)

    def _progress(self) -> Iterator[Moment]:
        for named in self.connections:
            yield from (attempt.moment for attempt in named.connection.attempts if attempt.answers)
            yield from (half.last_new for half in named.halves if half.last_new is not None)

    def _moments(self) -> Iterator[Moment]:
        return (moment for named in self.connections for moment in named.connection.moments)


def timeline(migration: Migration) -> Timeline | None:
    """None without packets."""
    if not migration.connections:
        return None
    names = {channel.label: name for channel, name in zip(migration.channels, migration.names, strict=True)}
    first = migration.connections[0]
    if "main" not in names.values() and first.kind is ChannelKind.UNKNOWN and not first.to_destination.segments:
        names[first.label] = "main"  # a source opens it first
    unnamed = [one for one in migration.connections if one.kind is ChannelKind.UNKNOWN and not one.attempts]
    if "main" not in names.values() and (late := [one for one in unnamed if _is_main(one)]):
        names[late[0].label] = "main"
    return Timeline(tuple(_named(migration.connections, names)), migration.recorded_until)


VMDESCRIPTION = bytes((SectionType.EOF, SectionType.VMDESCRIPTION))
LONGEST_DESCRIPTION = 1 << 20
"""Bytes of main in which the beginning of its last section is looked for."""


def _is_main(connection: MigrationConnection) -> bool:
    """Whether a connection that was open before the recording began is main: only main is answered."""
    return connection.to_source.sent > 0 or ends_as_main(connection.wire[0])


def ends_as_main(source: StreamSource | None) -> bool:
    """Whether the last bytes are EOF and a VMDESCRIPTION of just that length."""
    if source is None:
        return False
    start = max(0, source.size - LONGEST_DESCRIPTION)
    tail = read_known(source, start, source.size - start)
    position = tail.find(VMDESCRIPTION)
    while position >= 0:
        text = position + len(VMDESCRIPTION) + 4
        if text + int.from_bytes(tail[text - 4 : text], "big") == len(tail) and tail[text : text + 1] == b"{":
            return True
        position = tail.find(VMDESCRIPTION, position + 1)
    return False


def _named(connections: Iterable[MigrationConnection], names: dict[str, ChannelName]) -> Iterator[NamedConnection]:
    for connection in connections:
        name = names.get(connection.label)
        yield NamedConnection(
            connection.source.port if name is None else name, connection, name is not None, _tls(connection)
        )


def _tls(connection: MigrationConnection) -> tuple[Records, Records] | None:
    sent, answer = connection.wire
    if sent is None or answer is None or not connection.attempts or not is_tls(read_known(sent, 0, 3)):
        return None
    return read_records(sent), read_records(answer)


def _without(pause: Pause, moments: list[Moment]) -> list[Pause]:
    """The parts of a pause between these moments."""
    inside = sorted(moment for moment in moments if pause.since < moment < pause.until)
    edges = [pause.since, *inside, pause.until]
    return [Pause(*pair) for pair in itertools.pairwise(edges)]
