"""A disagreement made as small as it gets: fewer edits, rounds, channels, pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from analyzers.fuzz.case import Case
from multifd_codec.errors import MultifdError
from multifd_codec.plan.page_content import Pattern
from multifd_codec.plan.plan import Block, MigrationPlan, Pages, Round, check

MOST_TRIES = 200
KEEPS_BLOCKS = 2
"""Pages that guest RAM has at least: QEMU rounds it up to 8 KiB."""


def shrink(case: Case, still: Callable[[Case], bool], tries: int = MOST_TRIES) -> Case:
    """The smallest case found, one change after the other, that ``still`` holds for."""
    progress = True
    while progress and tries > 0:
        progress = False
        for smaller in _smaller(case):
            if tries <= 0:
                break
            tries -= 1
            if _possible(smaller.plan) and still(smaller):
                case, progress = smaller, True
                break
    return case


def _possible(plan: MigrationPlan) -> bool:
    try:
        check(plan)
    except MultifdError:
        return False
    return True


def _smaller(case: Case) -> Iterator[Case]:
    """Simpler cases, the most simplified first."""
    edits, plan = case.edits, case.plan
    if case.rule is not None:
        yield case._replace(rule=None)
    for number in range(len(edits)):
        yield case._replace(edits=edits[:number] + edits[number + 1 :])
    for changed in _plans(plan):
        yield case._replace(plan=changed)


def _plans(plan: MigrationPlan) -> Iterator[MigrationPlan]:
    if plan.devices:
        yield replace(plan, devices=plan.devices[1:])
    for number in range(1, len(plan.rounds)):
        yield replace(plan, rounds=plan.rounds[:number] + plan.rounds[number + 1 :])
    if len(plan.final) > 1:
        yield replace(plan, final=plan.final[1:])
    if any(one.pages for one in plan.final):
        yield replace(plan, final=tuple(Round() for _ in plan.final))
    if plan.channels > 1:
        yield replace(plan, channels=1)
        yield replace(plan, channels=plan.channels - 1)
    plain: dict[str, Any] = {"compression": "none", "merge_sync": 0.0, "return_path": False, "seed": 0}
    for name, value in plain.items():
        if getattr(plan, name) != value:
            yield replace(plan, **{name: value})
    if any(one.sections > 1 for one in plan.rounds):
        yield replace(plan, rounds=tuple(one._replace(sections=1) for one in plan.rounds))
    (block, *others) = plan.blocks
    count = block.size // plan.page_size
    if not others and count > KEEPS_BLOCKS:
        yield _with_pages(plan, block, count // 2)
    simple = Pattern()
    if any(pages.content != simple for one in plan.rounds for pages in one.pages):
        yield replace(plan, rounds=tuple(_simple(one, simple) for one in plan.rounds))


def _simple(one: Round, content: Pattern) -> Round:
    return one._replace(pages=tuple(replace(pages, content=content) for pages in one.pages))


def _with_pages(plan: MigrationPlan, block: Block, count: int) -> MigrationPlan:
    """The plan with a block of so many pages."""

    def cut(one: Round) -> Round:
        kept: list[Pages] = []
        for pages in one.pages:
            if pages.first < count:
                kept.append(replace(pages, count=min(pages.count, count - pages.first)))
        return one._replace(pages=tuple(kept))

    return replace(
        plan,
        blocks=(Block(block.name, count * plan.page_size),),
        rounds=tuple(cut(one) for one in plan.rounds),
        final=tuple(cut(one) for one in plan.final),
    )
