"""What the main channel says about one VFIO device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from multifd_codec.device_key import DeviceKey
from multifd_codec.wire.vfio import VfioTagId


class SectionKind(StrEnum):
    """The section a record stands in."""

    START = "START"
    PART = "PART"
    END = "END"
    OTHER = "other"
    """FULL, or none that is known."""


MULTIFD_FULL = frozenset({VfioTagId.END_OF_STATE, VfioTagId.DEV_CONFIG_LOAD_READY})
"""Tags of the FULL section of a device whose state travels as device-state packets."""


@dataclass(slots=True)
class VfioDevice:
    """The tags of a device's sections, which are all read alike (vfio_load_state, hw/vfio/migration.c)."""

    device: DeviceKey
    offset: int
    tags: dict[SectionKind, dict[int, int]] = field(default_factory=lambda: {kind: {} for kind in SectionKind})
    """Section to its tags, each with the offset of its first; DEV_DATA_STATE without data is left out."""
    acknowledged: list[int] = field(default_factory=list)
    """Offset of each DEV_INIT_DATA_SENT."""
    ready_again: int | None = None
    """Offset of a second DEV_CONFIG_LOAD_READY."""

    def note(self, kind: SectionKind, tag: int, offset: int) -> None:
        """A tag more."""
        if tag == VfioTagId.DEV_CONFIG_LOAD_READY and self.ready is not None and self.ready_again is None:
            self.ready_again = offset
        if tag == VfioTagId.DEV_INIT_DATA_SENT:
            self.acknowledged.append(offset)
        self.tags[kind].setdefault(tag, offset)

    @property
    def ready(self) -> int | None:
        """Offset of the first DEV_CONFIG_LOAD_READY."""
        return self.first(VfioTagId.DEV_CONFIG_LOAD_READY)

    def first(self, tag: VfioTagId) -> int | None:
        """Offset of the first such tag."""
        return min((tags[tag] for tags in self.tags.values() if tag in tags), default=None)

    def data_in(self, *kinds: SectionKind) -> bool:
        """Whether such a section carries device data."""
        return any(VfioTagId.DEV_DATA_STATE in self.tags[kind] for kind in kinds)

    @property
    def multifd_transfer(self) -> bool:
        """Its config does not travel on main, so it must come as device-state packets."""
        full = self.tags[SectionKind.OTHER]
        return bool(full) and full.keys() <= MULTIFD_FULL

    def beside_packets(self) -> Iterator[tuple[int, int]]:
        """Tag and offset of what a device with multifd transfer never has in START, END and FULL."""
        allowed = {
            SectionKind.START: {VfioTagId.DEV_SETUP_STATE, VfioTagId.END_OF_STATE},
            SectionKind.END: {VfioTagId.END_OF_STATE},
            SectionKind.OTHER: MULTIFD_FULL,
        }
        for kind, usual in allowed.items():
            yield from ((tag, offset) for tag, offset in self.tags[kind].items() if tag not in usual)
