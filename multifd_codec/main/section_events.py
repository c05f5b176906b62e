"""Sections of the main channel: headers, footers, and bodies other than RAM."""

from __future__ import annotations

import enum
from typing import NamedTuple

from multifd_codec.main.problems import Problems
from multifd_codec.names import text
from multifd_codec.wire.vfio import VfioTagId

_TAG_NAMES = {int(tag): tag.name for tag in VfioTagId}


class SectionStart(NamedTuple):
    """Header of a START section; the body follows as events of its own."""

    offset: int
    length: int
    section_id: int
    idstr: bytes
    instance_id: int
    version_id: int
    problems: Problems = ()

    @property
    def device(self) -> str:
        return text(self.idstr)


class SectionFull(NamedTuple):
    """Header of a FULL section."""

    offset: int
    length: int
    section_id: int
    idstr: bytes
    instance_id: int
    version_id: int
    problems: Problems = ()

    @property
    def device(self) -> str:
        return text(self.idstr)


class SectionPart(NamedTuple):
    """Header of a PART section. ``idstr`` and ``instance_id`` are those of its START, None when there was none."""

    offset: int
    length: int
    section_id: int
    idstr: bytes | None = None
    instance_id: int | None = None
    problems: Problems = ()

    @property
    def device(self) -> str | None:
        return None if self.idstr is None else text(self.idstr)


class SectionEnd(NamedTuple):
    """Header of an END section; fields as in SectionPart."""

    offset: int
    length: int
    section_id: int
    idstr: bytes | None = None
    instance_id: int | None = None
    problems: Problems = ()

    @property
    def device(self) -> str | None:
        return None if self.idstr is None else text(self.idstr)


class SectionFooter(NamedTuple):
    """0x7e and the section id, behind the body."""

    offset: int
    length: int
    section_id: int
    problems: Problems = ()


class VfioRecord(NamedTuple):
    """One tag of a VFIO section body. DEV_DATA_STATE and DEV_CONFIG_STATE have payload."""

    offset: int
    length: int
    tag: int
    payload_offset: int = 0
    payload_length: int = 0
    problems: Problems = ()

    @property
    def name(self) -> str:
        """QEMU's name of the tag, without prefix."""
        return _TAG_NAMES.get(self.tag, f"{self.tag:#x}")


class BodyLength(enum.StrEnum):
    """How the length of a device body was found; it is not on the wire."""

    VMDESCRIPTION = "vmdescription"
    STRUCTURE = "structure"
    """Its own counts say where it ends."""
    FOOTER_SEARCH = "footer search"
    """Up to the first footer with this section's id behind which a section can start: most likely right."""
    SECTION_SEARCH = "section search"
    """No footers in this stream: up to the first thing that looks like a section header. Less sure."""


class DeviceBody(NamedTuple):
    """A section body other than RAM and VFIO, as a whole; ``MainDecoder.fields`` looks inside.

    ``idstr`` and ``instance_id`` are None when the section was never started.
    """

    offset: int
    length: int
    section_id: int
    idstr: bytes | None
    instance_id: int | None
    how: BodyLength
    problems: Problems = ()

    @property
    def device(self) -> str | None:
        return None if self.idstr is None else text(self.idstr)
