"""One migration of the fuzzer: made from a seed, the same for the same seed, always."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

from analyzers.mutation.mutation import LacksError
from analyzers.produce.mutate import mutate
from analyzers.rulebook.mutation_registry import MUTATIONS
from multifd_codec.dialect.compression import COMPRESSIONS, known
from multifd_codec.dialect.destination import Destination
from multifd_codec.dialect.machine import PCI_MACHINE
from multifd_codec.dialect.releases import RELEASES, Mode
from multifd_codec.dialect.version import Version
from multifd_codec.draft.draft import Draft
from multifd_codec.draft.edits import Edit, apply, apply_all, describe, random_edit
from multifd_codec.plan.page_content import Pattern, Zero
from multifd_codec.plan.pci import vfio_name
from multifd_codec.plan.plan import Block, Device, MigrationPlan, Pages, Round
from multifd_codec.sender import draft

BLOCK = "ram"
SLOTS = {vfio_name(slot): slot for slot in (5, 6)}
"""Devices, and where they are on the PCI bus."""


DESTINATION = Destination("qemu-10.0")


@dataclass(frozen=True, slots=True)
class Habitat:
    """What a case may be like."""

    destination: Destination = DESTINATION
    """Release and mode; the rest is for each case to choose."""
    stock: bool = False
    """The destination is a stock QEMU: it has the plan's devices, no compression that needs hardware, and the same
    capabilities whatever the stream says."""
    devices: float = 0.5
    """Share of the cases with VFIO devices, of those that can have them; 1: all cases are such."""
    compression: bool = True
    most_channels: int = 4
    most_pages: int = 64
    edits: int = 2
    """At most; half of the cases have none, some have one that breaks a rule."""
    matching: bool = True
    """Senders are those that the destination should accept."""


class RuleBreak(NamedTuple):
    """A mutation of analyzers.mutation: the rule, the way, its seed; or its near miss."""

    code: str
    way: str
    seed: int
    near: bool = False


class Case(NamedTuple):
    """A plan, and what is done to its stream."""

    seed: int
    plan: MigrationPlan
    edits: tuple[Edit, ...] = ()
    rule: RuleBreak | None = None

    @property
    def healthy(self) -> bool:
        return not self.edits and self.rule is None

    def stream(self) -> Draft:
        """The stream, edited."""
        made = draft(self.plan)
        if self.rule is not None:
            _break(made, self.rule)
        return apply_all(made, self.edits)

    def said(self) -> list[str]:
        """What is done to the stream, each in a few words."""
        made, words = draft(self.plan), []
        if self.rule is not None:
            _break(made, self.rule)
            words.append(f"{'nearly ' if self.rule.near else ''}{self.rule.code}: {self.rule.way}")
        for edit in self.edits:
            words.append(describe(made, edit))
            made = apply(made, edit)
        return words


def _break(made: Draft, rule: RuleBreak) -> None:
    mutate(made, rule.code, way=rule.way, near=rule.near, seed=rule.seed)


RULE_SHARE = 0.4
"""Of the cases that are edited, so many break a rule on purpose."""
RULE_TRIES = 8
NOT_ON_STOCK = {
    "MFD206": "other compression methods",
    "MFD211": "uadk",
    "MFD220": "qpl and uadk",
    "MFD221": "qatzip",
    "MFD513": "x-ignore-shared on the destination",
    "MFD609": "a destination without multifd",
}
"""Rules whose mutations are for destinations that a stock QEMU with multifd on is not."""


def make_case(seed: int, habitat: Habitat) -> Case:
    """The case of a seed."""
    chance = random.Random(f"{seed}/{habitat.destination.release.version}/{habitat.destination.mode}")
    plan = random_plan(chance, habitat)
    if not habitat.edits or chance.random() < 0.5:
        return Case(seed, plan)
    if chance.random() < RULE_SHARE:
        for _ in range(RULE_TRIES):
            rule = _random_rule(chance, plan, habitat)
            if rule is not None:
                return Case(seed, plan, (), rule)
    edits: list[Edit] = []
    made = draft(plan)
    for _ in range(chance.randint(1, habitat.edits)):
        edits.append(random_edit(made, chance))
        made = apply(made, edits[-1])
    return Case(seed, plan, tuple(edits))


def _random_rule(chance: random.Random, plan: MigrationPlan, habitat: Habitat) -> RuleBreak | None:
    """A rule's mutation that the plan's stream allows, and that is judged for this destination."""
    code = chance.choice(sorted(MUTATIONS))
    mutation = chance.choice(MUTATIONS[code])
    rule = RuleBreak(code, mutation.way, chance.getrandbits(16))
    if mutation.captured or mutation.options or (habitat.stock and code in NOT_ON_STOCK):
        return None  # about a recording, or about another destination
    try:
        mutate(draft(plan), code, way=rule.way, seed=rule.seed)
    except LacksError:
        return None
    return rule


def senders(habitat: Habitat) -> list[Version]:
    """Releases that send in this mode what the destination can take."""
    per_round = habitat.destination.mode is Mode.PER_ROUND
    destination, own = habitat.destination.habits, habitat.destination.release.version
    return [
        version
        for version, row in RELEASES.items()
        if (row.sender.per_round or not per_round)
        and (destination.zero_pages or not row.sender.zero_pages or not habitat.matching)
        and not (habitat.matching and version > own and not destination.flush_known)
        and not (habitat.matching and destination.drops_pages_of_sync and row.sender.sync_carries_pages)
    ]


def random_plan(chance: random.Random, habitat: Habitat) -> MigrationPlan:
    """A small migration; most are plain."""
    version = chance.choice(senders(habitat))
    always = habitat.devices == 1 and habitat.destination.habits.device_state
    if always:
        version = chance.choice([one for one in senders(habitat) if RELEASES[one].sender.device_state])
    row, per_round = RELEASES[version], habitat.destination.mode is Mode.PER_ROUND
    count = chance.choice((2, 4, 8, habitat.most_pages))
    zero_share = chance.choice((0.0, 0.0, 0.5, 1.0))
    mask = habitat.destination.habits.compression_mask
    methods = [
        name
        for name, method in COMPRESSIONS.items()
        if method.flag and method.since <= version and method.stock and known(mask, method.flag)
    ]
    compressed = methods and habitat.compression and not always and chance.random() < 0.25
    compression = chance.choice(methods) if compressed else "none"
    devices = _devices(chance, habitat, version) if compression == "none" else ()
    switchover = None if habitat.destination.habits.device_state else False
    detection = chance.choice(("none", "legacy", "multifd")) if row.sender.zero_pages else None
    return MigrationPlan(
        blocks=(Block(BLOCK, count * 4096),),
        rounds=(
            Round((Pages(BLOCK, 0, count, Pattern(chance.randrange(4), zero_share)),), chance.choice((1, 1, 2))),
            *(_again(chance, count) for _ in range(chance.choice((0, 0, 1, 2)))),
        ),
        # Per section all final passes share one rendezvous, so that they cannot have a page in common.
        final=tuple(_again(chance, count) for _ in range(chance.choice((1, 1, 1, 2)) if per_round else 1)),
        devices=devices,
        dialect=row.name,
        mode=habitat.destination.mode,
        machine=PCI_MACHINE if devices and habitat.stock else "none",
        channels=chance.randint(1, habitat.most_channels),
        compression=compression,
        zero_page_detection=detection,
        return_path=chance.random() < 0.2,
        switchover_start=switchover if row.sender.device_state else None,
        merge_sync=0.5 if row.sender.sync_carries_pages and chance.random() < 0.5 else 0.0,
        seed=chance.randrange(1 << 16),
    )


def _devices(chance: random.Random, habitat: Habitat, version: Version) -> tuple[Device, ...]:
    knows = habitat.destination.habits.device_state
    can = knows and RELEASES[version].sender.device_state
    if not can or chance.random() >= habitat.devices:
        return ()
    names = list(SLOTS)[: chance.randint(1, len(SLOTS))]
    return tuple(Device(name, chance.choice((0, 10, 100)), 40) for name in names)


def _again(chance: random.Random, count: int) -> Round:
    """Some pages once more, with other content."""
    if chance.random() < 0.3:
        return Round()
    first = chance.randrange(count)
    content = Zero() if chance.random() < 0.2 else Pattern(chance.randrange(4, 8))
    return Round((Pages(BLOCK, first, chance.randint(1, min(8, count - first)), content),))
