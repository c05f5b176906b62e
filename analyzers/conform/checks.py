"""What is put to a destination: each way to break each rule, and the near miss beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from analyzers.fuzz.case import BLOCK, NOT_ON_STOCK, SLOTS, Case, Habitat, RuleBreak
from analyzers.mutation.mutation import LacksError, Mutation, Options
from analyzers.produce.mutate import mutations_of
from analyzers.rulebook.mutation_registry import MUTATIONS, WITHOUT
from multifd_codec.dialect.compression import COMPRESSIONS, known
from multifd_codec.dialect.destination import Destination
from multifd_codec.dialect.machine import PCI_MACHINE
from multifd_codec.dialect.releases import RELEASES
from multifd_codec.plan.page_content import Pattern, Zero
from multifd_codec.plan.plan import Block, Device, MigrationPlan, Pages, Round

PAGES = 256
PAGE = 4096
SEED = 0


class Check(NamedTuple):
    """One stream, or why there is none."""

    name: str
    """Stable: rule, way, and ``near`` for the near miss, as MFD301/two-syncs-too-many/near."""
    code: str
    case: Case | None
    skipped: str = ""


def checks(habitat: Habitat, codes: Iterable[str] = ()) -> Iterator[Check]:
    """All that this destination can be asked; of some rules only when ``codes`` names any.

    Raises InputError for a code there is none of.
    """
    plans = base_plans(habitat)
    for code in [code.strip().upper() for code in codes] or sorted({*MUTATIONS, *WITHOUT}):
        if code in WITHOUT:
            yield Check(code, code, None, WITHOUT[code])
            continue
        for mutation in mutations_of(code):
            for near in (False, True):
                yield _check(mutation, near, plans, habitat)


def _check(mutation: Mutation, near: bool, plans: list[MigrationPlan], habitat: Habitat) -> Check:
    name = f"{mutation.code}/{mutation.way}" + ("/near" if near else "")
    if mutation.captured:
        return Check(name, mutation.code, None, "only a capture shows it")
    options = mutation.lint_options(near=near)
    if mutation.code in NOT_ON_STOCK or not _is(habitat.destination, options):
        why = NOT_ON_STOCK.get(mutation.code) or ", ".join(f"{name} {value}" for name, value in options.items())
        return Check(name, mutation.code, None, f"it is about another destination: {why}")
    lacks = ""
    for plan in plans:
        case = Case(SEED, plan, rule=RuleBreak(mutation.code, mutation.way, SEED, near))
        try:
            case.stream()
        except LacksError as error:
            lacks = lacks or error.message
            continue
        return Check(name, mutation.code, case)
    return Check(name, mutation.code, None, lacks)


def _is(destination: Destination, options: Options) -> bool:
    """Whether these options of lint say no more than what the destination is."""
    own = {"profile": destination.release.name, "mode": str(destination.mode), "channels": "all"}
    return all(own.get(name) == value for name, value in options.items())


def base_plans(habitat: Habitat) -> list[MigrationPlan]:
    """Healthy migrations that this destination takes, the plainest first; a check goes on the first that fits."""
    row = RELEASES[habitat.destination.release.version]
    own = habitat.destination.habits
    plain = MigrationPlan(
        blocks=(Block(BLOCK, PAGES * PAGE),),
        rounds=(
            Round((Pages(BLOCK, 0, 96, Pattern(3, 0.3)), Pages(BLOCK, 96, PAGES - 96, Zero()))),
            Round((Pages(BLOCK, 20, 6, Pattern(4)), Pages(BLOCK, 100, 2, Pattern(4)))),
        ),
        final=(Round((Pages(BLOCK, 40, 4, Pattern(5)), Pages(BLOCK, 110, 3, Zero()))),),
        dialect=row.name,
        mode=habitat.destination.mode,
    )
    plans = [plain, replace(plain, return_path=True)]
    if own.device_state and row.sender.device_state:
        devices = tuple(Device(name, size, size // 5) for name, size in zip(SLOTS, (5000, 300), strict=True))
        plans += [replace(plain, devices=devices[:count], machine=PCI_MACHINE, channels=2 + count) for count in (1, 2)]
    plans += [
        replace(plain, compression=name)
        for name, method in COMPRESSIONS.items()
        if method.flag and method.stock and method.since <= row.version and known(own.compression_mask, method.flag)
    ]
    if row.sender.zero_pages:
        plans += [replace(plain, zero_page_detection=how) for how in ("legacy", "none")]
    if row.sender.sync_carries_pages:
        plans += [replace(plain, merge_sync=1.0)]
    return [*plans, replace(plain, channels=1), replace(plain, channels=4)]
