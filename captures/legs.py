"""One migration recorded in front of and behind a proxy: its legs carry the same bytes at the same time."""

from __future__ import annotations

from collections.abc import Iterable

from captures.model import CapturedChannel, ChannelKind, Migration
from multifd_codec.source import read_known

COMPARED = 1 << 20
"""Bytes of each channel that are compared, at most."""
LEAST = 1 << 12
"""Bytes that must be the same, in all: the first records of any two migrations may be."""
Key = tuple[ChannelKind, int | None]


def with_legs_joined(migrations: Iterable[Migration]) -> tuple[Migration, ...]:
    """The migrations, in the order given (that in which they began), each with its other legs: the last one, which is
    nearest to the destination since a proxy connects when it is connected to, stands for all."""
    found: list[Migration] = []
    for migration in migrations:
        for index, other in enumerate(found):
            if _are_legs(other, migration):
                found[index] = migration._replace(legs=(*other.legs, other._replace(legs=())))
                break
        else:
            found.append(migration)
    return tuple(found)


def channels_by_key(migration: Migration) -> dict[Key, CapturedChannel]:
    """The channels whose bytes say what they are."""
    return {
        (one.kind, one.channel_id): one
        for one in migration.channels
        if one.kind is ChannelKind.MAIN or (one.kind is ChannelKind.MULTIFD and one.channel_id is not None)
    }


def _are_legs(one: Migration, other: Migration) -> bool:
    if not (one.connections and other.connections):
        return False
    first, second = one.connections[0], other.connections[0]
    # The same host to two places is two migrations, unless it is the proxy's.
    if second.source.address == first.source.address != first.destination.address:
        return False
    if second.destination == first.destination:
        return False
    if min(c.first_frame for c in other.connections) > max(c.last_frame for c in one.connections):
        return False
    channels, others = channels_by_key(one), channels_by_key(other)
    same = 0
    for key in channels.keys() & others.keys():
        length = min(channels[key].source.size, others[key].source.size, COMPARED)
        parts = [bytes(read_known(channel.source, 0, length)) for channel in (channels[key], others[key])]
        length = min(map(len, parts))
        if parts[0][:length] != parts[1][:length]:
            return False
        same += length
    return (ChannelKind.MAIN, None) in channels.keys() & others.keys() and same >= LEAST
