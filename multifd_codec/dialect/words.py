"""Which releases have a habit, in words: what messages, evidence and help texts say about releases comes from here.

A habit is asked for as a function of the release: ``since(lambda r: r.sender.per_round)`` is ``8.1``.
"""

from __future__ import annotations

from collections.abc import Callable

from multifd_codec.dialect.releases import NEWEST, OLDEST, RELEASES, Release
from multifd_codec.dialect.version import Version, dotted

Habit = Callable[[Release], object]


def releases_with(habit: Habit) -> tuple[Version, ...]:
    """The releases that have it, oldest first."""
    return tuple(version for version, row in RELEASES.items() if habit(row))


def since(habit: Habit) -> str:
    """The first release that has it: ``9.0``, to say ``before 9.0`` or ``from 9.0 on``. Raises ValueError for none."""
    return dotted(min(releases_with(habit)))


def until(habit: Habit) -> str:
    """The last release that has it: ``8.2``. Raises ValueError for none."""
    return dotted(max(releases_with(habit)))


def which(habit: Habit, joined: str = "and") -> str:
    """``9.0 and later``, ``up to 8.2``, ``5.0 to 8.1``, ``9.1 and 9.2``, ``9.0``; ``all`` and ``none``.

    A habit that was given up and came back has several of these, with commas.
    """
    everyone, found = list(RELEASES), releases_with(habit)
    if not found or len(found) == len(everyone):
        return "all" if found else "none"
    runs: list[list[Version]] = []
    for version in found:
        if runs and everyone.index(runs[-1][-1]) + 1 == everyone.index(version):
            runs[-1].append(version)
        else:
            runs.append([version])
    return ", ".join(_run(run[0], run[-1], len(run), joined) for run in runs)


def _run(first: Version, last: Version, length: int, joined: str) -> str:
    if last == NEWEST:
        return f"{dotted(first)} {joined} later"
    if first == OLDEST:
        return f"up to {dotted(last)}"
    if length == 1:
        return dotted(first)
    return f"{dotted(first)} {joined if length == 2 else 'to'} {dotted(last)}"
