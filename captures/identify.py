"""Which connections are channels of a migration, and of which one: by content, never by port.

Every channel of a migration is a connection to the same address and port (socket_start_outgoing_migration,
migration/socket.c, all releases), its first bytes say what it is, and the channels of one migration are open at the
same time. Both capture readers use ``group_migrations``; channel files use ``identify``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from captures.conduct import Endpoint
from captures.connection import Connection, GoesOn, NoBytes
from captures.identity import MAGIC_LENGTH, UNKNOWN, Identity, identify, is_migration_hello, resumes
from captures.model import (
    CapturedChannel,
    CaptureNote,
    ChannelKind,
    Migration,
    MigrationConnection,
    NoteKind,
    StreamSource,
)
from multifd_codec.channel.framing import INIT
from multifd_codec.source import HoleReason, read_known

MOST_MIGRATIONS = 256
"""Of one capture: each takes some milliseconds to judge, however little it carries."""
LEAST_BYTES = 1 << 16
ONE_WAY = 16
"""What a migration without any byte to know it by sends at least, in all and for each byte that comes back."""
GUESSED = CaptureNote(
    NoteKind.CUT_BY_SNAPLEN,
    "no byte of these connections says what they are: they are taken for a migration because several were open at once,"
    " to one port, and carried much one way and little the other",
)


@dataclass(slots=True)
class _Stream:
    """A connection seen from the side that sends the migration: the client unless the bytes say otherwise."""

    connection: Connection
    identity: Identity = UNKNOWN
    turned: bool = False

    def turn(self) -> None:
        self.turned = not self.turned

    @property
    def sender(self) -> Endpoint:
        return self.connection.server if self.turned else self.connection.client

    @property
    def receiver(self) -> Endpoint:
        return self.connection.client if self.turned else self.connection.server

    @property
    def source(self) -> StreamSource | None:
        return self.connection.to_client if self.turned else self.connection.to_server

    @property
    def return_path(self) -> StreamSource | None:
        return self.connection.to_server if self.turned else self.connection.to_client

    @property
    def notes(self) -> tuple[CaptureNote, ...]:
        return self.connection.notes_to_client if self.turned else self.connection.notes_to_server

    @property
    def never_accepted(self) -> bool:
        """The rest of a dead connection: a RST answered each segment that it sent."""
        conduct = self.connection.conduct
        if conduct is None or self.connection.opened or self.identity.at_start:
            return False
        sent, answer = conduct.to_server, conduct.to_client
        if self.turned:
            sent, answer = answer, sent
        return 0 < sent.segments <= answer.resets and not answer.segments and not sent.acknowledged

    @property
    def start_captured(self) -> bool:
        return self.connection.opened or self.identity.at_start

    @property
    def lifetime(self) -> tuple[float, float]:
        """Frames during which the connection may have been open; what was not recorded counts as open."""
        seen = self.connection
        return (seen.first_frame if seen.opened else 0, seen.last_frame if seen.closed else float("inf"))


MoreConnections = Callable[[AbstractSet[Endpoint]], Iterable[Connection]]


def group_migrations(connections: Iterable[Connection], more: MoreConnections | None = None) -> tuple[Migration, ...]:
    """The migrations among the connections of a capture, in the order in which they start; the rest is left out.

    Connections that do not show what they are join as UNKNOWN when they run between the same hosts, to the same port
    and at the same time as known ones. ``more`` is asked once for such connections, given the destination QEMUs' side
    of the known ones, so that a reader need not reassemble what has nothing to do with a migration. Ids are not looked
    at: duplicate ones are the linter's business.
    """
    streams = [_oriented(connection) for connection in connections]
    recoveries = [stream for stream in streams if stream.identity.kind is ChannelKind.RECOVERY]
    streams = [stream for stream in streams if stream.identity.kind is not ChannelKind.RECOVERY]
    receivers = {stream.receiver for stream in streams if stream.identity is not UNKNOWN}
    if more is not None and receivers:
        streams += [_oriented(connection) for connection in more(receivers)]
    streams = [stream for stream in streams if not stream.never_accepted]
    attempts: list[_Stream] = []
    between: defaultdict[tuple[str, Endpoint], list[_Stream]] = defaultdict(list)
    for stream in streams:
        if stream.identity is UNKNOWN:
            if stream.receiver not in receivers and not stream.connection.opened:
                stream.turn()
            if stream.receiver not in receivers:
                continue
            if not stream.connection.established:
                attempts.append(stream)
                continue
        between[stream.sender.address, stream.receiver].append(stream)
    groups = [group for members in between.values() for group in _split(members)]
    found = [group for group in groups if any(_is_plain(stream) for stream in group)]
    if not found:
        # Nothing but TLS: several connections at once are a migration's habit, a single one is better than nothing.
        found = [group for group in groups if len(group) > 1] or groups
    guessed = not found
    found = found or _by_conduct(streams)
    recoveries += _later_ones(streams, found)
    found.sort(key=lambda group: min(stream.connection.first_frame for stream in group))
    number = len(found)
    found = found[:MOST_MIGRATIONS]
    resumed = [_resumed(recovery, found) for recovery in recoveries]
    beside = [
        [
            *(one for one in attempts if _is_attempt_of(one, group)),
            *(one for one, number in zip(recoveries, resumed, strict=True) if number == index),
        ]
        for index, group in enumerate(found)
    ]
    migrations = tuple(_migration(group, others) for group, others in zip(found, beside, strict=True))
    if len(found) < number:
        text = f"there are {number} migrations, of which the first {MOST_MIGRATIONS} are read"
        migrations = tuple(one.noting(CaptureNote(NoteKind.LIMIT, text)) for one in migrations)
    return tuple(one.noting(GUESSED) for one in migrations) if guessed else migrations


def _by_conduct(streams: Sequence[_Stream]) -> list[list[_Stream]]:
    """What may be migrations in a capture cut to headers, where nothing better is found: several connections at once
    between the same hosts, to one port, that carry much one way and little the other."""
    between: defaultdict[tuple[str, Endpoint], list[_Stream]] = defaultdict(list)
    for stream in streams:
        if stream.connection.established and _is_cut(stream.source):
            between[stream.sender.address, stream.receiver].append(stream)
    return [
        group for members in between.values() for group in _at_once(members) if len(group) > 1 and _goes_one_way(group)
    ]


def _later_ones(streams: Sequence[_Stream], found: Sequence[Sequence[_Stream]]) -> list[_Stream]:
    """Connections cut to headers that may be recoveries, by what they carry: a migration may not be over yet."""
    taken = {id(stream) for group in found for stream in group}
    later = [one for one in streams if id(one) not in taken and one.connection.opened and _goes_one_way([one])]
    holes = [None if one.source is None else one.source.next_hole(0) for one in later]
    cut = [hole is not None and hole.start < INIT.size and hole.reason is HoleReason.SNAPLEN for hole in holes]
    later = [one for one, is_cut in zip(later, cut, strict=True) if is_cut and _resumed(one, found) is not None]
    for stream in later:
        stream.identity = Identity(ChannelKind.RECOVERY)
    return later


def _is_cut(source: StreamSource | None) -> bool:
    return source is None or len(read_known(source, 0, MAGIC_LENGTH)) < MAGIC_LENGTH


def _goes_one_way(group: Sequence[_Stream]) -> bool:
    sent = sum(one.source.size for one in group if one.source is not None)
    back = sum(one.return_path.size for one in group if one.return_path is not None)
    return sent >= LEAST_BYTES and sent > ONE_WAY * back


def attempts_alone(connections: Sequence[Connection]) -> tuple[Migration, ...]:
    """What there is of a migration that nobody took: attempts to connect from one host to one place, a recording of
    which holds nothing else."""
    streams = [_Stream(connection) for connection in connections if connection.opened]
    if (
        not streams
        or len({(one.sender.address, one.receiver) for one in streams}) > 1
        or len(streams) < len(connections)
    ):
        return ()
    return (_migration([], streams),)


def _resumed(recovery: _Stream, groups: Sequence[Sequence[_Stream]]) -> int | None:
    """Which migration goes on over a connection: the last one between the same two hosts that began before it. The port
    may be another one, and all that the migration had may be closed by then."""
    hosts = (recovery.sender.address, recovery.receiver.address)
    before = [
        index
        for index, group in enumerate(groups)
        if any(
            (one.sender.address, one.receiver.address) == hosts
            and one.connection.first_frame < recovery.connection.first_frame
            for one in group
        )
    ]
    return before[-1] if before else None


def _is_attempt_of(stream: _Stream, group: Sequence[_Stream]) -> bool:
    """Whether a connection that never came about was tried for the migration of these: while one of them was open."""
    first = stream.connection.first_frame
    ends = (stream.sender.address, stream.receiver)
    return any(
        (other.sender.address, other.receiver) == ends and other.lifetime[0] <= first <= other.lifetime[1]
        for other in group
    )


def _is_plain(stream: _Stream) -> bool:
    return stream.identity.kind in (ChannelKind.MAIN, ChannelKind.MULTIFD)


def _oriented(connection: Connection) -> _Stream:
    stream = _Stream(connection)
    for _ in range(2):
        source = stream.source
        if source is not None:
            identity = identify(source, start_captured=connection.opened)
            if connection.opened and resumes(source):
                identity = Identity(ChannelKind.RECOVERY, at_start=True)
            if identity.kind is ChannelKind.TLS and not is_migration_hello(source):
                identity = UNKNOWN
            if identity is not UNKNOWN:
                stream.identity = identity
                return stream
        stream.turn()
    return stream


def _split(members: Sequence[_Stream]) -> list[list[_Stream]]:
    """Streams between the same hosts, to the same port, parted where none was open; parts without known ones left out.

    Connections whose end was not recorded join what comes later, so a part is parted again where one main channel was
    last seen before another one was first seen.
    """
    return [
        part
        for group in _at_once(members)
        for part in _split_by_main(group)
        if any(stream.identity is not UNKNOWN for stream in part)
    ]


def _at_once(members: Iterable[_Stream]) -> list[list[_Stream]]:
    """Parts between which none was open."""
    groups: list[list[_Stream]] = []
    until: float = -1
    for stream in sorted(members, key=lambda stream: stream.lifetime):
        start, end = stream.lifetime
        if start > until and not (groups and _comes_late(stream, groups[-1])):
            groups.append([])
        groups[-1].append(stream)
        until = max(until, end)
    return groups


def _comes_late(stream: _Stream, group: Sequence[_Stream]) -> bool:
    """Whether a multifd channel is opened right behind the end of all others: by a source that has not noticed yet."""
    mains = [one for one in group if one.identity.kind is ChannelKind.MAIN]
    begins = stream.connection.moments
    ends = [moment for one in group for moment in one.connection.moments]
    late = stream.identity.kind is ChannelKind.MULTIFD and bool(mains and begins and ends)
    return late and min(begins) - max(ends) <= NOTICED_WITHIN


def _split_by_main(group: list[_Stream]) -> list[list[_Stream]]:
    mains = sorted(
        (stream.connection for stream in group if stream.identity.kind is ChannelKind.MAIN),
        key=lambda connection: connection.first_frame,
    )
    eras: list[list[int]] = []
    for main in mains:
        if eras and main.first_frame <= eras[-1][1]:
            eras[-1][1] = max(eras[-1][1], main.last_frame)
        else:
            eras.append([main.first_frame, main.last_frame])
    parts: list[list[_Stream]] = [[] for _ in eras] or [[]]
    for stream in group:
        first, last = stream.connection.first_frame, stream.connection.last_frame
        choice = 0
        while choice + 1 < len(eras) and first > eras[choice][1] and last >= eras[choice + 1][0]:
            choice += 1
        parts[choice].append(stream)
    return parts


NOTICED_WITHIN = 0.5
"""Seconds within which a source that connects its channels notices that main was closed."""
CHANNEL_ORDER = (ChannelKind.MAIN, ChannelKind.MULTIFD, ChannelKind.TLS, ChannelKind.UNKNOWN)


def _migration(group: list[_Stream], beside: list[_Stream]) -> Migration:
    def place(stream: _Stream) -> tuple[int, int, int]:
        identity = stream.identity
        number = 256 if identity.channel_id is None else identity.channel_id
        return CHANNEL_ORDER.index(identity.kind), number, stream.connection.first_frame

    channels: list[CapturedChannel] = []
    notes: list[CaptureNote] = []
    return_path: StreamSource | None = None
    resumed = any(stream.identity.kind is ChannelKind.RECOVERY for stream in beside)
    for stream in sorted(group, key=place):
        label = f"{stream.sender} > {stream.receiver}"
        kind, channel_id, _ = stream.identity
        source = stream.source or NoBytes()
        if kind is ChannelKind.MAIN and resumed:
            source = GoesOn(source)
        channels.append(CapturedChannel(kind, channel_id, source, label, stream.start_captured))
        if not stream.start_captured:
            frame = source.frame_at(0)
            text = "the connection was open before the recording began"
            notes.append(CaptureNote(NoteKind.START_NOT_CAPTURED, text, label, 0, None, frame))
        notes += [note._replace(label=label) for note in stream.notes]
        back = stream.return_path
        if kind is ChannelKind.MAIN and return_path is None and back is not None and back.size:
            return_path = back
    encrypted = sum(channel.kind is ChannelKind.TLS for channel in channels)
    if encrypted:
        subject = "1 connection is" if encrypted == 1 else f"{encrypted} connections are"
        notes.append(CaptureNote(NoteKind.TLS, f"{subject} encrypted with TLS: a key log is needed to read further"))
    return Migration(tuple(channels), return_path, tuple(notes), _connections([*group, *beside]))


def _connections(streams: list[_Stream]) -> tuple[MigrationConnection, ...]:
    found = []
    for stream in sorted(streams, key=lambda stream: stream.connection.first_frame):
        connection, conduct = stream.connection, stream.connection.conduct
        if conduct is None:
            continue
        halves = (conduct.to_server, conduct.to_client)
        to_destination, to_source = halves[::-1] if stream.turned else halves
        found.append(
            MigrationConnection(
                stream.sender,
                stream.receiver,
                stream.identity.kind,
                stream.identity.channel_id,
                conduct.attempts,
                to_destination,
                to_source,
                connection.first_frame,
                connection.last_frame,
                (stream.source, stream.return_path),
                stream.return_path,
            )
        )
    return tuple(found)
