"""The small streams that fuzzing led to, into the destinations there are."""

from __future__ import annotations

import pytest

from captures.memory import recording_of
from captures.qemu import DestinationOptions, Expected, feed_of_migration, replay
from multifd_codec.plan.plan import memory
from tests.helpers.found import FOUND
from tests.helpers.qemus import installed

CASES = [
    pytest.param(name, release, marks=pytest.mark.qemu(release), id=f"{name}-{release}")
    for name, found in FOUND.items()
    for release in (profile.removeprefix("qemu-") for profile in found.expected)
]


@pytest.mark.parametrize(("name", "release"), CASES)
def test_the_outcome_is_foreseen(name: str, release: str) -> None:
    found = FOUND[name]
    plan = found.plan
    options = DestinationOptions(
        ram_size=plan.blocks[0].size,
        ram_block="ram",
        channels=plan.channels,
        compression=plan.compression,
        mode=plan.mode,
    )
    (migration,) = recording_of(found.stream()).migrations
    seen = replay(
        installed(release), feed_of_migration(migration), options, expected=Expected(bytes(memory(plan)["ram"]))
    )
    assert seen.outcome in found.expected[f"qemu-{release}"], seen.line()
