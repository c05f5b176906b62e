"""A device with several config packets: each of them that arrives is where its state ends, until the next one does.

The loader takes one buffer after the other. It ends at a config that is the last one to have arrived when it comes
there; one that is not is written into the device like any buffer, and what stands behind the end is never loaded
(vfio_load_state_buffer and vfio_load_bufs_thread, hw/vfio/migration-multifd.c; measured with 10.0, 10.2 and 11.1).
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from analyzers.findings import Outcome
from analyzers.judge.content import Channels
from analyzers.receiver.script import ChannelStep, DeviceScript, MainAct, Script
from analyzers.receiver.solve import lockstep, segments, solve
from analyzers.survey.device_state import Buffer
from analyzers.survey.main import MainSurvey
from multifd_codec.device_key import DeviceKey

MAX_ENDS = 16
"""Combinations of ends, over all devices, that are solved."""


MAX_CONFIGS = 32
"""Configs of one device whose order is looked into; the verdict on more of them is undecided."""


class Arrival(NamedTuple):
    """A buffer that arrives, and where it stands."""

    segment: int
    position: int
    step: int
    number: int
    """Index of the buffer."""
    config: bool

    def is_before(self, other: Arrival) -> bool:
        """Whether it arrives first for certain."""
        if self.position == other.position:
            return self.step < other.step
        return self.segment < other.segment


class Ends(NamedTuple):
    """Where the loader of a device can end."""

    device: DeviceKey
    configs: tuple[Arrival, ...]
    """Those at which it can."""
    overtaken: bool
    """A config can arrive while the loader waits, at another one, to be told that it may load that."""


def ends_of(script: Script) -> list[Ends]:
    """Of each device with several configs, all with indices of their own. Others have one end, whatever comes when."""
    found: defaultdict[DeviceKey, list[Arrival]] = defaultdict(list)
    reached = lockstep(script).reached
    for position, steps in enumerate(script.channels):
        for segment, number, step in segments(steps):
            if step.device is not None and step.index is not None and segment <= reached:
                found[step.device].append(Arrival(segment, position, number, step.index, step.config))
    acts = [step.act for step in script.main]
    started = acts[: acts.index(MainAct.START_LOADERS)] if MainAct.START_LOADERS in acts else acts
    behind = started.count(MainAct.RENDEZVOUS)
    return [_ends(device, arrivals, behind) for device, arrivals in found.items() if _several(arrivals)]


def _several(arrivals: Sequence[Arrival]) -> bool:
    times = Counter(arrival.number for arrival in arrivals)
    configs = [arrival.number for arrival in arrivals if arrival.config]
    return len(configs) > 1 and all(times[index] == 1 for index in configs)


def _ends(device: DeviceKey, arrivals: Sequence[Arrival], started: int) -> Ends:
    """``started``: segments in front of this one have arrived before the loader begins."""
    if sum(one.config for one in arrivals) > MAX_CONFIGS:
        return Ends(device, tuple(one for one in arrivals if one.config), overtaken=True)
    in_order = sorted(arrivals, key=lambda one: one.number)
    configs = [one for one in in_order if one.config]
    latest: dict[int, Arrival] = {}
    """What the loader needs to come to a config, the last one of each channel."""

    def is_there(one: Arrival) -> bool:
        """Whether it has arrived when the loader comes there."""
        return one.segment < started or any(one.is_before(other) for other in latest.values())

    possible, overtaken, needed = [], False, 0
    for config in configs:
        while needed < len(in_order) and in_order[needed].number <= config.number:
            one, needed = in_order[needed], needed + 1
            if one.position not in latest or latest[one.position].step < one.step:
                latest[one.position] = one
        others = [other for other in configs if other is not config]
        if not any(config.is_before(other) and is_there(other) for other in others):
            possible.append(config)
            overtaken = overtaken or any(not is_there(other) for other in others)
        if all(other.is_before(config) for other in others):
            break  # it is the last one whenever the loader comes there
    return Ends(device, tuple(possible), overtaken)


def solve_by_end(script: Script, channels: Channels, main: MainSurvey | None) -> frozenset[Outcome]:
    """As ``solve``, over all ends that devices with several configs can have.

    A config that arrives while the loader waits for DEV_CONFIG_LOAD_READY trips an assertion.
    """
    every = ends_of(script)
    if not every:
        return solve(script)
    if any(len(ends.configs) > MAX_CONFIGS for ends in every):
        return solve(script) | {Outcome.UNDECIDED}
    buffers = _buffers(channels)
    found: frozenset[Outcome] = frozenset()
    alternatives = itertools.product(*([(ends, end) for end in ends.configs] for ends in every))
    for chosen in itertools.islice(alternatives, MAX_ENDS):
        outcomes = solve(_ending_at({ends.device: end.number for ends, end in chosen}, script, buffers))
        loaded = outcomes & {Outcome.COMPLETES, Outcome.LOSES_DATA, Outcome.FAILS}
        if loaded and main is not None and any(ends.overtaken and _waits(main, ends.device) for ends, _ in chosen):
            outcomes |= {Outcome.CRASHES}
        found |= outcomes
    return found


def _waits(main: MainSurvey, device: DeviceKey) -> bool:
    """Whether its loader waits to be told, as far as main shows it."""
    return device in main.vfio and main.vfio[device].ready is not None


def _buffers(channels: Channels) -> Mapping[DeviceKey, Mapping[int, Buffer]]:
    found: defaultdict[DeviceKey, dict[int, Buffer]] = defaultdict(dict)
    for _, survey in channels:
        for item in survey.items:
            if item.buffer is not None and item.buffer.placed and item.buffer.index is not None:
                found[item.buffer.device].setdefault(item.buffer.index, item.buffer)
    return found


def _ending_at(
    ends: Mapping[DeviceKey, int],
    script: Script,
    buffers: Mapping[DeviceKey, Mapping[int, Buffer]],
) -> Script:
    """The script with one config a device."""

    def ending(step: ChannelStep) -> ChannelStep:
        end = None if step.device is None else ends.get(step.device)
        return step if end is None else replace(step, config=step.index == end)

    streams = tuple(tuple(map(ending, steps)) for steps in script.channels)
    devices = tuple(_loaded(one, ends, buffers) for one in script.devices)
    return script._replace(channels=streams, devices=devices)


def _loaded(
    script: DeviceScript,
    ends: Mapping[DeviceKey, int],
    buffers: Mapping[DeviceKey, Mapping[int, Buffer]],
) -> DeviceScript:
    if script.device not in ends:
        return script
    mine, last = buffers[script.device], ends[script.device]
    wrong = any(_differs(mine[last], buffer, index < last) for index, buffer in _others(mine, last))
    return script._replace(load_fails=bool(mine[last].config_problem), loads_wrong=wrong)


def _others(mine: Mapping[int, Buffer], last: int) -> Iterator[tuple[int, Buffer]]:
    return ((index, buffer) for index, buffer in mine.items() if index != last)


def _differs(config: Buffer, other: Buffer, written: bool) -> bool:
    """Whether the device is not what it was: a config written into it, or something behind the end left out that is
    not the same config again."""
    if written:
        return other.config and not other.config_problem
    return not other.config or other.digest != config.digest
