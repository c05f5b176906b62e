"""What destination a recorded migration asks for, as far as the stream says: what ``multifd send`` starts."""

from __future__ import annotations

import re
from typing import NamedTuple
from uuid import UUID

from analyzers.judge.infer import choose
from analyzers.produce.vfio_devices import StreamDevice, capabilities_for, devices_of
from analyzers.survey.migration import survey_migration
from captures.model import Migration
from captures.qemu import DestinationOptions, Expected, Qemu
from multifd_codec.dialect.machine import PCI_MACHINE
from multifd_codec.dialect.releases import RELEASES, Mode
from multifd_codec.errors import InputError

_SWITCHOVER_START = ("-global", "migration.send-switchover-start=on")
"""What machine types up to 9.2 need besides, to take device state from multifd channels."""


_MACHINE = re.compile(r"[\w.+-]+", re.ASCII)
"""With a comma in it, a stream could give QEMU further options, and some of them write files."""


class Wishes(NamedTuple):
    """What the user wants otherwise than the stream says; None: as the stream has it."""

    mode: Mode | None = None
    channels: int | None = None
    compression: str | None = None
    uuid: UUID | None = None
    machine: str | None = None
    ram_block: str | None = None
    ram_size: int | None = None
    arguments: tuple[str, ...] = ()


class Asked(NamedTuple):
    """What to start for a migration, and what it has loaded when it completes."""

    options: DestinationOptions
    expected: Expected


def destination_for(migration: Migration, qemu: Qemu, wishes: Wishes) -> Asked:
    """A destination that this migration is for. Raises InputError when the channels cannot be read, or for a device
    that cannot be made."""
    profile = RELEASES[qemu.version].name if qemu.version in RELEASES else None
    surveyed = survey_migration(migration, channels=wishes.channels)
    if not surveyed.readable:
        raise InputError("the channels cannot be read")
    choice, _ = choose(
        surveyed, profile=profile, mode=wishes.mode, channels=wishes.channels, compression=wishes.compression
    )
    chosen = choice.destination
    if not chosen.channels:
        raise InputError("the stream has no multifd channels; give --channels")
    main, default = surveyed.main, DestinationOptions()
    blocks = (main.blocks if main is not None else None) or {}
    # Among several, machine types call the one that -m means NAME.ram; it is also the largest.
    name = max(blocks, key=lambda block: (block.endswith(".ram"), blocks[block]), default=default.ram_block)
    name = wishes.ram_block or name
    stated = surveyed.uuid if surveyed.uuid is not None and surveyed.uuid.int else None
    devices = devices_of(surveyed, qemu.release)
    stated_machine = main.machine if main is not None else None
    if wishes.machine is None and stated_machine and not _MACHINE.fullmatch(stated_machine):
        raise InputError(f"there is no machine type {stated_machine!r}; give --machine")
    machine = wishes.machine or stated_machine or (PCI_MACHINE if devices else default.machine)
    options = DestinationOptions(
        ram_size=(blocks.get(name) or default.ram_size) if wishes.ram_size is None else wishes.ram_size,
        ram_block=name,
        machine=machine,
        uuid=wishes.uuid or stated,
        mode=chosen.mode,
        arguments=(*(_SWITCHOVER_START if _multifd(devices) else ()), *wishes.arguments),
        channels=chosen.channels,
        compression=chosen.compression,
        capabilities=capabilities_for(devices),
        devices=tuple(one.device for one in devices),
    )
    return Asked(
        options,
        Expected(
            devices=tuple(one.state for one in devices),
            damaged=frozenset(number for number, one in enumerate(devices) if not one.whole),
        ),
    )


def _multifd(devices: list[StreamDevice]) -> bool:
    return any(one.device.multifd_transfer == "on" for one in devices)
