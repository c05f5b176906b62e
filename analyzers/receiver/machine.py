"""One step of the whole destination, as the rows of ``tables`` have it, and what it has come to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from analyzers.findings import Outcome
from analyzers.receiver.script import Act, ChannelStep, MainAct, Script
from analyzers.receiver.tables import (
    CHANNEL,
    LOADERS,
    MAIN,
    ON_MAIN,
    STOPPED,
    ChannelState,
    Effect,
    LoaderState,
    MainState,
    Row,
    S,
    State,
    Table,
    Thread,
    loader_done,
    queued,
)


class Move(NamedTuple):
    """One possible step: ``actor`` is ``"main"``, ``"loaders"`` or a channel's position in the script."""

    actor: str | int
    row: Row[ChannelState] | Row[MainState] | Row[LoaderState]
    state: State
    """The destination behind it."""


def start(script: Script) -> State:
    """The destination with all channels connected and nothing read."""
    channels = tuple(Thread(ChannelState.READING, 0, released=False) for _ in script.channels)
    return State(
        main=MainState.LOADING,
        next=0,
        tokens=0,
        channels=channels,
        stopping=False,
        error=False,
        setup=False,
        loaders=LoaderState.ABSENT,
        buffers=frozenset(),
        wrong=False,
    )


def moves(script: Script, state: State) -> Iterator[Move]:
    """Every step that can happen next. None: the destination has stopped, or hangs."""
    if state.main in STOPPED:
        return
    main = _main_row(script, state)
    if main is not None:
        yield Move("main", main, _behind_main(script, state, main))
    if state.loaders is LoaderState.STARTED:
        yield Move("loaders", LOADERS.joint[0], state._replace(loaders=LOADERS.joint[0].to))
    for position, thread in enumerate(state.channels):
        row = _channel_row(script, state, position, thread)
        if row is not None:
            yield Move(position, row, _behind_channel(script, state, position, row))


def outcome(script: Script, state: State) -> Outcome:
    """What the destination has come to, in a state without moves."""
    match state.main:
        case MainState.CRASHED:
            return Outcome.CRASHES
        case MainState.FAILED:
            return Outcome.CRASHES if script.crashes_at_cleanup else Outcome.FAILS
        case MainState.COMPLETED:
            if script.crashes_at_cleanup:
                return Outcome.CRASHES
            return Outcome.LOSES_DATA if _state_wrong(script, state) else Outcome.COMPLETES
        case MainState.UNKNOWN:
            return Outcome.UNDECIDED
        case MainState.COLLECTING:
            waiting = sum(_at_open_end(script, state, i) for i in range(len(state.channels)))
            return Outcome.UNDECIDED if state.tokens + waiting >= len(state.channels) else Outcome.HANGS
        case _:
            return Outcome.UNDECIDED if _missing_could_come(script, state) else Outcome.HANGS


Joint = dict[S, list[Row[S]]]
Input = dict[tuple[S, Act | MainAct | None], list[Row[S]]]


def _indexed(table: Table[S]) -> tuple[Joint[S], Input[S]]:
    joint: Joint[S] = defaultdict(list)
    inputs: Input[S] = defaultdict(list)
    for row in table.joint:
        joint[row.state].append(row)
    for row in table.instead + table.input:
        inputs[row.state, row.act].append(row)
    return joint, inputs


_CHANNEL_JOINT, _CHANNEL_INPUT = _indexed(CHANNEL)
_MAIN_JOINT, _MAIN_INPUT = _indexed(MAIN)


def _main_row(script: Script, state: State) -> Row[MainState] | None:
    row = _first(_MAIN_JOINT[state.main], script, state, 0)
    if row is None and state.main is MainState.LOADING:
        row = _first(_MAIN_INPUT[state.main, script.main[state.next].act], script, state, 0)
    return row


def _channel_row(script: Script, state: State, position: int, thread: Thread) -> Row[ChannelState] | None:
    row = _first(_CHANNEL_JOINT[thread.state], script, state, position)
    if row is None and thread.state is ChannelState.READING:
        act = script.channels[position][thread.next].act
        row = _first(_CHANNEL_INPUT[thread.state, act], script, state, position)
    return row


def _first(rows: list[Row[S]], script: Script, state: State, position: int) -> Row[S] | None:
    for row in rows:
        for guard in row.guards:
            if not guard(script, state, position):
                break
        else:
            return row
    return None


# States are built field by field: ``_replace`` takes several times as long, and exploring builds little else.


def _behind_main(script: Script, state: State, row: Row[MainState]) -> State:
    _, number, tokens, channels, stopping, error, setup, loaders, buffers, wrong = state
    match row.effect:
        case Effect.SET_UP:
            setup = True
        case Effect.START:
            loaders = LoaderState.STARTED if script.loaders_assert and script.devices else LoaderState.RUNNING
        case Effect.RELEASE:
            tokens -= len(channels)
            channels = tuple([Thread(thread.state, thread.next, True) for thread in channels])
    if row.act is not None:
        number += 1
    return State(row.to, number, tokens, channels, stopping, error, setup, loaders, buffers, wrong)


def _behind_channel(script: Script, state: State, position: int, row: Row[ChannelState]) -> State:
    main, main_next, tokens, channels, stopping, error, setup, loaders, buffers, wrong = state
    _, number, released = channels[position]
    effect = row.effect
    if row.act is not None:
        step = script.channels[position][number]
        number += 1
        match effect:
            case Effect.POST:
                tokens += 1
            case Effect.LOAD:
                wrong = wrong or step.spoils
            case Effect.QUEUE:
                buffers |= _buffer(step)
            case Effect.TERMINATE:
                stopping = error = True
                if row.act is Act.ERROR:
                    buffers |= _buffer(step)  # one whose flags are wrong is loaded first
            case Effect.ABORT:
                main = ON_MAIN[effect]
    elif effect is Effect.TAKE:
        released = False
    channels = (*channels[:position], Thread(row.to, number, released), *channels[position + 1 :])
    return State(main, main_next, tokens, channels, stopping, error, setup, loaders, buffers, wrong)


def _buffer(step: ChannelStep) -> frozenset[tuple[str, int, int, bool]]:
    if step.device is None or step.index is None:
        return frozenset()
    return frozenset({(*step.device, step.index, step.config)})


def _state_wrong(script: Script, state: State) -> bool:
    unread = any(
        step.matters and (index >= thread.next or step.act is Act.ERROR)
        for steps, thread in zip(script.channels, state.channels, strict=True)
        for index, step in enumerate(steps)
    )
    unloaded = state.loaders is LoaderState.ABSENT and bool(script.devices)
    return (
        state.wrong or unread or unloaded or script.memory_wrong or any(device.loads_wrong for device in script.devices)
    )


def _at_open_end(script: Script, state: State, position: int) -> bool:
    thread = state.channels[position]
    return thread.state is ChannelState.READING and script.channels[position][thread.next].act is Act.OPEN


def _missing_could_come(script: Script, state: State) -> bool:
    """Whether what the loaders wait for may stand behind the end of the recording, not behind a stuck channel."""
    if not any(_at_open_end(script, state, i) for i in range(len(state.channels))):
        return False
    if any(device.never_ready for device in script.devices):
        return False
    stuck = [step for steps, at in zip(script.channels, state.channels, strict=True) for step in steps[at.next :]]
    waiting = {device.device for device in script.devices if not loader_done(state, device.device)}
    return not any(
        step.act is Act.STATE
        and step.device in waiting
        and step.device is not None
        and not (step.index is not None and queued(state, step.device, step.index))
        for step in stuck
    )
