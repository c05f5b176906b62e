"""Renders docs/receiver.md from the state tables: ``python -m analyzers.receiver.diagram > docs/receiver.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum

import analyzers.receiver
from analyzers.receiver.machine import CHANNEL, MAIN, ChannelState, Effect, MainState

Transition = tuple[StrEnum, str, StrEnum]

EXTRA_CHANNEL: tuple[Transition, ...] = (
    (ChannelState.WAITING, "released by main, or told to stop", ChannelState.READING),
    (ChannelState.READING, "told to stop", ChannelState.DEAD),
)
EXTRA_MAIN: tuple[Transition, ...] = (
    (MainState.COLLECTING, f"a token of every channel / {Effect.RELEASE}", MainState.LOADING),
    (MainState.LOADING, "finish, an error is recorded (10.0 and later)", MainState.FAILED),
    (MainState.JOINING, "every loader is done, no error", MainState.COMPLETED),
    (MainState.JOINING, "every loader is done, an error is recorded (10.0 and later)", MainState.FAILED),
)


def render() -> str:
    """The whole document."""
    title, theory = (analyzers.receiver.__doc__ or "").split("\n", 1)
    return "\n".join(
        (
            f"# {title.strip()}",
            theory.rstrip(),
            "",
            "This page is made from the tables in `analyzers/receiver/machine.py`; a test keeps it true.",
            "",
            "## A channel's receive thread",
            "",
            *_diagram([(s, _label(a, e), t) for (s, a), (t, e) in CHANNEL.items()], EXTRA_CHANNEL),
            "",
            "## The main process",
            "",
            *_diagram([(s, _label(a, e), t) for (s, a), (t, e) in MAIN.items()], EXTRA_MAIN),
            "",
        )
    )


def _diagram(listed: Iterable[Transition], extra: Iterable[Transition]) -> Iterator[str]:
    transitions = [*listed, *extra]
    yield "```mermaid"
    yield "stateDiagram-v2"
    for state in sorted({state for start, _, target in transitions for state in (start, target)}, key=str):
        yield f"    {state.name} : {state}"
    for start, label, target in transitions:
        yield f"    {start.name} --> {target.name} : {label}"
    yield "```"


def _label(act: StrEnum, effect: Effect) -> str:
    return str(act) if effect is Effect.NOTHING else f"{act} / {effect}"


if __name__ == "__main__":
    sys.stdout.write(render())
