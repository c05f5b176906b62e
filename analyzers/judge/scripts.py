"""Surveys plus a destination give a script: what each channel and main make that destination do."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from analyzers.judge.effects import Fault, faults
from analyzers.receiver.device_state import state_buffers
from analyzers.receiver.script import MAIN_TERMINAL, Act, ChannelStep, DeviceScript, MainAct, MainStep, Script
from analyzers.rulebook.codes import MFD225
from analyzers.rulebook.conditions import Effect, MainSeen
from analyzers.rulebook.device_state.rules import never_ready
from analyzers.rulebook.registry import MAIN_REFUSALS
from analyzers.survey.channel import ChannelSurvey, Item, ItemKind
from analyzers.survey.device_state import Buffer
from analyzers.survey.main import MainSurvey, RecordKind
from multifd_codec.channel.events import EndPosition
from multifd_codec.channel.framing import COUNTS, DEVICE_STATE_FLAG
from multifd_codec.device_key import DeviceKey
from multifd_codec.dialect.destination import Destination
from multifd_codec.dialect.words import since
from multifd_codec.layout import layout
from multifd_codec.source import StreamEnd, read_known
from multifd_codec.wire.packet import COMPRESSION_MASK, ram_packet
from multifd_codec.wire.qemufile import CommandId


def channel_steps(
    survey: ChannelSurvey,
    main: MainSurvey | None,
    destination: Destination,
    ignoring: frozenset[object] = frozenset(),
) -> tuple[tuple[ChannelStep, ...], Fault | None]:
    """Steps of one channel, and the fault that ends it if one does. ``ignoring``: these faults."""
    if survey.starts_late:
        return (ChannelStep(Act.OPEN, 0, 0, reason="the start of the stream is not in the recording"),), None
    every = faults(survey, main, destination)
    found = (fault for fault in every if fault.what not in ignoring)
    fault = min(found, key=lambda f: (f.offset, f.effect is Effect.CRASH), default=None)
    spoiled = {
        segment
        for condition, hits in survey.hits.items()
        if condition.effect_on(destination.habits) is Effect.SPOILS
        for segment in hits.segments
    }
    steps: list[ChannelStep] = []
    cut = survey.end.record if survey.end is not None and survey.end.position is EndPosition.PAYLOAD else None
    for item in survey.items:
        if fault is not None and fault.offset < item.end:
            steps += _up_to_fault(item, fault, destination, spoiled)
            return tuple(steps), fault
        if cut is not None and cut < item.end:
            # A packet whose payload ends early does nothing, a SYNC among them.
            if item.offset < cut:
                steps.append(replace(_step(item, destination, spoiled), end=cut))
            if all(step.act is Act.DATA for step in steps) and _touches_before_its_payload(survey, cut, destination):
                steps.append(ChannelStep(Act.DATA, cut, survey.source.size, needs_setup=True))
            steps.append(replace(_end(survey), matters=item.kind is ItemKind.DATA))
            return tuple(steps), None
        if item.kind is ItemKind.UNREADABLE:
            steps.append(ChannelStep(Act.OPEN, item.offset, item.end, reason="bytes are missing in the recording"))
            return tuple(steps), None
        steps.append(_step(item, destination, spoiled))
        desync = _desync(item, survey, destination)
        if desync is not None:
            why, rule = desync.reason, desync.rule.code
            steps.append(ChannelStep(Act.ERROR, desync.offset, item.end, matters=True, reason=why, rule=rule))
            return tuple(steps), desync
    steps.append(_end(survey))
    return tuple(steps), None


def _touches_before_its_payload(survey: ChannelSurvey, offset: int, destination: Destination) -> bool:
    """Whether pages are marked as received before the payload of the packet at ``offset`` is read, which ends early:
    zero pages, and normal ones that are not compressed."""
    if not destination.habits.touches_receivedmap or survey.source.end is not StreamEnd.CLOSED:
        return False
    flags, _, normal, _, zero = COUNTS.unpack(read_known(survey.source, offset, COUNTS.size))
    return not flags & DEVICE_STATE_FLAG and bool(zero or (normal and not flags & COMPRESSION_MASK))


def _step(item: Item, destination: Destination, spoiled: set[int]) -> ChannelStep:
    match item.kind:
        case ItemKind.SYNC:
            return ChannelStep(Act.SYNC, item.offset, item.end)
        case ItemKind.DEVICE_STATE:
            assert item.buffer is not None
            return _state(item, item.buffer, Act.STATE)
        case _:
            touches = destination.habits.touches_receivedmap
            marked = not destination.compression_flag & destination.habits.normal_pages_unmarked
            return ChannelStep(
                Act.DATA,
                item.offset,
                item.end,
                packets=item.packets,
                spoils=item.segment in spoiled,
                needs_setup=touches and marked and item.touches,
            )


def _state(item: Item, buffer: Buffer, act: Act, fault: Fault | None = None) -> ChannelStep:
    return ChannelStep(
        act,
        item.offset,
        item.end,
        needs_setup=True,
        device=buffer.device,
        index=buffer.index,
        config=buffer.config,
        reason="" if fault is None else fault.reason,
        rule="" if fault is None else fault.rule.code,
    )


def _up_to_fault(item: Item, fault: Fault, destination: Destination, spoiled: set[int]) -> list[ChannelStep]:
    steps = []
    if item.kind is ItemKind.DATA and item.offset < fault.offset:
        before = _step(item, destination, spoiled)
        steps.append(
            ChannelStep(Act.DATA, item.offset, fault.offset, spoils=before.spoils, needs_setup=before.needs_setup)
        )
    act = Act.CRASH if fault.effect is Effect.CRASH else Act.ERROR
    if fault.queued and item.buffer is not None:
        steps.append(_state(item, item.buffer, act, fault))
    else:  # device state that is refused for want of a loader is lost when main completes all the same
        rule = fault.rule.code
        steps.append(ChannelStep(act, fault.offset, item.end, matters=fault.missed, reason=fault.reason, rule=rule))
    return steps


def _desync(item: Item, survey: ChannelSurvey, destination: Destination) -> Fault | None:
    """9.2.0 does not read the pages of a SYNC packet: their payload is then taken for the next header."""
    if item.kind is not ItemKind.SYNC or not destination.habits.drops_pages_of_sync:
        return None
    behind = item.offset + layout(ram_packet(survey.page_size)).size
    if item.end <= behind:
        return None
    return Fault(behind, Effect.ERROR, "the pages of a SYNC packet are read as a header", MFD225)


def _end(survey: ChannelSurvey) -> ChannelStep:
    end = survey.end
    size = survey.source.size
    if end is None or survey.source.end is not StreamEnd.CLOSED:
        return ChannelStep(Act.OPEN, size, size, reason="the recording ends here")
    if end.position is EndPosition.BOUNDARY:
        return ChannelStep(Act.CLOSE, size, size)
    return ChannelStep(Act.ERROR, end.record, size, reason=f"the channel ends {end.position}")


LAST_COMMAND = max(CommandId)
_FLUSH = since(lambda r: r.destination.flush_known)


def main_steps(
    main: MainSurvey | None,
    destination: Destination,
    transferred: Collection[DeviceKey],
    known: dict[object, Any],
    *,
    multifd: bool,
) -> tuple[MainStep, ...]:
    """Steps of the main channel. ``transferred``: devices whose state travels on channels. ``multifd``: there are
    multifd channels. ``known``: what was found for other destinations; it grows."""
    if main is None:
        return (MainStep(MainAct.OPEN, 0, "the main channel is not in the recording"),)
    steps: list[MainStep] = []
    if main.setup is not None:
        steps.append(MainStep(MainAct.SETUP, main.setup))
    habits = destination.habits
    for command in main.commands:
        if command.number > LAST_COMMAND:
            steps.append(
                MainStep(MainAct.FAIL, command.offset, f"command {command.number} ({command.name}) is not known")
            )
        elif command.number == CommandId.SWITCHOVER_START:
            repeated = transferred and any(step.act is MainAct.START_LOADERS for step in steps)
            act = MainAct.CRASH if repeated else MainAct.START_LOADERS
            steps.append(MainStep(act, command.offset, "SWITCHOVER_START"))
    seen = MainSeen(main, destination, transferred, multifd)
    steps += [
        MainStep(MainAct.CRASH if refusal.crashes else MainAct.FAIL, offset, refusal.reason(seen, name), rule.code)
        for rule, refusal in MAIN_REFUSALS
        if destination.channels or not refusal.beside_channels
        for offset, name in refusal.places(seen)
    ]
    if main.skipped is not None:
        steps.append(MainStep(MainAct.OPEN, main.skipped, "bytes that could not be read"))
    steps.append(_main_end(main))
    key = ("records", destination.mode, habits.flush_known, habits.flush_in_postcopy_fails)
    if key not in known:
        known[key] = _record_steps(main, destination)
    records, offsets = known[key]
    return _merged(records, offsets, steps)


def _record_steps(main: MainSurvey, destination: Destination) -> tuple[list[MainStep], list[int]]:
    """What the records of RAM sections do, up to the first that fails, and their offsets."""
    habits, mode = destination.habits, destination.mode
    steps: list[MainStep] = []
    for record in main.records:
        if record.kind is RecordKind.FLUSH and not habits.flush_known:
            steps.append(MainStep(MainAct.FAIL, record.offset, f"FLUSH, which releases before {_FLUSH} do not know"))
            break
        if record.kind is RecordKind.FLUSH and record.postcopy and habits.flush_in_postcopy_fails:
            steps.append(MainStep(MainAct.FAIL, record.offset, "FLUSH in the postcopy phase"))
            break
        if record.is_rendezvous(mode, in_postcopy=not habits.flush_in_postcopy_fails):
            steps.append(MainStep(MainAct.RENDEZVOUS, record.offset, record.kind.value))
    return steps, [step.offset for step in steps]


def _merged(records: Sequence[MainStep], offsets: Sequence[int], others: list[MainStep]) -> tuple[MainStep, ...]:
    """All steps in order, up to the first that ends the load. There may be a million ``records``, which are merged in
    stretches; what fails at a record fails in front of what that record does."""
    others.sort(key=lambda step: (step.offset, step.act is not MainAct.FAIL))
    steps: list[MainStep] = []
    done = 0
    for other in others:
        place = bisect_left if other.act is MainAct.FAIL else bisect_right
        upto = max(done, place(offsets, other.offset))
        if upto == len(records) - 1 and records[-1].act is MainAct.FAIL and offsets[-1] <= other.offset:
            upto += 1
        steps += records[done:upto]
        done = upto
        if done and done == len(records) and records[-1].act is MainAct.FAIL:
            break
        steps.append(other)
        if other.act in MAIN_TERMINAL:
            break
    return tuple(steps)


def _main_end(main: MainSurvey) -> MainStep:
    if main.failure is not None:
        return MainStep(MainAct.FAIL, *main.failure)
    if main.eof is not None:
        return MainStep(MainAct.FINISH, main.eof)
    if main.stopped is not None:
        return MainStep(MainAct.OPEN, main.understood, main.stopped)
    if main.end is StreamEnd.CLOSED:
        return MainStep(MainAct.FAIL, main.source.size, "the main channel ends in front of its EOF byte")
    return MainStep(MainAct.OPEN, main.source.size, "the recording of the main channel ends here")


def device_scripts(
    channels: Sequence[ChannelSurvey], main: MainSurvey | None, destination: Destination
) -> tuple[DeviceScript, ...]:
    """The devices whose loaders the destination waits for: none where compression rules out multifd transfer, or it is
    off.

    Left out: devices whose buffers were not all recorded.
    """
    if not destination.habits.device_state or destination.compression_flag or destination.device_transfer is False:
        return ()
    buffers: dict[DeviceKey, list[Buffer]] = defaultdict(list)
    for survey in channels:
        for item in survey.items:
            if item.buffer is not None and item.buffer.terminated:
                buffers[item.buffer.device].append(item.buffer)
    if main is not None:
        for device in main.vfio.values():
            if device.multifd_transfer or destination.device_transfer:
                buffers.setdefault(device.device, [])
        known = set(main.vfio) if main.eof is not None else set(buffers)
    else:
        known = set(buffers)
    seen = {} if main is None else main.vfio
    return tuple(
        _device_script(device, mine, waits=never_ready(destination, seen.get(device)))
        for device, mine in buffers.items()
        if device in known and all(buffer.recorded for buffer in mine)
    )


def _device_script(device: DeviceKey, buffers: Sequence[Buffer], *, waits: bool) -> DeviceScript:
    """``waits``: its loader waits for what main does not carry."""
    placed = [(buffer.index, buffer) for buffer in buffers if buffer.placed and buffer.index is not None]
    configs = [buffer for _, buffer in placed if buffer.config]
    state = state_buffers((index, buffer.config) for index, buffer in placed)
    return DeviceScript(
        device,
        load_fails=any(buffer.config_problem for buffer in configs),
        loads_wrong=state.more,
        never_ready=waits,
    )


def build(
    channels: Sequence[tuple[int, ChannelSurvey]],
    main: MainSurvey | None,
    destination: Destination,
    ignoring: frozenset[object] = frozenset(),
    known: dict[object, Any] | None = None,
) -> tuple[Script, dict[int, Fault]]:
    """The script of a whole migration, and each channel position's fault. ``ignoring``: these faults. ``known`` as in
    ``judge``."""
    known = {} if known is None else known
    found: dict[int, Fault] = {}
    steps = []
    for position, (_, survey) in enumerate(channels):
        mine, fault = channel_steps(survey, main, destination, ignoring)
        steps.append(mine)
        if fault is not None:
            found[position] = fault
    devices = device_scripts([survey for _, survey in channels], main, destination)
    carried = {item.buffer.device for _, survey in channels for item in survey.items if item.buffer is not None}
    script = Script(
        channels=tuple(steps),
        channel_ids=tuple(number for number, _ in channels),
        main=main_steps(
            main, destination, carried & {device.device for device in devices}, known, multifd=bool(channels)
        ),
        devices=devices,
        error_fails=destination.habits.error_fails_migration,
        loaders_assert=destination.habits.load_thread_asserts,
    )
    return script, found
