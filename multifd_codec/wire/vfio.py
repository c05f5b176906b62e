"""VFIO: tags on the main channel, and the payload of its device-state packets.

Source: hw/vfio/migration.c (VFIO_MIG_FLAG_*, v1 of 5.2, v2 of 7.2/8.0), hw/vfio/migration-multifd.c (10.0). Big-endian.
"""

from __future__ import annotations

import enum

from construct import Array, Bytes, Int32ub, Int64ub, Struct

VFIO_TAG_PREFIX = 0xFFFFFFFFEF100000
"""All tags are this and a small number; nothing else on the main channel starts with it."""
VFIO_TAG_PREFIX_MASK = 0xFFFFFFFFFFFFFF00
VFIO_IDSTR = b"vfio"
"""Name of the section of a VFIO device, behind that of the device and a slash if it has one (vfio_migration_init)."""
VFIO_VERSION = 1
"""version_id of its sections in all releases: the highest that a destination takes."""
DEVICE_STATE_PACKET_VERSION = 0
INVALID_IDX = 0xFFFFFFFF
CONFIG_STATE = 0x1
"""``flags`` bit of the last packet: its data is the device's config."""


def is_vfio_name(idstr: bytes) -> bool:
    """Whether a section of that name is one of a VFIO device."""
    return idstr.rpartition(b"/")[2] == VFIO_IDSTR


class VfioTagId(enum.IntEnum):
    """What a VFIO section body is made of."""

    END_OF_STATE = VFIO_TAG_PREFIX + 1
    """Ends the body."""
    DEV_CONFIG_STATE = VFIO_TAG_PREFIX + 2
    """Followed by the vmstate of PCI config space (no length on the wire), then END_OF_STATE."""
    DEV_SETUP_STATE = VFIO_TAG_PREFIX + 3
    """Followed by END_OF_STATE."""
    DEV_DATA_STATE = VFIO_TAG_PREFIX + 4
    """Followed by a 64-bit size and that many bytes; the body continues."""
    DEV_INIT_DATA_SENT = VFIO_TAG_PREFIX + 5
    """Since 8.1, with switchover-ack: in place of END_OF_STATE."""
    DEV_CONFIG_LOAD_READY = VFIO_TAG_PREFIX + 6
    """Since 10.1, with x-migration-load-config-after-iter: in place of END_OF_STATE."""


ENDING_TAGS = frozenset({VfioTagId.END_OF_STATE, VfioTagId.DEV_INIT_DATA_SENT, VfioTagId.DEV_CONFIG_LOAD_READY})

VfioTag = Struct("tag" / Int64ub)

VfioData = Struct("tag" / Int64ub, "size" / Int64ub)
"""DEV_DATA_STATE: ``size`` bytes follow, 0 allowed."""

VFIODeviceStatePacket = Struct("version" / Int32ub, "idx" / Int32ub, "flags" / Int32ub)
"""First 12 bytes of a device-state packet's payload; device data (or config data) fills the rest."""

PCI_CONFIG_SPACE = 256
"""Bytes of PCI configuration space that travel."""

PciConfig = Struct("version" / Int32ub, "space" / Bytes(PCI_CONFIG_SPACE), "interrupts" / Array(4, Int32ub))
"""A device's config between its two tags, when it has no MSI-X: vmstate_vfio_pci_config with vmstate_pci_device in it
(hw/vfio/pci.c, hw/pci/pci.c). ``version`` is 2; a destination compares identity and class in ``space`` with its own."""
PCI_CONFIG_VERSION = 2
