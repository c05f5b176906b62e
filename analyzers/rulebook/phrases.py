"""Sentences that many rules share, so that they read the same everywhere."""

from __future__ import annotations

from multifd_codec.dialect.compression import COMPRESSIONS, Payload
from multifd_codec.dialect.releases import OLDEST
from multifd_codec.dialect.version import dotted
from multifd_codec.dialect.words import which

CHANNEL_ERROR = (
    "The channel's receive thread records the error, shuts all multifd connections down and ends without giving the "
    "main thread a token. Outcome: hangs, monitor frozen, if main still has a rendezvous ahead of it; otherwise fails "
    "at the error check behind the section loop (10.0 and later; earlier releases lack that check and may report "
    "completed)."
)
"""A channel thread meets an error (multifd_recv_thread, multifd_recv_terminate_threads)."""

MAIN_ERROR = (
    "Loading stops with an error on the main channel. Outcome: fails; the process exits with status 1 unless "
    "exit-on-error is off (9.1 and later), which leaves it in state failed."
)
"""The main thread meets an error (process_incoming_migration_co)."""

NO_CHECK = "No release checks this. Outcome: completes."

RAM_UNPACK = (
    "multifd_ram_unfill_packet, migration/multifd-nocomp.c (up to 9.1 multifd_recv_unfill_packet, migration/multifd.c)"
)
RECEIVE = "multifd_recv_thread, migration/multifd.c"


def with_methods(payload: Payload | None = None) -> str:
    """The releases that have a compression method, or one with such payloads: ``9.1 and later``."""
    first = min(row.since for row in COMPRESSIONS.values() if row.flag and payload in (None, row.payload))
    return which(lambda r: r.version >= first)


WITH_MULTIFD = f"{dotted(OLDEST)} and later"
MULTIFD = f"all releases with multifd ({WITH_MULTIFD})"
COMPRESSION = with_methods()
ZERO_PAGES = which(lambda r: r.destination.zero_pages)
FLUSH = which(lambda r: r.destination.flush_known)
DEVICE_STATE = which(lambda r: r.destination.device_state)
