"""What QEMU asks of VFIO and IOMMUFD: numbers and layouts of linux/vfio.h and linux/iommufd.h, native byte order."""

from __future__ import annotations

from enum import IntEnum, IntFlag

IOCTL_TYPE = ord(";")
"""All of them are _IO(';', number): neither a direction nor a size is in the request."""


class Call(IntEnum):
    """Numbers of the ioctls."""

    DEVICE_GET_INFO = 107
    DEVICE_GET_REGION_INFO = 108
    DEVICE_GET_IRQ_INFO = 109
    DEVICE_SET_IRQS = 110
    DEVICE_RESET = 111
    DEVICE_FEATURE = 117
    DEVICE_BIND_IOMMUFD = 118
    DEVICE_ATTACH_IOMMUFD_PT = 119
    DEVICE_DETACH_IOMMUFD_PT = 120
    MIG_GET_PRECOPY_INFO = 121
    IOMMU_DESTROY = 0x80
    IOMMU_IOAS_ALLOC = 0x81
    IOMMU_IOAS_IOVA_RANGES = 0x84
    IOMMU_IOAS_MAP = 0x85
    IOMMU_IOAS_UNMAP = 0x86
    IOMMU_HWPT_ALLOC = 0x89
    IOMMU_GET_HW_INFO = 0x8A
    IOMMU_HWPT_SET_DIRTY_TRACKING = 0x8B
    IOMMU_HWPT_GET_DIRTY_BITMAP = 0x8C
    IOMMU_IOAS_MAP_FILE = 0x8F
    IOMMU_IOAS_CHANGE_PROCESS = 0x92


ACCEPTED = frozenset(
    {
        Call.DEVICE_SET_IRQS,
        Call.DEVICE_ATTACH_IOMMUFD_PT,
        Call.DEVICE_DETACH_IOMMUFD_PT,
        Call.IOMMU_DESTROY,
        Call.IOMMU_IOAS_MAP,
        Call.IOMMU_IOAS_UNMAP,
        Call.IOMMU_IOAS_MAP_FILE,
        # Nothing is ever dirtied by a device that does not exist: the bitmap stays as it is.
        Call.IOMMU_HWPT_SET_DIRTY_TRACKING,
        Call.IOMMU_HWPT_GET_DIRTY_BITMAP,
        # QEMU 10.2 dies of an error here.
        Call.IOMMU_IOAS_CHANGE_PROCESS,
    }
)
"""Nothing to do and nothing to say."""

NEW_NUMBER_AT = {Call.DEVICE_BIND_IOMMUFD: 12, Call.IOMMU_IOAS_ALLOC: 8, Call.IOMMU_HWPT_ALLOC: 16}
"""Answered with a number of its own, u32 at this offset."""


class Feature(IntEnum):
    """VFIO_DEVICE_FEATURE_*, the low 16 bits of the flags."""

    MIGRATION = 1
    MIG_DEVICE_STATE = 2
    MIG_DATA_SIZE = 9


class FeatureFlags(IntFlag):
    GET = 1 << 16
    SET = 1 << 17
    PROBE = 1 << 18


class MigrationFlags(IntFlag):
    STOP_COPY = 1
    P2P = 2
    PRE_COPY = 4


class DeviceState(IntEnum):
    """VFIO_DEVICE_STATE_*."""

    ERROR = 0
    STOP = 1
    RUNNING = 2
    STOP_COPY = 3
    RESUMING = 4
    RUNNING_P2P = 5
    PRE_COPY = 6
    PRE_COPY_P2P = 7


PRECOPY_STATES = frozenset({DeviceState.PRE_COPY, DeviceState.PRE_COPY_P2P})

CONFIG_REGION = 7
REGIONS = 9
INTERRUPTS = 5
DEVICE_FLAGS = 1 | 2
"""VFIO_DEVICE_FLAGS_RESET and _PCI."""
REGION_FLAGS = 1 | 2
"""VFIO_REGION_INFO_FLAG_READ and _WRITE."""
LAST_IOVA = (1 << 57) - 1
HARDWARE_DIRTY_TRACKING = 1
"""IOMMU_HW_CAP_DIRTY_TRACKING"""
