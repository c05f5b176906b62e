"""The PCI config of a device that does not exist."""

from __future__ import annotations

import struct

from multifd_codec.layout import build_declared
from multifd_codec.wire.vfio import PCI_CONFIG_SPACE, PCI_CONFIG_VERSION, PciConfig

VENDOR, DEVICE, CLASS_OTHER = 0x1AF4, 0x10FF, 0xFF
_IDENTITY = struct.Struct("<HH4xBBBB")
"""Vendor, device, command and status, revision, class (little-endian u16, u8)."""


def configuration_space() -> bytes:
    """256 bytes of configuration space: vendor, device, class "other", nothing else."""
    return _IDENTITY.pack(VENDOR, DEVICE, 0, 0, 0, CLASS_OTHER).ljust(PCI_CONFIG_SPACE, b"\0")


def pci_config(space: bytes | None = None) -> bytes:
    """What a device without interrupts sends as its config (276 bytes), from 256 bytes of configuration space."""
    space = configuration_space() if space is None else space
    return build_declared(PciConfig, {"version": PCI_CONFIG_VERSION, "space": space, "interrupts": [0] * 4})


def space_of(config: bytes) -> bytes | None:
    """The configuration space in such a config; None: it is none."""
    if len(config) < PciConfig.sizeof():
        return None
    return config[4 : 4 + PCI_CONFIG_SPACE]


def vfio_name(slot: int) -> str:
    """What the state of a device at that slot of the first PCI bus is called."""
    return f"0000:00:{slot:02x}.0/vfio"
