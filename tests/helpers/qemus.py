"""Installed QEMUs for tests; the marker ``qemu("7.2")`` skips, loudly, what needs one that is not there."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from captures.qemu import DestinationOptions, DestinationPool, Expected, Feed, Observation, Qemu, feed_of, find_qemu
from captures.qemu.feeding import in_feeding_order
from captures.recording import open_recording
from multifd_codec.dialect.releases import Mode
from tests.conftest import SAMPLES

TRUTH = SAMPLES / "truth"
KNOWN_RAM = "9cf67a50956458d3f5d0c1a3783f81891592d7cc1e3f12a56325965c19813ba3"
"""SHA-256, as the samples' README has it."""
OWN_UUID = UUID("6f9619ff-8b86-d011-b42d-00c04fc964ff")
"""Of the source and destination of all recordings with known RAM."""
RELEASES = [pytest.param(name, marks=pytest.mark.qemu(name), id=f"qemu-{name}") for name in ("7.2", "10.0")]


def installed(release: str) -> Qemu:
    major, minor = release.split(".")
    found = find_qemu((int(major), int(minor)))
    assert found is not None
    return found


def options(**more: Any) -> DestinationOptions:
    return DestinationOptions(**({"ram_block": "ram0", "uuid": OWN_UUID} | more))


@cache
def streams(path: Path) -> list[bytes]:
    """The streams of a recording, main first."""
    with open_recording(path) as recording:
        channels = in_feeding_order(recording.migrations[0])
        return [bytes(channel.source.read(0, channel.source.size)) for channel in channels]


def feed(path: Path) -> Feed:
    return feed_of(streams(path))


def truth_cases(folder: str) -> dict[str, dict[str, Any]]:
    cases: dict[str, dict[str, Any]] = json.loads((TRUTH / folder / "truth.json").read_text())["cases"]
    return cases


def run_case(pool: DestinationPool, folder: str, name: str, case: dict[str, Any], ram: bytes | None) -> Observation:
    """One truth case into a destination as it was measured with."""
    wanted = options(
        channels=case.get("channels", 2),
        compression="zlib" if name.startswith("zlib") else "none",
        mode=Mode(case.get("mode") or Mode.PER_ROUND),
    )
    return pool.replay(feed(TRUTH / folder / f"{name}.pcap.zst"), wanted, expected=Expected(ram))
