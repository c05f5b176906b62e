"""What the main channel's decoder knows at one place of the stream, and how it reads bytes from there on."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

from multifd_codec.device_key import DeviceKey
from multifd_codec.main.events import RamBlock
from multifd_codec.main.problems import Problem, ProblemKind, Problems
from multifd_codec.source import Buffer, ByteSource, Hole, StreamEnd, bytes_known
from multifd_codec.wire.qemufile import SectionType

WINDOW = 512
"""Bytes read at a time for small records; payload is never read."""
MAX_SECTIONS = 1 << 16
"""Sections one stream may introduce before decoding stops: memory must not grow with what a stream claims."""


class NeedBytesError(Exception):
    """Bytes up to ``offset`` are wanted, and the stream (or package) ends in front of it. Never leaves the decoder."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


class InHoleError(Exception):
    """Bytes that are wanted lie in a hole of the recording. Never leaves the decoder."""

    def __init__(self, hole: Hole) -> None:
        super().__init__(hole)
        self.hole = hole


class Reader:
    """Reads small pieces of a source, up to ``limit`` (the end of the package being decoded) when that is set."""

    def __init__(self, source: ByteSource, *, growing: bool) -> None:
        self.source = source
        self.growing = growing
        self.limit: int | None = None
        self._window: Buffer = b""
        self._start = 0

    @property
    def end(self) -> int:
        """Offset behind the last byte that is there."""
        size = self.source.size
        return size if self.limit is None else min(size, self.limit)

    @property
    def waits(self) -> bool:
        """Whether more bytes are expected at ``end``."""
        if not self.growing or self.source.end is not StreamEnd.OPEN:
            return False
        return self.limit is None or self.source.size < self.limit

    def known(self, offset: int) -> int:
        """Recorded bytes from ``offset`` up to the next hole or ``end``."""
        known = bytes_known(self.source, offset)
        return known if self.limit is None else max(0, min(known, self.limit - offset))

    def take(self, offset: int, length: int) -> Buffer:
        """Exactly ``length`` bytes. Raises NeedBytesError or InHoleError."""
        begin = offset - self._start
        inside = self.limit is None or offset + length <= self.limit
        if inside and begin >= 0 and begin + length <= len(self._window):
            return self._window[begin : begin + length]
        known = self.known(offset)
        if known < length:
            hole = self.source.next_hole(offset)
            if hole is not None and hole.start < min(offset + length, self.end):
                raise InHoleError(hole)
            raise NeedBytesError(offset + length)
        data = self.source.read(offset, min(known, max(length, WINDOW)))
        if len(data) <= WINDOW:
            self._window, self._start = bytes(data), offset
        return data[:length]

    def peek(self, offset: int, length: int) -> Buffer:
        """Up to ``length`` bytes: fewer at a hole and at the end."""
        length = min(length, self.known(offset))
        return self.take(offset, length) if length > 0 else b""


class Phase(enum.Enum):
    """What comes next."""

    FILE_HEADER = enum.auto()
    CONFIGURATION = enum.auto()
    SECTION = enum.auto()
    BODY = enum.auto()
    RAM = enum.auto()
    VFIO = enum.auto()
    DEVICE = enum.auto()
    FOOTER = enum.auto()
    BEHIND_EOF = enum.auto()
    TRAILING = enum.auto()
    RESUMPTION = enum.auto()
    """Something was not understood or is missing: search where decoding can go on."""
    STOPPED = enum.auto()
    ENDED = enum.auto()


class PostcopyState(enum.Enum):
    """Incoming postcopy, as a destination tracks it (PostcopyState, migration/postcopy-ram.h)."""

    NONE = 0
    ADVISE = 1
    DISCARD = 2
    LISTENING = 3
    RUNNING = 4


@dataclass(slots=True)
class Section:
    """A section id bound by START or FULL."""

    section_id: int
    idstr: bytes
    instance_id: int
    version_id: int
    iterable: bool = False
    """Introduced by START."""
    full: bool = False
    """Introduced by FULL."""
    ended: bool = False


class Current(NamedTuple):
    """The section whose body or footer comes next; ``section`` is None when its id is not bound."""

    type: SectionType
    section_id: int
    section: Section | None


class Damage(NamedTuple):
    """Why decoding cannot go on at a position, and from where on to search."""

    search_from: int
    reason: str
    hole: bool = False
    in_ram: bool = False
    """RAM records may go on behind it."""
    problems: Problems = ()


@dataclass(slots=True)
class Package:
    """A PACKAGED blob being decoded: where it ends, and the limit of what contains it."""

    end: int
    outer: int | None
    runs: bool = False
    """POSTCOPY_RUN was in it."""


@dataclass(slots=True)
class MainState:
    """All of it. Every step of the decoder changes this only when it has all the bytes it needs."""

    reader: Reader
    page_size: int
    footers: bool | None
    """Whether sections have footers; None while that is not known."""
    position: int = 0
    phase: Phase = Phase.FILE_HEADER
    page_size_given: bool = False
    """By the caller: what the stream says about it does not count."""
    configured: bool = False
    """A configuration section was read."""
    lost: bool = False
    """A hole (or garbage) has swallowed headers: ids and blocks may be unknown without fault of the stream."""
    sections: dict[int, Section] = field(default_factory=dict)
    current: Current | None = None
    blocks: dict[bytes, RamBlock] = field(default_factory=dict)
    listed: bool = False
    """A block list was read."""
    block: bytes | None = None
    """Block of the last page record."""
    block_lost: bool = False
    """The block that CONTINUE refers to was named in bytes that are missing."""
    capabilities: frozenset[str] = frozenset()
    postcopy: PostcopyState = PostcopyState.NONE
    advised_page_sizes: int = 0
    """All block page sizes or-ed together, from POSTCOPY_ADVISE."""
    vfio_tag: int = 0
    """The tag in front of the position, within a VFIO body."""
    vfio_sections: set[int] = field(default_factory=set)
    """Ids of sections that had VFIO tags: all their bodies have."""
    return_path: bool = False
    switchovers: int = 0
    ended: bool = False
    """An END section was read."""
    fulls: list[DeviceKey] = field(default_factory=list)
    """Every FULL section so far, in order."""
    full_counts: dict[DeviceKey, int] = field(default_factory=dict)
    described: bool = False
    """A vmdescription was read behind EOF."""
    faulty: int = 0
    """Records with problems so far."""
    commands: int = 0
    """Small commands so far."""
    damage: Damage | None = None
    packages: list[Package] = field(default_factory=list)
    searched: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Name of a search to (position, offset): from ``position``, it has found nothing up to ``offset``."""
    fruitless: dict[str, int] = field(default_factory=dict)
    """Name of a search to how often it ran to the end in vain."""

    def bound(self, section_id: int) -> bool:
        return section_id in self.sections

    def damaged(self, damage: Damage) -> None:
        """Give up on what stands at the position; the next step searches."""
        self.damage, self.phase = damage, Phase.RESUMPTION


def problem(kind: ProblemKind, offset: int, name: str, message: str) -> tuple[Problem, ...]:
    """One problem, ready to be an event's ``problems``."""
    return (Problem(kind, offset, name, message),)
