"""What was seen, one reason a fact: with its channel, frame and time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from analyzers.evidence.cleanup import died_in_cleanup
from analyzers.evidence.giving_up import Given, given_up, not_begun
from analyzers.evidence.progress import Progress
from analyzers.evidence.return_path import Said
from analyzers.evidence.sessions import tls_facts
from analyzers.evidence.timeline import NamedConnection, Timeline
from analyzers.findings.kinds import Actor, Kind
from analyzers.findings.reason import Reason
from analyzers.findings.recorded import Ended, Side, Stall
from captures.conduct import Moment
from captures.model import ChannelKind
from multifd_codec.dialect.releases import HandshakeError
from multifd_codec.dialect.words import since
from multifd_codec.wire.return_path import ReturnPathType

FIRST_IS_MAIN = (
    f"a destination before {since(lambda release: release.destination.handshake_error is HandshakeError.EXITS)} "
    "takes its first connection for main, and never starts"
)
LONG = 2.0
"""Seconds of silence that are worth a word."""
REPEATED_AFTER = 0.5
"""Seconds after which a SYN that nobody answers is sent again (Linux: 1); the answer to one may not be recorded."""
SAID: dict[tuple[ReturnPathType, ...], Kind] = {
    (ReturnPathType.REQ_PAGES, ReturnPathType.REQ_PAGES_ID): Kind.POSTCOPY_REQUEST,
    (ReturnPathType.RESUME_ACK,): Kind.RESUME,
    (ReturnPathType.SWITCHOVER_ACK,): Kind.SWITCHOVER_ACK,
}
"""The first message of these types is said."""


def evidence(
    line: Timeline,
    messages: Sequence[Said],
    stalled: Sequence[Stall],
    silence: float,
    ended: Ended,
    progress: Progress,
    paused: Moment | None,
) -> tuple[Reason, ...]:
    """All that was seen, in order of frames."""
    facts = [
        *_connections(line, {stall.channel: stall for stall in stalled}),
        *_messages(line, messages),
        *(
            _seen(line, fact.kind, fact.actor, fact.moment, **fact.fields)
            for fact in tls_facts(line, progress.main_ended)
        ),
    ]
    shut_by_error = ended is Ended.HUNG and progress.main_ended and line.closed is line.destination_closed
    if ended is Ended.FAILED or (shut_by_error and line.closed is not None):
        says_so = any(message.type == ReturnPathType.SHUT and message.value for message in messages)
        facts += (_given(line, one) for one in given_up(line, progress.main_ended, says_so=says_so))
    if ended in (Ended.FAILED, Ended.HUNG):
        facts += _order(line)
    left = line.destination_closed is None and line.source_closed is not None
    if ended is Ended.HUNG and left and progress.main_ended is not False:
        facts.append(_seen(line, Kind.NOT_CLOSED, Actor.DESTINATION, line.source_closed))
    if ended is Ended.HUNG and (begun := not_begun(line, stalled, asks=progress.asks)) is not None:
        facts.append(_given(line, begun))
    if paused is not None:
        facts.append(_seen(line, Kind.PAUSED, Actor.DESTINATION, paused))
    died = died_in_cleanup(line, messages, postcopy=progress.postcopy)
    if died is not None:
        facts.append(_seen(line, Kind.DIED_IN_CLEANUP, Actor.DESTINATION, died))
    if ended is Ended.HUNG and line.closed is None and silence < LONG:
        facts.append(_seen(line, Kind.NOT_SAID, Actor.DESTINATION, line.silence.since))
    if silence >= LONG:
        facts.append(_seen(line, Kind.SILENCE, Actor.CONNECTION, line.silence.since, duration=silence))
    return tuple(sorted(facts, key=lambda fact: (fact.frame or 0, str(fact.channel))))


def _order(line: Timeline) -> Iterator[Reason]:
    """Whether main was not the first to be taken."""
    taken = {
        one.name: min(attempt.moment for attempt in one.connection.attempts if attempt.answers)
        for one in line.connections
        if any(attempt.answers for attempt in one.connection.attempts)
    }
    first = min(taken, key=lambda name: taken[name], default=None)
    if "main" in taken and isinstance(first, int):
        duration = line.between(taken[first], taken["main"])
        fields: dict[str, Any] = {"channel": first, "duration": duration, "because": FIRST_IS_MAIN}
        yield _seen(line, Kind.MAIN_CAME_LATER, Actor.DESTINATION, taken["main"], **fields)


def _given(line: Timeline, one: Given) -> Reason:
    fields: dict[str, Any] = {"channel": one.channel, "duration": one.duration, "because": one.because}
    return _seen(line, one.kind, one.actor, one.moment, syncs=one.share, **fields)


def _seen(line: Timeline, kind: Kind, actor: Actor, moment: Moment | None, **fields: Any) -> Reason:
    if moment is None:
        return Reason(kind, actor, **fields)
    return Reason(kind, actor, frame=moment.frame, seconds=round(line.seconds(moment), 6), **fields)


def _connections(line: Timeline, stalls: dict[object, Stall]) -> Iterator[Reason]:
    for named in line.connections:
        yield from _opening(line, named)
        stall = stalls.get(named.name)
        if stall is not None:
            yield _stalled(line, named, stall)
        if not named.connection.answered:
            continue
        for actor, half in zip((Actor.SOURCE, Actor.DESTINATION), named.halves, strict=True):
            if half.gave_up is not None:
                kind = Kind.RESET if half.gave_up == half.reset else Kind.CLOSED
                yield _seen(line, kind, actor, half.gave_up, channel=named.name)


def _opening(line: Timeline, named: NamedConnection) -> Iterator[Reason]:
    connection, label = named.connection, named.connection.label
    if connection.kind is ChannelKind.RECOVERY and connection.attempts:
        first = connection.attempts[0].moment
        yield _seen(line, Kind.RECOVERY, Actor.SOURCE, first, channel=named.name, connection=label)
    if connection.refused is not None:
        yield _seen(line, Kind.REFUSED, Actor.NETWORK, connection.refused, channel=named.name, connection=label)
    elif connection.attempts and not connection.answered and not connection.went_on:
        begun, again = (connection.attempts[place].moment for place in (0, -1))
        if min(line.between(begun, again), line.between(again, line.closed or line.last)) < REPEATED_AFTER:
            return
        first, number = connection.attempts[0].moment, len(connection.attempts)
        fields: dict[str, Any] = {"channel": named.name, "connection": label, "repeats": number}
        yield _seen(line, Kind.UNANSWERED, Actor.DESTINATION, first, **fields)
    elif connection.attempts and not connection.to_destination.segments:
        opened = connection.attempts[-1].moment
        duration = line.between(opened, min(filter(None, (half.gave_up for half in named.halves)), default=line.last))
        if duration >= LONG:
            why = ": the destination waits for its first bytes" if named.name == "main" else ""
            fields = {"channel": named.name, "connection": label, "duration": duration, "because": why}
            yield _seen(line, Kind.SILENT, Actor.SOURCE, opened, **fields)


def _stalled(line: Timeline, named: NamedConnection, stall: Stall) -> Reason:
    half = named.connection.to_destination
    place: dict[str, Any] = {"channel": named.name, "offset": stall.offset}
    if stall.by is Side.DESTINATION:
        return _seen(line, Kind.WINDOW_SHUT, Actor.DESTINATION, half.shut[-1].since, **place)
    if stall.by is Side.SOURCE:
        return _seen(line, Kind.SOURCE_SILENT, Actor.SOURCE, half.last_new, **place)
    again = half.retransmissions
    if again is None or not stall.unacknowledged:
        return _seen(line, Kind.CUT, Actor.NETWORK, half.last_new, **place)
    fields: dict[str, Any] = {"bytes": stall.unacknowledged, "repeats": again.behind}
    return _seen(line, Kind.RETRANSMITTED, Actor.NETWORK, again.last, **place, **fields)


def _messages(line: Timeline, messages: Sequence[Said]) -> Iterator[Reason]:
    for message in messages:
        if message.type == ReturnPathType.SHUT and message.value is not None:
            because = f"{'failed' if message.value else 'completed'} (SHUT, value {message.value})"
            yield _seen(line, Kind.SHUT, Actor.DESTINATION, message.moment, because=because)
    for types, kind in SAID.items():
        found = next((message for message in messages if message.type in types), None)
        if found is not None:
            yield _seen(line, kind, Actor.DESTINATION, found.moment)
