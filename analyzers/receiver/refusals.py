"""What a destination refuses because of something else in the stream, and what it trips over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from analyzers.findings import Actor, Kind, Location, Reason
from analyzers.receiver.script import Act, MainAct, Script
from analyzers.receiver.solve import segments
from multifd_codec.device_key import DeviceKey

MAX_PLACES = 5
"""Places of one buffer that are told."""


def refusals(script: Script) -> Iterator[Reason]:
    """Device state that comes too early or twice, config data no loader takes, a second main channel."""
    places: defaultdict[tuple[DeviceKey, int], list[Location]] = defaultdict(list)
    for position, steps in enumerate(script.channels):
        channel = script.channel_ids[position]
        for segment, _, step in segments(steps):
            if step.act is not Act.STATE or step.device is None or step.index is None:
                continue
            places[step.device, step.index].append(Location(channel, step.offset))
            if segment == 0 and step.needs_setup:
                yield Reason(
                    Kind.DEVICE_STATE_BEFORE_SETUP,
                    Actor.CHANNEL,
                    channel,
                    step.offset,
                    devices=(step.device,),
                    buffers=(step.index,),
                )
    for (device, index), (first, *others) in places.items():
        if others:
            also = tuple(others[: MAX_PLACES - 1])
            yield Reason(Kind.BUFFER_TWICE, Actor.CHANNEL, *first, also=also, devices=(device,), buffers=(index,))
    if any(step.act is MainAct.START_LOADERS for step in script.main):
        for loader in script.devices:
            if loader.load_fails:
                yield Reason(Kind.LOADER_FAILS, Actor.LOADER, devices=(loader.device,))
    if script.crashes_at_cleanup:
        yield Reason(Kind.SECOND_MAIN_AT_CLEANUP, Actor.DESTINATION)
