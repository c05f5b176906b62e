"""The receiver as data: its states, and every transition as a row. docs/receiver.md has the theory of operation.

There are two kinds of transition. An *input* transition happens because something is read: a packet on a channel, a
record on main (``input``, and ``instead`` where the state of the others makes it end otherwise than usual). A *joint*
transition happens because of the state of the others, and this is what couples the threads (``joint``): main goes on
when every channel has given its token, a channel goes on when main has released it.

Whatever is not a row does not happen: the thread blocks. ``machine`` runs the rows, ``diagram`` draws them, fuzzing
counts them.

Sources: multifd_recv_thread, multifd_recv_sync_main, multifd_recv_terminate_threads (migration/multifd.c),
qemu_loadvm_state (migration/savevm.c), process_incoming_migration_co (migration/migration.c); 4.0 to 11.1.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from analyzers.receiver.device_state import state_buffers
from analyzers.receiver.script import Act, MainAct, Script
from multifd_codec.device_key import DeviceKey


class ChannelState(enum.StrEnum):
    """A channel's receive thread."""

    READING = "reading"
    WAITING = "waiting for release"
    DEAD = "ended"


class MainState(enum.StrEnum):
    """The incoming migration's main process."""

    LOADING = "loading"
    COLLECTING = "collecting tokens"
    JOINING = "waiting for device loaders"
    COMPLETED = "completed"
    FAILED = "failed"
    CRASHED = "crashed"
    UNKNOWN = "unknown"
    """Behind the end of what was recorded."""


STOPPED = frozenset({MainState.COMPLETED, MainState.FAILED, MainState.CRASHED})
"""The destination is at its end: nothing happens any more."""


class LoaderState(enum.StrEnum):
    """The load threads of all devices with multifd transfer, as far as it matters to others whether they have begun."""

    ABSENT = "not started"
    STARTED = "started"
    """Of some device at least nothing has run yet."""
    RUNNING = "running"


class Effect(enum.StrEnum):
    """What a transition does beside changing its own state."""

    NOTHING = "nothing"
    LOAD = "pages are loaded"
    QUEUE = "a buffer is queued"
    POST = "one token for main"
    TERMINATE = "the error is recorded, every channel is told to stop"
    SET_UP = "memory takes pages"
    START = "the device loaders are started"
    RELEASE = "every channel is released"
    TAKE = "the release is taken"
    ABORT = "the process ends"


class Thread(NamedTuple):
    """Where one channel's receive thread is."""

    state: ChannelState
    next: int
    """Index of its next step."""
    released: bool
    """A release is waiting to be taken."""


class State(NamedTuple):
    """Where the whole destination is."""

    main: MainState
    next: int
    """Index of main's next step."""
    tokens: int
    """Tokens given and not yet collected."""
    channels: tuple[Thread, ...]
    stopping: bool
    """Every channel was told to stop."""
    error: bool
    """An error is recorded."""
    setup: bool
    """Main has set up RAM."""
    loaders: LoaderState
    """The device loaders."""
    buffers: frozenset[tuple[str, int, int, bool]]
    """Queued buffers: idstr, instance, index, config."""
    wrong: bool
    """Something was loaded that spoils memory."""


Guard = Callable[[Script, State, int], bool]
"""Of the script, the state, and a channel's position (any for main). Its name says it, in the diagrams too."""


def a_token_of_every_channel(_script: Script, state: State, _position: int) -> bool:
    """Tokens are anonymous: as many as there are channels, whoever gave them."""
    return state.tokens >= len(state.channels)


def released(_script: Script, state: State, position: int) -> bool:
    """A release is a token as well, one for each channel."""
    return state.channels[position].released


def told_to_stop(_script: Script, state: State, _position: int) -> bool:
    """Some channel has ended with an error."""
    return state.stopping


def an_error_is_recorded(script: Script, state: State, _position: int) -> bool:
    """And main looks whether there is one, as it does in 10.0 and later."""
    return state.error and script.error_fails


def every_loader_is_done(script: Script, state: State, _position: int) -> bool:
    """Each has its config, every buffer in front of it, and the word it waits for. None is waited for unstarted."""
    if state.loaders is not LoaderState.RUNNING:
        return state.loaders is LoaderState.ABSENT
    return all(not device.never_ready and loader_done(state, device.device) for device in script.devices)


def a_device_fails_to_load(script: Script, state: State, _position: int) -> bool:
    """All it needs is there, and it refuses its config."""
    return state.loaders is not LoaderState.ABSENT and any(device.load_fails for device in script.devices)


def a_loader_has_not_begun(script: Script, state: State, _position: int) -> bool:
    """Main's cleanup takes away what its thread asserts first of all (10.0 and later)."""
    return script.loaders_assert and state.loaders is LoaderState.STARTED


def main_is_before_ram_setup(script: Script, state: State, position: int) -> bool:
    """The packet needs what main sets up, and no rendezvous kept the channel from being faster."""
    if state.setup:
        return False
    return script.channels[position][state.channels[position].next].needs_setup


def the_buffer_is_there_already(script: Script, state: State, position: int) -> bool:
    """The device has a buffer of this index."""
    step = script.channels[position][state.channels[position].next]
    return step.device is not None and step.index is not None and queued(state, step.device, step.index)


def queued(state: State, device: DeviceKey, index: int) -> bool:
    """Whether the buffer ``index`` of ``device`` has arrived."""
    return (*device, index, False) in state.buffers or (*device, index, True) in state.buffers


def loader_done(state: State, device: DeviceKey) -> bool:
    """Whether the loader of ``device`` has its config and every buffer in front of it."""
    mine = ((index, config) for idstr, instance, index, config in state.buffers if (idstr, instance) == device)
    return state_buffers(mine).loadable


def the_host_lets_it_run(_script: Script, _state: State, _position: int) -> bool:
    """Sooner or later."""
    return True


S = TypeVar("S", bound=ChannelState | MainState | LoaderState)


_ACTORS: dict[type, str] = {ChannelState: "channel", MainState: "main", LoaderState: "loaders"}


class Row(NamedTuple, Generic[S]):
    """One transition."""

    state: S
    act: Act | MainAct | None
    """The step that is read. None: a joint transition."""
    guards: tuple[Guard, ...]
    """All of them must hold."""
    to: S
    effect: Effect = Effect.NOTHING
    words: str = ""
    """Joint: what a schedule says of it."""

    @property
    def trigger(self) -> str:
        """What makes it happen, in words."""
        guards = [guard.__name__.replace("_", " ") for guard in self.guards]
        return ", ".join(guards if self.act is None else [str(self.act), *guards])

    @property
    def name(self) -> str:
        """Whose transition, from where and why: no other row has it."""
        return f"{_ACTORS[type(self.state)]}: {self.state}, {self.trigger}"


class Table(NamedTuple, Generic[S]):
    """Every transition of one kind of thread."""

    joint: tuple[Row[S], ...]
    """By themselves, before anything is read: of the rows of a state, the first whose guards hold."""
    instead: tuple[Row[S], ...]
    """What is read, where the guards hold: the first row that fits replaces the one in ``input``."""
    input: tuple[Row[S], ...]
    """What is read, and what comes of it."""


_READING, _WAITING, _DEAD = ChannelState
_LOADING, _COLLECTING, _JOINING, _COMPLETED, _FAILED, _CRASHED, _UNKNOWN = MainState

CHANNEL = Table(
    joint=(
        Row(_WAITING, None, (released,), _READING, Effect.TAKE, "is released"),
        Row(_WAITING, None, (told_to_stop,), _READING, words="is released"),
        Row(_READING, None, (told_to_stop,), _DEAD, words="stops"),
    ),
    instead=(
        Row(_READING, Act.DATA, (main_is_before_ram_setup,), _DEAD, Effect.ABORT),
        Row(_READING, Act.STATE, (main_is_before_ram_setup,), _DEAD, Effect.TERMINATE),
        Row(_READING, Act.STATE, (the_buffer_is_there_already,), _DEAD, Effect.TERMINATE),
    ),
    input=(
        Row(_READING, Act.DATA, (), _READING, Effect.LOAD),
        Row(_READING, Act.STATE, (), _READING, Effect.QUEUE),
        Row(_READING, Act.SYNC, (), _WAITING, Effect.POST),
        Row(_READING, Act.ERROR, (), _DEAD, Effect.TERMINATE),
        Row(_READING, Act.CRASH, (), _DEAD, Effect.ABORT),
        Row(_READING, Act.CLOSE, (), _DEAD),
    ),
)
"""A channel's receive thread. One that comes to Act.OPEN stays where the recording leaves it."""

MAIN = Table(
    joint=(
        Row(_COLLECTING, None, (a_token_of_every_channel,), _LOADING, Effect.RELEASE, str(Effect.RELEASE)),
        Row(_JOINING, None, (an_error_is_recorded, every_loader_is_done), _FAILED, words="finds the recorded error"),
        Row(_JOINING, None, (a_device_fails_to_load, every_loader_is_done), _FAILED, words="a device fails to load"),
        Row(_JOINING, None, (every_loader_is_done,), _COMPLETED, words="completes"),
    ),
    instead=(
        Row(_LOADING, MainAct.FINISH, (an_error_is_recorded, a_loader_has_not_begun), _CRASHED, Effect.ABORT),
        Row(_LOADING, MainAct.FINISH, (an_error_is_recorded,), _FAILED),
        Row(_LOADING, MainAct.FAIL, (a_loader_has_not_begun,), _CRASHED, Effect.ABORT),
    ),
    input=(
        Row(_LOADING, MainAct.SETUP, (), _LOADING, Effect.SET_UP),
        Row(_LOADING, MainAct.START_LOADERS, (), _LOADING, Effect.START),
        Row(_LOADING, MainAct.RENDEZVOUS, (), _COLLECTING),
        Row(_LOADING, MainAct.FAIL, (), _FAILED),
        Row(_LOADING, MainAct.CRASH, (), _CRASHED, Effect.ABORT),
        Row(_LOADING, MainAct.FINISH, (), _JOINING),
        Row(_LOADING, MainAct.OPEN, (), _UNKNOWN),
    ),
)
"""The incoming migration's main process."""

LOADERS = Table(
    joint=(Row(LoaderState.STARTED, None, (the_host_lets_it_run,), LoaderState.RUNNING, words="begin"),),
    instead=(),
    input=(),
)
"""The load threads. What they load is in the conditions of main, which waits for them."""

ON_MAIN = {Effect.ABORT: MainState.CRASHED}
"""What a channel's effect makes of main, wherever it is: the process is one."""

ROWS: tuple[Row[ChannelState] | Row[MainState] | Row[LoaderState], ...] = (
    *CHANNEL.joint,
    *CHANNEL.instead,
    *CHANNEL.input,
    *MAIN.joint,
    *MAIN.instead,
    *MAIN.input,
    *LOADERS.joint,
)
