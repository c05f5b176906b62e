"""What a recording shows to have happened, whatever the model foresees."""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

from analyzers.findings.plain import plain, told
from analyzers.findings.reason import Reason
from multifd_codec.errors import ChannelName


class Ended(enum.StrEnum):
    """How the migration ended, as far as the recording shows it."""

    COMPLETED = "completed"
    """The destination says so, or it took every byte and closed."""
    FAILED = "failed"
    """Somebody gave up."""
    CANCELLED = "cancelled"
    """The source gave up at packet boundaries while all went well."""
    HUNG = "hung"
    """Something was still to do and nothing moved for long."""
    RUNNING = "running"
    """It still moved where the recording ends."""
    UNKNOWN = "unknown"
    """No packets, one direction only, or too little."""


class Side(enum.StrEnum):
    """Who it was."""

    SOURCE = "source"
    DESTINATION = "destination"
    NETWORK = "network"


class Stall(NamedTuple):
    """A channel on which something is to do and nothing moves."""

    channel: ChannelName
    by: Side
    """NETWORK: sent, sent again, not acknowledged. DESTINATION: its window is 0. SOURCE: it could send and does not."""
    seconds: float
    """Since when, from the first frame of the migration."""
    frame: int
    offset: int
    """Of the first byte that does not get through."""
    unacknowledged: int
    """Bytes from there on that were sent."""


class Recorded(NamedTuple):
    """How a migration went, as far as its packets show."""

    ended: Ended = Ended.UNKNOWN
    gave_up_first: Side | None = None
    seconds: float | None = None
    """From its first frame to its last one."""
    silence: float | None = None
    """From the last thing that moved to the first end of a connection, or to the last frame."""
    stalled: tuple[Stall, ...] = ()
    evidence: tuple[Reason, ...] = ()
    """What was seen, in order of frames."""

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON contract."""
        return {
            "ended": self.ended.value,
            "gave_up_first": None if self.gave_up_first is None else self.gave_up_first.value,
            "seconds": _rounded(self.seconds),
            "silence": _rounded(self.silence),
            "stalled": [{**plain(stall), "seconds": _rounded(stall.seconds)} for stall in self.stalled],
            "evidence": [told(fact, EVIDENCE_KEYS) for fact in self.evidence],
        }


NOT_RECORDED = Recorded()
EVIDENCE_KEYS = ("kind", "channel", "frame", "seconds")


def _rounded(seconds: float | None) -> float | None:
    """To microseconds."""
    return None if seconds is None else round(seconds, 6)
