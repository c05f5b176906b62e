"""Checks of device state that take more than one packet: all of a device, and what main says about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzers.findings import Severity
from analyzers.linter.context import Context
from analyzers.linter.found import Checks, Found
from analyzers.linter.pairing import all_whole
from analyzers.receiver.device_state import state_buffers
from analyzers.rulebook.codes import MFD404, MFD405, MFD408, MFD409, MFD410, MFD412, MFD413, MFD414, MFD415, MFD417
from analyzers.rulebook.device_state.packet_rules import HUGE_INDEX, TAG
from analyzers.rulebook.device_state.rules import never_ready
from analyzers.survey.device_state import Buffer
from multifd_codec.device_key import DeviceKey
from multifd_codec.dialect.machine import machine_defaults
from multifd_codec.wire.qemufile import CommandId
from multifd_codec.wire.vfio import VfioTagId

CHECKS = Checks()
Placed = tuple[int, Buffer]
"""Channel id and buffer."""


@CHECKS.of(MFD404)
def unknown_device(context: Context) -> Iterator[Found]:
    for device, buffers in context.devices.items():
        if context.main is None or context.takes_buffers(device):
            continue
        what = "takes no state buffers" if device in context.main.sections else "has no section on main"
        message = f"device {device.idstr!r} instance {device.instance_id} {what}"
        yield from (_at(placed, message, "idstr") for placed in buffers)


@CHECKS.of(MFD405)
def with_compression(context: Context) -> Iterator[Found]:
    if context.destination.compression_flag:
        message = (
            f"device state on a migration with compression id {context.destination.compression_flag:#x}: it is refused"
        )
        yield from _at_first(context, message, Severity.ERROR)


@CHECKS.of(MFD408)
def gaps(context: Context) -> Iterator[Found]:
    for device, buffers in _complete(context):
        indexed = _indexed(buffers)
        if not indexed or not all_whole(context):
            continue
        seen = {index for index, _ in indexed}
        last = max(seen)
        absent = [index for index in range(min(last, len(seen) + 10)) if index not in seen]
        if absent:
            more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
            message = f"{device.idstr}: idx {', '.join(map(str, absent[:5]))}{more} missing, the highest is {last}"
            yield _at(_last(indexed), message, "idx")


@CHECKS.of(MFD409)
def repeated(context: Context) -> Iterator[Found]:
    for device, buffers in _judged(context):
        seen: set[int] = set()
        for index, placed in _indexed(buffers):
            if index in seen:
                yield _at(placed, f"{device.idstr}: idx {index} is there already", "idx")
            seen.add(index)


@CHECKS.of(MFD410)
def config(context: Context) -> Iterator[Found]:
    for device, buffers in _complete(context):
        indexed = _indexed(buffers)
        accepted = [(index, placed) for index, placed in indexed if placed[1].placed]
        configs = [(index, placed) for index, placed in accepted if placed[1].config]
        ends = {index for index, _ in configs}
        if not configs:
            if indexed and all_whole(context):
                yield _at(_last(indexed), f"{device.idstr}: no packet carries the config (CONFIG_STATE)", "flags")
        elif len(ends) > 1:
            listed = ", ".join(str(index) for index, _ in configs[:5])
            message = f"{device.idstr}: {len(configs)} packets carry CONFIG_STATE: {listed}"
            yield from (_at(placed, message, "flags") for _, placed in configs)
        elif state_buffers((index, placed[1].config) for index, placed in accepted).more:
            last = max(index for index, _ in indexed)
            message = f"{device.idstr}: the config has idx {configs[0][0]}, buffers go on to {last}"
            yield _at(configs[0][1], message, "idx")


@CHECKS.of(MFD410)
def config_nowhere(context: Context) -> Iterator[Found]:
    main = context.main
    if main is None or main.eof is None or not context.channels or not all_whole(context):
        return
    for device, seen in main.vfio.items():
        if device not in context.devices and seen.multifd_transfer:
            message = f"{device.idstr}: its config is not on main, and no channel carries device state of it"
            yield Found(message, "main", seen.offset)


@CHECKS.of(MFD412)
def never_started(context: Context) -> Iterator[Found]:
    main = context.main
    if not context.devices or main is None or main.eof is None:
        return
    if not any(command.number == CommandId.SWITCHOVER_START for command in main.commands):
        yield Found("no SWITCHOVER_START on main: the device state is never loaded", "main", main.eof)


@CHECKS.of(MFD413)
def also_on_main(context: Context) -> Iterator[Found]:
    for device, seen in context.main.vfio.items() if context.main is not None else ():
        if device in context.devices:
            for tag, offset in seen.beside_packets():
                message = f"{device.idstr}: {VfioTagId(tag).name} on main beside device state on channels"
                yield Found(message, "main", offset, TAG.size, "tag")


@CHECKS.of(MFD414)
def not_told(context: Context) -> Iterator[Found]:
    main = context.main
    for device, seen in main.vfio.items() if main is not None and main.eof is not None else ():
        if device in context.devices and never_ready(context.destination, seen):
            message = f"{device.idstr}: no DEV_CONFIG_LOAD_READY, for which the destination's loader waits"
            yield Found(message, "main", seen.offset)


@CHECKS.of(MFD415)
def behind_first_full(context: Context) -> Iterator[Found]:
    """By the frames of a capture."""
    offset = context.main.full_offset if context.main is not None else None
    limit = context.frame("main", offset) if offset is not None else None
    for buffers in context.devices.values() if limit is not None else ():
        for placed in buffers:
            frame = context.frame(placed[0], placed[1].packet.offset)
            if frame is not None and limit is not None and frame > limit:
                yield _at(placed, f"recorded in frame {frame}, the first FULL section in frame {limit}")


@CHECKS.of(MFD417)
def read_as_ram(context: Context) -> Iterator[Found]:
    if not context.destination.habits.device_state:
        message = f"{context.destination.release.name} reads device-state packets as RAM packets"
        yield from _at_first(context, message, Severity.ERROR)


@CHECKS.of(MFD417)
def not_transferred(context: Context) -> Iterator[Found]:
    if context.destination.device_transfer is False:
        message = "the destination's multifd transfer is off: device state is refused"
        yield from _at_first(context, message, Severity.ERROR)


@CHECKS.of(MFD417)
def old_machine(context: Context) -> Iterator[Found]:
    machine = context.facts.machine()
    if context.main is not None and machine is not None and not machine_defaults(machine).device_state:
        yield from _at_first(
            context, f"device state with machine type {context.main.machine}, whose default settings refuse it"
        )


def _judged(context: Context) -> Iterator[tuple[DeviceKey, Sequence[Placed]]]:
    """Devices that take buffers, where every packet was recorded."""
    for device, buffers in context.devices.items():
        if context.takes_buffers(device) and not context.reduced:
            yield device, buffers


def _complete(context: Context) -> Iterator[tuple[DeviceKey, Sequence[Placed]]]:
    """Those of them whose indices are all known."""
    for device, buffers in _judged(context):
        if all(buffer.recorded for _, buffer in buffers):
            yield device, buffers


def _indexed(buffers: Sequence[Placed]) -> list[tuple[int, Placed]]:
    """Those with an index that a destination has room for."""
    return [(b.index, placed) for placed in buffers if (b := placed[1]).index is not None and b.index < HUGE_INDEX]


def _last(indexed: Sequence[tuple[int, Placed]]) -> Placed:
    return max(indexed, key=lambda pair: pair[0])[1]


def _at(placed: Placed, message: str, field: str = "", severity: Severity | None = None) -> Found:
    number, buffer = placed
    return Found(message, number, buffer.packet.offset, buffer.packet.length, field, severity)


def _at_first(context: Context, message: str, severity: Severity | None = None) -> Iterator[Found]:
    """What holds for all device state is said of the first packet."""
    for buffers in context.devices.values():
        yield _at(buffers[0], message, "flags", severity)
        return
