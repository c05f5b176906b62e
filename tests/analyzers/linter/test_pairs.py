"""Destinations unlike the sender: what the linter foresees holds what real ones do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from analyzers import lint
from analyzers.findings import Outcome
from captures.qemu import DestinationPool, Expected
from multifd_codec.dialect.releases import Mode
from tests.conftest import SAMPLES
from tests.helpers.qemus import OWN_UUID, RELEASES, feed, installed, options

STREAMS = {
    "q7.2-none-known-ram.pcap.zst": {"mode": Mode.PER_SECTION},
    "q10.0-none-known-ram.pcap.zst": {},
    "q10.0-none-known-ram-zlib.pcap": {"compression": "zlib"},
}
"""Senders, and what a destination like each has."""
UNLIKE: dict[str, dict[str, Any]] = {
    "fewer channels": {"channels": 1},
    "more channels": {"channels": 4},
    "none": {"compression": "none"},
    "zlib": {"compression": "zlib"},
    "zstd": {"compression": "zstd"},
    "per section": {"mode": Mode.PER_SECTION},
    "uuid": {"uuid": UUID(int=OWN_UUID.int ^ 1)},
}
WITHOUT_MULTIFD = "healthy/src-without-multifd-10.0.pcap.zst"


class Pair(NamedTuple):
    """A stream and the destination's own settings."""

    stream: str
    given: dict[str, Any]


PAIRS = [Pair(*pair) for pair in product(STREAMS, UNLIKE.values())] + [Pair(WITHOUT_MULTIFD, {"channels": 2})]


@pytest.mark.parametrize("release", RELEASES)
def test_foreseen_for_a_destination_unlike_the_sender(release: str) -> None:
    foreseen = [_foreseen(pair, release) for pair in PAIRS]
    with DestinationPool(installed(release), options(), size=4) as pool, ThreadPoolExecutor(4) as threads:
        rams = {
            name: pool.replay(feed(SAMPLES / name), options(**like), keep_ram=True).ram
            for name, like in STREAMS.items()
            if release != "7.2" or name.startswith("q7.2")
        }
        ram = rams["q7.2-none-known-ram.pcap.zst"]  # the same in all

        def seen(pair: Pair) -> str:
            wanted = options(**STREAMS.get(pair.stream, {}) | pair.given)
            return pool.replay(feed(SAMPLES / pair.stream), wanted, expected=Expected(ram), limit=10).outcome

        outcomes = list(threads.map(seen, PAIRS))
    wrong = [
        (*pair, real, possible)
        for pair, real, possible in zip(PAIRS, outcomes, foreseen, strict=True)
        if real not in possible or "undecided" in possible
    ]
    assert not wrong
    assert {"fails", "hangs", "completes"} <= set(outcomes)


def _foreseen(pair: Pair, release: str) -> list[str]:
    (report,) = lint(SAMPLES / pair.stream, profile=f"qemu-{release}", **pair.given)
    return [outcome.value for outcome in report.possible_outcomes]


@pytest.mark.parametrize(("release", "outcome"), [("7.2", Outcome.HANGS), ("10.0", Outcome.FAILS)])
def test_another_uuid_decides_whatever_else_is_lost(release: str, outcome: Outcome, tmp_path: Path) -> None:
    """A source stops where a destination refuses its channels: main ends early."""
    whole = (SAMPLES / "q7.2-none.pcap").read_bytes()
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    (report,) = lint(cut, profile=f"qemu-{release}", uuid=UUID(int=OWN_UUID.int ^ 1))
    assert report.possible_outcomes == (outcome,)
    (report,) = lint(cut, profile=f"qemu-{release}", uuid=OWN_UUID)
    assert Outcome.UNDECIDED in report.possible_outcomes


@pytest.mark.parametrize("release", RELEASES)
def test_a_refused_channel_without_pages_is_not_missed(release: str) -> None:
    given = {"channels": 1}
    wanted = options(ram_block="ram", mode=Mode.PER_SECTION, **given)
    with DestinationPool(installed(release), wanted, size=1) as pool:
        seen = pool.replay(feed(SAMPLES / "q7.2-none.pcap"), expected=Expected(bytes(4 << 20)), limit=10)
    assert seen.outcome == "completes"
    assert seen.outcome in _foreseen(Pair("q7.2-none.pcap", given), release)
