"""The set of connections: what a destination does before it reads the first packet (protocol reference, section A)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from analyzers.findings import Actor, Kind, Outcome, Party, Reason
from analyzers.rulebook.codes import MFD602, MFD603, MFD604, MFD605, MFD606, MFD607, MFD609, MFD610
from analyzers.rulebook.rule import Rule
from analyzers.survey.channel import ChannelSurvey
from analyzers.survey.main import MainSurvey, RecordKind
from analyzers.survey.migration import MAGIC_LENGTH
from captures.model import CapturedChannel
from multifd_codec.channel import framing
from multifd_codec.dialect.releases import DestinationHabits, HandshakeError
from multifd_codec.source import StreamEnd
from multifd_codec.wire.handshake import MULTIFD_MAGIC, MULTIFD_VERSION


class Connection(NamedTuple):
    """One multifd connection: its place in the recording, its survey, and what the channel is called."""

    position: int
    survey: ChannelSurvey
    name: int

    @property
    def number(self) -> int | None:
        return self.survey.init.id if self.survey.init is not None else None


class SetProblem(NamedTuple):
    """A violation of the channel set: rule, position of the channel (None: the whole), field, message."""

    rule: Rule
    position: int | None
    field: str
    message: str


class Handshake(NamedTuple):
    """The verdict on the channel set."""

    problems: tuple[SetProblem, ...]
    outcomes: frozenset[Outcome] | None
    """How it ends before anything is loaded; None when loading starts."""
    reason: Reason | None = None
    """Why, where it ends so."""


FOREIGN = "a connection that starts neither as main nor as a multifd channel"
SHORT = "a connection that is closed before a destination can tell what it is"


def short_outcomes(channels: Sequence[CapturedChannel], destination: DestinationHabits) -> frozenset[Outcome]:
    """How it ends when such a connection arrives before the set is full: peeking at nothing fails, peeking for four
    bytes where there are one to three never ends (protocol reference, H5); before 8.0 it is a channel that ends."""
    peeks = destination.handshake_error is HandshakeError.EXITS
    return frozenset({Outcome.FAILS if peeks and not channel.source.size else Outcome.HANGS for channel in channels})


def judge_handshake(
    connections: Sequence[Connection],
    main: MainSurvey | None,
    destination: DestinationHabits,
    channels: int,
    *,
    uuid: bytes | None = None,
    partial: bool = False,
    mains: int = 1,
    demanded: bool = False,
) -> Handshake:
    """Check every ChannelInit and the number of channels against what the destination expects.

    ``uuid`` is the destination's; by default the one most channels carry. ``partial``: connections may be missing in
    the recording rather than in the migration. ``mains``: main channels.
    ``demanded``: the destination's number of channels is given, not inferred.
    """
    if main is not None and "mapped-ram" in main.capabilities:
        message = f"{len(connections)} multifd connections beside a mapped-ram main channel: nothing reads them"
        return Handshake((SetProblem(MFD610, None, "", message),) if connections else (), None)
    bad = list(_bad_inits(connections, destination, channels, uuid))
    problems = [problem for problem, _ in bad]
    problems += _unused(connections)
    refused = frozenset().union(*(outcomes for _, outcomes in bad)) if bad else frozenset()
    if mains > 1 and destination.handshake_error is HandshakeError.NEVER_STARTS:
        reason = Reason(Kind.SECOND_MAIN_REFUSED, Actor.DESTINATION)
        return Handshake(tuple(problems), frozenset({Outcome.HANGS}), reason)
    if refused:
        first = bad[0][0]
        name = next(connection.name for connection in connections if connection.position == first.position)
        reason = Reason(Kind.CHANNEL_REFUSED, Actor.CHANNEL, name, 0, because=first.message, rule=first.rule.code)
        return Handshake(tuple(problems), refused, reason)
    if channels == 0 and connections:
        problems.append(SetProblem(MFD609, None, "", f"{len(connections)} multifd connections, multifd is off"))
        reason = _reason(Kind.MULTIFD_OFF, problems[-1].message, problems[-1].rule.code)
        return Handshake(tuple(problems), _without_multifd(main, destination), reason)
    if len(connections) > channels:
        message = f"{len(connections)} multifd channels, the destination takes {channels}: the rest is refused"
        problems.append(SetProblem(MFD606, None, "id", message))
        # A source fails, a recording that is replayed does not; measured with 10.0: it waits where the
        # one it takes has an id beyond its own.
        outcomes = {Outcome.FAILS, Outcome.LOSES_DATA, Outcome.HANGS}
        if any(c.number == channels for c in connections) and not destination.channel_id_checked:
            outcomes.add(Outcome.CRASHES)  # when that one is connected before another
        if sum(not c.survey.normal_pages for c in connections) >= len(connections) - channels:
            outcomes.add(Outcome.COMPLETES)  # those refused may carry nothing that is missed
        return Handshake(
            tuple(problems), frozenset(outcomes), _reason(Kind.CHANNELS_SURPLUS, message, problems[-1].rule.code)
        )
    if connections and len(connections) < channels:
        missing = sorted(set(range(channels)) - {c.number for c in connections if c.number is not None})
        message = (
            f"{len(connections)} of {channels} multifd channels are connected, "
            f"id {', '.join(map(str, missing))} {'is' if len(missing) == 1 else 'are'} missing"
        )
        if partial:
            reason = _reason(Kind.CHANNELS_PERHAPS_MISSING, message)
            # A channel that is there no more than in the recording hangs; whether it is nobody can tell.
            outcomes = {Outcome.UNDECIDED, Outcome.HANGS} if demanded else {Outcome.UNDECIDED}
            return Handshake(tuple(problems), frozenset(outcomes), reason)
        problems.append(SetProblem(MFD606, None, "id", message))
        waits_for = tuple(Party(Actor.CHANNEL, number) for number in missing)
        reason = _reason(Kind.CHANNELS_MISSING, message, problems[-1].rule.code)._replace(waits_for=waits_for)
        return Handshake(tuple(problems), frozenset({Outcome.HANGS}), reason)
    return Handshake(tuple(problems), None)


def _reason(kind: Kind, because: str, rule: str = "") -> Reason:
    return Reason(kind, Actor.DESTINATION, because=because, rule=rule)


def _starts_with_packet(survey: ChannelSurvey) -> bool:
    """Whether the ChannelInit was left out: what a destination takes for it has another uuid."""
    behind = framing.starts_packet(survey.source, framing.INIT.size)
    return behind is framing.Fit.NO and framing.looks_like_packet(survey.source, 0, survey.page_size) is framing.Fit.YES


def _unused(connections: Sequence[Connection]) -> Iterator[SetProblem]:
    for connection in connections:
        init = connection.survey.init
        if init is not None and init.magic == MULTIFD_MAGIC:
            for name in ("unused1", "unused2"):
                if any(getattr(init, name)):
                    yield SetProblem(
                        MFD607, connection.position, name, "reserved bytes of the ChannelInit are not zero"
                    )


def _without_multifd(main: MainSurvey | None, destination: DestinationHabits) -> frozenset[Outcome]:
    """A destination with multifd off: it takes the first connection for main, or refuses all but main."""
    if destination.second_main_asserts:
        return frozenset({Outcome.CRASHES})
    if main is not None and main.count(RecordKind.FLUSH) and not destination.flush_known:
        return frozenset({Outcome.FAILS})
    return frozenset({Outcome.FAILS, Outcome.LOSES_DATA})


def _bad_inits(
    connections: Sequence[Connection], destination: DestinationHabits, channels: int, uuid: bytes | None
) -> Iterator[tuple[SetProblem, frozenset[Outcome]]]:
    exits = frozenset({Outcome.FAILS if destination.handshake_error is HandshakeError.EXITS else Outcome.HANGS})
    inits = [c.survey.init for c in connections if c.survey.init is not None]
    if uuid is None and inits:
        uuid = Counter(init.uuid for init in inits).most_common(1)[0][0]
    taken: set[int] = set()
    for connection in connections:
        init, end, position = connection.survey.init, connection.survey.end, connection.position
        if init is None:
            if end is not None and end.offset < framing.INIT.size and end.end is StreamEnd.CLOSED:
                message = f"the channel ends after {end.offset} of 64 bytes of its ChannelInit"
                # From 1 to 3 bytes are peeked at for ever (protocol reference, H5); without any the peek fails.
                waits = 0 < end.offset < MAGIC_LENGTH and destination.handshake_error is HandshakeError.EXITS
                yield SetProblem(MFD602, position, "magic", message), frozenset({Outcome.HANGS}) if waits else exits
            continue
        if _starts_with_packet(connection.survey):
            yield SetProblem(MFD602, position, "magic", "a packet where the ChannelInit must be"), exits
            continue
        if init.magic != MULTIFD_MAGIC:
            yield (
                SetProblem(MFD602, position, "magic", f"magic {init.magic:#010x}, expected {MULTIFD_MAGIC:#x}"),
                exits,
            )
        elif init.version != MULTIFD_VERSION:
            message = f"version {init.version}, expected {MULTIFD_VERSION}"
            yield SetProblem(MFD602, position, "version", message), exits
        elif init.uuid != uuid:
            message = f"uuid {init.uuid.hex()}, the others carry {uuid.hex() if uuid else 'none'}"
            yield SetProblem(MFD603, position, "uuid", message), exits
        elif channels and init.id >= max(channels, len(connections)):
            unchecked = init.id == channels and not destination.channel_id_checked
            # Out of bounds: whatever lies there decides.
            outcomes = exits | {Outcome.CRASHES, Outcome.HANGS} if unchecked else exits
            message = f"id {init.id}, the destination has {channels} channels (0 to {channels - 1})"
            yield SetProblem(MFD604, position, "id", message), outcomes
        elif init.id in taken:
            yield SetProblem(MFD605, position, "id", f"id {init.id} is used twice"), exits
        taken.add(init.id)
