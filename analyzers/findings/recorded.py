"""What a recording shows to have happened, whatever the model foresees."""

from __future__ import annotations

import enum
from typing import NamedTuple

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


class EvidenceKind(enum.StrEnum):
    """What was seen; the sentence is made last."""

    sentence: str

    def __new__(cls, name: str, sentence: str) -> EvidenceKind:
        kind = str.__new__(cls, name)
        kind._value_ = name
        kind.sentence = sentence
        return kind

    UNANSWERED = "unanswered", "{number} SYNs of {label} were never answered"
    REFUSED = "refused", "the connection {label} was refused"
    SILENT = "silent", "{label} is connected and carries no byte for {duration:.1f} s"
    RETRANSMITTED = (
        "retransmitted",
        "sent again {number} times and not acknowledged: {bytes:,} bytes from offset {offset:,} on",
    )
    CUT = "cut", "nothing comes behind offset {offset:,}, inside a packet, while other channels go on"
    WINDOW_SHUT = "window-shut", "the destination has stopped reading: its window is 0 from here on"
    NOT_READ = "not-read", "the destination has not closed although the source did: it does not read on"
    CLOSED = "closed", "the {side} closes the connection"
    RESET = "reset", "the {side} resets the connection"
    SHUT = "shut", "the destination says on the return path that the migration {word} (SHUT, value {value})"
    POSTCOPY_REQUEST = "postcopy-request", "the destination asks for pages on the return path: postcopy has begun"
    RESUME = "resume", "the destination agrees to resume a paused postcopy (RESUME_ACK)"
    SWITCHOVER_ACK = "switchover-ack", "the destination agrees to the switchover (SWITCHOVER_ACK)"
    SILENCE = "silence", "nothing new from here on, for {duration:.1f} s"


class Evidence(NamedTuple):
    """One thing that was seen, with its place and time."""

    kind: EvidenceKind
    channel: ChannelName | None
    frame: int | None
    seconds: float | None
    """From the first frame of the migration."""
    words: tuple[tuple[str, object], ...] = ()

    @property
    def text(self) -> str:
        return self.kind.sentence.format(**dict(self.words))


class Recorded(NamedTuple):
    """How a migration went, as far as its packets show."""

    ended: Ended = Ended.UNKNOWN
    gave_up_first: Side | None = None
    seconds: float | None = None
    """From its first frame to its last one."""
    silence: float | None = None
    """From the last thing that moved to the first end of a connection, or to the last frame."""
    stalled: tuple[Stall, ...] = ()
    evidence: tuple[Evidence, ...] = ()
