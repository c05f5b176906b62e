"""What TLS shows of the connections of a migration: handshakes, alerts, and how sessions end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from analyzers.evidence.timeline import NamedConnection, Timeline
from analyzers.findings.kinds import Actor, Kind
from captures.conduct import Alert, Moment
from captures.model import ChannelKind
from captures.tls import FATAL, AlertDescription

LONG = 2.0
"""Seconds without the next message of a handshake from which on it is not on its way."""
SIDES = (Actor.SOURCE, Actor.DESTINATION)
"""By way: who sends to the destination, who to the source."""


class Fact(NamedTuple):
    """One thing seen; ``fields`` are those of a Reason."""

    kind: Kind
    actor: Actor
    moment: Moment | None
    fields: dict[str, Any]


def was_cut(named: NamedConnection, way: int) -> bool:
    """Whether a direction is closed by a FIN inside a TLS record, all bytes up to there recorded."""
    if named.tls is None:
        return False
    records = named.tls[way]
    return records.cut is not None and not records.lost and named.halves[way].fin is not None


def refused_by(line: Timeline) -> Actor | None:
    """Who ended a session with a fatal alert, the first one that did."""
    fatal = [
        (alert.moment, actor)
        for named in line.connections
        for way, actor in enumerate(SIDES)
        for alert in named.alerts(way)
        if alert.level == FATAL and alert.description != AlertDescription.CLOSE_NOTIFY
    ]
    return min(fatal)[1] if fatal else None


def tls_facts(line: Timeline, main_ended: bool | None) -> Iterator[Fact]:
    """All of them. ``main_ended``: main's end was sent; None where that cannot be read."""
    sessions = [named for named in line.connections if named.tls is not None]
    if not sessions:
        return
    for named in line.connections:
        yield from _handshake(line, named)
        for way in (0, 1):
            yield from _way(named, way)
    unclean = [named for named in sessions if _is_multifd(named, sessions) and _lacks_notice(named, 0)]
    if unclean and main_ended is not False:
        first = min(unclean, key=lambda named: named.halves[0].fin or line.last)
        yield Fact(Kind.UNCLEAN_END, Actor.SOURCE, first.halves[0].fin, {"channel": first.name})


def _handshake(line: Timeline, named: NamedConnection) -> Iterator[Fact]:
    connection = named.connection
    if not connection.answered or not connection.attempts:
        return
    fields: dict[str, Any] = {"channel": named.name, "connection": connection.label}
    sent, back = named.halves
    if named.tls is None:
        opened = connection.attempts[-1].moment
        duration = line.between(opened, min(filter(None, (sent.gave_up, back.gave_up)), default=line.last))
        if not sent.segments and duration >= LONG:
            yield Fact(Kind.TLS_NOT_BEGUN, Actor.SOURCE, opened, fields | {"duration": duration})
        return
    to_destination, to_source = named.tls
    if to_destination.lost or to_source.lost or (to_destination.protected and to_source.protected):
        return
    since = max(filter(None, (sent.last_new, back.last_new)), default=None)
    until = min(filter(None, (sent.gave_up, back.gave_up)), default=None)
    if since is None or (until is None and line.between(since, line.last) < LONG):
        return
    silent = Actor.DESTINATION if to_source.hello is None else Actor.SOURCE
    yield Fact(Kind.TLS_UNFINISHED, silent, since, fields)


def _way(named: NamedConnection, way: int) -> Iterator[Fact]:
    if named.tls is None:
        return
    actor, half, fields = SIDES[way], named.halves[way], {"channel": named.name}
    opened = named.connection.deciphered
    if opened is not None and opened[way].key_updates:
        updates = opened[way].key_updates
        yield Fact(Kind.KEY_UPDATE, actor, updates[0], {**fields, "repeats": len(updates)})
    for alert in named.alerts(way):
        if alert.description != AlertDescription.CLOSE_NOTIFY:
            yield Fact(Kind.TLS_ALERT, actor, alert.moment, {**fields, "because": _words(alert)})
    notice = named.close_notify(way)
    cut = named.tls[way].cut
    if notice is not None:
        yield Fact(Kind.CLOSE_NOTIFY, actor, notice, fields)
    elif was_cut(named, way) and cut is not None:
        yield Fact(Kind.TLS_CUT, actor, half.fin, {**fields, "bytes": cut.there, "offset": half.sent})
    elif _lacks_notice(named, way):
        yield Fact(Kind.NO_CLOSE_NOTIFY, actor, half.fin, fields)


def _lacks_notice(named: NamedConnection, way: int) -> bool:
    """Whether a direction is closed behind a whole TLS record and without close_notify, as far as can be known."""
    if named.tls is None or named.halves[way].fin is None or named.close_notify(way) is not None:
        return False
    records = named.tls[way]
    if records.cut is not None or records.lost or records.protected is None:
        return False
    return named.connection.deciphered is not None or not records.may_end_with_alert


def _is_multifd(named: NamedConnection, sessions: list[NamedConnection]) -> bool:
    """A source opens main first, and does the other handshakes behind that of main."""
    kind = named.connection.kind
    return kind is ChannelKind.MULTIFD or (kind is ChannelKind.TLS and named is not sessions[0])


def _words(alert: Alert) -> str:
    level = "fatal" if alert.level == FATAL else "warning"
    names = {int(known): known.name.lower() for known in AlertDescription}
    return f"{names.get(alert.description, alert.description)} ({level})"
