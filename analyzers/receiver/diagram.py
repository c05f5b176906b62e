"""The second half of docs/receiver.md, from the rows: ``python -m analyzers.receiver.diagram docs/receiver.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from analyzers.receiver.tables import (
    CHANNEL,
    LOADERS,
    MAIN,
    ON_MAIN,
    ROWS,
    STOPPED,
    ChannelState,
    Effect,
    LoaderState,
    MainState,
    Row,
    S,
    Table,
)

MARK = "<!-- From here on made from analyzers/receiver/tables.py; a test keeps it true. -->"
Any = ChannelState | MainState | LoaderState
Arrow = tuple[Any, Any, str]


def render(document: str) -> str:
    """The document, with what stands behind MARK made anew. Raises ValueError when MARK is not there."""
    return document[: document.index(MARK)] + "\n".join(_generated()) + "\n"


def arrows() -> Iterator[Arrow]:
    """(from, to, label) of every arrow: one a row, and one a state of main that a channel's effect can end."""
    for row in ROWS:
        yield row.state, row.to, _label(row)
    for effect, to in ON_MAIN.items():
        for state in MainState:
            if state not in STOPPED:
                yield state, to, f"on a channel / {effect}"


def _generated() -> Iterator[str]:
    yield MARK
    yield "\n## A channel's receive thread\n"
    yield from _diagram(ChannelState)
    yield from _tables(CHANNEL)
    yield "\n## The main process\n"
    yield from _diagram(MainState)
    yield from _tables(MAIN)
    yield "\n## The device loaders\n"
    yield from _diagram(LoaderState)
    yield from _tables(LOADERS)
    yield "\n## The conditions\n"
    for guard in dict.fromkeys(guard for row in ROWS for guard in row.guards):
        yield f"* *{guard.__name__.replace('_', ' ')}*: {guard.__doc__}"


def _diagram(states: type[Any]) -> Iterator[str]:
    yield "```mermaid"
    yield "stateDiagram-v2"
    for state in states:
        yield f"    {state.name} : {state}"
    for start, to, label in arrows():
        if isinstance(start, states):
            yield f"    {start.name} --> {to.name} : {label}"
    yield "```"


def _tables(table: Table[S]) -> Iterator[str]:
    for kind, rows in (("joint", table.joint), ("instead", table.instead), ("input", table.input)):
        if not rows:
            continue
        yield f"\n| {kind}: in | when | goes to | and |\n|---|---|---|---|"
        for row in rows:
            yield f"| {row.state} | {row.trigger} | {row.to} | {'' if row.effect is Effect.NOTHING else row.effect} |"


def _label(row: Row[ChannelState] | Row[MainState] | Row[LoaderState]) -> str:
    return row.trigger if row.effect is Effect.NOTHING else f"{row.trigger} / {row.effect}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(render(path.read_text()))
