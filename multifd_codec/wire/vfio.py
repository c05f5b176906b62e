"""VFIO: tags on the main channel, the payload of device-state packets.

Source: hw/vfio/migration.c and hw/vfio/migration-multifd.c. Big-endian since cbb2e10526 (before the 10.0 release).
"""

from __future__ import annotations

import enum

from construct import Int32ub, Int64ub, Struct

VfioFlag = Int64ub
"""Every piece of a VFIO section starts with one of ``VfioTag``."""


class VfioTag(enum.IntEnum):
    """Values of ``VfioFlag``."""

    END_OF_STATE = 0xFFFFFFFFEF100001
    DEV_CONFIG_STATE = 0xFFFFFFFFEF100002
    DEV_SETUP_STATE = 0xFFFFFFFFEF100003
    DEV_DATA_STATE = 0xFFFFFFFFEF100004
    """Followed by a be64 size and that many bytes."""
    DEV_INIT_DATA_SENT = 0xFFFFFFFFEF100005
    """Since 8.1; ends the section body in place of END_OF_STATE."""
    DEV_CONFIG_LOAD_READY = 0xFFFFFFFFEF100006
    """Since 10.1; ends the section body in place of END_OF_STATE."""


class VfioPayloadFlags(enum.IntFlag):
    """``flags`` of ``VfioDeviceStateHeader``; other bits are ignored."""

    CONFIG_STATE = 0x1


VfioDeviceStateHeader = Struct(
    "version" / Int32ub,
    "idx" / Int32ub,
    "flags" / Int32ub,
)
"""12 bytes in front of the data of each device-state packet (VFIODeviceStatePacket)."""
