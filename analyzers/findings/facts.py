"""What a recording says of a migration as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID


class StreamFacts(NamedTuple):
    """Read, not judged; None (capabilities: empty) where the recording does not say it."""

    machine: str | None = None
    """The source's machine type, as its configuration section names it."""
    page_size: int | None = None
    """Target page size in bytes, as the configuration section states it."""
    capabilities: tuple[str, ...] = ()
    """Of those that must agree on both sides."""
    blocks: Mapping[str, int] | None = None
    """RAM blocks: name to used length in bytes."""
    compression: str | None = None
    """Method of the packets, ``none`` or QEMU's name of it."""
    uuid: UUID | None = None
    """Of the source, as channels introduce themselves; all zero for a source without one."""
    releases: tuple[str, str] | None = None
    """The first and the last release that may have sent it."""
    begin: float | None = None
    end: float | None = None
    """When its first and its last frame were recorded, seconds since the epoch: silence is a part of it."""

    @property
    def seconds(self) -> float | None:
        """From the first to the last frame."""
        return None if self.begin is None or self.end is None else self.end - self.begin

    def shown(self) -> dict[str, str]:
        """What is known, by the name under which reports show it."""
        shown: dict[str, str | None] = {"machine": self.machine}
        if self.blocks is not None:
            blocks = f"{len(self.blocks)} block{'' if len(self.blocks) == 1 else 's'}"
            shown["RAM"] = f"{sum(self.blocks.values()):,} bytes in {blocks}"
        shown["compression"] = self.compression
        shown["uuid"] = None if self.uuid is None else str(self.uuid)
        shown["sender"] = None if self.releases is None else " to ".join(dict.fromkeys(self.releases))
        shown["duration"] = None if self.seconds is None else f"{self.seconds:.3f} s"
        return {name: text for name, text in shown.items() if text is not None}


NOTHING_KNOWN = StreamFacts()
