"""Every interleaving of a script, by brute force: the judge of ``solve``. For small scripts only."""

from __future__ import annotations

from analyzers.findings import Outcome
from analyzers.receiver import machine
from analyzers.receiver.script import Script


class TooLargeError(Exception):
    """More states than the limit allows."""


def explore(script: Script, *, limit: int = 200_000) -> frozenset[Outcome]:
    """All outcomes that some interleaving reaches. Raises TooLargeError behind ``limit`` states."""
    first = machine.start(script)
    seen, todo, found = {first}, [first], set()
    while todo:
        state = todo.pop()
        successors = [move.state for move in machine.moves(script, state)]
        if not successors:
            found.add(machine.outcome(script, state))
        for successor in successors:
            if successor not in seen:
                if len(seen) >= limit:
                    raise TooLargeError(f"more than {limit} states")
                seen.add(successor)
                todo.append(successor)
    return frozenset(found)
