"""Whether a recording lacks frames by which it would show something else to have happened."""

from __future__ import annotations

from analyzers.evidence.timeline import NamedConnection, Timeline
from analyzers.findings.kinds import Kind
from analyzers.survey.damage import frames_lost
from analyzers.survey.migration import Surveyed
from captures.model import ChannelKind

STANDS = frozenset(
    {
        Kind.RECOVERY,
        Kind.CLOSED,
        Kind.RESET,
        Kind.SHUT,
        Kind.POSTCOPY_REQUEST,
        Kind.RESUME,
        Kind.SWITCHOVER_ACK,
        Kind.TLS_ALERT,
        Kind.CLOSE_NOTIFY,
        Kind.KEY_UPDATE,
    }
)
"""Facts that rest on frames that are there, whatever is missing beside them."""


def lacks_frames(surveyed: Surveyed, line: Timeline) -> bool:
    """Whether frames or whole connections of this migration are known to be missing."""
    broken = any(_breaks_off(named, line) for named in line.connections)
    kinds = {named.connection.kind for named in line.connections}
    no_main = not line.mains and ChannelKind.MULTIFD in kinds and ChannelKind.TLS not in kinds
    return broken or no_main or frames_lost(surveyed.migration) or _lacks_channel(surveyed)


def _lacks_channel(surveyed: Surveyed) -> bool:
    """Whether a channel is missing that those with higher ids came behind, and no connection can be it."""
    ids = {survey.init.id for survey in surveyed.surveys if survey.init is not None}
    named = (ChannelKind.MAIN, ChannelKind.MULTIFD, ChannelKind.RECOVERY)
    others = sum(one.kind not in named for one in surveyed.migration.connections)
    return max(ids, default=-1) - len(ids) >= others


def _breaks_off(named: NamedConnection, line: Timeline) -> bool:
    """Whether a connection has no end, nor a frame since others were closed: its end may not have been recorded."""
    sent, back = named.halves
    last = max((half.last for half in (sent, back) if half.last is not None), default=None)
    ended = sent.gave_up is not None or back.gave_up is not None
    silent = last is not None and line.closed is not None and last < line.closed
    return silent and named.connection.answered and not ended
