"""What the two sides of a TCP connection did, as far as the frames show it; no bytes of theirs."""

from __future__ import annotations

from typing import NamedTuple


class Endpoint(NamedTuple):
    """One side of a connection. ``address`` is the textual IP address."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class Moment(NamedTuple):
    """A frame (from 1) and when it was recorded, seconds since the epoch (None: the capture does not say).

    In order of time, and of frames where that is the same or not known: captures put together from several have frames
    that were recorded earlier than those in front of them.
    """

    frame: int
    seconds: float | None

    def __lt__(self, other: tuple[object, ...]) -> bool:
        return isinstance(other, Moment) and self._before(other)

    def __gt__(self, other: tuple[object, ...]) -> bool:
        return isinstance(other, Moment) and other._before(self)

    def __le__(self, other: tuple[object, ...]) -> bool:
        return not self > other

    def __ge__(self, other: tuple[object, ...]) -> bool:
        return not self < other

    def _before(self, other: Moment) -> bool:
        if self.seconds is None or other.seconds is None or self.seconds == other.seconds:
            return self.frame < other.frame
        return self.seconds < other.seconds


class Attempt(NamedTuple):
    """A SYN, or the SYN-ACK that ``answers`` one."""

    moment: Moment
    answers: bool


class Retransmissions(NamedTuple):
    """Data that was sent again; ``offset`` is that of the last one."""

    number: int
    behind: int
    """How many of them are of bytes that were never acknowledged."""
    first: Moment
    last: Moment
    offset: int
    head: int
    """How many of them are of the first byte that was never acknowledged: copies of frames are one at most."""


class Window(NamedTuple):
    """A stretch in which a receiver advertised a window of 0, so that nobody read what it had; ``until`` None: it never
    opened again. ``offset``: bytes acknowledged when it shut (modulo 4 GiB)."""

    since: Moment
    until: Moment | None
    offset: int


class Pause(NamedTuple):
    """From one new byte of a direction to the next one."""

    since: Moment
    until: Moment


class Half(NamedTuple):
    """One direction of a connection. Offsets count bytes of its stream."""

    segments: int
    """With data, retransmitted ones counted."""
    sent: int
    """Offset behind the last byte that was sent."""
    first_data: Moment | None
    last_new: Moment | None
    """When that last byte was sent first."""
    pauses: tuple[Pause, ...]
    """Those of half a second and more."""
    last: Moment | None
    """The last frame from this side, data or not."""
    acknowledged: int | None
    """Offset up to which the peer acknowledged (one more when it acknowledged a FIN); None when it never did."""
    stuck: Moment | None
    """When the first byte that was never acknowledged was sent first; None when all were."""
    retransmissions: Retransmissions | None
    shut: tuple[Window, ...]
    """When the peer, that receives this direction, had a window of 0."""
    fin: Moment | None
    reset: Moment | None
    resets: int
    """How many RSTs."""
    shown: int = 0
    """Offset up to which acknowledgements, FIN and RST show that it was sent, recorded or not (one more for a FIN that
    was acknowledged and is not there)."""
    refuses: bool = False
    """A RST of this side acknowledges the SYN and nothing behind it."""

    @property
    def gave_up(self) -> Moment | None:
        """The first FIN or RST from this side."""
        return min((moment for moment in (self.fin, self.reset) if moment is not None), default=None)

    @property
    def lacks(self) -> bool:
        """Whether it sent more than was recorded, in front or behind."""
        return self.shown > self.sent


class Alert(NamedTuple):
    """A TLS alert. ``level``: 1 warning, 2 fatal; ``description`` as in RFC 8446, section 6, 0 is close_notify."""

    moment: Moment
    level: int
    description: int


class Deciphered(NamedTuple):
    """What one direction of a TLS session says beside its data, as far as only its keys tell."""

    alerts: tuple[Alert, ...]
    key_updates: tuple[Moment, ...]


class Conduct(NamedTuple):
    """How the sides of a connection behaved, whatever its bytes say."""

    attempts: tuple[Attempt, ...]
    to_server: Half
    to_client: Half
