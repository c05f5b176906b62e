"""Where the main channel, or what is understood of it, ends: its last records, gaps, and where it stops."""

from __future__ import annotations

import enum
from typing import NamedTuple

from multifd_codec.main.problems import Problems
from multifd_codec.source import StreamEnd


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
