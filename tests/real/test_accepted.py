"""Streams from nothing: stock destinations take them, and have the plan's RAM then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analyzers.fuzz.case import Habitat, senders
from analyzers.produce.outline import Outline, outlined
from captures.memory import recording_of
from captures.qemu import DestinationOptions, DestinationPool, Expected, feed_of_migration
from multifd_codec.dialect.destination import Destination
from multifd_codec.dialect.releases import RELEASES, Mode
from multifd_codec.plan.plan import MigrationPlan, memory
from multifd_codec.sender import draft
from tests.helpers.qemus import installed

RAM = 1 << 20
COMPRESSIONS = ("none", "zlib", "zstd")
CHANNELS = (1, 2, 3, 5, 8)
DESTINATIONS = [
    pytest.param("7.2", Mode.PER_SECTION, marks=pytest.mark.qemu("7.2")),
    pytest.param("10.0", Mode.PER_ROUND, marks=pytest.mark.qemu("10.0")),
    pytest.param("10.0", Mode.PER_SECTION, marks=pytest.mark.qemu("10.0")),
]


def plans(release: str, mode: Mode) -> list[MigrationPlan]:
    """Every dialect row that the destination should accept, with each compression that row has."""
    version = installed(release).version
    new = RELEASES[version].destination.device_state
    result = []
    for number, sender in enumerate(senders(Habitat(Destination(RELEASES[version].name, mode)))):
        row = RELEASES[sender]
        for compression in COMPRESSIONS:
            if compression != "none" and sender < (5, 0):
                continue
            # The bug that loses compressed pages which turn zero is theirs (J-9).
            zero = 0.0 if compression != "none" and row.sender.drops_zero_only_compressed else 0.3
            outline = Outline((("ram", RAM),), rounds=1 + number % 3, zero=zero, seed=number)
            result.append(
                replace(
                    outlined(outline),
                    dialect=row.name,
                    mode=mode,
                    compression=compression,
                    channels=CHANNELS[len(result) % len(CHANNELS)],
                    merge_sync=0.5 if row.sender.sync_carries_pages else 0.0,
                    switchover_start=None if new or not row.sender.device_state else False,
                )
            )
    return result


@pytest.mark.parametrize(("release", "mode"), DESTINATIONS)
def test_destinations_complete_with_the_plans_memory(release: str, mode: Mode) -> None:
    listed = plans(release, mode)
    assert {plan.channels for plan in listed} == set(CHANNELS)
    options = DestinationOptions(ram_size=RAM, ram_block="ram", mode=mode)
    with DestinationPool(installed(release), options, size=2) as pool:
        for plan in listed:
            own = replace(options, channels=plan.channels, compression=plan.compression)
            (migration,) = recording_of(draft(plan)).migrations
            seen = pool.replay(feed_of_migration(migration), own, expected=Expected(bytes(memory(plan)["ram"])))
            assert seen.outcome == "completes", f"{plan.dialect} {plan.compression} {plan.channels}: {seen.line()}"
