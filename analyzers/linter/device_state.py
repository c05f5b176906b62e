"""Rules on device state (MFD401 to MFD417)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from analyzers.findings import Severity
from analyzers.linter.context import Collector, Context
from analyzers.linter.pairing import all_whole
from analyzers.receiver.device_state import state_buffers
from analyzers.rulebook.codes import (
    MFD404,
    MFD405,
    MFD408,
    MFD409,
    MFD410,
    MFD412,
    MFD413,
    MFD414,
    MFD415,
    MFD417,
)
from analyzers.rulebook.conditions import DeviceStateSeen
from analyzers.rulebook.device_state.packet_rules import HUGE_INDEX
from analyzers.rulebook.registry import DEVICE_STATE_CONDITIONS
from analyzers.rulebook.rule import Rule
from analyzers.survey.device_state import TAG, Buffer
from analyzers.survey.main import MULTIFD_FULL, MainSurvey
from multifd_codec.device_key import DeviceKey
from multifd_codec.dialect.machine import machine_defaults
from multifd_codec.wire.qemufile import CommandId
from multifd_codec.wire.vfio import VfioTagId

LONGEST_NAME = 64
"""Characters of a device's name that a message shows."""
Placed = tuple[int, Buffer]
"""Channel id and buffer."""


def check(context: Context, collect: Collector) -> None:
    """All device-state rules."""
    by_device: defaultdict[DeviceKey, list[Placed]] = defaultdict(list)
    for number, survey in context.channels:
        for item in survey.items:
            if item.buffer is not None:
                _one(context, collect, number, item.buffer)
                if item.buffer.terminated:
                    by_device[item.buffer.device].append((number, item.buffer))
    main = context.main
    for device, buffers in by_device.items():
        known = _known(context, collect, device, buffers)
        if known and not context.reduced:
            _indices(collect, device, buffers, whole=all_whole(context))
    if by_device:
        _surroundings(context, collect, by_device)
    if main is not None:
        _main_sections(context, collect, main, by_device)


def _at(
    collect: Collector, rule: Rule, placed: Placed, message: str, name: str = "", severity: Severity | None = None
) -> None:
    number, buffer = placed
    packet = buffer.packet
    collect.add(rule, message, channel=number, offset=packet.offset, length=packet.length, name=name, severity=severity)


def _one(context: Context, collect: Collector, number: int, buffer: Buffer) -> None:
    name = buffer.device.idstr
    name = f"{name[:LONGEST_NAME]}..." if len(name) > LONGEST_NAME else name
    looked_at = buffer.terminated and _takes_buffers(context, buffer.device)
    seen = DeviceStateSeen(buffer, context.main, context.destination.habits, context.destination.compression_flag)
    for rule, condition in DEVICE_STATE_CONDITIONS:
        if condition.says is not None and (looked_at or not condition.in_payload) and condition.when(seen):
            _at(collect, rule, (number, buffer), f"{name}: {condition.says(seen)}", condition.field)


def _takes_buffers(context: Context, device: DeviceKey) -> bool:
    """As far as the sections on main show."""
    main = context.main
    return main is None or main.eof is None or device in main.vfio


def _known(context: Context, collect: Collector, device: DeviceKey, buffers: Sequence[Placed]) -> bool:
    """Whether the device takes buffers; MFD404 if it does not."""
    if _takes_buffers(context, device):
        return True
    assert context.main is not None
    what = "takes no state buffers" if device in context.main.sections else "has no section on main"
    for placed in buffers:
        _at(collect, MFD404, placed, f"device {device.idstr!r} instance {device.instance_id} {what}", "idstr")
    return False


def _indices(collect: Collector, device: DeviceKey, buffers: Sequence[Placed], *, whole: bool) -> None:
    """MFD408 to MFD410. ``whole``: what is not there was not sent."""
    known = [(b.index, placed) for placed in buffers if (b := placed[1]).index is not None and b.index < HUGE_INDEX]
    seen: set[int] = set()
    for index, placed in known:
        assert index is not None
        if index in seen:
            _at(collect, MFD409, placed, f"{device.idstr}: idx {index} is there already", "idx")
        seen.add(index)
    accepted = [(index, placed) for index, placed in known if placed[1].placed]
    configs = [(index, placed) for index, placed in accepted if placed[1].config]
    last_placed = max(known, key=lambda pair: pair[0] or 0, default=None)
    if last_placed is None or not all(buffer.recorded for _, buffer in buffers):
        return
    last = max(seen)
    absent = [index for index in range(min(last, len(seen) + 10)) if index not in seen]
    if absent and whole:
        more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        message = f"{device.idstr}: idx {', '.join(map(str, absent[:5]))}{more} missing, the highest is {last}"
        _at(collect, MFD408, last_placed[1], message, "idx")
    if not configs and not whole:
        return
    if not configs:
        _at(collect, MFD410, last_placed[1], f"{device.idstr}: no packet carries the config (CONFIG_STATE)", "flags")
    elif len({index for index, _ in configs}) > 1:
        ends = ", ".join(str(index) for index, _ in configs[:5])
        for _, placed in configs:
            _at(collect, MFD410, placed, f"{device.idstr}: {len(configs)} packets carry CONFIG_STATE: {ends}", "flags")
    elif state_buffers((index, placed[1].config) for index, placed in accepted if index is not None).more:
        message = f"{device.idstr}: the config has idx {configs[0][0]}, buffers go on to {last}"
        _at(collect, MFD410, configs[0][1], message, "idx")


def _surroundings(context: Context, collect: Collector, by_device: dict[DeviceKey, list[Placed]]) -> None:
    first = next(iter(by_device.values()))[0]
    main = context.main
    if context.destination.compression_flag:
        message = (
            f"device state on a migration with compression id {context.destination.compression_flag:#x}: it is refused"
        )
        _at(collect, MFD405, first, message, "flags", severity=Severity.ERROR)
    if not context.destination.habits.device_state:
        message = f"{context.destination.release.name} reads device-state packets as RAM packets"
        _at(collect, MFD417, first, message, "flags", severity=Severity.ERROR)
    machine = context.facts.machine()
    if machine is not None and not machine_defaults(machine).device_state:
        assert main is not None
        _at(collect, MFD417, first, f"device state with machine type {main.machine}", "flags")
    if main is None:
        return
    if main.eof is not None and not any(c.number == CommandId.SWITCHOVER_START for c in main.commands):
        message = "no SWITCHOVER_START on main: the device state is never loaded"
        collect.add(MFD412, message, channel="main", offset=main.eof)


def _main_sections(
    context: Context, collect: Collector, main: MainSurvey, by_device: dict[DeviceKey, list[Placed]]
) -> None:
    for device, seen in main.vfio.items():
        if seen.ready is not None and not context.destination.habits.config_load_ready:
            message = f"{device.idstr}: DEV_CONFIG_LOAD_READY, which {context.destination.release.name} does not know"
            collect.add(MFD414, message, channel="main", offset=seen.ready, length=TAG.size, name="tag")
        elif seen.ready_again is not None:
            message = f"{device.idstr}: DEV_CONFIG_LOAD_READY twice"
            collect.add(MFD414, message, channel="main", offset=seen.ready_again, length=TAG.size, name="tag")
        if device in by_device:
            wrong = {tag: offset for tag, offset in seen.end_tags.items() if tag != VfioTagId.END_OF_STATE}
            wrong |= {tag: offset for tag, offset in seen.full_tags.items() if tag not in MULTIFD_FULL}
            for tag, offset in wrong.items():
                message = f"{device.idstr}: {VfioTagId(tag).name} on main beside device state on channels"
                collect.add(MFD413, message, channel="main", offset=offset, length=TAG.size, name="tag")
        elif seen.multifd_transfer and main.eof is not None and context.channels and all_whole(context):
            message = f"{device.idstr}: its config is not on main, and no channel carries device state of it"
            collect.add(MFD410, message, channel="main", offset=seen.offset)
    if main.full_offset is not None:
        _order(context, collect, main.full_offset, by_device)


def _order(context: Context, collect: Collector, full_offset: int, by_device: dict[DeviceKey, list[Placed]]) -> None:
    """MFD415, by the frames of a capture."""
    limit = context.frame("main", full_offset)
    if limit is None:
        return
    for buffers in by_device.values():
        for placed in buffers:
            frame = context.frame(placed[0], placed[1].packet.offset)
            if frame is not None and frame > limit:
                message = f"recorded in frame {frame}, the first FULL section in frame {limit}"
                _at(collect, MFD415, placed, message)
