"""What became of a migration's bytes between the places in front of and behind a proxy where it was recorded."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from analyzers.findings import Actor, Kind, Reason
from captures.legs import channels_by_key
from captures.model import Migration


def between_legs(migration: Migration) -> Iterator[Reason]:
    """Which legs there are, and what came to a proxy and did not leave it; nothing for a migration with one leg."""
    if not migration.legs:
        return
    legs = (*migration.legs, migration)
    path = ", then ".join(f"{leg.connections[0].source.address} > {leg.connections[0].destination}" for leg in legs)
    yield Reason(Kind.LEGS, Actor.NETWORK, connection=path)
    for before, behind in itertools.pairwise(legs):
        names = dict(zip((channel.label for channel in before.channels), before.names, strict=True))
        there = channels_by_key(behind)
        place = str(behind.connections[0].destination)
        for key, channel in channels_by_key(before).items():
            arrived = there[key].source.size if key in there else 0
            lost = channel.source.size - arrived
            if lost > 0:
                yield Reason(
                    Kind.LOST_BETWEEN_LEGS,
                    Actor.NETWORK,
                    channel=names[channel.label],
                    offset=arrived,
                    frame=channel.source.frame_at(arrived),
                    seconds=_since(before, channel.source.time_at(arrived)),
                    bytes=lost,
                    connection=place,
                )


def _since(migration: Migration, moment: float | None) -> float | None:
    """Seconds from a migration's first frame."""
    first = [attempt.moment.seconds for one in migration.connections for attempt in one.attempts]
    begun = min((seconds for seconds in first if seconds is not None), default=None)
    return None if moment is None or begun is None else round(moment - begun, 6)
