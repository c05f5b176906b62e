"""From a script to outcomes, memory and device state included."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from analyzers.findings import Actor, Kind, Outcome, Reason
from analyzers.judge.content import Channels
from analyzers.judge.doubts import doubts, foreign_pages
from analyzers.judge.effects import Fault
from analyzers.judge.infer import Sender
from analyzers.judge.memory import Known, MemoryVerdict, judge_memory, mark_lost_data
from analyzers.judge.misaligned import harmless
from analyzers.judge.scripts import build
from analyzers.judge.several_configs import solve_by_end
from analyzers.receiver.script import MAIN_TERMINAL, Act, ChannelStep, MainAct, MainStep, Script
from analyzers.receiver.solve import lockstep, segments
from analyzers.rulebook.codes import MFD518
from analyzers.survey.main import MainSurvey
from analyzers.survey.vfio import SectionKind
from multifd_codec.device_key import DeviceKey
from multifd_codec.dialect.destination import Destination
from multifd_codec.dialect.releases import Mode
from multifd_codec.wire.vfio import VfioTagId


class Verdict(NamedTuple):
    """What a destination does with what was recorded."""

    script: Script
    outcomes: frozenset[Outcome]
    memory: MemoryVerdict
    faults: dict[int, Fault]


DOUBTS = "doubts"
MAX_DOUBTS = 64
"""Places where the load may fail that are tried; with more of them the verdict is undecided."""


def judge(
    channels: Channels,
    main: MainSurvey | None,
    destination: Destination,
    sender: Sender,
    *,
    gaps: bool,
    second_main: bool,
    known: Known | None = None,
) -> Verdict:
    """Solve the migration for one destination.

    ``gaps``: packet numbers are missing that the sender must have used. ``second_main``: another main channel is
    connected, which a destination before 10.1 drops and trips over when it cleans up. ``known``: what was found for
    another destination and is the same for this one; it grows.
    """
    known = {} if known is None else known
    # How many channels it has decides the handshake only, and hundreds of numbers may be tried.
    key = ("verdict", replace(destination, channels=min(destination.channels, 1)), gaps, second_main)
    if key not in known:
        known[key] = _judge(channels, main, destination, sender, known, gaps=gaps, second_main=second_main)
    verdict: Verdict = known[key]
    return verdict


def _judge(
    channels: Channels,
    main: MainSurvey | None,
    destination: Destination,
    sender: Sender,
    known: Known,
    *,
    gaps: bool,
    second_main: bool,
) -> Verdict:
    solved = partial(solve_by_end, channels=channels, main=main)
    script, faults = build(channels, main, destination, known=known)
    habits = destination.habits
    memory = judge_memory(channels, main, habits, sender, destination.mode, known, gaps=gaps)
    foreign = ("foreign", habits.zero_pages, habits.zero_fill_checked)
    if foreign not in known:
        known[foreign] = foreign_pages(channels, main, sender, habits)
    memory.raced += known[foreign]
    if DOUBTS not in known:
        known[DOUBTS] = tuple(MainStep(MainAct.FAIL, at, reason) for at, reason in doubts(channels, main))
    may_fail = known[DOUBTS]
    unmarked = script
    if any(fault.chance for fault in faults.values()) or solved(script) & {Outcome.COMPLETES, Outcome.LOSES_DATA}:
        script = mark_lost_data(script, channels, main, faults, known)  # what is lost matters to those that complete
    script = _without_harmless(script, channels, main, destination.mode)
    script = script._replace(may_fail=may_fail, memory_wrong=bool(memory.wrong), crashes_at_cleanup=second_main)
    outcomes = solved(script)
    if Outcome.LOSES_DATA in outcomes and Outcome.COMPLETES not in outcomes and script is not unmarked:
        # What is never read may repeat what a channel reads that is faster than main.
        lucky = mark_lost_data(unmarked, channels, main, faults, known, channels_first=True)
        lucky = _without_harmless(lucky, channels, main, destination.mode)
        outcomes |= solved(lucky._replace(memory_wrong=bool(memory.wrong), crashes_at_cleanup=second_main))
    for position, fault in faults.items():
        if fault.chance:
            outcomes |= solved(_as_error(script, position))
    outcomes |= _out_of_bounds(solved, channels, main, destination, faults, script, known)
    compressed = any(number for _, survey in channels for number in survey.compressions)
    missing = Outcome.LOSES_DATA in outcomes and _holes(channels)
    if compressed or missing:
        unread = _without_harmless(_same_where_unread(script), channels, main, destination.mode, if_unread=True)
        if missing and Outcome.LOSES_DATA not in solved(unread):
            outcomes |= {Outcome.UNDECIDED}  # pages are compared that are not all recorded
        outcomes |= solved(unread)
    places = _places(script)
    if len(places) > MAX_DOUBTS:
        outcomes |= {Outcome.UNDECIDED}
    for step in places[:MAX_DOUBTS]:
        outcomes |= solved(_failing(script, step))
    if main is not None and main.cut_regions and Outcome.FAILS in outcomes:
        outcomes |= {Outcome.CRASHES}  # with multifd, whose threads read the pages: SIGSEGV (10.0 to 11.1, measured)
    memory.raced += _written_besides(script, main)
    if habits.device_state:
        memory.raced += _without_section(channels, main)
    if memory.raced and Outcome.COMPLETES in outcomes:
        outcomes |= {Outcome.LOSES_DATA}
        if any(reason.kind is Kind.PAGE_ON_TWO_CHANNELS for reason in memory.raced) and _holes(channels):
            outcomes |= {Outcome.UNDECIDED}
    configs = _configs(script)
    if configs and not lockstep(script).blocked and outcomes & {Outcome.LOSES_DATA, Outcome.HANGS}:
        outcomes |= {Outcome.LOSES_DATA} | ({Outcome.CRASHES} if any(map(_end_moves_down, configs)) else set())
    return Verdict(script, outcomes, memory, faults)


def _holes(channels: Channels) -> bool:
    """Whether pages may be missing that are compared with others."""
    return any(survey.source.holes() for _, survey in channels)


def _written_besides(script: Script, main: MainSurvey | None) -> Iterator[Reason]:
    """Devices with data in their START section, where it may be the first of their state, or in END or FULL, where it
    races with what the loader writes."""
    for device in script.devices:
        seen = None if main is None else main.vfio.get(device.device)
        for kind in (SectionKind.START, SectionKind.END, SectionKind.OTHER):
            offset = None if seen is None else seen.tags[kind].get(VfioTagId.DEV_DATA_STATE)
            if offset is not None:
                yield Reason(Kind.DATA_BESIDES, Actor.MAIN, "main", offset, devices=(device.device,))


def _without_section(channels: Channels, main: MainSurvey | None) -> Iterator[Reason]:
    """Devices with state on channels and no section on main, which ends too early: their sections may be behind it."""
    if main is None or main.eof is None or MFD518 not in main.hits:
        return
    told = set(main.vfio)
    for number, survey in channels:
        for item in survey.items:
            if item.buffer is not None and item.buffer.device not in told:
                told.add(item.buffer.device)
                device = (item.buffer.device,)
                yield Reason(Kind.STATE_WITHOUT_SECTION, Actor.CHANNEL, number, item.offset, devices=device)


def _without_harmless(
    script: Script, channels: Channels, main: MainSurvey | None, mode: Mode, *, if_unread: bool = False
) -> Script:
    """Pages that are loaded to the wrong place do not always spoil something."""
    reached = lockstep(script).reached
    streams = list(script.channels)
    for position, (_, survey) in enumerate(channels):
        segments_without = harmless(channels, main, mode, survey, reached, if_unread=if_unread)
        if segments_without:
            streams[position] = tuple(
                replace(step, spoils=False) if segment in segments_without else step
                for segment, _, step in segments(streams[position])
            )
    return script._replace(channels=tuple(streams))


def _out_of_bounds(
    solved: Callable[[Script], frozenset[Outcome]],
    channels: Channels,
    main: MainSurvey | None,
    destination: Destination,
    faults: dict[int, Fault],
    like: Script,
    known: Known,
) -> frozenset[Outcome]:
    """What is written or read out of bounds may hit nothing that matters: the packet is loaded then."""
    chances = frozenset(fault.what for fault in faults.values() if fault.chance)
    if not chances:
        return frozenset()
    script, _ = build(channels, main, destination, chances, known)
    lucky = solved(like._replace(channels=script.channels))
    return lucky | ({Outcome.LOSES_DATA} if Outcome.COMPLETES in lucky else frozenset())


def _as_error(script: Script, position: int) -> Script:
    steps = script.channels[position]
    ending: ChannelStep = replace(steps[-1], act=Act.ERROR)
    changed = (*steps[:-1], ending)
    return script._replace(channels=(*script.channels[:position], changed, *script.channels[position + 1 :]))


def _same_where_unread(script: Script) -> Script:
    """The same if what may stay unread changes nothing: compressed pages are not unpacked to compare them."""
    channels = (
        tuple(replace(step, matters=False) if step.act in (Act.ERROR, Act.DATA) else step for step in steps)
        for steps in script.channels
    )
    return script._replace(channels=tuple(channels))


def _places(script: Script) -> list[MainStep]:
    """The first of the steps that may fail behind each step of main: what comes of the others is the same."""
    offsets = [step.offset for step in script.main]
    first: dict[int, MainStep] = {}
    for step in script.may_fail:
        first.setdefault(bisect_left(offsets, step.offset), step)
    return list(first.values())


def _failing(script: Script, failure: MainStep) -> Script:
    """The same with a load that fails there."""
    before = tuple(step for step in script.main if step.offset < failure.offset)
    return script if any(step.act in MAIN_TERMINAL for step in before) else script._replace(main=(*before, failure))


class _Config(NamedTuple):
    """A config packet: where it stands, and its index as ``end``."""

    segment: int
    position: int
    step: int
    end: int


def _configs(script: Script) -> list[list[_Config]]:
    """The configs of each device that has one whose index is there already, and another: the end of the state moves
    although the packet is refused (protocol reference, V-10)."""
    found: defaultdict[DeviceKey | None, list[_Config]] = defaultdict(list)
    times: Counter[tuple[DeviceKey | None, int]] = Counter()
    for position, steps in enumerate(script.channels):
        for segment, number, step in segments(steps):
            if step.act is Act.STATE and step.config and step.index is not None:
                found[step.device].append(_Config(segment, position, number, step.index))
    for steps in script.channels:
        for step in steps:
            if step.device in found and step.index is not None:
                times[step.device, step.index] += 1
    return [
        configs
        for device, configs in found.items()
        if len({config.end for config in configs}) > 1 and any(times[device, config.end] > 1 for config in configs)
    ]


def _end_moves_down(configs: Sequence[_Config]) -> bool:
    """Whether a config can arrive behind one with a higher index: the loader may be beyond it and asserts."""
    return any(
        later.end < earlier.end
        and (later.step > earlier.step if later.position == earlier.position else later.segment >= earlier.segment)
        for earlier in configs
        for later in configs
    )
