"""Fuzzing against real destinations: what they do is what the model foresees."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor

import pytest

from analyzers.fuzz.campaign import Campaign, Task
from analyzers.fuzz.case import Habitat
from multifd_codec.dialect.destination import Destination
from multifd_codec.dialect.releases import Mode
from tests.helpers.qemus import installed

FEW, MANY = 40, 300
"""Streams in CI, and in `make test-real`."""
DESTINATIONS = [
    pytest.param("7.2", Mode.PER_SECTION, marks=pytest.mark.qemu("7.2")),
    pytest.param("10.0", Mode.PER_ROUND, marks=pytest.mark.qemu("10.0")),
    pytest.param("10.0", Mode.PER_SECTION, marks=pytest.mark.qemu("10.0")),
]


def disagreements(release: str, mode: Mode, streams: int, first_seed: int) -> list[str]:
    qemu = installed(release)
    campaign = Campaign(
        Task(Habitat(Destination(f"qemu-{qemu.full_version}", mode), stock=True), qemu), None, first_seed
    )
    with ProcessPoolExecutor(2) as executor:
        totals = campaign.run(executor, 2, streams=streams)
    assert totals.streams >= streams
    assert {"completes", "hangs", "fails"} <= set(totals.outcomes)
    return [
        f"seed {d.case.seed}: {d.case.said()}, foreseen {d.predicted}, seen {d.observed}: {d.message}"
        for d in campaign.found
    ]


@pytest.mark.parametrize(("release", "mode"), DESTINATIONS)
def test_a_few(release: str, mode: Mode) -> None:
    assert disagreements(release, mode, FEW, 0) == []


@pytest.mark.real
@pytest.mark.parametrize(
    ("release", "mode"),
    [*DESTINATIONS, pytest.param("11.1", Mode.PER_ROUND, marks=pytest.mark.qemu("11.1"))],
)
def test_many(release: str, mode: Mode) -> None:
    assert disagreements(release, mode, MANY, 1000) == []
