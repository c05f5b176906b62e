"""What a destination does about each condition a survey found: one table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from analyzers.rulebook.codes import MFD101, MFD205, MFD401, MFD402, MFD403, MFD404, MFD405, MFD407, MFD408, MFD417
from analyzers.rulebook.conditions import Effect, PacketCondition
from analyzers.rulebook.rule import Rule
from analyzers.survey.channel import ChannelSurvey, Item
from analyzers.survey.device_state import HUGE_INDEX
from analyzers.survey.main import MainSurvey
from multifd_codec.dialect.compression import known
from multifd_codec.dialect.releases import DestinationHabits
from multifd_codec.dialect.words import since
from multifd_codec.wire.packet import PacketFlags
from multifd_codec.wire.vfio import INVALID_IDX

_DEVICE_STATE = since(lambda r: r.destination.device_state)


class Fault(NamedTuple):
    """The first thing on a channel a destination does not survive."""

    offset: int
    effect: Effect
    reason: str
    what: PacketCondition | Rule
    """The condition that holds there, or the rule that is broken."""
    queued: bool = False
    """The device-state buffer at this place is queued before the error."""
    chance: bool = False
    """CRASH: it may end in an error instead."""


def faults(
    survey: ChannelSurvey, main: MainSurvey | None, destination: DestinationHabits, compression: int
) -> Iterator[Fault]:
    """Everything on a channel that ends a receive thread or the process, in no order."""
    for condition, hits in survey.hits.items():
        effect = condition.effect_on(destination)
        if effect in (Effect.ERROR, Effect.CRASH) and hits.kept:
            first = hits.first
            chance = effect is Effect.CRASH and condition.chance
            yield Fault(first.offset, effect, first.message, condition, chance=chance)
    expected = compression if known(destination.compression_mask, compression) else 0
    for number, hits in (survey.compressions if destination.zero_pages else survey.content_compressions).items():
        if (number & destination.compression_mask) != (expected & destination.compression_mask):
            reason = f"compression id {number:#x}, the destination expects {expected:#x}"
            yield Fault(hits.first.offset, Effect.ERROR, reason, MFD205)
    for item in survey.items:
        fault = _item_fault(item, main, destination, expected)
        if fault is not None:
            yield fault


def device_fault(
    item: Item, main: MainSurvey | None, destination: DestinationHabits, compression: int = 0
) -> Fault | None:
    """What ends the channel at a device-state packet, checked in a receiver's order; None when it is queued."""
    buffer = item.buffer
    assert buffer is not None
    packet = buffer.packet

    def fault(row: Rule, reason: str, effect: Effect = Effect.ERROR, *, queued: bool = False) -> Fault:
        return Fault(packet.offset, effect, reason, row, queued=queued)

    if not destination.device_state:
        return fault(MFD417, f"a device-state packet, which releases before {_DEVICE_STATE} read as a RAM packet")
    if packet.next_packet_size == 0:
        return fault(MFD402, "an empty device-state packet")
    if not buffer.terminated:
        return fault(MFD403, "the device's name is not terminated")
    if main is not None and main.eof is not None and buffer.device not in main.vfio:
        known = buffer.device in main.sections
        what = "has no operation to load buffers" if known else "is not on the destination"
        return fault(MFD404, f"device {buffer.device.idstr!r} instance {buffer.device.instance_id} {what}")
    if compression:
        return fault(MFD405, "device state, which a destination configured with compression refuses")
    if not buffer.recorded:
        return None
    if buffer.index is None:
        return fault(MFD407, f"a payload of {packet.next_packet_size} bytes, the VFIO header alone has 12")
    if buffer.version != 0:
        return fault(MFD407, f"VFIO header version {buffer.version}")
    if buffer.index == INVALID_IDX:
        return fault(MFD408, f"index {buffer.index:#x}")
    if buffer.index >= HUGE_INDEX:
        return fault(MFD408, f"index {buffer.index}: memory for all smaller ones is allocated", Effect.CRASH)
    if packet.flags & PacketFlags.SYNC:
        return fault(MFD401, "SYNC on a device-state packet", queued=True)
    return None


def _item_fault(item: Item, main: MainSurvey | None, destination: DestinationHabits, compression: int) -> Fault | None:
    if item.buffer is not None:
        return device_fault(item, main, destination, compression)
    if item.found and not item.hole:
        return Fault(item.offset, Effect.ERROR, f"no packet here: {item.found[:8].hex(' ')} ...", MFD101)
    return None
