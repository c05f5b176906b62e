"""The outcomes of a script of any size, by counting.

Lockstep (see the package's theory of operation): with ``s`` the SYNCs a channel can give before it ends and ``R`` the
rendezvous records on main, main gets as far as ``r = min(R, min s)`` rendezvous. A channel's *segment* is the number of
SYNCs in front of a step. Segments below ``r`` are read before main gets there, segments above it never; segment ``r``
races with whatever main does behind its last rendezvous. A property test proves the result equal to ``explore`` on
small scripts.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

from analyzers.findings import Outcome
from analyzers.receiver.device_state import state_buffers
from analyzers.receiver.script import Act, ChannelStep, MainAct, Script
from multifd_codec.device_key import DeviceKey

MAX_ALTERNATIVES = 64
"""Orders of arrival tried for device-state buffers that stand on two channels."""


class Lockstep(NamedTuple):
    """How far a script gets, by counting."""

    syncs: tuple[int, ...]
    """SYNCs each channel can give before it ends."""
    records: int
    """Rendezvous records on main in front of its end."""

    @property
    def reached(self) -> int:
        """Rendezvous that complete."""
        return min((self.records, *self.syncs))

    @property
    def blocked(self) -> bool:
        """Main waits in a rendezvous that never completes."""
        return self.reached < self.records

    @property
    def blockers(self) -> tuple[int, ...]:
        """Positions of the channels that do not give the token main waits for."""
        return tuple(i for i, count in enumerate(self.syncs) if self.blocked and count == self.reached)


def lockstep(script: Script) -> Lockstep:
    """Count SYNCs and rendezvous records."""
    syncs = tuple([step.act for step in steps].count(Act.SYNC) for steps in script.channels)
    return Lockstep(syncs, [step.act for step in script.main].count(MainAct.RENDEZVOUS))


def solve(script: Script) -> frozenset[Outcome]:
    """All outcomes that some interleaving reaches."""
    found: set[Outcome] = set()
    for alternative in itertools.islice(_arrival_orders(script), MAX_ALTERNATIVES):
        found |= _Solver(alternative).outcomes()
    return frozenset(found)


def segments(steps: Sequence[ChannelStep]) -> Iterator[tuple[int, int, ChannelStep]]:
    """(segment, index, step) of each step; a SYNC belongs to the segment it ends."""
    segment = 0
    for index, step in enumerate(steps):
        yield segment, index, step
        segment += step.act is Act.SYNC


class _Solver:
    """Outcomes of a script in which no buffer stands twice."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.lockstep = lockstep(script)
        self.reached = self.lockstep.reached
        self.ends = [steps[-1] for steps in script.channels]
        self.racing = [i for i, count in enumerate(self.lockstep.syncs) if count == self.reached]
        """Channels that come to their end, not to an unmatched SYNC."""
        acts = [step.act for step in script.main]
        self.waits = MainAct.START_LOADERS in acts and bool(script.devices)
        self.failing = {Outcome.FAILS} | ({Outcome.CRASHES} if self.waits and script.loaders_assert else set())
        """What a load comes to that fails when the loaders may not have begun."""

    def outcomes(self) -> set[Outcome]:
        found = self._blocked() if self.lockstep.blocked else self._at_main_end()
        if any(crashes_before_setup(steps) for steps in self.script.channels):
            found.add(Outcome.CRASHES)
        return found

    def _ending(self, act: Act) -> list[int]:
        return [i for i in self.racing if self.ends[i].act is act]

    def _all(self) -> Iterator[tuple[int, int, ChannelStep]]:
        for steps in self.script.channels:
            yield from segments(steps)

    def _blocked(self) -> set[Outcome]:
        return self._nothing_else_happens(
            Outcome.UNDECIDED if len(self._ending(Act.OPEN)) == len(self.racing) else Outcome.HANGS
        )

    def _nothing_else_happens(self, stuck: Outcome) -> set[Outcome]:
        """Main never moves again: ``stuck``, unless a channel comes to crash the process, which only an error stops."""
        if not self._ending(Act.CRASH):
            return {stuck}
        return {Outcome.CRASHES, stuck} if self._ending(Act.ERROR) else {Outcome.CRASHES}

    def _at_main_end(self) -> set[Outcome]:
        match self.script.main[-1].act:
            case MainAct.CRASH:
                return {Outcome.CRASHES}
            case MainAct.OPEN:
                return self._nothing_else_happens(Outcome.UNDECIDED)
            case MainAct.FAIL:
                found = set(self.failing)
            case _:
                found = self._at_finish()
        if self.script.crashes_at_cleanup:
            found = {outcome if outcome in (Outcome.HANGS, Outcome.UNDECIDED) else Outcome.CRASHES for outcome in found}
        return found | ({Outcome.CRASHES} if self._ending(Act.CRASH) else set())

    def _at_finish(self) -> set[Outcome]:
        errors = self._ending(Act.ERROR)
        found = set(self.failing) if errors and self.script.error_fails else set()
        if self.waits and not self._loaders_done(range(len(self.ends))):
            if errors or not self._ending(Act.CRASH):
                found.add(Outcome.UNDECIDED if not errors and self._could_come() else Outcome.HANGS)
            return found
        if self.waits and any(not self._loaders_done([error]) for error in errors):
            found.add(Outcome.HANGS)
        if self.waits and any(device.load_fails for device in self.script.devices):
            return found | {Outcome.FAILS}
        return found | self._completed()

    def _loaders_done(self, channels: Sequence[int] | range) -> bool:
        """Whether every loader can finish with what certainly arrives and what races on ``channels``."""
        arrived: dict[DeviceKey, list[tuple[int, bool]]] = defaultdict(list)
        for position, steps in enumerate(self.script.channels):
            for segment, _, step in segments(steps):
                reachable = segment < self.reached or (segment == self.reached and position in channels)
                if step.device is not None and step.index is not None and reachable:
                    arrived[step.device].append((step.index, step.config))
        return all(
            not device.never_ready and state_buffers(arrived[device.device]).loadable for device in self.script.devices
        )

    def _could_come(self) -> bool:
        """Whether missing buffers may stand behind the end of the recording."""
        if not self._ending(Act.OPEN) or any(device.never_ready for device in self.script.devices):
            return False
        states = [(segment, step) for segment, _, step in self._all() if step.act is Act.STATE]
        queued = {(step.device, step.index) for segment, step in states if segment <= self.reached}
        behind = {s.device for segment, s in states if segment > self.reached and (s.device, s.index) not in queued}
        return not any(device.device in behind for device in self.script.devices)

    def _completed(self) -> set[Outcome]:
        """COMPLETES, LOSES_DATA or both, by what is loaded before completion for certain, perhaps, or never."""
        script = self.script
        lost = script.memory_wrong or (bool(script.devices) and not self.waits)
        lost = lost or any(device.loads_wrong for device in script.devices)
        may_lose = False
        for steps in script.channels:
            racing: list[ChannelStep] = []
            for segment, _, step in segments(steps):
                lost = lost or (step.matters and (segment > self.reached or step.act is Act.ERROR))
                lost = lost or (step.spoils and segment < self.reached)
                if segment == self.reached and step.act not in (Act.SYNC, Act.ERROR):
                    racing.append(step)
            forced = max((i + 1 for i, step in enumerate(racing) if self._needed(step)), default=0)
            lost = lost or any(step.spoils for step in racing[:forced])
            rest = racing[forced:]
            first_spoiled = next((i for i, step in enumerate(rest) if step.spoils), len(rest))
            lost = lost or any(step.matters for step in rest[first_spoiled:])
            may_lose = may_lose or any(step.matters or step.spoils for step in rest)
        if lost:
            return {Outcome.LOSES_DATA}
        return {Outcome.COMPLETES, Outcome.LOSES_DATA} if may_lose else {Outcome.COMPLETES}

    def _needed(self, step: ChannelStep) -> bool:
        """Whether completion waits for this buffer."""
        if not self.waits or step.act is not Act.STATE or step.index is None or step.device is None:
            return False
        config = self.configs.get(step.device)
        return config is not None and step.index <= config

    @cached_property
    def configs(self) -> dict[DeviceKey, int | None]:
        """Index of the config of each device whose loader main waits for."""
        buffers: dict[DeviceKey, list[tuple[int, bool]]] = defaultdict(list)
        for _, _, step in self._all():
            if step.device is not None and step.index is not None:
                buffers[step.device].append((step.index, step.config))
        return {device.device: state_buffers(buffers[device.device]).config for device in self.script.devices}


def _arrival_orders(script: Script) -> Iterator[Script]:
    """Scripts without repeated buffers, one for each buffer that can be the first of its like to arrive: the others are
    errors. Buffers in front of RAM setup may be refused or not."""
    where: dict[tuple[DeviceKey, int], list[tuple[int, int, int]]] = defaultdict(list)
    early: dict[int, int] = {}
    reached = lockstep(script).reached
    for position, steps in enumerate(script.channels):
        for segment, index, step in segments(steps):
            if segment > reached:
                break  # never read, so it is late for nothing
            if step.act is Act.STATE and step.device is not None and step.index is not None:
                where[step.device, step.index].append((segment, position, index))
                if step.needs_setup and segment == 0 and not crashes_before_setup(steps[:index]):
                    early.setdefault(position, index)
    repeated = [at for at in where.values() if len(at) > 1]
    choices: list[list[list[tuple[int, int]]]] = [[_others(at, first) for first in _firsts(at)] for at in repeated]
    choices += [[[], [place]] for place in early.items()]
    for chosen in itertools.product(*choices):
        channels = list(script.channels)
        first: dict[int, int] = {}
        for position, index in itertools.chain(*chosen):
            first[position] = min(index, first.get(position, index))
        for position, index in first.items():
            channels[position] = _cut(channels[position], index)
        yield script._replace(channels=tuple(channels)) if any(chosen) else script


def crashes_before_setup(steps: Sequence[ChannelStep]) -> bool:
    """Whether pages can be touched before main has set up RAM. A buffer that was accepted shows that it has."""
    for step in steps:
        if step.act is Act.SYNC or (step.act is Act.STATE and step.needs_setup):
            return False
        if step.act is Act.DATA and step.needs_setup:
            return True
    return False


def _firsts(occurrences: list[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """The occurrences that some order makes the first to arrive: those of the lowest segment, one a channel."""
    lowest = min(segment for segment, _, _ in occurrences)
    for _, group in itertools.groupby(sorted(o for o in occurrences if o[0] == lowest), key=lambda o: o[1]):
        yield next(group)


def _others(occurrences: list[tuple[int, int, int]], first: tuple[int, int, int]) -> list[tuple[int, int]]:
    return [(position, index) for segment, position, index in occurrences if (segment, position, index) != first]


def _cut(steps: tuple[ChannelStep, ...], index: int) -> tuple[ChannelStep, ...]:
    if index >= len(steps) - 1:
        return steps
    step = steps[index]
    behind = any(later.matters for later in steps[index + 1 :])
    reason = step.reason or f"buffer {step.index} is already there"
    return (*steps[:index], replace(step, act=Act.ERROR, matters=behind, device=None, index=None, reason=reason))
