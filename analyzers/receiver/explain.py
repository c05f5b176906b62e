"""Who waits for whom, since which byte and which frame, and what is stuck behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from analyzers.findings import Outcome
from analyzers.receiver import machine
from analyzers.receiver.device_state import state_buffers
from analyzers.receiver.refusals import refusals
from analyzers.receiver.script import Act, ChannelStep, MainAct, Script
from analyzers.receiver.solve import crashes_before_setup, lockstep, segments
from analyzers.receiver.tables import State
from multifd_codec.device_key import DeviceKey

Frame = Callable[[int | None, int], str]
"""(position of a channel, None for main; offset) to ``offset 4096 (frame 17)``."""


class Carrier(NamedTuple):
    """Where a device-state buffer stands: channel's position in the script, offset of its packet."""

    position: int
    offset: int
    config: bool


Carried = Mapping[tuple[DeviceKey, int], Carrier]
"""Every device-state buffer on the wire, reached or not, by device and index."""

MONITOR = ", the monitor is dead"
MAX_WITNESS_STEPS = 5_000
MAX_WITNESS_LINES = 200


def explain(script: Script, outcomes: frozenset[Outcome], carried: Carried, where: Frame) -> list[str]:
    """Sentences that explain what a script makes the destination do, main first."""
    state = lockstep(script)
    lines: list[str] = []
    if Outcome.UNDECIDED in outcomes:
        lines.append("where the recording ends, this is how things stand")
    if state.blocked:
        lines += _blocked(script, where, dead=Outcome.HANGS in outcomes)
    elif outcomes != {Outcome.COMPLETES}:
        lines += _main_end(script, where)
    if outcomes & {Outcome.HANGS, Outcome.UNDECIDED} and script.main[-1].act is MainAct.FINISH and not state.blocked:
        lines += _loaders(script, carried, where, dead=Outcome.HANGS in outcomes)
    lines += _faults(script, where, skip=state.blockers if state.blocked else ())
    if outcomes != {Outcome.COMPLETES}:
        lines += refusals(script, lambda position, offset: f"{where(position, offset)} of {_name(script, position)}")
    for step in script.may_fail if Outcome.FAILS in outcomes else ():
        lines.append(f"main may fail at {where(None, step.offset)}: {step.reason}")
    if Outcome.CRASHES in outcomes:
        lines += _early(script, where)
    if not state.blocked and script.main[0].act is not MainAct.OPEN:
        for position in (i for i, count in enumerate(state.syncs) if count > state.reached):
            lines += _parked(script, position, state.reached, where)
    if Outcome.LOSES_DATA in outcomes:
        lines += _lost(script, where)
    return lines


def _early(script: Script, where: Frame) -> Iterator[str]:
    """Pages that stand in front of the first SYNC."""
    for position, steps in enumerate(script.channels):
        if crashes_before_setup(steps):
            step = next(step for step in steps if step.act is Act.DATA and step.needs_setup)
            yield (
                f"{_name(script, position)} has pages in front of its first SYNC, at {where(position, step.offset)}: "
                "the process crashes if they are read before main has set up RAM"
            )


def _lost(script: Script, where: Frame) -> Iterator[str]:
    """What is missing or wrong when the migration completes."""
    acts = [step.act for step in script.main]
    if script.devices and MainAct.START_LOADERS not in acts:
        names = ", ".join(sorted({device.device.idstr for device in script.devices}))
        yield f"main carries no SWITCHOVER_START: the loaders of {names} are never started, their state is dropped"
    for device in script.devices:
        if device.loads_wrong:
            yield f"buffers of {device.device.idstr} behind its config are never loaded"
    reached = lockstep(script).reached
    for position, steps in enumerate(script.channels):
        for segment, _, step in segments(steps):
            at = f"{_count(step.packets, 'RAM packet')} at {where(position, step.offset)} of {_name(script, position)}"
            if step.spoils and segment <= reached:
                yield f"{at}: pages are loaded to the wrong place"
            elif step.matters and step.act is Act.DATA and segment > reached:
                yield f"{at}: never loaded, no rendezvous record releases the SYNC in front"
            elif step.matters and step.act is Act.DATA:
                yield f"{at}: no rendezvous waits for them, they are loaded only if the channel is faster than main"


def _name(script: Script, position: int) -> str:
    return f"channel {script.channel_ids[position]}"


def _blocked(script: Script, where: Frame, *, dead: bool) -> Iterator[str]:
    state = lockstep(script)
    records = [step for step in script.main if step.act is MainAct.RENDEZVOUS]
    record, count = records[state.reached], len(script.channels)
    given = count - len(state.blockers)
    yield (
        f"main waits in its rendezvous {state.reached + 1} of {state.records} ({record.reason} at "
        f"{where(None, record.offset)}): {given} of {count} tokens are there{MONITOR * dead}"
    )
    for position in state.blockers:
        step = script.channels[position][-1]
        what = {
            Act.ERROR: f"ends with an error at {where(position, step.offset)}: {step.reason}",
            Act.CRASH: f"crashes the process at {where(position, step.offset)}: {step.reason}",
            Act.CLOSE: f"is closed at {where(position, step.offset)}",
            Act.OPEN: f"is not recorded any further than {where(position, step.offset)}",
        }[step.act]
        syncs = f"gives {state.reached} of {state.records} SYNCs"
        yield f"main waits for {_name(script, position)}, which {syncs} and then {what}"
    waiting = [i for i, syncs in enumerate(state.syncs) if syncs > state.reached]
    if waiting:
        names = ", ".join(str(script.channel_ids[i]) for i in waiting)
        who = (
            f"channels {names} have given theirs and wait"
            if waiting[1:]
            else f"channel {names} has given its and waits"
        )
        yield f"{who} for the release"
    for position in waiting:
        behind = list(_behind(script, position, state.reached))
        if behind:
            yield f"behind it on {_name(script, position)}: {_sum(behind)}"


def _main_end(script: Script, where: Frame) -> Iterator[str]:
    end = script.main[-1]
    match end.act:
        case MainAct.FAIL:
            yield f"main fails at {where(None, end.offset)}: {end.reason}"
        case MainAct.CRASH:
            yield f"main crashes the process at {where(None, end.offset)}: {end.reason}"
        case MainAct.OPEN:
            yield f"what main does behind {where(None, end.offset)} is not known: {end.reason}"


def _faults(script: Script, where: Frame, skip: Sequence[int]) -> Iterator[str]:
    state = lockstep(script)
    for position, steps in enumerate(script.channels):
        last = steps[-1]
        if last.act not in (Act.ERROR, Act.CRASH) or position in skip or state.syncs[position] > state.reached:
            continue
        yield f"{_name(script, position)} ends with an error at {where(position, last.offset)}: {last.reason}"
        if script.error_fails and last.act is Act.ERROR and script.main[-1].act is MainAct.FINISH:
            yield "if main sees this error before it waits for the device loaders, the migration fails"


def _parked(script: Script, position: int, reached: int, where: Frame) -> Iterator[str]:
    sync = next(
        step for segment, _, step in segments(script.channels[position]) if segment == reached and step.act is Act.SYNC
    )
    behind = list(_behind(script, position, reached))
    tail = f"; never read behind it: {_sum(behind)}" if behind else "; nothing stands behind it"
    yield (
        f"{_name(script, position)} is parked since its SYNC at {where(position, sync.offset)}: "
        f"main carries {reached} rendezvous records, none releases it{tail}"
    )


def _behind(script: Script, position: int, reached: int) -> Iterator[ChannelStep]:
    for segment, _, step in segments(script.channels[position]):
        if segment > reached and step.act in (Act.DATA, Act.STATE, Act.SYNC):
            yield step


def _sum(steps: Sequence[ChannelStep]) -> str:
    """``4 device-state packets of 0000:00:05.0/vfio (66.8 kB), 2 RAM packets, 1 SYNC``."""
    parts = []
    devices: dict[DeviceKey, list[ChannelStep]] = {}
    for step in steps:
        if step.act is Act.STATE and step.device is not None:
            devices.setdefault(step.device, []).append(step)
    for device, mine in devices.items():
        size = sum(step.end - step.offset for step in mine)
        parts.append(f"{_count(len(mine), 'device-state packet')} of {device.idstr} ({size:,} bytes)")
    ram = sum(step.packets for step in steps if step.act is Act.DATA)
    if ram:
        parts.append(_count(ram, "RAM packet"))
    syncs = sum(step.act is Act.SYNC for step in steps)
    if syncs:
        parts.append(_count(syncs, "SYNC"))
    return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _loaders(script: Script, carried: Carried, where: Frame, *, dead: bool) -> Iterator[str]:
    """What the device loaders wait for."""
    reached = lockstep(script).reached
    end = script.main[-1]
    for device in script.devices:
        arrived = {
            step.index: step.config
            for steps in script.channels
            for segment, _, step in segments(steps)
            if step.device == device.device and step.index is not None and segment <= reached
        }
        mine = {index: place for (owner, index), place in carried.items() if owner == device.device}
        last = state_buffers(arrived.items()).config
        wanted = last if last is not None else state_buffers((i, buffer.config) for i, buffer in mine.items()).config
        highest = wanted if wanted is not None else max((*arrived, *mine), default=-1)
        absent = [index for index in range(min(highest + 1, len(mine) + 10)) if index not in arrived]
        if last is not None and not absent:
            continue
        name = f"{device.device.idstr} instance {device.device.instance_id}"
        yield f"main waits at its EOF byte ({where(None, end.offset)}) for the loader of {name}{MONITOR * dead}"
        yield from _absent(script, absent, mine, where)
        if wanted is None:
            yield f"the loader waits for the config of {name}, which no channel carries"
        if last is not None and len(absent) == 1 and absent[0] not in mine:
            yield "a 10.0 source without a return path can exit before a channel has sent its last packet, as here"


def _absent(script: Script, absent: Sequence[int], mine: dict[int, Carrier], where: Frame) -> Iterator[str]:
    nowhere = [index for index in absent if index not in mine]
    if nowhere:
        yield f"the loader waits for buffer {_list(nowhere)}, which no channel carries"
    by_channel: dict[int, list[int]] = {}
    for index in absent:
        if index in mine:
            by_channel.setdefault(mine[index].position, []).append(index)
    for position, indices in by_channel.items():
        first = where(position, min(mine[index].offset for index in indices))
        yield (f"the loader waits for buffer {_list(indices)}, never read at {first} of {_name(script, position)}")


def _list(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return f"{shown} and {len(numbers) - 8} more" if len(numbers) > 8 else shown


def witness(script: Script, wanted: Outcome, where: Frame) -> list[str]:
    """A schedule that ends in ``wanted``, step by step; empty when none of the simple schedules gets there."""
    total = sum(map(len, script.channels)) + len(script.main)
    if total > MAX_WITNESS_STEPS:
        return []
    everyone: list[str | int] = list(range(len(script.channels)))
    orders: list[list[str | int]] = [["main", *everyone], [*everyone, "main"], [*reversed(everyone), "main"]]
    orders += [[first, "main", *(i for i in everyone if i != first)] for first in everyone[:16]]
    orders += [["main", *(i for i in everyone if i != last), last] for last in everyone[:16]]
    for order in orders:
        lines, ended = _run(script, order, where)
        if ended is wanted:
            return lines
    return []


def _run(script: Script, order: Sequence[str | int], where: Frame) -> tuple[list[str], Outcome]:
    state, lines = machine.start(script), []
    while True:
        possible = {move.actor: move for move in machine.moves(script, state)}
        actor = next((actor for actor in order if actor in possible), None)
        if actor is None:
            break
        lines.append(_line(script, state, possible[actor], where))
        state = possible[actor].state
    ended = machine.outcome(script, state)
    lines.append(f"nothing more happens: {ended}" if ended is Outcome.HANGS else f"the destination {_verb(ended)}")
    if len(lines) > MAX_WITNESS_LINES:
        lines = [f"({len(lines) - MAX_WITNESS_LINES} steps left out)", *lines[-MAX_WITNESS_LINES:]]
    return lines, ended


def _verb(outcome: Outcome) -> str:
    return {
        Outcome.COMPLETES: "completes",
        Outcome.LOSES_DATA: "completes with wrong memory or device state",
        Outcome.FAILS: "fails",
        Outcome.CRASHES: "crashes",
    }.get(outcome, str(outcome))


def _line(script: Script, state: State, move: machine.Move, where: Frame) -> str:
    row = move.row
    if isinstance(move.actor, str):
        if row.act is None:
            return f"main: {row.words}"
        step = script.main[state.next]
        return f"main: {step.reason or row.act} at {where(None, step.offset)}"
    name = _name(script, move.actor)
    if row.act is None:
        return f"{name}: {row.words}"
    offset = script.channels[move.actor][state.channels[move.actor].next].offset
    return f"{name}: {row.act}: {row.effect} at {where(move.actor, offset)}"
