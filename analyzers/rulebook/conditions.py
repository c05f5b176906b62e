"""What rows of the rulebook say beside their texts: where a rule is broken, and what a destination does about it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analyzers.findings import Severity
from captures.model import NoteKind
from multifd_codec.channel.columns import Columns, Mask
from multifd_codec.dialect.releases import DestinationHabits
from multifd_codec.main.problems import ProblemKind
from multifd_codec.wire.qemufile import CommandId

if TYPE_CHECKING:
    from analyzers.linter.context import Context

SeverityOf = Callable[["Context"], Severity | None]
"""How bad it is for this sender and destination; None: not worth a finding."""


class Effect(enum.IntEnum):
    """What a receiver does about it, mildest first."""

    NONE = 0
    SPOILS = 1
    """Loads the pages to the wrong place."""
    ERROR = 2
    """The channel records an error and ends."""
    CRASH = 3
    """The process aborts or writes out of bounds."""


EffectOf = Callable[[DestinationHabits], Effect]


def zero_pages_read(destination: DestinationHabits) -> Effect:
    """Counts and pages that only destinations look at which know zero pages in packets."""
    return Effect.ERROR if destination.zero_pages else Effect.NONE


def if_zero_pages_read(context: Context) -> Severity | None:
    """The same: what a destination does not read cannot hurt it."""
    return Severity.ERROR if context.release.destination.zero_pages else Severity.WARNING


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PacketCondition:
    """What may hold of a RAM packet. A survey notes where; what it means is up to the sender and the destination."""

    field: str
    """Wire field it is about."""
    effect: Effect | EffectOf = Effect.NONE
    chance: bool = False
    """A crash by chance: what lies behind the bounds decides whether it is one, an error, or nothing."""
    severity: Severity | SeverityOf | None = None
    """None: that of the rule."""
    silent: bool = False
    """No finding: it tells releases apart, or another condition of its rule says it already."""
    hides_pages: bool = False
    """Which pages the packet names cannot be told."""

    def effect_on(self, destination: DestinationHabits) -> Effect:
        return self.effect if isinstance(self.effect, Effect) else self.effect(destination)

    def severity_in(self, context: Context, usual: Severity) -> Severity | None:
        """``usual``: that of the rule. None: no finding."""
        if self.silent:
            return None
        if self.severity is None or isinstance(self.severity, Severity):
            return self.severity or usual
        return self.severity(context)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class HeaderCondition(PacketCondition):
    """One that a packet's header shows. Those of pages and payloads are found by surveys that follow a channel."""

    when: Callable[[Columns], Mask]
    """The packets of a batch for which it holds."""
    says: Callable[[Columns, int], str]
    """What the packet at that place in the batch says."""


class Load(enum.Enum):
    """What a destination's load does at a problem of the main channel."""

    FAILS = enum.auto()
    MAY_FAIL = enum.auto()
    """The stream alone does not decide it."""
    GOES_ON = enum.auto()
    """A destination does not notice, or only warns."""
    BY_RELEASE = enum.auto()
    """Some releases refuse it (``analyzers.judge.scripts``)."""


@dataclass(frozen=True, slots=True, eq=False)
class MainProblem:
    """A problem that the decoder of the main channel finds."""

    kind: ProblemKind
    load: Load = Load.FAILS
    answered: frozenset[CommandId] = frozenset()
    """Commands at which the load goes on: a destination answers them with a message only
    (loadvm_postcopy_handle_resume, loadvm_handle_recv_bitmap, migration/savevm.c; measured with 7.2 and 10.0)."""
    silent: bool = False
    """Not said: it limits the reader, not the stream."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordingNote:
    """What a reader notices about a recording."""

    kind: NoteKind
    if_headers_cut: bool = False
    """Only where more than page payload is missing."""


Condition = PacketCondition | MainProblem | RecordingNote
