"""Plans from a few numbers: what ``multifd generate`` makes of its options."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from multifd_codec.errors import InputError
from multifd_codec.plan.page_content import Pattern
from multifd_codec.plan.plan import Block, MigrationPlan, Pages, Round

RUN = 64
"""Dirty pages come in runs of at most so many."""
MOST_RUNS = 1 << 21
"""In all rounds: plans are held in memory."""


class Outline(NamedTuple):
    """A migration in a few numbers."""

    blocks: tuple[tuple[str, int], ...]
    """RAM blocks: name, bytes."""
    page_size: int = 4096
    rounds: int = 1
    dirty: float = 0.1
    """Part of RAM that is dirty again in each round behind the first, the last one included."""
    zero: float = 0.0
    """Part of the pages that are zero."""
    seed: int = 0


def outlined(outline: Outline) -> MigrationPlan:
    """A plan: all pages in the first round, then runs of pages here and there. Raises InputError."""
    for name, size in outline.blocks:
        if size <= 0 or size % outline.page_size:
            raise InputError(f"RAM block {name}: {size} bytes are not a number of pages of {outline.page_size} bytes")
    again_pages = sum(size // outline.page_size for _, size in outline.blocks) * outline.dirty * outline.rounds
    if outline.rounds > 1 and again_pages > MOST_RUNS * RUN / 2:
        raise InputError(f"{again_pages:.0f} pages dirty again are too many for a plan: fewer rounds, or less dirty")
    content = Pattern(outline.seed, outline.zero)
    chance = random.Random(outline.seed)
    everything = Round(tuple(Pages(name, 0, size // outline.page_size, content) for name, size in outline.blocks))
    again = [Round(tuple(_dirty(outline, content, chance))) for _ in range(outline.rounds if outline.rounds > 1 else 0)]
    blocks = tuple(Block(name, size) for name, size in outline.blocks)
    return MigrationPlan(blocks, (everything, *again[1:]), (again[0] if outline.rounds > 1 else Round(),))


def _dirty(outline: Outline, content: Pattern, chance: random.Random) -> Iterator[Pages]:
    for name, size in outline.blocks:
        pages = size // outline.page_size
        wanted = int(pages * outline.dirty)
        # One run in each of some stretches of memory, so that they do not meet.
        stretch = min(RUN, max(1, pages))
        count = max(1, int(stretch * max(outline.dirty, 0.5)))
        starts = chance.sample(range(0, pages, stretch), min(-(-pages // stretch), -(-wanted // count)))
        for start in sorted(starts):
            run = min(count, pages - start, wanted)
            if run > 0:
                yield Pages(name, start, run, content)
                wanted -= run


def with_options(plan: MigrationPlan, options: Mapping[str, Any]) -> MigrationPlan:
    """The plan with those fields replaced that are not None."""
    return replace(plan, **{name: value for name, value in options.items() if value is not None})
