"""How the connections of a capture behaved before TLS was taken off.

Decryption rewrites TCP's headers; what they say is read from the frames as they were.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from captures.conduct import Deciphered
from captures.connection import Connection
from captures.model import Migration, MigrationConnection, StreamSource
from captures.tls import is_tls, read_records
from captures.wireshark.decrypt import Decryption, Direction
from multifd_codec.source import StreamEnd, read_known


class Way(NamedTuple):
    """One direction of a connection as it was captured."""

    label: str
    connection: Connection
    stream: StreamSource | None


def ways(connections: Iterable[Connection]) -> list[Way]:
    """Both directions of each connection."""
    found = []
    for one in connections:
        found.append(Way(f"{one.client} > {one.server}", one, one.to_server))
        found.append(Way(f"{one.server} > {one.client}", one, one.to_client))
    return found


def cut_records(captured: Sequence[Way]) -> dict[str, int]:
    """Bytes of the TLS record inside which a direction was closed by its FIN, by the direction's label."""
    cut: dict[str, int] = {}
    for way in captured:
        stream = way.stream
        if stream is None or stream.end is not StreamEnd.CLOSED or not is_tls(read_known(stream, 0, 3)):
            continue
        records = read_records(stream)
        if records.cut is not None:
            cut[way.label] = records.cut.there
    return cut


def join(migrations: Iterable[Migration], captured: Sequence[Way], decryption: Decryption) -> tuple[Migration, ...]:
    """The migrations with the conduct of their connections as it was captured."""
    by_label: defaultdict[str, list[Way]] = defaultdict(list)
    for way in captured:
        by_label[way.label].append(way)
    opened: defaultdict[str, list[Direction]] = defaultdict(list)
    for direction in decryption.directions:
        opened[direction.label].append(direction)
    return tuple(
        migration._replace(connections=tuple(_joined(one, by_label, opened) for one in migration.connections))
        for migration in migrations
    )


def _joined(
    connection: MigrationConnection, captured: dict[str, list[Way]], opened: dict[str, list[Direction]]
) -> MigrationConnection:
    label = connection.label
    there = [way for way in captured.get(label, ()) if _common_frames(way.connection, connection) > 0]
    if not there:
        return connection
    way = max(there, key=lambda one: _common_frames(one.connection, connection))
    conduct = way.connection.conduct
    if conduct is None:
        return connection
    as_client = way.connection.client == connection.source
    back = way.connection.to_client if as_client else way.connection.to_server
    halves = (conduct.to_server, conduct.to_client)
    to_destination, to_source = halves if as_client else halves[::-1]
    backwards = f"{connection.destination} > {connection.source}"
    both = [_deciphered(opened.get(name, ()), connection) for name in (label, backwards)]
    return connection._replace(
        attempts=conduct.attempts,
        to_destination=to_destination,
        to_source=to_source,
        wire=(way.stream, back),
        deciphered=None if both[0] is None or both[1] is None else (both[0], both[1]),
    )


def _common_frames(one: Connection, other: MigrationConnection) -> int:
    return min(one.last_frame, other.last_frame) - max(one.first_frame, other.first_frame) + 1


def _deciphered(directions: Iterable[Direction], connection: MigrationConnection) -> Deciphered | None:
    """What the keys show of one direction; endpoints may have been used for several connections."""
    mine = [one for one in directions if one.opened]
    if not mine:
        return None
    frames = range(connection.first_frame, connection.last_frame + 1)
    return Deciphered(
        tuple(alert for one in mine for alert in one.alerts if alert.moment.frame in frames),
        tuple(moment for one in mine for moment in one.key_updates if moment.frame in frames),
    )
