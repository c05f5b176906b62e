"""How a recorded migration ended: what the destination said, who closed first, and what stood still."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzers.evidence.cleanup import REQUESTS, died_in_cleanup
from analyzers.evidence.evidence import evidence
from analyzers.evidence.giving_up import hello_unanswered, lost_alone, source_died
from analyzers.evidence.lacking import STANDS, lacks_frames
from analyzers.evidence.progress import Progress, progress_of
from analyzers.evidence.return_path import Said, said
from analyzers.evidence.sessions import refused_by
from analyzers.evidence.timeline import NamedConnection, Timeline, timeline
from analyzers.findings.recorded import Ended, Recorded, Side, Stall
from analyzers.survey.migration import Surveyed
from captures.conduct import Moment, Retransmissions, Window
from captures.model import ChannelKind
from multifd_codec.errors import ChannelName
from multifd_codec.wire.return_path import ReturnPathType

LONG = 2.0
"""Seconds in which nothing moves from which on a migration that is not over has hung. Attempts to connect are repeated
after one."""
FULL_FOR = 0.2
"""Seconds for which a receive buffer must have been full when its owner closes: before, it was about to be read."""
LONG_FULL = 1.0
"""The same when the destination leaves a receive buffer full."""
CLOSES_WITHIN = 0.03
"""Seconds within which a destination that completes closes behind the source (measured: 20 ms); the kernel of one that
does not acknowledges the source's FIN after 40 ms."""
LAST_ALERT = 64
"""Bytes of a TLS record with close_notify, which may come when its receiver has left."""
FEW = 2
"""Retransmissions of one stretch from which on it is not reordering that they show."""
RESENT_AFTER = 0.2
"""Seconds for which they go on at least (Linux: the shortest time-out); copies of frames come sooner."""


def recorded(surveyed: Surveyed, *, lacks: bool = False) -> Recorded:
    """How the migration ended, as far as its packets show. ``lacks``: the recording is known to lack a connection, as
    it may be known from the frames themselves."""
    line = timeline(surveyed.migration)
    if line is None:
        return Recorded()
    recoveries = (one.return_path for one in surveyed.migration.connections if one.kind is ChannelKind.RECOVERY)
    late = (named.connection.return_path for named in line.mains if surveyed.migration.return_path is None)
    paths = (surveyed.migration.return_path, *recoveries, *late)
    messages = tuple(message for path in paths for message in said(path))
    progress = progress_of(surveyed, line)
    ended, gave_up = _ended(line, progress, messages)
    telling = any(named.connection.kind is not ChannelKind.MULTIFD for named in line.connections) and _is_begun(line)
    idle = ended is Ended.HUNG and progress.main_ended is None and gave_up is Side.SOURCE
    unsaid = ended is not Ended.RUNNING and not _says_so(messages)
    lacks = lacks or lacks_frames(surveyed, line)
    says_so = _completed(messages, progress)
    unheard = says_so and progress.unread and any(path is not None and path.holes() for path in paths)
    if (lacks and not says_so) or unheard or (unsaid and (idle or not telling)):
        ended, gave_up = Ended.UNKNOWN, None  # what shows nothing of it may not have been recorded
    silence = line.between(*line.silence)
    stalled = (
        tuple(_stalls(line, progress.inside, still=ended is Ended.HUNG and not progress.main_ended))
        if ended in (Ended.HUNG, Ended.FAILED)
        else ()
    )
    seen = evidence(line, messages, stalled, silence, ended, progress, _paused(line, progress, messages))
    if lacks:
        seen = tuple(fact for fact in seen if fact.kind in STANDS)
    return Recorded(ended, gave_up, line.between(line.first, line.last), silence, stalled, seen)


def _is_begun(line: Timeline) -> bool:
    """Whether any byte went either way, or a connection was refused."""
    return any(
        named.connection.refused is not None or any(half.segments for half in named.halves)
        for named in line.connections
    )


def _completed(messages: Sequence[Said], progress: Progress) -> bool:
    """Whether the destination says that it completed, and dies of nothing behind it."""
    asked = any(message.type in REQUESTS for message in messages)
    says = any(message.type == ReturnPathType.SHUT and message.value == 0 for message in messages)
    return says and not (progress.postcopy or asked)


def _says_so(messages: Sequence[Said]) -> bool:
    """Whether the destination says that it failed."""
    return any(message.type == ReturnPathType.SHUT and message.value for message in messages)


def _ended(line: Timeline, progress: Progress, messages: Sequence[Said]) -> tuple[Ended, Side | None]:
    if not line.both_ways:
        return Ended.UNKNOWN, None
    shut = next((message for message in messages if message.type == ReturnPathType.SHUT), None)
    if shut is not None and shut.value is not None:
        if not shut.value and died_in_cleanup(line, messages, postcopy=progress.postcopy) is None:
            return Ended.COMPLETED, None
        first = line.closed if line.closed == line.source_closed else None
        left = first is not None and shut.moment is not None and first < shut.moment
        if not left or progress.main_ended:
            return Ended.FAILED, Side.NETWORK if lost_alone(line) else Side.DESTINATION
        stood = line.between(*line.silence) >= LONG and not _was_free(line, progress)
        return Ended.HUNG if stood else _source_left(line, progress), Side.SOURCE
    refusals = [one for named in line.connections if (one := named.connection.refused) is not None]
    if refusals:
        gone = line.closed is not None and line.closed == line.destination_closed and line.closed < min(refusals)
        return Ended.FAILED, Side.DESTINATION if gone else Side.NETWORK
    if hello_unanswered(line) is not None:
        return Ended.FAILED, Side.DESTINATION
    silence = line.between(*line.silence)
    hung = silence >= LONG or (silence >= LONG_FULL and any(_full(line, named) for named in line.connections))
    source, destination = line.source_closed, line.destination_closed
    who = Side.SOURCE if line.closed is source else Side.DESTINATION
    alert = refused_by(line)
    if alert is not None:
        return Ended.FAILED, Side(alert.value)
    if progress.cut and not hung:
        return Ended.FAILED, who
    if progress.main_ended and source is not None and (destination is None or source < destination):
        return _behind_the_end(line, source, destination)
    if progress.main_ended and destination is not None and _took_all(line, destination):
        return (Ended.FAILED, Side.DESTINATION) if _left_unread(line) else (Ended.COMPLETED, None)
    if line.closed is None:
        waits = progress.main_ended and line.between(_main_sent(line), line.last) >= CLOSES_WITHIN
        return (Ended.HUNG if hung or waits else Ended.RUNNING), None
    paused = _paused(line, progress, messages)
    if paused is not None:
        if hung or line.between(paused, line.last) >= LONG:
            return Ended.HUNG, who
        return Ended.UNKNOWN, None  # it may go on over another connection
    if lost_alone(line) is not None:
        return Ended.FAILED, Side.NETWORK
    if hung and who is Side.SOURCE and _was_free(line, progress):
        return _source_left(line, progress), who
    if hung and not progress.main_ended:
        blocked = any(named.connection.attempts and not named.connection.answered for named in line.connections)
        return Ended.HUNG, None if blocked and who is Side.DESTINATION else who
    if who is Side.DESTINATION:
        if progress.main_ended is not None:
            return Ended.HUNG if progress.main_ended and _keeps_main(line) else Ended.FAILED, who
        # Behind TLS: one that completes has taken all that was sent.
        sent = (named.halves[0] for named in line.connections)
        lost = any(half.sent - (half.acknowledged or 0) > LAST_ALERT for half in sent) or _left_unread(line)
        return (Ended.FAILED, who) if lost else (Ended.UNKNOWN, None)
    if progress.main_ended is None:
        return Ended.UNKNOWN, None
    return _source_left(line, progress), who


def _keeps_main(line: Timeline) -> bool:
    """Whether a destination that shut its channels still has not closed main long behind its end."""
    kept = all(named.halves[1].gave_up is None for named in line.mains)
    return kept and line.between(_main_sent(line), line.last) >= LONG


def _source_left(line: Timeline, progress: Progress) -> Ended:
    """The source closed first: cancelled at packet boundaries, or it failed or died."""
    return Ended.FAILED if progress.inside or source_died(line) else Ended.CANCELLED


def _was_free(line: Timeline, progress: Progress) -> bool:
    """Whether the source could have gone on at any time before it left: all connections had begun, all that it sent was
    acknowledged, and nobody's window was 0. It paused, as before a switchover."""
    return progress.main_ended is False and all(
        named.connection.answered
        and named.halves[0].segments
        and named.halves[0].stuck is None
        and _full(line, named) is None
        for named in line.connections
    )


def _main_sent(line: Timeline) -> Moment:
    """When main's last byte was sent."""
    sent = (named.connection.to_destination.last_new for named in line.mains)
    return max((moment for moment in sent if moment is not None), default=line.last)


def _paused(line: Timeline, progress: Progress, messages: Sequence[Said]) -> Moment | None:
    """When the source broke a postcopy off; None: it did not, or it went on to its end."""
    if not progress.postcopy or progress.main_ended is not False or line.closed is not line.source_closed:
        return None
    return None if any(message.type == ReturnPathType.SHUT for message in messages) else line.closed


def _took_all(line: Timeline, closed: Moment) -> bool:
    """Whether main's last byte was there when the destination closed."""
    mains = (named.connection.to_destination for named in line.mains)
    return any(half.last_new is not None and half.last_new < closed and half.stuck is None for half in mains)


def _left_unread(line: Timeline) -> bool:
    """Whether the destination closed a channel with bytes in it that it had not read: its kernel resets then, without
    that anything came behind."""
    for named in line.connections:
        sent, back = named.halves
        if back.reset is None or sent.last_new is None or (named in line.mains and back.fin is not None):
            continue
        closed = back.gave_up
        if closed is not None and sent.last_new < closed:
            return True
    return False


def _behind_the_end(line: Timeline, source: Moment, destination: Moment | None) -> tuple[Ended, Side | None]:
    """The source has sent everything and closed: whether the destination did what one does that completes."""
    if destination is None:
        waited = line.between(source, line.last)
        return (Ended.HUNG if waited >= CLOSES_WITHIN else Ended.RUNNING), None
    if line.between(source, destination) >= LONG:
        return Ended.HUNG, None
    return (Ended.FAILED, Side.DESTINATION) if _left_unread(line) else (Ended.COMPLETED, None)


def _stalls(line: Timeline, inside: frozenset[ChannelName], *, still: bool) -> Iterator[Stall]:
    for named in line.connections:
        half = named.connection.to_destination
        acknowledged = half.acknowledged or 0
        waiting = max(0, half.sent - acknowledged)
        again = half.retransmissions
        shut = _full(line, named)
        if half.stuck is not None and again is not None and _is_resent(line, half.stuck, again):
            by, since = Side.NETWORK, half.stuck
        elif shut is not None:
            by, since = Side.DESTINATION, shut.since
        elif still and _waits_for_source(named):
            since = half.last_new or named.connection.attempts[-1].moment
            # A source stops between packets only; others of the same migration went on.
            cut = named.name in inside and since < line.silence.since
            by = Side.NETWORK if cut else Side.SOURCE
        else:
            continue
        yield Stall(named.name, by, round(line.seconds(since), 6), since.frame, acknowledged, waiting)


def _is_resent(line: Timeline, since: Moment, again: Retransmissions) -> bool:
    return again.head >= FEW and line.between(since, again.last) >= RESENT_AFTER


def _full(line: Timeline, named: NamedConnection) -> Window | None:
    """The window of 0 that never opened again, unless its owner closed soon: it was about to be read then."""
    shut = named.connection.to_destination.shut
    if not shut or shut[-1].until is not None:
        return None
    closed = named.connection.to_source.gave_up
    return None if line.between(shut[-1].since, closed or line.last) < FULL_FOR else shut[-1]


def _waits_for_source(named: NamedConnection) -> bool:
    """Whether a connection stands open with everything acknowledged: the source could send, and does not."""
    connection = named.connection
    if not (connection.answered and connection.attempts):
        return False
    half = connection.to_destination
    return half.stuck is None and half.gave_up is None
