"""Sentences on what a destination refuses because of something else in the stream, and on what it trips over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from analyzers.receiver.script import Act, MainAct, Script
from analyzers.receiver.solve import segments
from multifd_codec.device_key import DeviceKey

Where = Callable[[int, int], str]
"""(position of a channel, offset) to ``offset 4096 (frame 17) of channel 0``."""


def refusals(script: Script, where: Where) -> Iterator[str]:
    """Device state that comes too early or twice, config data no loader takes, a second main channel."""
    places: defaultdict[tuple[DeviceKey, int], list[str]] = defaultdict(list)
    for position, steps in enumerate(script.channels):
        for segment, _, step in segments(steps):
            if step.act is not Act.STATE or step.device is None or step.index is None:
                continue
            place = where(position, step.offset)
            places[step.device, step.index].append(place)
            if segment == 0 and step.needs_setup:
                yield (
                    f"device state of {step.device.idstr} stands in front of the first SYNC, at {place}: "
                    "it is refused if it is read before main has set the device up"
                )
    for (device, index), mine in places.items():
        if len(mine) > 1:
            found = " and at ".join(mine[:5])
            yield f"buffer {index} of {device.idstr} stands at {found}: it is refused the second time"
    if any(step.act is MainAct.START_LOADERS for step in script.main):
        for loader in script.devices:
            if loader.load_fails:
                yield f"the loader of {loader.device.idstr} fails: the tags around its config data are wrong"
    if script.crashes_at_cleanup:
        yield "a second main channel is connected: it is dropped, and the process aborts over it when it cleans up"
