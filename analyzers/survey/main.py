"""What the main channel carries: the receiver's rendezvous records, RAM blocks, devices, commands, and how it ends."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from analyzers.findings import Severity
from analyzers.rulebook.codes import MFD501
from analyzers.rulebook.rule import Rule
from analyzers.survey.hits import Hit, Hits
from analyzers.survey.pages import PageSet
from analyzers.survey.vfio import SectionKind, VfioDevice
from multifd_codec.device_key import DeviceKey
from multifd_codec.dialect.releases import Mode
from multifd_codec.main.rendezvous import is_rendezvous
from multifd_codec.source import ByteSource, StreamEnd


class RecordKind(StrEnum):
    """Records that can be a rendezvous, depending on the destination's mode."""

    FLUSH = "FLUSH"
    EOS = "EOS"


class Record(NamedTuple):
    """One FLUSH or EOS of the RAM section."""

    kind: RecordKind
    offset: int
    section: SectionKind
    postcopy: bool
    """Behind POSTCOPY_LISTEN."""

    def is_rendezvous(self, mode: Mode, *, in_postcopy: bool = False) -> bool:
        """See ``multifd_codec.main.rendezvous``. ``in_postcopy``: for who goes on waiting there."""
        over = self.postcopy and not in_postcopy
        return is_rendezvous(mode, flush=self.kind is RecordKind.FLUSH, over=over)


class CommandSeen(NamedTuple):
    """One command."""

    offset: int
    number: int
    name: str
    value: int | None


MainPages = defaultdict[tuple[int, int, str, bool], PageSet]
"""(FLUSH records in front, EOS records in front, RAM block, zero) to pages carried on main."""


@dataclass(slots=True)
class MainSurvey:
    """What the main channel carries. Offsets count bytes of the main stream."""

    source: ByteSource
    machine: str | None = None
    page_size: int | None = None
    """Target page size; a guess unless ``page_size_stated``."""
    page_size_stated: bool = False
    uuid: bytes | None = None
    capabilities: tuple[str, ...] = ()
    blocks: dict[str, int] | None = None
    """RAM block name to used length; None when the block list was not understood."""
    configured_at: int | None = None
    """Offset of the configuration section."""
    setup: int | None = None
    """Offset of the first section: RAM is set up when it is read."""
    records: list[Record] = field(default_factory=list)
    commands: list[CommandSeen] = field(default_factory=list)
    pages: MainPages = field(default_factory=lambda: defaultdict(PageSet))
    vfio: dict[DeviceKey, VfioDevice] = field(default_factory=dict)
    sections: set[DeviceKey] = field(default_factory=set)
    """(idstr, instance) of every START and FULL section."""
    full_offset: int | None = None
    """First FULL section behind the last END section."""
    eof: int | None = None
    """Offset of the EOF byte; None when it was not reached."""
    failure: tuple[int, str] | None = None
    """Where and why a destination's load fails, as far as the stream alone decides it."""
    doubts: list[tuple[int, str]] = field(default_factory=list)
    """Where and why a destination's load may fail: the stream alone does not decide it."""
    zero_fill: int | None = None
    """First ZERO record with another fill byte, which 8.2 and later refuse."""
    hook: int | None = None
    """First HOOK record, at which releases up to 8.1 fail without RDMA."""
    advised: int | None = None
    """First POSTCOPY_ADVISE with page sizes: the source has postcopy-ram on."""
    understood: int = 0
    """Offset up to which the stream was understood."""
    skipped: int | None = None
    """First place in front of EOF that was skipped: what it held is not known."""
    cut_regions: bool = False
    """Pages of a mapped-ram file lie behind its end."""
    overlapping: str | None = None
    """Regions of a mapped-ram file that overlap, in one line."""
    compress_page: int | None = None
    """First COMPRESS_PAGE record."""
    stopped: str | None = None
    """Why decoding ended in front of EOF, when neither the stream's end nor a failure explains it."""
    vmdescription: bool = False
    described: bool = False
    """What the vmdescription says was understood."""
    page_records: int = 0
    skips_pages: bool = False
    """A device whose pages the source need not send: virtio-mem, or a balloon with free page hinting."""
    postcopy: bool = False
    hits: defaultdict[Rule, Hits] = field(default_factory=lambda: defaultdict(Hits))
    """Places by the rule they break."""
    fields: dict[Rule, str] = field(default_factory=dict)
    """Wire field of each rule in ``hits``."""

    @property
    def end(self) -> StreamEnd:
        return self.source.end

    @property
    def may_skip_pages(self) -> bool:
        """Whether it has such a device, or its vmdescription, which would say so, is not recorded."""
        recorded = self.described or not (self.source.holes() or self.end is not StreamEnd.CLOSED)
        return self.skips_pages or not recorded

    @property
    def iterates(self) -> bool:
        """Whether RAM has a PART section: something was pending."""
        return any(record.section is SectionKind.PART for record in self.records)

    def expect_machine(self, local: str) -> None:
        """The load fails if the destination's machine type does not start with the stream's (configuration_post_load,
        migration/savevm.c)."""
        if self.machine is None or local.startswith(self.machine) or not self.configured_at:
            return
        message = f"machine type {self.machine!r}, the destination's is {local!r}"
        self.hit(MFD501, "name", self.configured_at, 1, message)
        if self.failure is None or self.configured_at < self.failure[0]:
            self.failure = self.configured_at, message

    def accepted(self) -> None:
        """A destination was seen to load this: it does without the configuration section as the sender does
        (send-configuration=off)."""
        left_out = self.hits.pop(MFD501, None) is not None and self.configured_at is None
        if left_out and self.failure is not None and self.failure[0] == self.setup:
            self.failure = None

    def hit(
        self, rule: Rule, name: str, offset: int, length: int, message: str, severity: Severity | None = None
    ) -> None:
        """Note a violation; ``name`` is the wire field. ``severity``: by default that of the rule."""
        self.fields.setdefault(rule, name)
        self.hits[rule].add(Hit(offset, length, 0, message, severity))

    def count(self, kind: RecordKind) -> int:
        """Records of one kind outside of postcopy."""
        return sum(record.kind is kind and not record.postcopy for record in self.records)
