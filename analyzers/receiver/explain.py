"""Who waits for whom, since which byte, and what is stuck behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from analyzers.findings import (
    MAX_LISTED,
    Actor,
    ChannelEnd,
    Kind,
    Location,
    Outcome,
    Party,
    Reason,
    Share,
    Step,
    Stuck,
    StuckState,
)
from analyzers.receiver import machine
from analyzers.receiver.device_state import state_buffers
from analyzers.receiver.refusals import refusals
from analyzers.receiver.script import Act, ChannelStep, MainAct, MainStep, Script
from analyzers.receiver.solve import crashes_before_setup, lockstep, segments
from analyzers.receiver.tables import State
from multifd_codec.device_key import DeviceKey


class Carrier(NamedTuple):
    """Where a device-state buffer stands: channel's position in the script, offset of its packet."""

    position: int
    offset: int
    config: bool


Carried = Mapping[tuple[DeviceKey, int], Carrier]
"""Every device-state buffer on the wire, reached or not, by device and index."""

MAX_WITNESS_STEPS = 5_000
MAX_WITNESS_LINES = 200

ENDS = {
    Act.ERROR: ChannelEnd.ERROR,
    Act.CRASH: ChannelEnd.CRASH,
    Act.CLOSE: ChannelEnd.CLOSED,
    Act.OPEN: ChannelEnd.NOT_RECORDED,
}
MAIN_ENDS = {MainAct.FAIL: Kind.MAIN_FAILS, MainAct.CRASH: Kind.MAIN_CRASHES, MainAct.OPEN: Kind.MAIN_UNKNOWN}
MAIN = Party(Actor.MAIN)


def explain(script: Script, outcomes: frozenset[Outcome], carried: Carried) -> list[Reason]:
    """What a script makes the destination do, main first; without frame numbers."""
    state = lockstep(script)
    reasons: list[Reason] = []
    if Outcome.UNDECIDED in outcomes:
        reasons.append(_recording_ends(script))
    if state.blocked:
        reasons += _blocked(script, dead=Outcome.HANGS in outcomes)
    elif outcomes != {Outcome.COMPLETES} and script.main[-1].act in MAIN_ENDS:
        reasons.append(_at_main(MAIN_ENDS[script.main[-1].act], script.main[-1]))
    if outcomes & {Outcome.HANGS, Outcome.UNDECIDED} and script.main[-1].act is MainAct.FINISH and not state.blocked:
        reasons += _loaders(script, carried, dead=Outcome.HANGS in outcomes)
    reasons += _faults(script, skip=state.blockers if state.blocked else ())
    if outcomes != {Outcome.COMPLETES}:
        reasons += refusals(script)
    if Outcome.FAILS in outcomes:
        reasons += [_at_main(Kind.MAIN_MAY_FAIL, step) for step in script.may_fail]
    if Outcome.CRASHES in outcomes:
        reasons += _early(script)
        reasons += _assertions(script)
    if not state.blocked and script.main[0].act is not MainAct.OPEN:
        for position in (i for i, count in enumerate(state.syncs) if count > state.reached):
            reasons.append(parked(script, position, state.reached))
    if Outcome.LOSES_DATA in outcomes:
        reasons += _lost(script)
    return reasons


def _recording_ends(script: Script) -> Reason:
    """At the end of what was recorded of main, or else of each channel."""
    ends = [Location("main", script.main[-1].offset)] if script.main[-1].act is MainAct.OPEN else []
    ends += [
        Location(channel, steps[-1].offset)
        for channel, steps in zip(script.channel_ids, script.channels, strict=True)
        if steps[-1].act is Act.OPEN
    ]
    reason = Reason(Kind.RECORDING_ENDS, Actor.DESTINATION, also=tuple(ends[1:]))
    return reason._replace(channel=ends[0].channel, offset=ends[0].offset) if ends else reason


def _at_main(kind: Kind, step: MainStep) -> Reason:
    return Reason(kind, Actor.MAIN, "main", step.offset, because=step.reason, rule=step.rule)


def _early(script: Script) -> Iterator[Reason]:
    """Pages that stand in front of the first SYNC."""
    for position, steps in enumerate(script.channels):
        if crashes_before_setup(steps):
            step = next(step for step in steps if step.act is Act.DATA and step.needs_setup)
            yield _at_channel(Kind.PAGES_BEFORE_SETUP, script, position, step)._replace(packets=step.packets)


def _assertions(script: Script) -> Iterator[Reason]:
    """A load that fails behind SWITCHOVER_START may find loaders that have not begun."""
    started = [step for step in script.main if step.act is MainAct.START_LOADERS]
    if started and script.devices and script.loaders_assert:
        devices = tuple(device.device for device in script.devices)
        yield _at_main(Kind.LOADERS_MAY_ASSERT, started[0])._replace(devices=devices)


def _at_channel(kind: Kind, script: Script, position: int, step: ChannelStep) -> Reason:
    return Reason(kind, Actor.CHANNEL, script.channel_ids[position], step.offset)


def _lost(script: Script) -> Iterator[Reason]:
    """What is missing or wrong when the migration completes."""
    acts = [step.act for step in script.main]
    if script.devices and MainAct.START_LOADERS not in acts:
        devices = tuple(device.device for device in script.devices)
        yield Reason(Kind.LOADERS_NOT_STARTED, Actor.MAIN, "main", script.main[-1].offset, devices=devices)
    for device in script.devices:
        if device.loads_wrong:
            yield Reason(Kind.BUFFERS_BEHIND_CONFIG, Actor.LOADER, devices=(device.device,))
    reached = lockstep(script).reached
    for position, steps in enumerate(script.channels):
        for segment, _, step in segments(steps):
            if step.spoils and segment <= reached:
                kind = Kind.PAGES_MISPLACED
            elif step.matters and step.act is Act.DATA:
                kind = Kind.PAGES_UNREAD if segment > reached else Kind.PAGES_UNAWAITED
            else:
                continue
            yield _at_channel(kind, script, position, step)._replace(packets=step.packets)


def _blocked(script: Script, *, dead: bool) -> Iterator[Reason]:
    state = lockstep(script)
    records = [step for step in script.main if step.act is MainAct.RENDEZVOUS]
    record, count = records[state.reached], len(script.channels)
    rendezvous = Share(state.reached + 1, state.records)
    yield Reason(
        Kind.MAIN_WAITS_FOR_TOKENS,
        Actor.MAIN,
        "main",
        record.offset,
        waits_for=tuple(Party(Actor.CHANNEL, script.channel_ids[position]) for position in state.blockers),
        rendezvous=rendezvous,
        record=record.reason,
        tokens=Share(count - len(state.blockers), count),
        monitor_alive=False if dead else None,
    )
    for position in state.blockers:
        step = script.channels[position][-1]
        yield _at_channel(Kind.TOO_FEW_SYNCS, script, position, step)._replace(
            rendezvous=rendezvous,
            syncs=Share(state.reached, state.records),
            ended=ENDS[step.act],
            because=step.reason,
            rule=step.rule,
        )
    waiting = [i for i, syncs in enumerate(state.syncs) if syncs > state.reached]
    if waiting:
        first, *others = (Location(script.channel_ids[i], _parked_at(script, i, state.reached)) for i in waiting)
        yield Reason(
            Kind.WAITS_FOR_RELEASE, Actor.CHANNEL, *first, also=tuple(others), waits_for=(MAIN,), rendezvous=rendezvous
        )
    for position in waiting:
        behind = list(_behind(script, position, state.reached))
        if behind:
            yield _at_channel(Kind.BEHIND_IT, script, position, behind[0])._replace(stuck=_stuck(behind))


def _faults(script: Script, skip: Sequence[int]) -> Iterator[Reason]:
    state = lockstep(script)
    for position, steps in enumerate(script.channels):
        last = steps[-1]
        if last.act not in (Act.ERROR, Act.CRASH) or position in skip or state.syncs[position] > state.reached:
            continue
        yield _at_channel(Kind.CHANNEL_FAILS, script, position, last)._replace(
            ended=ENDS[last.act], because=last.reason, rule=last.rule
        )
        if script.error_fails and last.act is Act.ERROR and script.main[-1].act is MainAct.FINISH:
            yield Reason(Kind.ERROR_SEEN_EARLY, Actor.MAIN, "main", script.main[-1].offset)


def _parked_at(script: Script, position: int, reached: int) -> int:
    """Offset of the SYNC that rendezvous ``reached`` (from 0) would release."""
    steps = segments(script.channels[position])
    return next(step.offset for segment, _, step in steps if segment == reached and step.act is Act.SYNC)


def parked(script: Script, position: int, reached: int) -> Reason:
    """A channel that waits at the SYNC which rendezvous ``reached`` (from 0) would release."""
    behind = list(_behind(script, position, reached))
    return Reason(
        Kind.PARKED,
        Actor.CHANNEL,
        script.channel_ids[position],
        _parked_at(script, position, reached),
        waits_for=(MAIN,),
        rendezvous=Share(reached + 1, reached),
        stuck=_stuck(behind) if behind else None,
    )


def _behind(script: Script, position: int, reached: int) -> Iterator[ChannelStep]:
    for segment, _, step in segments(script.channels[position]):
        if segment > reached and step.act in (Act.DATA, Act.STATE, Act.SYNC):
            yield step


def _stuck(steps: Sequence[ChannelStep]) -> Stuck:
    devices: dict[DeviceKey, list[ChannelStep]] = {}
    for step in steps:
        if step.act is Act.STATE and step.device is not None:
            devices.setdefault(step.device, []).append(step)
    return Stuck(
        tuple(
            StuckState(key, len(mine), sum(step.end - step.offset for step in mine)) for key, mine in devices.items()
        ),
        sum(step.packets for step in steps if step.act is Act.DATA),
        sum(step.act is Act.SYNC for step in steps),
    )


def _loaders(script: Script, carried: Carried, *, dead: bool) -> Iterator[Reason]:
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
        if last is not None and not absent and not device.never_ready:
            continue
        yield Reason(
            Kind.MAIN_WAITS_FOR_LOADER,
            Actor.MAIN,
            "main",
            end.offset,
            waits_for=(Party(Actor.LOADER, device=device.device),),
            devices=(device.device,),
            monitor_alive=False if dead else None,
        )
        loader = Reason(Kind.WAITS_FOR_BUFFER, Actor.LOADER, devices=(device.device,))
        yield from _absent(loader, script, absent, mine)
        if device.never_ready:
            yield loader._replace(kind=Kind.WAITS_FOR_READY, waits_for=(Party(Actor.SOURCE),))
        if wanted is None:
            yield loader._replace(kind=Kind.WAITS_FOR_CONFIG, waits_for=(Party(Actor.SOURCE),))
        if last is not None and len(absent) == 1 and absent[0] not in mine:
            yield Reason(Kind.SOURCE_LEFT_EARLY, Actor.SOURCE)


def _absent(loader: Reason, script: Script, absent: Sequence[int], mine: dict[int, Carrier]) -> Iterator[Reason]:
    """``loader``: the reason without buffers."""
    nowhere = [index for index in absent if index not in mine]
    if nowhere:
        yield _listing(loader, nowhere)._replace(waits_for=(Party(Actor.SOURCE),))
    by_channel: dict[int, list[int]] = {}
    for index in absent:
        if index in mine:
            by_channel.setdefault(mine[index].position, []).append(index)
    for position, indices in by_channel.items():
        channel = script.channel_ids[position]
        yield _listing(loader, indices)._replace(
            kind=Kind.WAITS_FOR_UNREAD_BUFFER,
            channel=channel,
            offset=min(mine[index].offset for index in indices),
            waits_for=(Party(Actor.CHANNEL, channel),),
        )


def _listing(reason: Reason, indices: Sequence[int]) -> Reason:
    return reason._replace(buffers=tuple(indices[:MAX_LISTED]), more_buffers=max(0, len(indices) - MAX_LISTED))


def witness(script: Script, wanted: Outcome) -> list[Step]:
    """A schedule that ends in ``wanted``, without frame numbers; empty when none of the simple schedules gets there."""
    total = sum(map(len, script.channels)) + len(script.main)
    if total > MAX_WITNESS_STEPS:
        return []
    everyone: list[str | int] = list(range(len(script.channels)))
    orders: list[list[str | int]] = [["main", *everyone], [*everyone, "main"], [*reversed(everyone), "main"]]
    orders += [[first, "main", *(i for i in everyone if i != first)] for first in everyone[:16]]
    orders += [["main", *(i for i in everyone if i != last), last] for last in everyone[:16]]
    for order in [[*order, "loaders"] for order in orders] + [["loaders", *order] for order in orders]:
        steps, ended = _run(script, order)
        if ended is wanted:
            return steps
    return []


def _run(script: Script, order: Sequence[str | int]) -> tuple[list[Step], Outcome]:
    state, steps = machine.start(script), []
    while True:
        possible = {move.actor: move for move in machine.moves(script, state)}
        actor = next((actor for actor in order if actor in possible), None)
        if actor is None:
            break
        steps.append(_step(script, state, possible[actor]))
        state = possible[actor].state
    ended = machine.outcome(script, state)
    steps.append(Step(Actor.DESTINATION, outcome=ended))
    if len(steps) > MAX_WITNESS_LINES:
        left_out = len(steps) - MAX_WITNESS_LINES
        steps = [Step(Actor.DESTINATION, left_out=left_out), *steps[-MAX_WITNESS_LINES:]]
    return steps, ended


def _step(script: Script, state: State, move: machine.Move) -> Step:
    row = move.row
    if move.actor == "loaders":
        return Step(Actor.LOADER, row.words)
    if isinstance(move.actor, str):
        if row.act is None:
            return Step(Actor.MAIN, row.words, "main")
        record = script.main[state.next]
        return Step(Actor.MAIN, record.reason or row.act, "main", record.offset)
    number = script.channel_ids[move.actor]
    if row.act is None:
        return Step(Actor.CHANNEL, row.words, number)
    offset = script.channels[move.actor][state.channels[move.actor].next].offset
    return Step(Actor.CHANNEL, f"{row.act}: {row.effect}", number, offset)
