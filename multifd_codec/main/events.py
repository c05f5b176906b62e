"""What the main channel carries, as frozen values: the decoder yields them, the encoder takes them.

Offsets count bytes from the start of the main stream. ``length`` is the record without its payload; where there is
payload, the event says where it lies (``payload_offset``, ``payload_length``) and does not hold it. One event starts
where the one before it ends, so a stream is covered without gaps (``end_of``). Names are kept as the bytes on the wire;
properties give them as text. ``problems`` is what is wrong with a record, see main_problems.py.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from multifd_codec.main.problems import Problems
from multifd_codec.main.ram_events import (
    BlockList,
    CompressedPage,
    EndOfRam,
    Flush,
    Hook,
    MappedRam,
    Page,
    RamBlock,
    UnknownRamRecord,
    XbzrlePage,
    ZeroPage,
    ZeroPageRun,
    text,
)
from multifd_codec.source import StreamEnd
from multifd_codec.wire.qemufile import CommandId
from multifd_codec.wire.vfio import VfioTagId

__all__ = [
    "BlockList",
    "BodyLength",
    "CapabilityList",
    "Command",
    "CompressedPage",
    "Configuration",
    "ConfigurationSubsection",
    "ConfigurationUuid",
    "DescribedDevice",
    "DeviceBody",
    "EndOfRam",
    "EndOfStream",
    "FileHeader",
    "Flush",
    "Hook",
    "MainEnd",
    "MainEvent",
    "MainItem",
    "MainPosition",
    "MappedRam",
    "Missing",
    "PackageEnd",
    "Page",
    "RamBlock",
    "SectionEnd",
    "SectionFooter",
    "SectionFull",
    "SectionPart",
    "SectionStart",
    "Skipped",
    "StreamStopped",
    "TargetPageBits",
    "Trailing",
    "UnknownRamRecord",
    "VfioRecord",
    "VmDescription",
    "XbzrlePage",
    "ZeroPage",
    "ZeroPageRun",
    "end_of",
    "text",
]

_TAG_NAMES = {int(tag): tag.name for tag in VfioTagId}
_COMMAND_NAMES = {int(command): command.name for command in CommandId}


class FileHeader(NamedTuple):
    """The first 8 bytes (qemu_savevm_state_header, migration/savevm.c)."""

    offset: int
    length: int
    magic: int
    version: int
    problems: Problems = ()


class TargetPageBits(NamedTuple):
    """Subsection configuration/target-page-bits: log2 of the target page size."""

    offset: int
    length: int
    version_id: int
    bits: int


class CapabilityList(NamedTuple):
    """Subsection configuration/capabilities."""

    offset: int
    length: int
    version_id: int
    names: tuple[bytes, ...]


class ConfigurationUuid(NamedTuple):
    """Subsection configuration/uuid."""

    offset: int
    length: int
    version_id: int
    uuid: bytes


ConfigurationSubsection = TargetPageBits | CapabilityList | ConfigurationUuid


class Configuration(NamedTuple):
    """The configuration section (vmstate_configuration, migration/savevm.c), subsections included in ``length``."""

    offset: int
    length: int
    name: bytes
    subsections: tuple[ConfigurationSubsection, ...] = ()
    problems: Problems = ()

    @property
    def machine(self) -> str:
        """Machine type."""
        return text(self.name)

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Capabilities listed as on; only x-ignore-shared and mapped-ram are ever listed."""
        return tuple(text(n) for part in self.subsections if isinstance(part, CapabilityList) for n in part.names)


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


class Command(NamedTuple):
    """A COMMAND section. main_commands.py reads the payload."""

    offset: int
    length: int
    """Bytes of the section, payload included."""
    command: int
    declared_length: int
    """Length of the payload as stated; ``payload`` differs only where following it would lose the framing."""
    payload: bytes
    problems: Problems = ()

    @property
    def name(self) -> str:
        """QEMU's name of the command, without prefix."""
        return _COMMAND_NAMES.get(self.command, f"UNKNOWN_{self.command:#x}")


class PackageEnd(NamedTuple):
    """End of the blob of the last PACKAGED command; its sections came as events in between. Has no bytes."""

    offset: int
    length: int = 0
    problems: Problems = ()


class EndOfStream(NamedTuple):
    """The EOF byte 0x00: the section loop ends."""

    offset: int
    length: int = 1
    problems: Problems = ()


class DescribedDevice(NamedTuple):
    """A device of the vmdescription. ``size``: bytes of its body as described; None when that cannot be told."""

    idstr: str
    instance_id: int
    size: int | None
    version_id: int | None = None
    """Version of its vmstate; None where none is described."""


class VmDescription(NamedTuple):
    """The vmdescription: the payload is JSON text."""

    offset: int
    length: int
    declared_length: int
    payload_offset: int
    payload_length: int
    """Text bytes that are there; less than ``declared_length`` when the stream ends."""
    page_size: int | None = None
    devices: tuple[DescribedDevice, ...] = ()
    problems: Problems = ()


class Trailing(NamedTuple):
    """Bytes behind the end of the stream proper (or of a package's sections); destinations do not read them."""

    offset: int
    length: int
    problems: Problems = ()


class Skipped(NamedTuple):
    """Bytes not decoded; decoding goes on behind them, with reduced confidence: what they held is not known."""

    offset: int
    length: int
    hole: bool
    """True when bytes are missing from the recording, False when they are there but make no sense."""
    problems: Problems = ()


class Missing(NamedTuple):
    """Something is not where it must be (a footer, an EOS). Has no bytes."""

    offset: int
    length: int = 0
    problems: Problems = ()


class StreamStopped(NamedTuple):
    """The main channel was understood up to ``offset`` only; ``length`` bytes from there on are not decoded."""

    offset: int
    length: int
    reason: str
    hole: bool = False
    """True when missing bytes are the reason."""
    problems: Problems = ()


class MainPosition(enum.StrEnum):
    """Where in its grammar the main channel ends."""

    COMPLETE = "behind its end"
    FILE_HEADER = "inside the file header"
    CONFIGURATION = "inside the configuration"
    SECTION = "between sections"
    SECTION_HEADER = "inside a section header"
    RAM = "between RAM records"
    RAM_RECORD = "inside a RAM record"
    VFIO = "inside VFIO device state"
    DEVICE = "inside device state"
    FOOTER = "in front of or inside a section footer"
    PAYLOAD = "inside a payload"
    VMDESCRIPTION = "inside the vmdescription"
    STOPPED = "where it is not understood"


class MainEnd(NamedTuple):
    """The end of what is there; ``length`` bytes from ``offset`` on are the start of a record that is cut."""

    offset: int
    length: int
    position: MainPosition
    missing: int
    """Bytes that are known to be missing for the record that is cut."""
    end: StreamEnd
    problems: Problems = ()


MainEvent = (
    FileHeader
    | Configuration
    | SectionStart
    | SectionPart
    | SectionEnd
    | SectionFull
    | SectionFooter
    | BlockList
    | ZeroPage
    | Page
    | XbzrlePage
    | CompressedPage
    | Flush
    | EndOfRam
    | Hook
    | UnknownRamRecord
    | VfioRecord
    | DeviceBody
    | Command
    | PackageEnd
    | EndOfStream
    | VmDescription
    | Trailing
    | Skipped
    | Missing
    | StreamStopped
    | MainEnd
)
MainItem = MainEvent | ZeroPageRun


def end_of(item: MainItem) -> int:
    """Offset of the first byte behind a record and its payload, where the next event starts.

    It may lie behind the end of the stream when a payload is cut.
    """
    return item.offset + item.length + getattr(item, "payload_length", 0)
