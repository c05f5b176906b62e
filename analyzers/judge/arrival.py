"""How a migration ends before anything is loaded, by the connections that arrive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from analyzers.findings import Actor, Kind, Outcome, Reason
from analyzers.judge.handshake import FOREIGN, SHORT, Handshake, foreign_outcomes, short_outcomes
from analyzers.receiver.script import Script
from analyzers.receiver.solve import crashes_before_setup
from analyzers.rulebook.codes import MFD602, MFD603, MFD604, MFD605
from captures.model import CapturedChannel
from multifd_codec.dialect.releases import DestinationHabits, HandshakeError

REFUSED = frozenset({MFD602, MFD603, MFD604})
"""Rules of connections that are refused whenever they arrive; of two with one id either may come first."""


class Arrived(NamedTuple):
    """All connections of a migration, by what they start as."""

    mains: int
    foreign: Sequence[CapturedChannel]
    """Neither as main nor as a multifd channel."""
    short: Sequence[CapturedChannel]
    """Closed before that can be told."""
    surplus: bool
    """More connections than the given number of channels."""


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
    if arrived.foreign:
        # Before 8.0 main is not read, whatever it is, until every channel is there.
        others = arrived.short or arrived.foreign[1:] or handshake.outcomes == frozenset({Outcome.HANGS})
        waits = not peeks and others
        outcomes = foreign_outcomes(destination, has_main=bool(arrived.mains or waits))
        if peeks and arrived.short:
            outcomes |= short_outcomes(arrived.short, destination)  # whichever arrives first
        return Ending(outcomes, _of_connection(Kind.FOREIGN_CONNECTION, arrived.foreign[0], FOREIGN))
    if not arrived.mains and not peeks and arrived.surplus:
        reason = Reason(Kind.FIRST_IS_NOT_MAIN, Actor.CONNECTION)
        refused = {problem.position for problem in handshake.problems if problem.rule in REFUSED | {MFD605}}
        waits = arrived.short or len(refused) > 1  # one of them is taken for main
        return Ending(frozenset({Outcome.HANGS if waits else Outcome.FAILS}), reason)
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


def _of_connection(kind: Kind, connection: CapturedChannel, because: str) -> Reason:
    frame = connection.source.frame_at(0) if connection.source.size else None
    return Reason(kind, Actor.CONNECTION, frame=frame, connection=connection.label, because=because)


def _beside_early_pages(handshake: Handshake, script: Script) -> frozenset[Outcome]:
    """Channels are read as soon as they are connected: pages in front of the first SYNC crash a process that waits for
    the others, or race with the error that ends it."""
    broken = {problem.position for problem in handshake.problems if problem.rule in REFUSED}
    early = (crashes_before_setup(steps) for position, steps in enumerate(script.channels) if position not in broken)
    outcomes = handshake.outcomes or frozenset()
    if not any(early):
        return outcomes
    return frozenset({Outcome.CRASHES}) if outcomes == {Outcome.HANGS} else outcomes | {Outcome.CRASHES}
