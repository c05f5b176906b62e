"""From a script to outcomes, memory and device state included."""

from __future__ import annotations

from dataclasses import dataclass, replace

from analyzers.findings import Outcome
from analyzers.judge.doubts import doubts, foreign_pages
from analyzers.judge.effects import Fault
from analyzers.judge.infer import Sender
from analyzers.judge.memory import Channels, MemoryVerdict, judge_memory, mark_lost_data
from analyzers.judge.scripts import Judge, build
from analyzers.receiver.script import MAIN_TERMINAL, Act, ChannelStep, MainAct, MainStep, Script
from analyzers.receiver.solve import solve
from analyzers.survey.main import MainSurvey

AT_END = frozenset({Outcome.COMPLETES, Outcome.LOSES_DATA})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a destination does with what was recorded."""

    script: Script
    outcomes: frozenset[Outcome]
    memory: MemoryVerdict
    faults: dict[int, Fault]


def judge(
    channels: Channels, main: MainSurvey | None, destination: Judge, sender: Sender, *, gaps: bool, second_main: bool
) -> Verdict:
    """Solve the migration for one destination.

    ``gaps``: packet numbers are missing that the sender must have used. ``second_main``: another main channel is
    connected, which a destination before 10.1 drops and trips over when it cleans up.
    """
    script, faults = build(channels, main, destination)
    memory = judge_memory(channels, main, destination.destination, sender, destination.mode, gaps=gaps)
    memory.raced += foreign_pages(channels, main)
    script = mark_lost_data(script, channels, main, faults)
    script = replace(script, memory_wrong=bool(memory.wrong), crashes_at_cleanup=second_main)
    outcomes = solve(script)
    for position, fault in faults.items():
        if fault.chance:
            outcomes |= solve(_as_error(script, position))
    for offset, reason in doubts(channels, main):
        outcomes |= solve(_failing(script, offset, reason))
    if memory.raced and Outcome.COMPLETES in outcomes:
        outcomes |= {Outcome.LOSES_DATA}
    if outcomes & AT_END and _two_configs(script):
        outcomes |= {Outcome.CRASHES, Outcome.LOSES_DATA}
    return Verdict(script, outcomes, memory, faults)


def _as_error(script: Script, position: int) -> Script:
    steps = script.channels[position]
    ending: ChannelStep = replace(steps[-1], act=Act.ERROR)
    changed = (*steps[:-1], ending)
    return replace(script, channels=(*script.channels[:position], changed, *script.channels[position + 1 :]))


def _failing(script: Script, offset: int, reason: str) -> Script:
    """The same with a load that fails at ``offset`` of main."""
    before = tuple(step for step in script.main if step.offset < offset and step.act not in MAIN_TERMINAL)
    if any(step.offset < offset for step in script.main if step.act in MAIN_TERMINAL):
        return script
    return replace(script, main=(*before, MainStep(MainAct.FAIL, offset, reason)))


def _two_configs(script: Script) -> bool:
    """A second config moves the end of a device's state, up or down (protocol reference, V-10)."""
    configs: dict[object, set[int | None]] = {}
    for steps in script.channels:
        for step in steps:
            if step.act is Act.STATE and step.config:
                configs.setdefault(step.device, set()).add(step.index)
    return any(len(indices) > 1 for indices in configs.values())
