"""What the main channel carries, as frozen values: the decoder yields them, the encoder takes them.

Offsets count bytes from the start of the main stream. ``length`` is the record without its payload; where there is
payload, the event says where it lies (``payload_offset``, ``payload_length``) and does not hold it. One event starts
where the one before it ends, so a stream is covered without gaps (``end_of``). Names are kept as the bytes on the wire;
properties give them as text. ``problems`` is what is wrong with a record, see problems.py.
"""

from __future__ import annotations

from typing import NamedTuple

from multifd_codec.main.end_events import (
    DescribedDevice,
    EndOfStream,
    MainEnd,
    MainPosition,
    Missing,
    PackageEnd,
    Skipped,
    StreamStopped,
    Trailing,
    VmDescription,
)
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
)
from multifd_codec.main.section_events import (
    BodyLength,
    DeviceBody,
    SectionEnd,
    SectionFooter,
    SectionFull,
    SectionPart,
    SectionStart,
    VfioRecord,
)
from multifd_codec.names import text
from multifd_codec.wire.qemufile import CommandId

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
]

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


class Command(NamedTuple):
    """A COMMAND section. command_payloads.py reads the payload."""

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
