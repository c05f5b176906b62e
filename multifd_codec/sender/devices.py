"""What a source puts on main around RAM, and the device state of VFIO devices.

Sources: qemu_savevm_state_header, qemu_savevm_state_setup, qemu_savevm_state_complete_precopy (migration/savevm.c);
vmstate_timers (softmmu/cpus.c, system/cpu-timers.c), vmstate_globalstate (migration/global_state.c);
vfio_save_complete_precopy_thread (hw/vfio/migration-multifd.c, 10.0). Checked against recordings of 7.2, 10.0 and 11.1.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from construct import Struct

from multifd_codec.dialect.releases import SenderHabits
from multifd_codec.draft import main_records as make
from multifd_codec.draft.channel_records import vfio_buffer, vfio_config
from multifd_codec.draft.draft import Record
from multifd_codec.layout import build_declared
from multifd_codec.plan.plan import Device, MigrationPlan, Section
from multifd_codec.wire.devices import GlobalState, Timers
from multifd_codec.wire.vfio import VfioTagId

TIMER_ID = 0
"""Section id of timer, the first device there is."""
CPU_TICKS_OFFSET, CPU_CLOCK_OFFSET = 0x1_4000_0000, 0x7C00_0000
"""Some values; real ones are what the source's clocks were when it stopped."""


def ram_section_id(sender: SenderHabits) -> int:
    """RAM's section id with the devices of ``-machine none``."""
    return TIMER_ID + (2 if sender.block_section else 1)


def vfio_section_ids(plan: MigrationPlan, sender: SenderHabits) -> dict[Device, int]:
    """The section ids of VFIO devices: those that the plan's own sections name, else the next ones behind
    dirty-bitmap, which never has a section."""
    listed = {(section.idstr, section.instance_id): section.section_id for section in plan.sections or ()}
    behind = max([ram_section_id(sender) + 1, *listed.values()])
    free = itertools.count(behind + 1)
    return {device: listed.get((device.idstr, device.instance_id)) or next(free) for device in plan.devices}


def full_sections(plan: MigrationPlan, sender: SenderHabits, vfio: dict[Device, int]) -> list[Section]:
    """All FULL sections in order; those of VFIO devices say END_OF_STATE only."""
    ids = {(device.idstr, device.instance_id): number for device, number in vfio.items()}
    own = {key: Section(number, key[0], end_of_state(), instance_id=key[1]) for key, number in ids.items()}
    if plan.sections is None:
        # Behind the section ids of dirty-bitmap and of the VFIO devices.
        timer, globalstate = stock_sections(sender, max([ram_section_id(sender) + 1, *ids.values()]))
        return [timer, *own.values(), globalstate]
    result = [own.pop((section.idstr, section.instance_id), section) for section in plan.sections]
    return [*result, *own.values()]


def stock_sections(sender: SenderHabits, behind: int) -> tuple[Section, Section]:
    """timer and globalstate of a running ``-machine none``; ``behind`` is the last section id in use."""
    timer = {"cpu_ticks_offset": CPU_TICKS_OFFSET, "unused": 0, "cpu_clock_offset": CPU_CLOCK_OFFSET}
    suspended = int(sender.was_suspended)
    state = {"size": len("running") + 1, "runstate": b"running", "has_vm_was_suspended": suspended}
    return (
        Section(TIMER_ID, "timer", build_declared(Timers, timer), version_id=2),
        Section(behind + 1, "globalstate", build_declared(GlobalState, state)),
    )


def _field(name: str, kind: str, size: int) -> dict[str, Any]:
    return {"name": name, "type": kind, "size": size}


def _fields(declaration: Struct, *kinds: str) -> list[dict[str, Any]]:
    """The fields of a body, as their types are called in vmstate."""
    pairs = zip(declaration.subcons, kinds, strict=True)
    return [_field(field.name, kind, field.sizeof()) for field, kind in pairs]


_TIMER = _fields(Timers, "int64", "unused_buffer", "int64")
_GLOBALSTATE = _fields(GlobalState, "uint32", "buffer", "uint8", "uint8", "buffer")
_GLOBALSTATE_OLD = [_GLOBALSTATE[0], _field("runstate", "buffer", GlobalState.sizeof() - _GLOBALSTATE[0]["size"])]


def description(plan: MigrationPlan, sender: SenderHabits, full: list[Section]) -> dict[str, Any]:
    """The vmdescription of the FULL sections."""
    if plan.description is not None:
        return plan.description
    known = {"timer": (2, _TIMER), "globalstate": (1, _GLOBALSTATE if sender.was_suspended else _GLOBALSTATE_OLD)}
    result: dict[str, Any] = {}
    if sender.configuration_described:
        fields = [_field("len", "uint32", 4), _field("name", "buffer", len(plan.machine.encode()))]
        result["configuration"] = {"vmsd_name": "configuration", "version": 1, "fields": fields}
    devices = []
    for section in full:
        if plan.sections is None and section.idstr in known:
            version, fields = known[section.idstr]
            entry = {"vmsd_name": section.idstr, "version": version, "fields": fields}
            devices.append({"name": section.idstr, "instance_id": section.instance_id, **entry})
        else:
            devices.append(make.buffer_device(section.idstr, len(section.body), section.instance_id))
    return {**result, "page_size": plan.page_size, "devices": devices}


def end_of_state() -> bytes:
    """The body of a VFIO section that has nothing to say on main."""
    return make.vfio(VfioTagId.END_OF_STATE).encoded()


def device_state(plan: MigrationPlan) -> Iterator[Record]:
    """The device-state packets of all devices, their buffers in order, the devices taking turns."""
    for turn in itertools.zip_longest(*(_packets(device) for device in plan.devices)):
        yield from (record for record in turn if record is not None)


def packets(plan: MigrationPlan) -> int:
    """How many packets that are."""
    return sum(-(-device.size // device.buffer_size) + 1 for device in plan.devices)


def _packets(device: Device) -> Iterator[Record]:
    name = device.idstr.encode()
    index = 0
    for start in range(0, device.size, device.buffer_size):
        data = state_bytes(index, min(device.size - start, device.buffer_size))
        yield vfio_buffer(index, data, name, device.instance_id)
        index += 1
    yield vfio_config(index, device.config, name, device.instance_id)


def state(device: Device) -> bytes:
    """All of a device's state, as it is when it was loaded."""
    sizes = (min(device.size - start, device.buffer_size) for start in range(0, device.size, device.buffer_size))
    return b"".join(state_bytes(index, size) for index, size in enumerate(sizes))


def state_bytes(index: int, length: int) -> bytes:
    """The state in buffer ``index``: that of the device in the recordings, whose loader may check it."""
    positions = np.arange(length, dtype=np.int64)
    return ((31 * positions + 7 * index + 1) & 0xFF).astype(np.uint8).tobytes()
