"""The same streams judged by other destinations: what becomes of them, and which one explains what was seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from analyzers.evidence.giving_up import LARGEST_BUFFER, UNREAD
from analyzers.findings import Actor, Kind, Outcome, ProfileChoice, Reason
from analyzers.findings.recorded import Ended, Recorded, Side
from analyzers.findings.report import Elsewhere
from analyzers.linter.found import Found
from analyzers.linter.happened import destination_text, found_by_comparison
from analyzers.linter.judged import Judged, LintOptions, judge_by
from analyzers.receiver.explain import parked
from analyzers.receiver.solve import lockstep
from analyzers.rulebook.codes import MFD701
from analyzers.rulebook.rule import Rule
from multifd_codec.dialect.compression import COMPRESSIONS
from multifd_codec.dialect.destination import Destination
from multifd_codec.dialect.machine import machine_version
from multifd_codec.dialect.releases import RELEASES, DestinationHabits, Mode
from multifd_codec.errors import ChannelName

GUESSES = (Kind.TAKES_NONE, Kind.CHANNELS_SHUT, Kind.GAVE_UP_LOADING, Kind.NOT_BEGUN)
"""Facts that allow several readings: their own sentence names them."""
FORESEEN = {
    Ended.COMPLETED: frozenset({Outcome.COMPLETES, Outcome.LOSES_DATA}),
    Ended.FAILED: frozenset({Outcome.FAILS, Outcome.CRASHES}),
    Ended.HUNG: frozenset({Outcome.HANGS}),
}
"""What a destination can do that ended so."""
MOST_CHANNELS = 16
"""Numbers of channels up to which a destination is looked for that explains what was seen."""


class Compared(NamedTuple):
    """What was seen beside what other destinations do."""

    seen: Recorded
    contradicts: bool
    """It is none of what a destination like the sender does."""
    explained_by: tuple[Destination, ...]
    elsewhere: tuple[Elsewhere, ...]
    why: Reason | None = None
    """Why the first that explains it ends so."""

    def found(self, judged: Judged) -> Iterator[tuple[Rule, Found]]:
        """MFD701."""
        if self.contradicts:
            destination, outcome = judged.context.destination, judged.sorted_outcomes[-1]
            yield MFD701, found_by_comparison(self.seen, destination, outcome, self.explained_by)

    def reasons(self, judged: Judged) -> Iterator[Reason]:
        """A destination that explains what was seen, in words."""
        if self.contradicts and self.seen.ended is Ended.FAILED:
            text = (
                "nothing in the streams makes such a destination fail: unless it was killed its log says why "
                "(a device, RAM block or size that it has not got, a setting that differs)"
            )
            yield Reason(Kind.EXPLAINED_BY, Actor.DESTINATION, because=text)
        elif self.explained_by and not any(fact.kind in GUESSES for fact in self.seen.evidence):
            does = {Ended.COMPLETED: "completes", Ended.FAILED: "fails", Ended.HUNG: "hangs"}[self.seen.ended]
            text = f"{destination_text(self.explained_by[0])} {does} here" + (
                f": {self.why._replace(perhaps=False).text}" if self.why else ""
            )
            yield Reason(Kind.EXPLAINED_BY, Actor.DESTINATION, because=text)


def compare(judged: Judged, options: LintOptions, seen: Recorded) -> Compared:
    """Hold what was seen against the verdict, and judge the streams elsewhere."""
    connected = all(connection.answered for connection in judged.surveyed.migration.connections)
    if seen.ended is Ended.HUNG and judged.surveyed.main is not None and judged.surveyed.main.eof is not None:
        judged = judged._replace(surveyed=judged.surveyed.over(), known={})
    wrong = contradicts(seen, judged.outcomes, connected=connected)
    found = explaining(judged, options, seen) if wrong else _seen_to_be(judged, seen)
    why = None
    parking = () if found or wrong else _parking(judged, options, seen)
    if parking:
        found, why = tuple(one for one, _ in parking), parking[0][1]
    elif found:
        why = next(iter(_judged(judged, options, found[0]).reasons), None)
    return Compared(seen, wrong, found, elsewhere(judged, options) if options.elsewhere else (), why)


def _seen_to_be(judged: Judged, seen: Recorded) -> tuple[Destination, ...]:
    """How the destination is configured, where the packets themselves show it."""
    for fact in seen.evidence:
        if fact.kind is Kind.TAKES_FEWER and fact.syncs is not None:
            return (replace(judged.context.destination, channels=fact.syncs.number),)
        if fact.kind is Kind.NOT_BEGUN:
            least = len(judged.surveyed.channels) + 1
            like = judged.context.destination
            return tuple(replace(like, channels=number) for number in range(least, MOST_CHANNELS + 1))
        if fact.kind is Kind.TAKES_NONE:
            return (replace(judged.context.destination, channels=0),)
        if fact.kind in (Kind.CHANNELS_SHUT, Kind.GAVE_UP_LOADING):
            like = judged.context.destination
            others = [method for method in COMPRESSIONS.values() if method.stock and method.name != like.compression]
            return tuple(replace(like, compression=method.name) for method in others)
    return ()


def _parking(judged: Judged, options: LintOptions, seen: Recorded) -> tuple[tuple[Destination, Reason], ...]:
    """Destinations that park all channels which nobody reads any more, where one like the sender parks none, and why;
    a destination that parks a channel has read no more of it."""
    shut = {stall.channel: stall.offset for stall in seen.stalled if stall.by is Side.DESTINATION}
    network = any(stall.by is Side.NETWORK for stall in seen.stalled)
    if seen.ended is not Ended.HUNG or not shut or network or _parked(judged, shut):
        return ()
    flipped = (one for one in _others(judged.context.destination) if one.mode is not judged.context.destination.mode)
    found = ((one, _parked(_judged(judged, options, one), shut)) for one in flipped if one.habits.flush_known)
    return tuple((one, reasons[0]) for one, reasons in found if len(reasons) == len(shut))


def _parked(judged: Judged, shut: Mapping[ChannelName, int]) -> list[Reason]:
    """Where these channels are parked, by what was acknowledged of them."""
    script = judged.verdict.script
    state = lockstep(script)
    reasons = [
        parked(script, position, state.reached)
        for position, name in enumerate(script.channel_ids)
        if name in shut and state.syncs[position] > state.reached
    ]
    near = [one for one in reasons if one.channel is not None and shut[one.channel] <= (one.offset or 0) + UNREAD]
    return [reason.framed(judged.context.frame) for reason in near]


def contradicts(seen: Recorded, outcomes: frozenset[Outcome], *, connected: bool) -> bool:
    """Whether what was seen is none of what the streams make a destination do.

    ``connected``: every connection came about. What the source or the network did proves nothing about the destination.
    """
    foreseen = FORESEEN.get(seen.ended)
    if foreseen is None or not connected or Outcome.UNDECIDED in outcomes:
        return False
    if seen.gave_up_first in (Side.SOURCE, Side.NETWORK) and seen.ended is not Ended.COMPLETED:
        return False
    if any(stall.by is Side.NETWORK for stall in seen.stalled):
        return False
    return not outcomes & foreseen


def explaining(judged: Judged, options: LintOptions, seen: Recorded) -> tuple[Destination, ...]:
    """Destinations that differ in one thing and with which the streams end as was seen; the likeliest first."""
    foreseen = FORESEEN[seen.ended]
    migration = judged.surveyed.migration
    by_label = {one.label: (one.to_destination.acknowledged or 0) - LARGEST_BUFFER for one in migration.connections}
    read = [by_label.get(one.captured.label, 0) for one in judged.surveyed.channels]
    found = []
    main = judged.surveyed.main
    machine = None if main is None else machine_version(main.machine or "")
    for other in _others(judged.context.destination):
        if machine is not None and other.release.version < machine:
            continue  # it has not got that machine type
        if seen.ended is Ended.FAILED and other.channels < len(judged.surveyed.channels):
            continue  # it refuses connections, which would have been seen
        by_other = _judged(judged, options, other)
        if by_other.outcomes & foreseen and not _was_read_further(by_other, read):
            found.append(other)
    return tuple(found)


def _was_read_further(judged: Judged, read: Sequence[int]) -> bool:
    """Whether the destination has read more of a channel, for certain (``read``, by position), than this one would."""
    if judged.end is not None:
        return max(read, default=0) > 0
    return any(read[position] > fault.offset for position, fault in judged.verdict.faults.items())


def _others(like: Destination) -> Iterator[Destination]:
    yield replace(like, mode=Mode.PER_SECTION if like.mode is Mode.PER_ROUND else Mode.PER_ROUND)
    for number in range(MOST_CHANNELS + 1):
        if number != like.channels:
            yield replace(like, channels=number)
    for method in COMPRESSIONS.values():
        if method.name != like.compression and method.stock:
            yield replace(like, compression=method.name)
    for release in RELEASES.values():
        if release.destination != like.habits:
            yield replace(like, profile=release.name)


def _judged(judged: Judged, options: LintOptions, destination: Destination) -> Judged:
    """The same streams judged by another destination."""
    return judge_by(
        judged.surveyed, options, ProfileChoice(destination, inferred=False), judged.context.sender, judged.known
    )


def elsewhere(judged: Judged, options: LintOptions) -> tuple[Elsewhere, ...]:
    """Every release in every mode it has, oldest first; those that behave alike are judged once."""
    like = judged.context.destination
    known: dict[tuple[DestinationHabits, Mode], tuple[tuple[Outcome, ...], str]] = {
        (like.habits, like.mode): _in_short(judged)
    }
    found = []
    for release in RELEASES.values():
        for mode in Mode if release.destination.flush_known else (Mode.PER_SECTION,):
            key = (release.destination, mode)
            if key not in known:
                other = replace(like, profile=release.name, mode=mode)
                known[key] = _in_short(_judged(judged, options, other))
            found.append(Elsewhere(release.name, mode, *known[key]))
    return tuple(found)


def _in_short(judged: Judged) -> tuple[tuple[Outcome, ...], str]:
    """How it ends, and the first reason."""
    return judged.sorted_outcomes, next((reason.text for reason in judged.reasons), "")
