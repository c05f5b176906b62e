"""One TCP connection as any reader hands it to ``captures.identify``: two byte streams and when they were seen."""

from __future__ import annotations

from typing import NamedTuple

from captures.conduct import Conduct, Endpoint
from captures.model import CaptureNote, StreamSource


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
