"""What a destination does about each condition a survey found: one table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from analyzers.rulebook.codes import MFD101, MFD102, MFD205, MFD206
from analyzers.rulebook.conditions import DeviceStateCondition, DeviceStateSeen, Effect, PacketCondition
from analyzers.rulebook.registry import DEVICE_STATE_CONDITIONS, PACKET_CONDITIONS
from analyzers.rulebook.rule import Rule
from analyzers.survey.channel import ChannelSurvey, Item
from analyzers.survey.main import MainSurvey
from multifd_codec.dialect.compression import known
from multifd_codec.dialect.destination import Destination


class Fault(NamedTuple):
    """The first thing on a channel a destination does not survive."""

    offset: int
    effect: Effect
    reason: str
    what: PacketCondition | DeviceStateCondition | Rule
    """The condition that holds there, or the rule that is broken."""
    queued: bool = False
    """The device-state buffer at this place is queued before the error."""
    missed: bool = False
    """Device state is lost there, if main completes all the same."""
    chance: bool = False
    """CRASH: it may end in an error instead."""

    @property
    def rule(self) -> Rule:
        """The rule that is broken."""
        match self.what:
            case Rule():
                return self.what
            case PacketCondition():
                return PACKET_CONDITIONS[self.what]
        return next(rule for rule, condition in DEVICE_STATE_CONDITIONS if condition is self.what)


def faults(survey: ChannelSurvey, main: MainSurvey | None, like: Destination) -> Iterator[Fault]:
    """Everything on a channel that ends a receive thread or the process, in no order."""
    destination, compression = like.habits, like.compression_flag
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
            rule = MFD205 if known(destination.compression_mask, number) else MFD206
            yield Fault(hits.first.offset, Effect.ERROR, reason, rule)
    for item in survey.items:
        fault = _item_fault(item, main, like)
        if fault is not None:
            yield fault


def device_fault(seen: DeviceStateSeen) -> Fault | None:
    """What ends the channel at a device-state packet, checked in a receiver's order; None when it is queued."""
    for _, condition in DEVICE_STATE_CONDITIONS:
        known = seen.buffer.recorded or not condition.queued
        if condition.refuses is not None and known and condition.when(seen):
            return Fault(
                seen.packet.offset,
                condition.effect,
                condition.refuses(seen),
                condition,
                queued=condition.queued,
                missed=condition.missed,
            )
    return None


def _item_fault(item: Item, main: MainSurvey | None, like: Destination) -> Fault | None:
    if item.buffer is not None:
        return device_fault(DeviceStateSeen(item.buffer, main, like))
    if item.found and not item.hole:
        rule = MFD101 if item.other_version is None else MFD102
        return Fault(item.offset, Effect.ERROR, f"no packet here: {item.found[:8].hex(' ')} ...", rule)
    return None
