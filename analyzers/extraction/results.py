"""What rebuilding gives, as values; the manifest is made of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from analyzers.extraction.page_table import PageKind, PageTable
from multifd_codec.errors import ChannelName


class Problem(NamedTuple):
    """What keeps memory or device state from being complete, or what a destination would refuse."""

    channel: ChannelName | None
    offset: int | None
    message: str


class Conflict(NamedTuple):
    """Pages that two channels carry in one round with other content: which of them is loaded last is a race."""

    block: str
    offset: int
    """Of the first such page in the block."""
    pages: int
    round: int
    channel: ChannelName
    """The one whose content was taken, as it is loaded last here."""


@dataclass(slots=True)
class RebuiltBlock:
    """One RAM block."""

    name: str
    size: int
    pages: int
    counts: dict[PageKind, int]
    table: PageTable
    unnamed: int
    """Pages of packets whose offsets were not recorded: any page of the block may be one of them."""
    file: str | None = None
    sha256: str | None = None
    provenance: str | None = None
    """Name of the file that says where its pages came from."""

    @property
    def unknown(self) -> int:
        return self.counts[PageKind.UNKNOWN]

    @property
    def never_sent(self) -> int:
        return self.counts[PageKind.NEVER_SENT]

    @property
    def known(self) -> int:
        return self.pages - self.unknown - self.never_sent


@dataclass(slots=True)
class RebuiltDevice:
    """The state of one device, of whatever kind: sizes in bytes. The manifest has these fields in this order."""

    idstr: str
    instance_id: int
    kind: str
    """``device-state packets``, ``VFIO data on main`` or ``section``."""
    file: str | None = None
    bytes: int = 0
    sha256: str | None = None
    config_file: str | None = None
    config_bytes: int | None = None
    """None: there is no config."""
    config_sha256: str | None = None
    buffers: int = 0
    """Device-state packets, the config included."""
    missing: list[int] = field(default_factory=list)
    """Indices in front of the config that never came."""
    complete: bool = True
    not_loaded: int = 0
    """Bytes of buffers that came, and that the device's loader never gets to."""


@dataclass(slots=True)
class Rebuilt:
    """One migration, rebuilt."""

    mode: str
    page_size: int
    rounds: int
    """Rendezvous that complete; None of what stands behind another one is loaded unless asked for."""
    blocks: list[RebuiltBlock]
    devices: list[RebuiltDevice]
    memory: dict[str, bytearray] | None
    """Content of the blocks by name; None when it went to files."""
    blobs: dict[str, bytes] | None
    """Content of the device files by name; None when it went to files."""
    problems: list[Problem]
    incomplete: list[str]
    """Why the recording cannot tell everything, one sentence each."""
    refused: int
    """Places a destination does not accept."""
    conflicts: list[Conflict]
    not_loaded: dict[ChannelName, int]
    """Bytes of each channel that a destination never reads."""

    @property
    def complete(self) -> bool:
        """Everything that was sent is known."""
        unknown = any(block.unknown or block.unnamed for block in self.blocks)
        return not self.incomplete and not unknown

    @property
    def sound(self) -> bool:
        """A destination gets everything that was sent, in an order that is fixed."""
        return not (self.refused or self.not_loaded or any(not device.complete for device in self.devices))
