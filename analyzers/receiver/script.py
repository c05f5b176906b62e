"""What a stream makes a destination do, step by step: the receiver's input, free of bytes and releases.

Everything that depends on a release (which check fails, whether an error ends the migration) is decided when a script
is made; the machine itself is the same for all.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

from multifd_codec.device_key import DeviceKey


class Act(enum.StrEnum):
    """What one step of a channel does."""

    DATA = "data"
    """RAM packets without SYNC are loaded."""
    SYNC = "SYNC"
    """Gives main a token, then waits for the release."""
    STATE = "device state"
    """A device-state packet is queued for its device's loader."""
    ERROR = "error"
    """The channel records an error, stops all channels and ends."""
    CRASH = "crash"
    """The process aborts or faults."""
    CLOSE = "close"
    """The stream ends at a packet boundary: the channel ends silently."""
    OPEN = "open"
    """The recording ends or is unreadable here; what follows is not known."""


TERMINAL = frozenset({Act.ERROR, Act.CRASH, Act.CLOSE, Act.OPEN})
"""What the last step of a channel does."""


@dataclass(frozen=True, slots=True)
class ChannelStep:
    """One step of a channel. Runs of DATA steps are folded into one as long as the flags below are equal."""

    act: Act
    offset: int
    """First byte of the (first) packet."""
    end: int
    """First byte behind the (last) packet's payload."""
    packets: int = 1
    matters: bool = False
    """DATA: guest memory ends up wrong if this is never loaded. ERROR: it ends up wrong without what follows."""
    spoils: bool = False
    """DATA: guest memory ends up wrong if this is loaded."""
    needs_setup: bool = False
    """DATA: the process crashes if main has not set up RAM yet. STATE: the packet is refused then."""
    device: DeviceKey | None = None
    index: int | None = None
    """STATE: index of the buffer; None when the packet queues nothing."""
    config: bool = False
    """STATE: this buffer is the device's config, the last one."""
    reason: str = ""
    """ERROR, CRASH, OPEN: why, in one line."""
    rule: str = ""
    """ERROR, CRASH: code of the rule that is broken, where one is."""


class MainAct(enum.StrEnum):
    """What one step of the main channel does."""

    SETUP = "RAM setup"
    """Memory blocks are ready to take pages."""
    RENDEZVOUS = "rendezvous"
    """Collects a token per channel, then releases every channel."""
    START_LOADERS = "SWITCHOVER_START"
    """Starts the loader of each device with multifd transfer."""
    FAIL = "fail"
    """The load fails: an error is reported."""
    CRASH = "crash"
    FINISH = "finish"
    """EOF byte: wait for the loaders, check for errors, complete."""
    OPEN = "open"
    """The recording ends or is not understood from here on."""


MAIN_TERMINAL = frozenset({MainAct.FAIL, MainAct.CRASH, MainAct.FINISH, MainAct.OPEN})


class MainStep(NamedTuple):
    """One step of the main channel; ``offset`` is that of the record."""

    act: MainAct
    offset: int
    reason: str = ""
    rule: str = ""
    """FAIL: code of the rule that is broken, where it is known."""


class DeviceScript(NamedTuple):
    """What the destination expects of one device with multifd transfer."""

    device: DeviceKey
    load_fails: bool = False
    """All buffers arrive, but loading the config fails."""
    loads_wrong: bool = False
    """Loading succeeds with device state missing (buffers behind the config)."""
    never_ready: bool = False
    """Its loader waits for a DEV_CONFIG_LOAD_READY that main does not carry."""


class Script(NamedTuple):
    """The whole migration. Every channel ends in one TERMINAL step, main in one MAIN_TERMINAL step."""

    channels: tuple[tuple[ChannelStep, ...], ...]
    channel_ids: tuple[int, ...]
    main: tuple[MainStep, ...]
    devices: tuple[DeviceScript, ...] = ()
    error_fails: bool = True
    """A channel's error recorded before completion fails the migration (10.0 and later)."""
    memory_wrong: bool = False
    """Guest memory ends up wrong whatever the order (pages that were never sent)."""
    loaders_assert: bool = False
    """A load that fails before a device's loader has begun aborts in that loader."""
    crashes_at_cleanup: bool = False
    """The process aborts when it cleans up after the migration."""
    may_fail: tuple[MainStep, ...] = ()
    """Where on main the load fails if the destination is not quite like the stream. The solver does not look at it."""
