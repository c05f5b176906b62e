"""Why a migration can end as it can: reasons as data, their sentences made last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from analyzers.findings.kinds import ENDINGS, Actor, ChannelEnd, Kind
from analyzers.findings.outcome import Outcome
from multifd_codec.device_key import DeviceKey
from multifd_codec.errors import ChannelName

FrameOf = Callable[[ChannelName, int], int | None]
"""(channel, offset) to the capture's frame number, from 1; None without a capture."""
OR_MISSING = " (or frames are missing)"
MAX_LISTED = 8
"""Buffers of a device that one reason lists."""


class Location(NamedTuple):
    """A place in the stream of one channel."""

    channel: ChannelName
    offset: int | None = None
    """Bytes from the start of that channel's stream."""
    frame: int | None = None
    """Capture frame number, from 1; None without a capture."""

    def framed(self, frame_of: FrameOf) -> Location:
        """The same with its frame number."""
        return self if self.offset is None else self._replace(frame=frame_of(self.channel, self.offset))


class Party(NamedTuple):
    """Somebody who is waited for."""

    actor: Actor
    channel: int | None = None
    """CHANNEL: its number."""
    device: DeviceKey | None = None
    """LOADER: whose."""


class Share(NamedTuple):
    """``number`` of ``of``."""

    number: int
    of: int


class StuckState(NamedTuple):
    """Device state of one device that is never read; ``bytes`` with packet headers."""

    device: DeviceKey
    packets: int
    bytes: int


class Stuck(NamedTuple):
    """What stands on a channel behind a place it is never read beyond."""

    device_state: tuple[StuckState, ...] = ()
    ram_packets: int = 0
    syncs: int = 0


class Reason(NamedTuple):
    """One reason. Which fields are set depends on the kind; a timeline or a tree of who waits for whom needs no text.

    An actor CHANNEL is the one of ``channel``, an actor LOADER that of the first of ``devices``.
    """

    kind: Kind
    actor: Actor
    channel: ChannelName | None = None
    offset: int | None = None
    """Bytes from the start of that channel's stream."""
    frame: int | None = None
    """Capture frame number, from 1; None without a capture."""
    also: tuple[Location, ...] = ()
    """Further places of the same."""
    waits_for: tuple[Party, ...] = ()
    """Whom the actor waits for, for ever."""
    rendezvous: Share | None = None
    """The rendezvous (from 1) that is waited in or for, of those that main carries."""
    record: str = ""
    """Main's record of that rendezvous: FLUSH or EOS."""
    tokens: Share | None = None
    """Channels whose token is there, of all."""
    syncs: Share | None = None
    """SYNC packets a channel gives, of those main waits for."""
    ended: ChannelEnd | None = None
    stuck: Stuck | None = None
    devices: tuple[DeviceKey, ...] = ()
    buffers: tuple[int, ...] = ()
    """Indices of a device's buffers, the first MAX_LISTED of them."""
    more_buffers: int = 0
    """How many there are beside those listed."""
    packets: int = 0
    """RAM packets from the place on."""
    block: str | None = None
    """RAM block."""
    page: int | None = None
    """Page number in the block."""
    pages: int | None = None
    block_offset: int | None = None
    """Bytes from the start of the block."""
    connection: str = ""
    """Label of a connection that is no channel."""
    monitor_alive: bool | None = None
    """Whether the destination's monitor answers meanwhile."""
    because: str = ""
    """Why, in words: the rule that is broken there."""
    rule: str = ""
    """Its code, where one is."""
    seconds: float | None = None
    """When it was seen, from the first frame of the migration."""
    duration: float | None = None
    """Seconds it lasts."""
    bytes: int | None = None
    repeats: int | None = None
    """How often it was seen."""
    perhaps: bool = False
    """It may only seem so, because frames are missing from the recording."""

    @property
    def text(self) -> str:
        """The sentence."""
        return self.kind.sentence.format(r=Words(self)) + (OR_MISSING if self.perhaps else "")

    def framed(self, frame_of: FrameOf) -> Reason:
        """The same with frame numbers."""
        also = tuple(place.framed(frame_of) for place in self.also)
        if self.channel is None or self.offset is None:
            return self._replace(also=also)
        return self._replace(frame=frame_of(self.channel, self.offset), also=also)


class Step(NamedTuple):
    """One step of a schedule."""

    actor: Actor
    does: str = ""
    """In the words of the receiver's tables."""
    channel: ChannelName | None = None
    offset: int | None = None
    frame: int | None = None
    outcome: Outcome | None = None
    """The last step: how it ends."""
    left_out: int = 0
    """Not a step: so many are left out here."""

    @property
    def text(self) -> str:
        """``channel 0: SYNC: one token for main at offset 4096 (frame 17)``."""
        if self.left_out:
            return f"({self.left_out} steps left out)"
        if self.outcome is not None:
            return OUTCOMES.get(self.outcome, f"the destination {self.outcome}")
        at = "" if self.offset is None else f" at {place_text(self.offset, self.frame)}"
        who = "the device loaders" if self.actor is Actor.LOADER else channel_text(self.channel)
        return f"{who}: {self.does}{at}"

    def framed(self, frame_of: FrameOf) -> Step:
        """The same with its frame number."""
        if self.channel is None or self.offset is None:
            return self
        return self._replace(frame=frame_of(self.channel, self.offset))


OUTCOMES = {
    Outcome.HANGS: "nothing more happens: hangs",
    Outcome.LOSES_DATA: "the destination completes with wrong memory or device state",
}


def channel_text(channel: ChannelName | None) -> str:
    """``main`` or ``channel 0``."""
    return channel if isinstance(channel, str) else f"channel {channel}"


def place_text(offset: int | None, frame: int | None) -> str:
    """``offset 4096 (frame 17)``."""
    return f"offset {offset}" if frame is None else f"offset {offset} (frame {frame})"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class Words:
    """A reason's fields, and what sentences make of them."""

    def __init__(self, reason: Reason) -> None:
        self._reason = reason

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reason, name)

    @property
    def who(self) -> str:
        return channel_text(self._reason.channel)

    @property
    def at(self) -> str:
        return place_text(self._reason.offset, self._reason.frame)

    @property
    def place(self) -> str:
        return f"{self.at} of {self.who}"

    @property
    def places(self) -> str:
        also = (f"{place_text(place.offset, place.frame)} of channel {place.channel}" for place in self._reason.also)
        return " and at ".join((self.place, *also))

    @property
    def numbers(self) -> str:
        return " and ".join(str(channel) for channel in self._channels())

    @property
    def given_theirs(self) -> str:
        first, *others = self._channels()
        if others:
            return f"channels {', '.join(map(str, (first, *others)))} have given theirs and wait"
        return f"channel {first} has given its and waits"

    def _channels(self) -> list[ChannelName | None]:
        return [self._reason.channel, *(place.channel for place in self._reason.also)]

    @property
    def milliseconds(self) -> float:
        return (self._reason.duration or 0) * 1e3

    @property
    def microseconds(self) -> int:
        return round((self._reason.duration or 0) * 1e6)

    @property
    def attempts(self) -> str:
        return "1 SYN" if self._reason.repeats == 1 else f"{self._reason.repeats} SYNs"

    @property
    def times(self) -> str:
        return "once" if self._reason.repeats == 1 else f"{self._reason.repeats} times"

    @property
    def monitor(self) -> str:
        return ", the monitor is dead" if self._reason.monitor_alive is False else ""

    @property
    def ending(self) -> str:
        assert self._reason.ended is not None
        return ENDINGS[self._reason.ended].format(r=self)

    @property
    def idstr(self) -> str:
        return self._reason.devices[0].idstr

    @property
    def idstrs(self) -> str:
        return ", ".join(sorted({device.idstr for device in self._reason.devices}))

    @property
    def device(self) -> str:
        return f"{self.idstr} instance {self._reason.devices[0].instance_id}"

    @property
    def indices(self) -> str:
        shown = ", ".join(map(str, self._reason.buffers))
        return f"{shown} and {self._reason.more_buffers} more" if self._reason.more_buffers else shown

    @property
    def ram_packets(self) -> str:
        return _counted(self._reason.packets, "RAM packet")

    @property
    def behind(self) -> str:
        """``4 device-state packets of 0000:00:05.0/vfio (66,800 bytes), 2 RAM packets, 1 SYNC``."""
        stuck = self._reason.stuck or Stuck()
        parts = [
            f"{_counted(state.packets, 'device-state packet')} of {state.device.idstr} ({state.bytes:,} bytes)"
            for state in stuck.device_state
        ]
        parts += [_counted(stuck.ram_packets, "RAM packet")] if stuck.ram_packets else []
        parts += [_counted(stuck.syncs, "SYNC")] if stuck.syncs else []
        return ", ".join(parts)

    @property
    def never_read(self) -> str:
        return f"; never read behind it: {self.behind}" if self._reason.stuck else "; nothing stands behind it"
