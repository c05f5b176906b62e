"""One table: QEMU release to what that sender puts on the wire and what that destination does with it.

Each row of ``RELEASES`` states only what changed in that release; ``release()`` gives the whole set of habits. Sources
are the commits named in the protocol reference (sections B, D, E, I); releases 4.0 to 11.1. The experimental multifd of
3.0 and 3.1 has another packet layout and is recognised, not supported (``looks_like_3_0``).
"""

from __future__ import annotations

import re
import struct
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple

from multifd_codec.dialect.compression import mask_of, unmarked_by
from multifd_codec.dialect.version import Version, dotted
from multifd_codec.errors import InputError
from multifd_codec.names import is_printable, until_nul
from multifd_codec.wire.handshake import MULTIFD_MAGIC, MULTIFD_VERSION


class Mode(StrEnum):
    """What is a rendezvous record: the end of every RAM section, or a FLUSH per round through guest memory."""

    PER_SECTION = "per-section"
    PER_ROUND = "per-round"


class HandshakeError(StrEnum):
    """What a destination does about a bad ChannelInit."""

    EXITS = "exits"
    NEVER_STARTS = "never starts"
    """It prints the error and stays, monitor alive, in no migration state (observed with 7.2.22)."""


class SenderHabits(NamedTuple):
    """Habits of a source, as far as they show on the wire."""

    sync_carries_pages: bool = True
    """SYNC is a bit of whatever packet is pending; an empty packet without SYNC may follow (up to 8.2)."""
    repeats_page: bool = True
    """The last page of a full packet may stand again at the start of the next one, on another channel: a race on
    MultiFDPages_t.block in multifd_queue_page (up to 7.2)."""
    sync_size_stale: bool = False
    """SYNC packets without pages repeat the channel's last next_packet_size (5.0 to 8.1)."""
    header_stale: bool = True
    """Bytes behind the used part of a header are left over from earlier packets (up to 9.1)."""
    sync_pages_alloc_zero: bool = False
    """SYNC packets say pages_alloc 0 (9.2 and later) instead of the number of pages a packet can hold."""
    zero_pages: bool = False
    """Zero pages may travel in packets (9.0 and later)."""
    packet_num_dense: bool = False
    """All channels' packet numbers together are 0 to n-1, each once (9.0 and later)."""
    drops_zero_only_compressed: bool = False
    """Compressed: a packet of zero pages only consumes a number but is not sent (9.0 to 9.2)."""
    per_round: bool = False
    """Can run per-round (8.1 and later)."""
    flush_at_complete: bool = False
    """Per-round: an explicit SYNC with FLUSH ends the last RAM section (8.1 to 9.0)."""
    flush_without_multifd: bool = False
    """Writes FLUSH records although multifd is off (8.1 only)."""
    unpaired_sync_at_complete: bool = False
    """Per-round: that SYNC is still sent, its FLUSH no longer (9.1, 9.2)."""
    device_state: bool = False
    """Device state on multifd channels, SWITCHOVER_START on main (10.0 and later)."""
    block_section: bool = True
    """Block migration is registered as section 1 (up to 9.0), which moves RAM's section id."""
    configuration_described: bool = False
    """The vmdescription describes the configuration section (8.2 and later)."""
    was_suspended: bool = False
    """globalstate says whether the guest was suspended (9.0 and later)."""
    ping_packaged: bool = False
    """With postcopy and a return path, a PING asks whether the packaged device state is loaded (10.2 and later)."""


class DestinationHabits(NamedTuple):
    """What a destination checks and how it ends."""

    compression_mask: int = 0
    """Compression bits it looks at; from the table of methods."""
    pages_alloc_factor: int = 100
    """pages_alloc may be this many times the pages a packet can hold (100 up to 6.2, then 1)."""
    zero_pages: bool = False
    """Reads zero_pages; earlier releases ignore the field."""
    touches_receivedmap: bool = False
    """Marks pages as received: data before RAM setup is a crash (5ef7e26bdb, 9.1 and later)."""
    drops_pages_of_sync: bool = False
    """Skips the pages, but not the payload's framing, of a SYNC packet (9.2.0; see b93d897ea2)."""
    device_state: bool = False
    """Knows device-state packets; earlier releases read them as RAM packets."""
    error_fails_migration: bool = False
    """A channel's error recorded before completion makes the migration fail (e0ad300fe1, 10.0)."""
    flush_known: bool = False
    """Knows the FLUSH record; earlier releases fail on it."""
    flush_in_postcopy_fails: bool = False
    postcopy_refused: bool = False
    """Cannot have postcopy-ram on beside multifd (8.1 to 10.0): POSTCOPY_ADVISE with page sizes fails."""
    postcopy_aborts: bool = False
    """Aborts at the end of postcopy beside multifd, in yank.c (6.0, which has yank, up to 8.0; measured with 7.2)."""
    handshake_error: HandshakeError = HandshakeError.NEVER_STARTS
    channel_id_checked: bool = False
    """Refuses an id equal to the channel count; earlier releases index out of bounds."""
    payload_sizes_checked: bool = False
    """next_packet_size of compressed packets is checked: an error (11.1, measured) instead of an assertion for zero
    pages only, of a write beyond the receive buffer for more than 1 MiB."""
    second_main_asserts: bool = False
    """A second main channel aborts at once (10.1 and later); before it is dropped and aborts at cleanup."""
    last_command: int = 10
    """Highest command id on the main channel that is known (11, SWITCHOVER_START, from 10.0)."""
    compress_page: bool = True
    """Knows COMPRESS_PAGE records (removed in 9.1); it still fails at them, as compression of pages on main is off."""
    zero_fill_checked: bool = False
    """Fails at a ZERO record with another fill byte (8.2 and later); earlier releases fill the page with it."""
    hook_fails: bool = True
    """Fails at a HOOK record without RDMA (up to 8.1); later releases ignore it."""
    normal_pages_unmarked: int = 0
    """Compression ids whose normal pages are not marked received, so that a later zero page keeps old content; from the
    table of methods."""
    config_load_ready: bool = False
    """Knows the VFIO tag DEV_CONFIG_LOAD_READY (10.1 and later)."""
    switchover_acks_counted: bool = True
    """Fails at a DEV_INIT_DATA_SENT more than there are devices that send one (up to 11.0; measured with 10.0, 10.2 and
    11.1)."""
    load_thread_asserts: bool = False
    """A load that fails while a device's load thread has not begun aborts in that thread: vfio_multifd_cleanup has
    taken away what it asserts (10.0 and later; measured with 10.0, 10.2 and 11.1)."""


class Release(NamedTuple):
    """One QEMU release."""

    version: Version
    sender: SenderHabits
    destination: DestinationHabits

    @property
    def name(self) -> str:
        return f"qemu-{dotted(self.version)}"


_CHANGES: dict[Version, tuple[dict[str, Any], dict[str, Any]]] = {
    (4, 0): ({}, {}),
    (4, 1): ({}, {}),
    (4, 2): ({}, {}),
    (5, 0): ({"sync_size_stale": True}, {}),
    (5, 1): ({}, {}),
    (5, 2): ({}, {}),
    (6, 0): ({}, {"postcopy_aborts": True}),
    (6, 1): ({}, {}),
    (6, 2): ({}, {}),
    (7, 0): ({}, {"pages_alloc_factor": 1}),
    (7, 1): ({}, {}),
    (7, 2): ({}, {}),
    (8, 0): ({"repeats_page": False}, {"handshake_error": HandshakeError.EXITS}),
    (8, 1): (
        {"per_round": True, "flush_at_complete": True, "flush_without_multifd": True},
        {"flush_known": True, "postcopy_refused": True, "postcopy_aborts": False},
    ),
    (8, 2): (
        {"sync_size_stale": False, "configuration_described": True, "flush_without_multifd": False},
        {"zero_fill_checked": True, "hook_fails": False},
    ),
    (9, 0): (
        {
            "sync_carries_pages": False,
            "zero_pages": True,
            "packet_num_dense": True,
            "drops_zero_only_compressed": True,
            "was_suspended": True,
        },
        {"zero_pages": True},
    ),
    (9, 1): (
        {"flush_at_complete": False, "unpaired_sync_at_complete": True, "block_section": False},
        {"compress_page": False, "touches_receivedmap": True},
    ),
    (9, 2): (
        {"header_stale": False, "sync_pages_alloc_zero": True},
        {"drops_pages_of_sync": True},
    ),
    (10, 0): (
        {"unpaired_sync_at_complete": False, "device_state": True, "drops_zero_only_compressed": False},
        {
            "drops_pages_of_sync": False,
            "device_state": True,
            "error_fails_migration": True,
            "flush_in_postcopy_fails": True,
            "last_command": 11,
            "load_thread_asserts": True,
        },
    ),
    (10, 1): ({}, {"second_main_asserts": True, "postcopy_refused": False, "config_load_ready": True}),
    (10, 2): ({"ping_packaged": True}, {}),
    (11, 0): ({}, {}),
    (11, 1): ({}, {"channel_id_checked": True, "payload_sizes_checked": True, "switchover_acks_counted": False}),
}

_STABLE: dict[tuple[int, int, int], dict[str, Any]] = {
    (10, 0, 13): {"payload_sizes_checked": True},
}
"""What destinations of stable releases have taken over from later ones: measured, so the first of them may be older."""

RFC_V3 = "rfc-v3"
"""The destination of the patch series "Send final SYNC only after device state is complete" (v3, 2024-11): 9.2 with
device state, whose source defers the last SYNC behind all device state."""


def _releases() -> dict[Version, Release]:
    table: dict[Version, Release] = {}
    sender, destination = SenderHabits(), DestinationHabits()
    for version, (sends, does) in _CHANGES.items():
        sender = sender._replace(**sends)
        destination = destination._replace(**does)
        by_method = destination._replace(compression_mask=mask_of(version), normal_pages_unmarked=unmarked_by(version))
        table[version] = Release(version, sender, by_method)
    return table


RELEASES: dict[Version, Release] = _releases()
OLDEST, NEWEST = min(RELEASES), max(RELEASES)
EVERY_PROFILE = f"{RELEASES[OLDEST].name} to {RELEASES[NEWEST].name}, or {RFC_V3}"
"""In words."""
MEASURED: tuple[Version, ...] = ((7, 2), (10, 0), (11, 1))
"""Releases whose behaviour was watched on real destinations; the others follow from source."""


@cache
def release(name: str) -> Release:
    """The release of a profile name: ``qemu-10.0``, ``10.0``, ``qemu-10.0.2`` or ``rfc-v3``. Raises InputError.

    Without a third number it is the release as it came out.
    """
    if name == RFC_V3:
        base, ten = RELEASES[9, 2], RELEASES[10, 0]
        sender = base.sender._replace(device_state=True)
        return Release(base.version, sender, ten.destination._replace(load_thread_asserts=False))
    found = re.fullmatch(r"(?:qemu-)?(\d+)\.(\d+)(?:\.(\d+))?", name)
    if found is None:
        raise InputError(f"unknown profile {name!r}: give {EVERY_PROFILE}")
    version = int(found[1]), int(found[2])
    if version in RELEASES:
        row = RELEASES[version]
        for first, does in _STABLE.items():
            if found[3] is not None and first[:2] == version and first[2] <= int(found[3]):
                row = row._replace(destination=row.destination._replace(**does))
        return row
    if version < OLDEST:
        raise InputError(f"profile {name}: multifd before {dotted(OLDEST)} was experimental and is not supported")
    raise InputError(f"profile {name}: no such release is known, the newest is {RELEASES[NEWEST].name}")


def release_at(version: Version) -> Release:
    """The row of a release, or of the newest one before it; older than all: the oldest."""
    return RELEASES[max((known for known in RELEASES if known <= version), default=OLDEST)]


_HEADER_3_0 = struct.Struct(">5I")


def looks_like_3_0(head: bytes) -> bool:
    """Whether the bytes behind a ChannelInit are a packet of the experimental 3.0/3.1 layout.

    There ``size`` (the offset array's length) and ``used`` stand at 12 and 16, a 64-bit packet number at 20 and the RAM
    block's name at 28; from 4.0 on 28 holds the low half of the packet number.
    """
    if len(head) < 64:
        return False
    magic, version, flags, size, used = _HEADER_3_0.unpack_from(head)
    name = until_nul(head[28:64])
    named = len(name) > 2 and is_printable(name)
    return magic == MULTIFD_MAGIC and version == MULTIFD_VERSION and flags <= 1 and used <= size <= 1 << 16 and named
