"""One device: what it is, its configuration space, its migration state, its data."""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass

from captures.qemu.vfio.interface import (
    PRECOPY_STATES,
    DeviceState,
    MigrationFlags,
)
from multifd_codec.plan.pci import configuration_space, vfio_name

_MADE = struct.Struct(">8sQQ")
_MAGIC = b"FAKEVFIO"
MOST_CHUNK = 1 << 20
"""QEMU caps packets of device state at this (hw/vfio/migration.c)."""


def made_state(seed: int, size: int) -> bytes:
    """A device state that says what it is: a magic, seed and size (big-endian u64), then noise."""
    head = _MADE.pack(_MAGIC, seed, size)
    return (head + hashlib.shake_128(head).digest(max(0, size - len(head))))[:size]


@dataclass(frozen=True, slots=True)
class VfioDevice:
    """What a device is like. Sizes in bytes."""

    slot: int = 4
    """On the PCI bus; its state is called 0000:00:SLOT.0/vfio."""
    size: int = 300 << 10
    """Of its state, as a source."""
    precopy: int = 0
    """So many of them can be read while the guest runs: they go on the main channel, as tag 04."""
    chunk: int = MOST_CHUNK
    """The most that a packet carries."""
    seed: int = 0
    """What the state is made of; see ``made_state``."""
    multifd_transfer: str = "on"
    """The property x-migration-multifd-transfer: ``on``, ``off`` or ``auto``."""
    configuration: bytes | None = None
    """256 bytes of configuration space; a destination compares identity and class with the stream's."""
    offers_precopy: bool | None = None
    """Whether VFIO_MIGRATION_PRE_COPY is offered; by default, when there is something for it."""
    properties: tuple[tuple[str, str], ...] = ()
    """Further properties of vfio-pci."""

    @property
    def name(self) -> str:
        """Of its state in the stream."""
        return vfio_name(self.slot)

    @property
    def state(self) -> bytes:
        """What it sends as a source."""
        return made_state(self.seed, self.size)


class LiveDevice:
    """A device while QEMU has it. Its descriptors are files in memory; used by one thread but for ``loaded``."""

    def __init__(self, options: VfioDevice, name: str) -> None:
        self.options = options
        self.state = DeviceState.RUNNING
        self.descriptor = os.memfd_create(name)
        os.truncate(self.descriptor, 1 << 16)
        os.pwrite(self.descriptor, options.configuration or configuration_space(), 0)
        self._data_name = f"{name}:data"
        self.data = -1
        self._resumed = False

    @property
    def migration_flags(self) -> MigrationFlags:
        precopy = self.options.precopy > 0 if self.options.offers_precopy is None else self.options.offers_precopy
        # Several devices migrate only if all can be kept from talking to each other.
        return MigrationFlags.STOP_COPY | MigrationFlags.P2P | (MigrationFlags.PRE_COPY if precopy else 0)

    def set_state(self, new: DeviceState) -> int:
        """Returns the descriptor of a file of data to hand to QEMU, -1 if there is none."""
        old, self.state = self.state, new
        early, was_early = new in PRECOPY_STATES, old in PRECOPY_STATES
        if new is DeviceState.STOP_COPY and was_early:
            os.pwrite(self.data, self.options.state[self.options.precopy :], self.options.precopy)
        elif new is DeviceState.RESUMING:
            self._resumed = True
            return self._open(b"")
        elif new is DeviceState.STOP_COPY or (early and not was_early):
            whole = self.options.state
            return self._open(whole[: self.options.precopy] if early else whole)
        return -1

    def _open(self, data: bytes) -> int:
        if self.data >= 0:
            os.close(self.data)
        self.data = os.memfd_create(self._data_name)
        os.pwrite(self.data, data, 0)
        return self.data

    def precopy_left(self) -> int:
        """Bytes not read yet of those that can be read while the guest runs."""
        return max(0, self.options.precopy - os.lseek(self.data, 0, os.SEEK_CUR))

    def loaded(self) -> bytes | None:
        """What QEMU has written as a destination, so far; None: it has not begun."""
        if not self._resumed or self.data < 0:
            return None
        return os.pread(self.data, os.fstat(self.data).st_size, 0)

    def close(self) -> None:
        for descriptor in {self.descriptor, self.data} - {-1}:
            os.close(descriptor)
        self.descriptor = self.data = -1
