"""What rows of the rulebook say beside their texts: where a rule is broken, and what a destination does about it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, NamedTuple

from analyzers.findings import Severity
from analyzers.rulebook.row import Row

if TYPE_CHECKING:
    from analyzers.linter.context import Context
    from analyzers.survey.device_state import Buffer
    from analyzers.survey.main import MainSurvey
    from captures.model import NoteKind
    from multifd_codec.channel.columns import Columns, Mask
    from multifd_codec.channel.events import DeviceStatePacket
    from multifd_codec.device_key import DeviceKey
    from multifd_codec.dialect.destination import Destination
    from multifd_codec.dialect.releases import DestinationHabits
    from multifd_codec.main.problems import ProblemKind
    from multifd_codec.wire.qemufile import CommandId

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


EffectOf = Callable[["DestinationHabits"], Effect]


def zero_pages_read(destination: DestinationHabits) -> Effect:
    """Counts and pages that only destinations look at which know zero pages in packets."""
    return Effect.ERROR if destination.zero_pages else Effect.NONE


def if_zero_pages_read(context: Context) -> Severity | None:
    """The same: what a destination does not read cannot hurt it."""
    return Severity.ERROR if context.destination.habits.zero_pages else Severity.WARNING


class PacketCondition(Row, kw_only=True):
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


class HeaderCondition(PacketCondition, kw_only=True):
    """One that a packet's header shows. Those of pages and payloads are found by surveys that follow a channel."""

    when: Callable[[Columns], Mask]
    """The packets of a batch for which it holds."""
    says: Callable[[Columns, int], str]
    """What the packet at that place in the batch says."""


class DeviceStateSeen(NamedTuple):
    """A device-state packet, and the destination that it meets."""

    buffer: Buffer
    main: MainSurvey | None
    like: Destination

    @property
    def destination(self) -> DestinationHabits:
        """What a destination of its release does."""
        return self.like.habits

    @property
    def compression(self) -> int:
        """Compression id that the destination is configured with."""
        return self.like.compression_flag

    @property
    def packet(self) -> DeviceStatePacket:
        return self.buffer.packet


class DeviceStateCondition(Row, kw_only=True):
    """What may hold of a device-state packet."""

    when: Callable[[DeviceStateSeen], object]
    field: str = ""
    says: Callable[[DeviceStateSeen], str] | None = None
    """The finding, behind the device's name; None: the linter says it of all packets of a device together."""
    refuses: Callable[[DeviceStateSeen], str] | None = None
    """Why the receive thread ends there; None: it goes on."""
    effect: Effect = Effect.ERROR
    """Of a refusal."""
    in_payload: bool = False
    """It is about the payload's VFIO header, which is only looked at for a device that is known."""
    queued: bool = False
    """Refused only when the payload has been handed to the device's loader."""
    missed: bool = False
    """For want of a loader: main may complete all the same, and the state is lost."""


class MainSeen(NamedTuple):
    """The main channel, and the destination that it meets."""

    main: MainSurvey
    like: Destination
    transferred: Collection[DeviceKey] = ()
    """Devices whose state travels on multifd channels."""
    multifd: bool = False
    """There are multifd channels."""

    @property
    def destination(self) -> DestinationHabits:
        """What a destination of its release does."""
        return self.like.habits


class MainRefusal(Row, kw_only=True):
    """Something legal on the main channel at which the load fails on some destinations."""

    places: Callable[[MainSeen], Iterable[tuple[int, str]]]
    """Offset and name of each thing that is refused."""
    reason: Callable[[MainSeen, str], str]
    """Why the load fails at the thing of that name."""
    says: Callable[[MainSeen, str, str], str] | None = None
    """The finding, with the thing's and the release's name; None: others say it."""
    field: str = ""
    length: int | None = None
    """Bytes of the record that the finding is about."""
    beside_channels: bool = False
    """Said only where there are multifd channels."""
    crashes: bool = False
    """The load does not fail there, the destination aborts."""


def once(offset: int | None) -> Iterable[tuple[int, str]]:
    """A thing without a name of which only the first place counts, if it is there."""
    return () if offset is None else ((offset, ""),)


class Load(enum.Enum):
    """What a destination's load does at a problem of the main channel."""

    FAILS = enum.auto()
    MAY_FAIL = enum.auto()
    """The stream alone does not decide it."""
    GOES_ON = enum.auto()
    """A destination does not notice, or only warns."""
    BY_RELEASE = enum.auto()
    """Some releases refuse it (``analyzers.judge.scripts``)."""


class MainProblem(Row):
    """A problem that the decoder of the main channel finds."""

    kind: ProblemKind
    load: Load = Load.FAILS
    answered: frozenset[CommandId] = frozenset()
    """Commands at which the load goes on: a destination answers them with a message only
    (loadvm_postcopy_handle_resume, loadvm_handle_recv_bitmap, migration/savevm.c; measured with 7.2 and 10.0)."""
    silent: bool = False
    """Not said: it limits the reader, not the stream."""


class RecordingNote(Row):
    """What a reader notices about a recording."""

    kind: NoteKind
    if_headers_cut: bool = False
    """Only where more than page payload is missing."""


Condition = PacketCondition | DeviceStateCondition | MainProblem | MainRefusal | RecordingNote
