"""A destination, as far as what becomes of a stream depends on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from multifd_codec.dialect.compression import named
from multifd_codec.dialect.releases import RFC_V3, DestinationHabits, Mode, Release, release
from multifd_codec.errors import InputError


@dataclass(frozen=True)
class Destination:
    """Its release and how it is configured: what judges a recording, makes a script of it, stands in the matrix and is
    fuzzed for.

    Other things are other types: what a user may leave open (``LintOptions``, ``Wishes``: None is as the stream has
    it), what a QEMU must be started with (``captures.qemu.DestinationOptions``: guest RAM, machine type, arguments),
    and the QEMU that runs (``captures.qemu.destination``).
    """

    profile: str
    """``qemu-10.0``, ``qemu-10.0.13`` or ``rfc-v3``; what else there is raises InputError when it is asked for."""
    mode: Mode = Mode.PER_ROUND
    channels: int = 2
    """multifd-channels; 0: multifd is off."""
    page_size: int = 4096
    """Target page size in bytes."""
    compression: str = "none"
    """multifd-compression."""
    postcopy: bool | None = None
    """The capability postcopy-ram; None: as the source has it."""
    switchover_ack: bool | None = None
    """The capability switchover-ack; None: as the source has it."""
    device_transfer: bool | None = None
    """x-migration-multifd-transfer of its VFIO devices, auto being on; None: as the source has it."""
    config_after_iter: bool | None = None
    """x-migration-load-config-after-iter of its VFIO devices; None: as the source has it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "mode", Mode(self.mode))  # its word is taken as well, as JSON and callers have it

    @classmethod
    def in_mode(cls, profile: str, mode: Mode | None) -> Destination:
        """In that mode, None: per round where the release can. Raises InputError where it cannot."""
        row = release(profile)
        can = row.destination.flush_known
        if mode is Mode.PER_ROUND and not can:
            raise InputError(f"{row.name} has no per-round mode")
        return cls(profile, mode or (Mode.PER_ROUND if can else Mode.PER_SECTION))

    @cached_property
    def release(self) -> Release:
        return release(self.profile)

    @property
    def habits(self) -> DestinationHabits:
        return self.release.destination

    @property
    def name(self) -> str:
        """The profile in reports: without a third number."""
        return RFC_V3 if self.profile == RFC_V3 else self.release.name

    @cached_property
    def compression_flag(self) -> int:
        """The id of the compression in ``flags``."""
        return named(self.compression).flag
