"""What destination a recorded migration asks for, as far as the stream says: what ``multifd send`` starts."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from analyzers.linter.linter import LintOptions, lint_recording
from captures.model import Migration, Recording
from captures.qemu import DestinationOptions, Qemu
from multifd_codec.dialect.releases import RELEASES, Mode
from multifd_codec.errors import InputError


class Wishes(NamedTuple):
    """What the user wants otherwise than the stream says; None: as the stream has it."""

    mode: str | None = None
    channels: int | None = None
    compression: str | None = None
    uuid: str | None = None
    machine: str | None = None
    ram_block: str | None = None
    ram_size: int | None = None
    arguments: tuple[str, ...] = ()


def destination_for(recording: Recording, migration: Migration, qemu: Qemu, wishes: Wishes) -> DestinationOptions:
    """A destination that this migration is for. Raises InputError when the channels cannot be read."""
    profile = RELEASES[qemu.version].name if qemu.version in RELEASES else None
    options = LintOptions(profile=profile, mode=wishes.mode, channels=wishes.channels)
    (report,) = lint_recording(replace(recording, migrations=(migration,), closers=[]), options)
    if report.profile is None:
        raise InputError("the channels cannot be read")
    if not report.profile.channels:
        raise InputError("the stream has no multifd channels; give --channels")
    facts = report.facts
    blocks = facts.blocks or {}
    default = DestinationOptions()
    # Among several, machine types call the one that -m means NAME.ram; it is also the largest.
    name = max(blocks, key=lambda block: (block.endswith(".ram"), blocks[block]), default=default.ram_block)
    name = wishes.ram_block or name
    uuid = str(facts.uuid) if facts.uuid is not None and facts.uuid.int else None
    return DestinationOptions(
        ram_size=(blocks.get(name) or default.ram_size) if wishes.ram_size is None else wishes.ram_size,
        ram_block=name,
        machine=wishes.machine or facts.machine or default.machine,
        uuid=wishes.uuid or uuid,
        per_section=report.profile.mode == Mode.PER_SECTION,
        arguments=wishes.arguments,
        channels=report.profile.channels,
        compression=wishes.compression or facts.compression or default.compression,
    )
