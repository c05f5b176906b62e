"""A draft to the receiver's script, directly from its records: a second way there, independent of survey and judge.

For drafts whose records are whole, in any order and number (``STRUCTURAL`` edits); memory is not looked at. The
linter's way must come to the same outcomes, which ``model`` checks.
"""

from __future__ import annotations

from functools import lru_cache

from analyzers.receiver.script import Act, ChannelStep, DeviceScript, MainAct, MainStep, Script
from multifd_codec.channel.events import DeviceStatePacket, RamPacket
from multifd_codec.device_key import DeviceKey
from multifd_codec.dialect.destination import Destination
from multifd_codec.dialect.releases import DestinationHabits, Mode
from multifd_codec.draft.channel_records import VFIO_HEADER
from multifd_codec.draft.draft import Draft, Line
from multifd_codec.draft.edits import EditKind
from multifd_codec.main.events import Command, EndOfRam, EndOfStream, Flush, SectionStart
from multifd_codec.wire.packet import SYNC
from multifd_codec.wire.qemufile import CommandId
from multifd_codec.wire.vfio import CONFIG_STATE

STRUCTURAL = (EditKind.DROP, EditKind.REPEAT, EditKind.MOVE, EditKind.TRANSFER)
VFIO_SUFFIX = b"/vfio"
ACTING = frozenset({SectionStart, Flush, EndOfRam, Command, EndOfStream})
"""Events of main that are steps of a destination."""


def script_of(draft: Draft, destination: Destination, known: tuple[Draft, Script] | None = None) -> Script:
    """The script; offsets are the records' positions on their channels.

    ``known``: a draft and its script for the same destination; what is the same there is taken from it.
    """
    habits = destination.habits
    before = () if known is None else tuple(zip(known[0].channels, known[1].channels, strict=True))
    channels = []
    for number, line in enumerate(draft.channels):
        same = number < len(before) and before[number][0] == line
        channels.append(before[number][1] if same else tuple(_channel(line, habits)))
    if known is not None and known[0].main == draft.main:
        return known[1]._replace(channels=tuple(channels), channel_ids=tuple(range(len(channels))))
    devices = tuple(
        DeviceScript(DeviceKey(record.event.device, record.event.instance_id))
        for record in draft.main
        if isinstance(record.event, SectionStart) and record.event.idstr.endswith(VFIO_SUFFIX)
    )
    return Script(
        channels=tuple(channels),
        channel_ids=tuple(range(len(channels))),
        main=tuple(_main(draft.main, destination)),
        devices=devices if habits.device_state else (),
        error_fails=habits.error_fails_migration,
        loaders_assert=habits.load_thread_asserts,
    )


def _channel(line: Line, habits: DestinationHabits) -> list[ChannelStep]:
    steps: list[ChannelStep] = []
    for position, record in enumerate(line):
        event = record.event
        if type(event) is RamPacket:
            touches = event.normal_pages + event.zero_pages > 0
            if touches or not event.flags & SYNC:
                needs = touches and habits.touches_receivedmap
                if steps and steps[-1].act is Act.DATA and steps[-1].needs_setup == needs:
                    pass  # one step stands for a run
                else:
                    steps.append(_step(Act.DATA, position, needs))
            if event.flags & SYNC:
                steps.append(_step(Act.SYNC, position))
        elif type(event) is DeviceStatePacket:
            _, index, flags = VFIO_HEADER.struct.unpack_from(record.payload)
            device = DeviceKey(event.device, event.instance_id)
            steps.append(
                ChannelStep(
                    Act.STATE, position, position + 1, needs_setup=True, device=device, index=index,
                    config=bool(flags & CONFIG_STATE),
                )
            )  # fmt: skip
    steps.append(ChannelStep(Act.CLOSE, len(line), len(line)))
    return steps


@lru_cache(maxsize=4096)
def _step(act: Act, position: int, needs_setup: bool = False) -> ChannelStep:
    return ChannelStep(act, position, position + 1, needs_setup=needs_setup)


def _main(line: Line, destination: Destination) -> list[MainStep]:
    steps: list[MainStep] = []
    per_section = destination.mode is Mode.PER_SECTION
    for position, record in enumerate(line):
        if type(record.event) not in ACTING:
            continue
        match record.event:
            case SectionStart() if not steps:
                steps.append(MainStep(MainAct.SETUP, position))
            case Flush():
                if not destination.habits.flush_known:
                    return [*steps, MainStep(MainAct.FAIL, position)]
                steps.append(MainStep(MainAct.RENDEZVOUS, position))
            case EndOfRam() if per_section:
                steps.append(MainStep(MainAct.RENDEZVOUS, position))
            case Command(command=CommandId.SWITCHOVER_START):
                if destination.habits.last_command < CommandId.SWITCHOVER_START:
                    return [*steps, MainStep(MainAct.FAIL, position)]
                steps.append(MainStep(MainAct.START_LOADERS, position))
            case EndOfStream():
                return [*steps, MainStep(MainAct.FINISH, position)]
    return [*steps, MainStep(MainAct.FAIL, len(line))]
