"""A case into a real destination, and whether the model foresaw what happened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from analyzers.extraction import RebuildOptions, rebuild
from analyzers.findings import Outcome
from analyzers.fuzz.case import SLOTS, Case, Habitat
from analyzers.linter.judged import LintOptions
from analyzers.linter.linter import lint_recording
from analyzers.mutation.mutation import LacksError
from analyzers.produce.vfio_devices import StreamDevice, capabilities_for, devices_of
from analyzers.survey.migration import survey_migration
from captures.memory import recording_of
from captures.model import Migration, Recording
from captures.qemu import (
    DestinationOptions,
    NoSuchMethodError,
    Observation,
    Qemu,
    VfioDevice,
    feed_of_migration,
    replay,
)
from captures.qemu.observation import COMPLETES, LOSES_DATA
from multifd_codec.dialect.releases import Release
from multifd_codec.errors import EncodeError, MultifdError
from multifd_codec.plan.plan import memory
from multifd_codec.sender.devices import state


class Trial(NamedTuple):
    """One case, both verdicts."""

    case: Case
    predicted: tuple[str, ...]
    observed: str
    words: str
    """What the destination did, in one line."""
    agrees: bool
    undecided: bool = False
    seen: Observation | None = None
    """All that was seen, guest RAM left out."""


def predict(recording: Recording, case: Case, habitat: Habitat) -> frozenset[Outcome]:
    """The outcomes that the model says this destination can reach."""
    options = LintOptions(
        profile=habitat.destination.profile,
        mode=habitat.destination.mode,
        channels=case.plan.channels,
        machine=case.plan.machine,
        compression=case.plan.compression,
        uuid=case.plan.uuid,
    )
    (report,) = lint_recording(recording, options)
    return frozenset(report.possible_outcomes)


def destination_options(case: Case, habitat: Habitat, said: Mapping[int, StreamDevice]) -> DestinationOptions:
    """A destination like the plan's source; its devices are as an edited stream has them."""
    plan = case.plan
    slots = [SLOTS[device.idstr] for device in plan.devices]
    return DestinationOptions(
        ram_size=plan.blocks[0].size,
        ram_block=plan.blocks[0].name,
        channels=plan.channels,
        compression=plan.compression,
        mode=habitat.destination.mode,
        machine=plan.machine,
        capabilities=capabilities_for(said.values()),
        devices=tuple(said[slot].device if slot in said else VfioDevice(slot=slot) for slot in slots),
    )


def said_of_devices(case: Case, migration: Migration, release: Release) -> dict[int, StreamDevice]:
    """Slot to what an edited stream says of the device there."""
    if case.healthy or not case.plan.devices:
        return {}
    try:
        return {one.device.slot: one for one in devices_of(survey_migration(migration), release)}
    except MultifdError:
        return {}


def trial(case: Case, habitat: Habitat, qemu: Qemu) -> Trial | None:
    """Run one case; None when its edits do not fit or leave nothing that can be sent, or QEMU lacks its compression.

    Raises InputError when QEMU cannot be run.
    """
    try:
        recording = recording_of(case.stream())
    except (EncodeError, LacksError):
        return None
    migration = recording.migrations[0]
    if not migration.channels:
        return None
    outcomes = predict(recording, case, habitat)
    said = said_of_devices(case, migration, habitat.destination.release)
    try:
        seen = replay(qemu, feed_of_migration(migration), destination_options(case, habitat, said), keep_ram=True)
    except NoSuchMethodError:
        return None
    observed = seen.outcome
    if observed == COMPLETES and not _devices_are_right(seen, case, said, outcomes):
        observed = LOSES_DATA
    if observed == COMPLETES:
        observed = _with_memory(seen, case, habitat, migration, outcomes)
    if seen.timed_out:
        return None  # the machine is too busy to tell
    predicted = tuple(sorted(str(outcome) for outcome in outcomes))
    undecided = Outcome.UNDECIDED in outcomes
    agrees = observed in predicted or undecided
    return Trial(case, predicted, observed, seen.line(), agrees, undecided, seen._replace(ram=None))


def _with_memory(
    seen: Observation, case: Case, habitat: Habitat, migration: Migration, outcomes: frozenset[Outcome]
) -> str:
    """The outcome, guest RAM considered.

    The source had what the plan says. An edited stream may say something else without any way to notice; then a
    destination is right when it believes the stream.
    """
    if seen.outcome != COMPLETES or seen.ram is None:
        return seen.outcome
    (block,) = case.plan.blocks
    reads_zero_pages = habitat.destination.habits.zero_pages
    actual = bytes(seen.ram[: block.size])
    planned = bytes(memory(case.plan)[block.name])
    if actual == planned:
        if Outcome.COMPLETES in outcomes or case.healthy:
            return COMPLETES
        said, complete = _said(migration, block.name, block.size)
        # Pages that an edit took out of the stream count as lost, though they may be zero.
        return COMPLETES if planned == said and complete else LOSES_DATA
    if (
        Outcome.LOSES_DATA not in outcomes
        and not case.healthy
        and actual == _said(migration, block.name, block.size, zero_pages=reads_zero_pages)[0]
    ):
        return COMPLETES
    return LOSES_DATA


def _devices_are_right(
    seen: Observation, case: Case, said: Mapping[int, StreamDevice], outcomes: frozenset[Outcome]
) -> bool:
    """Every device has what the plan says, or what an edited stream says with nothing missing.

    State that an edit took out of the stream counts as lost, though the plan has none of it: whether the config of a
    device without state was loaded cannot be seen.
    """
    for device, actual in zip(case.plan.devices, seen.device_states, strict=True):
        stated = said.get(SLOTS[device.idstr])
        visible = bool(device.size) or Outcome.COMPLETES in outcomes
        as_planned = actual == state(device) and (Outcome.COMPLETES in outcomes or stated is None or stated.whole)
        if not visible:
            return False
        if not as_planned and not (stated is not None and stated.whole and actual == stated.state):
            return False
    return True


def _said(migration: Migration, block: str, size: int, *, zero_pages: bool = True) -> tuple[bytes, bool]:
    """What the stream says RAM holds, all of it applied; whether it says so of every page. ``zero_pages``: to a
    destination that reads this field."""
    try:
        rebuilt = rebuild(migration, RebuildOptions(apply_all=True, zero_pages=zero_pages))
    except MultifdError:
        return b"", False
    complete = not any(one.never_sent or one.unknown for one in rebuilt.blocks if one.name == block)
    return bytes((rebuilt.memory or {}).get(block, b"")[:size]).ljust(size, b"\0"), complete
