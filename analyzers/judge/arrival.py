"""How a migration ends before anything is loaded, by the connections that arrive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from analyzers.findings import Actor, Kind, Outcome, Reason
from analyzers.judge.handshake import FOREIGN, SHORT, Connection, Handshake, judge_handshake, short_outcomes
from analyzers.receiver.script import Script
from analyzers.receiver.solve import crashes_before_setup
from analyzers.rulebook.codes import MFD602, MFD603, MFD604, MFD605
from analyzers.survey.migration import Surveyed
from captures.model import CapturedChannel
from multifd_codec.dialect.destination import Destination
from multifd_codec.dialect.releases import DestinationHabits, HandshakeError

REFUSED = frozenset({MFD602, MFD603, MFD604})
"""Rules of connections that are refused whenever they arrive; of two with one id either may come first."""


class Others(NamedTuple):
    """The connections beside the one that is taken for main."""

    handshake: Handshake
    """Of those that are multifd channels."""
    positions: frozenset[int]
    """Their positions in the script."""
    strange: bool
    """One of the others is no multifd channel."""


class Arrived(NamedTuple):
    """All connections of a migration, by what they start as."""

    mains: int
    foreign: Sequence[CapturedChannel]
    """Neither as main nor as a multifd channel."""
    short: Sequence[CapturedChannel]
    """Closed before that can be told."""
    surplus: bool
    """More connections than the given number of channels."""
    others: Iterable[Others] = ()
    """Asked for where none starts as main: the others, for each that may be the first."""


class Ending(NamedTuple):
    """An end without a load."""

    outcomes: frozenset[Outcome]
    reason: Reason
    monitor_alive: bool = True


NOT_RECORDED = Ending(frozenset({Outcome.UNDECIDED}), Reason(Kind.CHANNELS_NOT_RECORDED, Actor.SOURCE))
NEVER_STARTS = Ending(frozenset({Outcome.HANGS}), Reason(Kind.NO_CHANNEL, Actor.DESTINATION))
"""A migration that needs channels and has none: they may not have been recorded, unless their number is given."""


def ending(arrived: Arrived, handshake: Handshake, script: Script, destination: DestinationHabits) -> Ending | None:
    """How it ends before the load begins; None when that begins."""
    if arrived.mains > 1 and destination.second_main_asserts:
        return Ending(frozenset({Outcome.CRASHES}), Reason(Kind.SECOND_MAIN_ASSERTS, Actor.DESTINATION))
    peeks = destination.handshake_error is HandshakeError.EXITS
    if not arrived.mains and not peeks and (arrived.surplus or arrived.foreign):
        return _without_main(arrived.others, script)
    if arrived.foreign:
        outcomes = frozenset({Outcome.FAILS if peeks else Outcome.HANGS})
        if peeks and arrived.short:
            outcomes |= short_outcomes(arrived.short, destination)  # whichever arrives first
        return Ending(outcomes, _of_connection(Kind.FOREIGN_CONNECTION, arrived.foreign[0], FOREIGN))
    if arrived.short:
        polls = peeks and any(channel.source.size for channel in arrived.short)
        reason = _of_connection(Kind.SHORT_CONNECTION, arrived.short[0], SHORT)
        outcomes = short_outcomes(arrived.short, destination)
        if any(problem.rule in REFUSED | {MFD605} for problem in handshake.problems):
            outcomes |= handshake.outcomes or frozenset()  # whichever arrives first
        return Ending(outcomes, reason, monitor_alive=not polls)
    if handshake.reason is not None:
        return Ending(_beside_early_pages(handshake, script), handshake.reason)
    return None


def others(
    surveyed: Surveyed, connections: Sequence[Connection], destination: Destination, uuid: bytes | None
) -> Iterator[Others]:
    """The connections beside each that may be the first. Without frames their order is not known."""
    channels = surveyed.migration.channels
    taken = {id(surveyed.channels[one.position].captured): one for one in connections}
    frames = [channel.source.frame_at(0) if channel.source.size else None for channel in channels]
    known = [frame for frame in frames if frame is not None]
    for first, frame in zip(channels, frames, strict=True):
        if len(known) == len(frames) and frame != min(known):
            continue
        rest = [one for channel in channels if channel is not first and (one := taken.get(id(channel)))]
        rest = rest[: destination.channels]
        strange = any(channel is not first for channel in (*surveyed.foreign, *surveyed.short))
        handshake = judge_handshake(rest, None, destination.habits, destination.channels, uuid=uuid)
        yield Others(handshake, frozenset(one.position for one in rest), strange)


def _without_main(possible: Iterable[Others], script: Script) -> Ending:
    """Before 8.0 the first connection is main, whatever it is: read, and refused, when every channel is there."""
    outcomes: set[Outcome] = set()
    reason = Reason(Kind.FIRST_IS_NOT_MAIN, Actor.CONNECTION)
    for handshake, positions, strange in possible:
        ends = handshake.outcomes or frozenset({Outcome.HANGS if strange else Outcome.FAILS})
        outcomes |= _beside_early_pages(handshake._replace(outcomes=ends), script, positions)
        reason = handshake.reason or reason
    return Ending(frozenset(outcomes), reason)


def _of_connection(kind: Kind, connection: CapturedChannel, because: str) -> Reason:
    frame = connection.source.frame_at(0) if connection.source.size else None
    return Reason(kind, Actor.CONNECTION, frame=frame, connection=connection.label, because=because)


def _beside_early_pages(
    handshake: Handshake, script: Script, positions: frozenset[int] | None = None
) -> frozenset[Outcome]:
    """Channels are read as soon as they are connected: pages in front of the first SYNC crash a process that waits for
    the others, or race with the error that ends it. ``positions``: of the channels there are."""
    broken = {problem.position for problem in handshake.problems if problem.rule in REFUSED}
    taken = (frozenset(range(len(script.channels))) if positions is None else positions) - broken
    early = (crashes_before_setup(script.channels[position]) for position in taken)
    outcomes = handshake.outcomes or frozenset()
    if not any(early):
        return outcomes
    return frozenset({Outcome.CRASHES}) if outcomes == {Outcome.HANGS} else outcomes | {Outcome.CRASHES}
