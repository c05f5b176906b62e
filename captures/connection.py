"""One TCP connection as any reader hands it to ``captures.identify``: two byte streams and when they were seen."""

from __future__ import annotations

from typing import NamedTuple

from captures.conduct import Conduct, Endpoint
from captures.model import CaptureNote, StreamSource
from multifd_codec.source import BufferSource, StreamEnd


class Connection(NamedTuple):
    """Both directions of one TCP connection.

    ``client`` opened it when ``opened`` (SYN or SYN-ACK was recorded); otherwise which side is called client is a guess
    and the streams start anywhere. ``closed``: FIN or RST was recorded. Frame numbers are those of the first and last
    frame recorded, either direction. A stream is None when nothing is known of it. ``established``: data was recorded,
    or a completed handshake.
    """

    client: Endpoint
    server: Endpoint
    to_server: StreamSource | None
    to_client: StreamSource | None
    first_frame: int
    last_frame: int
    opened: bool
    closed: bool
    established: bool = True
    notes_to_server: tuple[CaptureNote, ...] = ()
    notes_to_client: tuple[CaptureNote, ...] = ()
    conduct: Conduct | None = None

    @property
    def moments(self) -> tuple[float, ...]:
        """When it was opened or closed, and each side's last frame, seconds since the epoch, where known."""
        if self.conduct is None:
            return ()
        halves = (self.conduct.to_server, self.conduct.to_client)
        ends = (moment for half in halves for moment in (half.fin, half.reset, half.last))
        found = (*(attempt.moment for attempt in self.conduct.attempts), *ends)
        return tuple(moment.seconds for moment in found if moment is not None and moment.seconds is not None)


class NoBytes(BufferSource):
    """The source of a connection on which no byte was recorded."""

    def frame_at(self, offset: int) -> None:
        return None

    def time_at(self, offset: int) -> None:
        return None


class GoesOn:
    """A StreamSource that goes on elsewhere when its connection is closed."""

    end = StreamEnd.OPEN

    def __init__(self, source: StreamSource) -> None:
        self.read, self.holes, self.next_hole = source.read, source.holes, source.next_hole
        self.frame_at, self.time_at, self.size = source.frame_at, source.time_at, source.size
