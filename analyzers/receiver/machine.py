"""The receiver's state tables, and one step of the whole destination.

Sources: multifd_recv_thread, multifd_recv_sync_main, multifd_recv_terminate_threads (migration/multifd.c),
qemu_loadvm_state (migration/savevm.c), process_incoming_migration_co (migration/migration.c); 4.0 to 11.1.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import NamedTuple

from analyzers.findings import Outcome
from analyzers.receiver.script import Act, ChannelStep, MainAct, Script


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


class Effect(enum.StrEnum):
    """What a transition does beside changing the state."""

    NOTHING = "nothing"
    LOAD = "pages are loaded"
    QUEUE = "a buffer is queued"
    POST = "one token for main"
    TERMINATE = "the error is recorded, every channel is told to stop"
    RELEASE = "every channel is released"
    ABORT = "the process ends"


CHANNEL: dict[tuple[ChannelState, Act], tuple[ChannelState, Effect]] = {
    (ChannelState.READING, Act.DATA): (ChannelState.READING, Effect.LOAD),
    (ChannelState.READING, Act.STATE): (ChannelState.READING, Effect.QUEUE),
    (ChannelState.READING, Act.SYNC): (ChannelState.WAITING, Effect.POST),
    (ChannelState.READING, Act.ERROR): (ChannelState.DEAD, Effect.TERMINATE),
    (ChannelState.READING, Act.CRASH): (ChannelState.DEAD, Effect.ABORT),
    (ChannelState.READING, Act.CLOSE): (ChannelState.DEAD, Effect.NOTHING),
}
"""A pair that is not listed cannot happen: the thread blocks. A thread told to stop goes from READING to DEAD at its
next packet, and from WAITING to READING first."""

MAIN: dict[tuple[MainState, MainAct], tuple[MainState, Effect]] = {
    (MainState.LOADING, MainAct.SETUP): (MainState.LOADING, Effect.NOTHING),
    (MainState.LOADING, MainAct.START_LOADERS): (MainState.LOADING, Effect.NOTHING),
    (MainState.LOADING, MainAct.RENDEZVOUS): (MainState.COLLECTING, Effect.NOTHING),
    (MainState.LOADING, MainAct.FAIL): (MainState.FAILED, Effect.NOTHING),
    (MainState.LOADING, MainAct.CRASH): (MainState.CRASHED, Effect.ABORT),
    (MainState.LOADING, MainAct.FINISH): (MainState.JOINING, Effect.NOTHING),
    (MainState.LOADING, MainAct.OPEN): (MainState.UNKNOWN, Effect.NOTHING),
}
"""COLLECTING goes back to LOADING (RELEASE) when a token of every channel is there. An error recorded before FINISH, or
found when every loader is done, leads to FAILED instead of JOINING or COMPLETED; one recorded between wakes nobody."""

STOPPED = frozenset({MainState.COMPLETED, MainState.FAILED, MainState.CRASHED})


class ChannelPlace(NamedTuple):
    """Where one channel is."""

    state: ChannelState
    next: int
    """Index of its next step."""
    released: bool
    """A release is waiting to be taken."""


class Place(NamedTuple):
    """Where the whole destination is."""

    main: MainState
    next: int
    tokens: int
    """Tokens given and not yet collected."""
    channels: tuple[ChannelPlace, ...]
    stopping: bool
    """Every channel was told to stop."""
    error: bool
    """An error is recorded."""
    setup: bool
    loaders: bool
    buffers: frozenset[tuple[str, int, int, bool]]
    """Queued buffers: idstr, instance, index, config."""
    wrong: bool
    """Something was loaded that spoils memory."""


class Move(NamedTuple):
    """One possible step: ``actor`` is ``"main"`` or a channel's position in the script."""

    actor: str | int
    text: str
    place: Place


def start(script: Script) -> Place:
    """The destination with all channels connected and nothing read."""
    channels = tuple(ChannelPlace(ChannelState.READING, 0, False) for _ in script.channels)
    return Place(MainState.LOADING, 0, 0, channels, False, False, False, False, frozenset(), False)


def moves(script: Script, place: Place) -> Iterator[Move]:
    """Every step that can happen next. None: the destination has stopped, or hangs."""
    if place.main in STOPPED:
        return
    move = _main_move(script, place)
    if move is not None:
        yield move
    for position in range(len(place.channels)):
        move = _channel_move(script, place, position)
        if move is not None:
            yield move


def outcome(script: Script, place: Place) -> Outcome:
    """What the destination has come to, at a place without moves."""
    match place.main:
        case MainState.CRASHED:
            return Outcome.CRASHES
        case MainState.FAILED:
            return Outcome.CRASHES if script.crashes_at_cleanup else Outcome.FAILS
        case MainState.COMPLETED:
            if script.crashes_at_cleanup:
                return Outcome.CRASHES
            return Outcome.LOSES_DATA if _state_wrong(script, place) else Outcome.COMPLETES
        case MainState.UNKNOWN:
            return Outcome.UNDECIDED
        case MainState.COLLECTING:
            waiting = sum(_at_open_end(script, place, i) for i in range(len(place.channels)))
            return Outcome.UNDECIDED if place.tokens + waiting >= len(place.channels) else Outcome.HANGS
        case _:
            return Outcome.UNDECIDED if _missing_could_come(script, place) else Outcome.HANGS


def loader_done(script: Script, place: Place, position: int) -> bool:
    """Whether the loader of the device at ``position`` has its config and every buffer in front of it."""
    device = script.devices[position].device
    mine = [(index, config) for idstr, instance, index, config in place.buffers if (idstr, instance) == device]
    last = max((index for index, config in mine if config), default=None)
    return last is not None and {index for index, _ in mine} >= set(range(last + 1))


def _main_move(script: Script, place: Place) -> Move | None:
    if place.main is MainState.COLLECTING:
        count = len(place.channels)
        if place.tokens < count:
            return None
        channels = tuple(ChannelPlace(channel.state, channel.next, True) for channel in place.channels)
        back = Place(MainState.LOADING, place.next, place.tokens - count, channels, *place[4:])
        return Move("main", Effect.RELEASE, back)
    if place.main is MainState.JOINING:
        if place.loaders and not all(loader_done(script, place, i) for i in range(len(script.devices))):
            return None
        if place.error and script.error_fails:
            return Move("main", "finds the recorded error", place._replace(main=MainState.FAILED))
        if place.loaders and any(device.load_fails for device in script.devices):
            return Move("main", "a device fails to load", place._replace(main=MainState.FAILED))
        return Move("main", "completes", place._replace(main=MainState.COMPLETED))
    if place.main is MainState.UNKNOWN:
        return None
    step = script.main[place.next]
    state, _ = MAIN[place.main, step.act]
    if state is MainState.JOINING and place.error and script.error_fails:
        state = MainState.FAILED
    behind = Place(
        state,
        place.next + 1,
        place.tokens,
        place.channels,
        place.stopping,
        place.error,
        place.setup or step.act is MainAct.SETUP,
        place.loaders or step.act is MainAct.START_LOADERS,
        place.buffers,
        place.wrong,
    )
    return Move("main", step.act.value, behind)


def _channel_move(script: Script, place: Place, position: int) -> Move | None:
    state, number, released = place.channels[position]
    if state is ChannelState.WAITING and (released or place.stopping):
        return _moved(place, position, ChannelPlace(ChannelState.READING, number, False), "is released")
    if state is not ChannelState.READING:
        return None
    if place.stopping:
        return _moved(place, position, ChannelPlace(ChannelState.DEAD, number, released), "stops")
    step = script.channels[position][number]
    row = CHANNEL.get((state, step.act))
    if row is None:
        return None
    state, effect = row
    if effect is Effect.LOAD and step.needs_setup and not place.setup:
        effect = Effect.ABORT
    if effect is Effect.QUEUE and ((step.needs_setup and not place.setup) or _already_queued(place, step)):
        state, effect = ChannelState.DEAD, Effect.TERMINATE
    place = _apply(place, effect, step)
    return _moved(place, position, ChannelPlace(state, number + 1, released), _TEXTS[step.act, effect])


_TEXTS = {(act, effect): f"{act}: {effect}" for act in Act for effect in Effect}

# Places are built field by field: ``_replace`` takes several times as long, and exploring builds little else.


def _apply(place: Place, effect: Effect, step: ChannelStep) -> Place:
    main, number, tokens, channels, stopping, error, setup, loaders, buffers, wrong = place
    match effect:
        case Effect.POST:
            tokens += 1
        case Effect.LOAD if step.spoils:
            wrong = True
        case Effect.QUEUE:
            buffers |= _buffer(step)
        case Effect.TERMINATE:
            stopping = error = True
            buffers |= _buffer(step)
        case Effect.ABORT:
            main = MainState.CRASHED
        case _:
            return place
    return Place(main, number, tokens, channels, stopping, error, setup, loaders, buffers, wrong)


def _moved(place: Place, position: int, channel: ChannelPlace, text: str) -> Move:
    channels = (*place.channels[:position], channel, *place.channels[position + 1 :])
    main, number, tokens, _, stopping, error, setup, loaders, buffers, wrong = place
    moved = Place(main, number, tokens, channels, stopping, error, setup, loaders, buffers, wrong)
    return Move(position, text, moved)


def _buffer(step: ChannelStep) -> frozenset[tuple[str, int, int, bool]]:
    if step.device is None or step.index is None:
        return frozenset()
    return frozenset({(*step.device, step.index, step.config)})


def _already_queued(place: Place, step: ChannelStep) -> bool:
    if step.device is None or step.index is None:
        return False
    known = (*step.device, step.index)
    return (*known, step.config) in place.buffers or (*known, not step.config) in place.buffers


def _state_wrong(script: Script, place: Place) -> bool:
    unread = any(
        step.matters and (index >= channel.next or step.act is Act.ERROR)
        for steps, channel in zip(script.channels, place.channels, strict=True)
        for index, step in enumerate(steps)
    )
    unloaded = not place.loaders and bool(script.devices)
    return (
        place.wrong or unread or unloaded or script.memory_wrong or any(device.loads_wrong for device in script.devices)
    )


def _at_open_end(script: Script, place: Place, position: int) -> bool:
    channel = place.channels[position]
    return channel.state is ChannelState.READING and script.channels[position][channel.next].act is Act.OPEN


def _missing_could_come(script: Script, place: Place) -> bool:
    """Whether what the loaders wait for may stand behind the end of the recording, not behind a stuck channel."""
    if not any(_at_open_end(script, place, i) for i in range(len(place.channels))):
        return False
    stuck = [step for steps, at in zip(script.channels, place.channels, strict=True) for step in steps[at.next :]]
    waiting = _waiting_devices(script, place)
    return not any(
        step.act is Act.STATE and step.device in waiting and not _already_queued(place, step) for step in stuck
    )


def _waiting_devices(script: Script, place: Place) -> set[object]:
    return {device.device for i, device in enumerate(script.devices) if not loader_done(script, place, i)}
