"""Stock QEMUs with devices that do not exist: recordings of real device state, and altered ones with what was once
measured. Only what ``destination_for`` reads in the stream says what is started."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from analyzers.library import extract, lint
from analyzers.produce.destination_for import Asked, Wishes, destination_for
from captures.qemu import DestinationOptions, Observation, feed_of_migration, replay
from captures.qemu.vfio import made_state, why_impossible
from captures.recording import open_recording
from tests.conftest import SAMPLES
from tests.helpers.qemus import installed

VFIO = SAMPLES / "vfio"
REASON = why_impossible()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"NO DEVICE STATE ON A REAL QEMU: {REASON}")
RELEASES = [pytest.param(name, marks=pytest.mark.qemu(name), id=f"qemu-{name}") for name in ("10.0", "10.2", "11.1")]
OUTCOMES = {
    "xremote-10.0.2.pcap.zst": {"completes"},
    "xremote-11.1.3.pcap.zst": {"completes"},
    "xremote-precopy-10.0.2.pcap.zst": {"completes"},
    "xremote-two-persection-10.0.2.pcap.zst": {"completes"},
    "state-before-unreleased-sync.pcap.zst": {"completes"},
    "state-behind-unreleased-sync.pcap.zst": {"hangs"},
    "missing-idx.pcap.zst": {"hangs"},
    "no-switchover-start.pcap.zst": {"loses-data"},
    "device-state-magic": {"hangs", "fails", "crashes"},
    "vfio-start-unknown-tag": {"fails"},
    "vfio-full-unknown-tag": {"fails", "crashes"},
    "vfio-version-2": {"fails"},
}


def sent(path: Path, release: str) -> tuple[Asked, Observation]:
    with open_recording(path) as recording:
        (migration,) = recording.migrations
        asked = destination_for(migration, installed(release), Wishes())
        return asked, replay(installed(release), feed_of_migration(migration), asked.options, expected=asked.expected)


@pytest.mark.parametrize("release", RELEASES)
def test_outcomes_are_those_once_measured(release: str) -> None:
    for name, outcomes in OUTCOMES.items():
        _, seen = sent(VFIO / name, release)
        assert seen.outcome in outcomes and not seen.timed_out, f"{name}: {seen.line()}"


def foreseen(path: Path, release: str, **options: bool) -> set[str]:
    (report,) = lint(path, profile=f"qemu-{installed(release).full_version}", elsewhere=False, **options)
    return set(map(str, report.possible_outcomes))


@pytest.mark.parametrize("release", RELEASES)
def test_what_was_measured_is_foreseen_and_nothing_else(release: str) -> None:
    """Other than a race decides, where several outcomes are."""
    for name, outcomes in OUTCOMES.items():
        assert foreseen(VFIO / name, release) == outcomes, name


@pytest.mark.parametrize("release", RELEASES)
def test_a_destination_unlike_the_source(release: str) -> None:
    """Properties and capabilities of devices must agree; each line is a switch of lint and of a real destination."""
    one, ready, precopy = (
        VFIO / name
        for name in ("xremote-10.0.2.pcap.zst", "xremote-after-iter-11.1.3.pcap.zst", "xremote-precopy-10.0.2.pcap.zst")
    )
    after_iter = (("x-migration-load-config-after-iter", "on"),)
    cases: list[tuple[Path, dict[str, bool], Callable[[DestinationOptions], DestinationOptions], set[str]]] = [
        (one, {"device_transfer": False}, partial(devices_with, multifd_transfer="off"), {"fails", "loses-data"}),
        (precopy, {"switchover_ack": False}, lambda like: replace(like, capabilities=("return-path",)), {"fails"}),
    ]
    if release != "10.0":
        cases += [
            (one, {"config_after_iter": True}, partial(devices_with, properties=after_iter), {"hangs"}),
            (ready, {"config_after_iter": False}, partial(devices_with, properties=()), {"fails", "crashes"}),
        ]
    for path, switches, edit, outcomes in cases:
        assert foreseen(path, release, **switches) == outcomes, path
        with open_recording(path) as recording:
            (migration,) = recording.migrations
            asked = destination_for(migration, installed(release), Wishes())
            seen = replay(
                installed(release), feed_of_migration(migration), edit(asked.options), expected=asked.expected
            )
        assert seen.outcome in outcomes, f"{path}: {seen.line()}"


def devices_with(like: DestinationOptions, **changes: Any) -> DestinationOptions:
    return replace(like, devices=tuple(replace(device, **changes) for device in like.devices))


@pytest.mark.parametrize("release", RELEASES)
def test_what_is_loaded_is_known_byte_for_byte(release: str) -> None:
    """Of the founding hang and a missing buffer, too: the destinations are frozen."""
    for name, loaded in (
        ("xremote-two-persection-10.0.2.pcap.zst", (40960, 40960)),
        ("xremote-precopy-10.0.2.pcap.zst", (61440, 61440)),
        ("state-behind-unreleased-sync.pcap.zst", (0,)),
        ("missing-idx.pcap.zst", (24576,)),
    ):
        asked, seen = sent(VFIO / name, release)
        states = [state for state in seen.device_states if state is not None]
        assert tuple(map(len, states)) == loaded, name
        for state, whole in zip(states, asked.expected.devices, strict=True):
            if len(state) >= 24:
                _, seed, size = struct.unpack(">8sQQ", state[:24])
                assert state == made_state(seed, size)[: len(state)]
            assert whole is not None
            assert (whole == state) == (seen.outcome == "completes"), name


@pytest.mark.parametrize("release", RELEASES)
def test_what_is_extracted_is_what_is_loaded(release: str) -> None:
    for name in (
        "xremote-10.0.2.pcap.zst",
        "missing-idx.pcap.zst",
        "no-switchover-start.pcap.zst",
        "state-behind-unreleased-sync.pcap.zst",
    ):
        _, seen = sent(VFIO / name, release)
        rebuilt = extract(VFIO / name)
        (device,) = [device for device in rebuilt.devices if device.kind == "device-state packets"]
        assert rebuilt.blobs is not None and device.file is not None
        assert rebuilt.blobs[device.file] == (seen.device_states[0] or b""), name
        assert device.complete == (seen.outcome == "completes")


@pytest.mark.qemu("10.0")
def test_two_configs_are_wrong_state() -> None:
    _, seen = sent(VFIO / "two-configs-two-channels.pcap.zst", "10.0")
    assert (seen.outcome, seen.different_device) == ("loses-data", 0)


@pytest.mark.qemu("11.1")
def test_config_behind_iterable_devices() -> None:
    _, seen = sent(VFIO / "xremote-after-iter-11.1.3.pcap.zst", "11.1")
    assert seen.outcome == "completes"
