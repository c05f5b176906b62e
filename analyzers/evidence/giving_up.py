"""How somebody gave up, where that tells why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from analyzers.evidence.timeline import NamedConnection, Timeline
from analyzers.findings.kinds import Actor, Kind
from analyzers.findings.reason import Share
from analyzers.findings.recorded import Side, Stall
from captures.conduct import Half, Moment
from captures.model import ChannelKind

FIRST_BYTES = 64
"""What a connection carries that was refused: at most a ChannelInit."""
AT_ONCE = 0.001
"""Seconds within which the kernel closes all connections of a process that ends, and QEMU all its multifd channels."""
UNREAD = 256 << 10
"""Bytes that a kernel acknowledges on a connection that nobody has read yet (Linux: tcp_rmem, 128 KiB at first)."""
LARGEST_BUFFER = 8 << 20
"""The same on one that was read before (Linux: tcp_rmem, 6 MiB)."""


class Given(NamedTuple):
    """One thing seen: the fields of a Reason."""

    kind: Kind
    actor: Actor
    moment: Moment
    channel: int | str | None = None
    duration: float | None = None
    share: Share | None = None
    because: str = ""


def lost_alone(line: Timeline) -> NamedConnection | None:
    """The channel that was closed from the destination's side alone, in the middle, while all that is left
    stays open. A QEMU closes all of them together, so something on the way did it."""
    ends = sorted((end, named.connection.label) for named in line.connections for end in _ends(named))
    if not ends:
        return None
    first, label = ends[0]
    named = next(one for one in line.connections if one.connection.label == label)
    others = [end for end, other in ends if other != label]
    if len(line.connections) < 3 or not named.connection.answered or first != named.halves[1].gave_up:
        return None
    read = line.connections if named.connection.kind is ChannelKind.MAIN else (named,)
    if all((one.halves[0].acknowledged or 0) <= UNREAD for one in read):
        return None
    return named if all(line.between(first, end) > AT_ONCE for end in (*others, line.last)) else None


def source_died(line: Timeline) -> bool:
    """Whether the source closed all its connections at once, before the destination closed one: its process ended.

    One that cancels or fails shuts main first, and the rest only when that has been answered.
    """
    closed = [end for named in line.connections if (end := named.halves[0].gave_up) is not None]
    if not len(closed) == len(line.connections) > 1:
        return False
    answered = line.destination_closed
    return line.between(min(closed), max(closed)) <= AT_ONCE and (answered is None or max(closed) < answered)


def given_up(line: Timeline, main_ended: bool | None, *, says_so: bool) -> Iterator[Given]:
    """What kind of giving up it was; the first that fits. ``says_so``: the destination says SHUT 1."""
    alone = lost_alone(line)
    if alone is not None and (lost := alone.halves[1].gave_up) is not None:
        ends = [end for one in line.connections if one is not alone for end in _ends(one)]
        duration = line.between(lost, min(ends, default=line.last))
        yield Given(Kind.LOST_ALONE, Actor.NETWORK, lost, alone.name, duration)
        return
    if source_died(line) and line.source_closed is not None:
        yield Given(Kind.SOURCE_DIED, Actor.SOURCE, line.source_closed)
        return
    kinds = (ChannelKind.MULTIFD, ChannelKind.UNKNOWN)
    channels = [one for one in line.connections if one.connection.kind in kinds and one.connection.answered]
    source = line.source_closed
    early = [
        reset
        for one in channels
        if (reset := one.connection.to_source.reset) is not None
        and (source is None or reset < source)
        and (one.halves[0].acknowledged or 0) <= UNREAD
    ]
    known = [one for one in channels if one.connection.kind is ChannelKind.MULTIFD]
    kept = [one for one in known if _is_kept(one.connection.to_source, source)]
    closed = [end for one in line.connections if (end := one.connection.to_source.gave_up) is not None]
    shut = [end for one in channels if (end := one.connection.to_source.gave_up) is not None]
    hello = hello_unanswered(line)
    if hello is not None and (refused := hello.halves[1].gave_up) is not None:
        yield Given(Kind.KNOWS_NO_TLS, Actor.DESTINATION, refused, hello.name)
    elif closed and _takes_nothing(line):
        yield Given(Kind.TAKES_NOTHING, Actor.DESTINATION, min(closed))
    elif early and kept and line.between(min(early), line.last) > AT_ONCE:
        yield Given(Kind.TAKES_FEWER, Actor.DESTINATION, min(early), share=Share(len(kept), len(channels)))
    elif early and all(one.connection.to_destination.sent <= FIRST_BYTES for one in line.connections):
        yield Given(Kind.TAKES_NONE, Actor.DESTINATION, min(early))
    elif len(shut) == len(channels) > 0 and _while_main_is_open(line, min(shut), max(shut), says_so=says_so):
        yield Given(_whose_error(line, channels, main_ended), Actor.DESTINATION, min(shut))
    elif line.mains and len(closed) == len(line.connections) > 1 and any(not _follows(one) for one in line.connections):
        duration = line.between(min(closed), max(closed))
        if duration <= AT_ONCE:
            yield Given(Kind.DIED, Actor.DESTINATION, min(closed), duration=duration)


def not_begun(line: Timeline, stalled: Sequence[Stall], *, asks: bool) -> Given | None:
    """A destination that has read nothing, where that can be told: the question for a return path, among main's first
    bytes, is not answered, or they fill main's first buffer. Nobody closed, and each connection has got what one takes
    that was never read."""
    halves = [named.halves for named in line.connections]
    if line.closed is not None or any((sent.acknowledged or 0) > UNREAD or back.sent for sent, back in halves):
        return None
    shut = [stall for stall in stalled if stall.by is Side.DESTINATION]
    if not shut or not (asks or any(stall.channel == "main" for stall in shut)):
        return None
    number = sum(named.connection.kind is ChannelKind.MULTIFD for named in line.connections)
    channels = f"{number} multifd channel{'' if number == 1 else 's'}"
    why = f"it waits for more than the {channels} that the source opens" if number else "multifd is on there alone"
    since = min((named.halves[0].first_data for named in line.connections if named.halves[0].first_data), default=None)
    return None if since is None else Given(Kind.NOT_BEGUN, Actor.DESTINATION, since, because=why)


def _ends(named: NamedConnection) -> Iterator[Moment]:
    return (end for half in named.halves if (end := half.gave_up) is not None)


def _follows(named: NamedConnection) -> bool:
    """Whether the destination closed a connection behind the source."""
    sent, back = (half.gave_up for half in named.halves)
    return sent is not None and (back is None or sent < back)


def hello_unanswered(line: Timeline) -> NamedConnection | None:
    """The TLS session that the destination closed instead of an answer to its ClientHello, where it answers none."""
    if any(named.halves[1].segments for named in line.connections):
        return None
    sessions = (one for one in line.connections if one.connection.kind is ChannelKind.TLS and one.connection.answered)
    return next((one for one in sessions if one.halves[1].gave_up is not None and not _follows(one)), None)


def _takes_nothing(line: Timeline) -> bool:
    """Whether the destination closed all, main too, right behind its first bytes."""
    mains = [one.halves[0].acknowledged or 0 for one in line.mains if one.halves[0].sent and not _follows(one)]
    closed = all(one.halves[1].gave_up is not None for one in line.connections)
    return closed and 0 < max(mains, default=0) <= FIRST_BYTES


def _is_kept(half: Half, source: Moment | None) -> bool:
    """Whether a destination took a channel and did not close it before the source closed one."""
    return half.reset is None and (half.fin is None or (source is not None and source < half.fin))


def _while_main_is_open(line: Timeline, first: Moment, last: Moment, *, says_so: bool) -> bool:
    """Whether the channels were shut together, neither side having closed main by then. A process that ends closes main
    with them, unless it says first that it failed."""
    mains = [half for one in line.mains for half in one.halves]
    ends = [end for half in mains if (end := half.gave_up) is not None]
    with_them = any(line.between(first, end) <= AT_ONCE for one in line.mains if (end := one.halves[1].gave_up))
    together = line.between(first, last) <= AT_ONCE and all(last < end for end in ends)
    until = line.between(first, min(ends, default=line.last))
    return bool(mains) and together and until > 0 and (says_so or not with_them)


def _whose_error(line: Timeline, channels: Sequence[NamedConnection], main_ended: bool | None) -> Kind:
    """Where a receive thread meets an error main goes on reading, and ends when its source closes it. A load that fails
    on main closes the channels, then main."""
    itself = any(named.halves[1].gave_up is not None and not _follows(named) for named in line.mains)
    if any((named.halves[0].acknowledged or 0) > LARGEST_BUFFER for named in channels):
        return Kind.LOAD_FAILED  # another compression fails with the first page
    if not itself:
        return Kind.CHANNELS_SHUT
    return Kind.LOAD_FAILED if main_ended is False else Kind.GAVE_UP_LOADING
