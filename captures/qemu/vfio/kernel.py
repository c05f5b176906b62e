"""The answers that a kernel with such devices would give."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Mapping

from captures.qemu.vfio.device import LiveDevice
from captures.qemu.vfio.interface import (
    ACCEPTED,
    CONFIG_REGION,
    DEVICE_FLAGS,
    HARDWARE_DIRTY_TRACKING,
    INTERRUPTS,
    LAST_IOVA,
    NEW_NUMBER_AT,
    PRECOPY_STATES,
    REGION_FLAGS,
    REGIONS,
    Call,
    DeviceState,
    Feature,
    FeatureFlags,
)
from multifd_codec.wire.vfio import PCI_CONFIG_SPACE

Give = Callable[[int], int]
"""One of our descriptors to the caller: its number there."""


class Memory:
    """The argument of one ioctl, a structure in the caller's memory. Raises OSError."""

    def __init__(self, descriptor: int, address: int) -> None:
        self._descriptor, self._address = descriptor, address

    def read(self, offset: int, form: str) -> tuple[int, ...]:
        form = f"={form}"
        raw = os.pread(self._descriptor, struct.calcsize(form), self._address + offset)
        if len(raw) < struct.calcsize(form):
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        return struct.unpack(form, raw)

    def write(self, offset: int, form: str, *values: int) -> None:
        os.pwrite(self._descriptor, struct.pack(f"={form}", *values), self._address + offset)

    def at(self, address: int) -> Memory:
        """Elsewhere in the same memory."""
        return Memory(self._descriptor, address)


class Kernel:
    """Answers for one IOMMU and its devices, told apart by the names of their files."""

    def __init__(self, devices: Mapping[str, LiveDevice], iommu: str) -> None:
        self._devices = dict(devices)
        self._data = {f"{name}:data": device for name, device in devices.items()}
        self._iommu = iommu
        self._last_number = 0

    def answer(self, file: str, request: int, memory: Memory, give: Give) -> int | None:
        """What an ioctl on this file returns, negative an error number; None: the file is none of ours."""
        try:
            call = Call(request & 0xFF)
        except ValueError:
            call = None
        if file == self._iommu:
            return self._of_iommu(call, memory)
        if (device := self._devices.get(file)) is not None:
            return self._of_device(device, call, memory, give)
        if (device := self._data.get(file)) is not None:
            return _of_data(device, call, memory)
        return None

    def _common(self, call: Call | None, memory: Memory) -> int:
        if call in NEW_NUMBER_AT:
            self._last_number += 1
            memory.write(NEW_NUMBER_AT[call], "I", self._last_number)
            return 0
        return 0 if call in ACCEPTED else -errno.ENOTTY

    def _of_iommu(self, call: Call | None, memory: Memory) -> int:
        match call:
            case Call.IOMMU_GET_HW_INFO:
                memory.write(12, "I", 0)  # no data of the hardware's own
                memory.write(24, "IIQ", 0, 0, HARDWARE_DIRTY_TRACKING)
                return 0
            case Call.IOMMU_IOAS_IOVA_RANGES:
                room, _, ranges = memory.read(8, "IIQ")
                memory.write(8, "I", 1)
                memory.write(24, "Q", 4096)
                if not room:
                    return -errno.EMSGSIZE
                memory.at(ranges).write(0, "QQ", 0, LAST_IOVA)
                return 0
        return self._common(call, memory)

    def _of_device(self, device: LiveDevice, call: Call | None, memory: Memory, give: Give) -> int:
        match call:
            case Call.DEVICE_GET_INFO:
                memory.write(4, "III", DEVICE_FLAGS, REGIONS, INTERRUPTS)
                return 0
            case Call.DEVICE_GET_REGION_INFO:
                (index,) = memory.read(8, "I")
                if index >= REGIONS:
                    return -errno.EINVAL
                flags, size = (REGION_FLAGS, PCI_CONFIG_SPACE) if index == CONFIG_REGION else (0, 0)
                memory.write(4, "I", flags)
                memory.write(12, "IQQ", 0, size, 0)
                return 0
            case Call.DEVICE_GET_IRQ_INFO:
                return -errno.EINVAL  # neither an error nor a request interrupt
            case Call.DEVICE_RESET:
                device.set_state(DeviceState.RUNNING)
                return 0
            case Call.DEVICE_FEATURE:
                return _feature(device, memory, give)
        return self._common(call, memory)


def _feature(device: LiveDevice, memory: Memory, give: Give) -> int:
    (flags,) = memory.read(4, "I")
    try:
        feature = Feature(flags & 0xFFFF)
    except ValueError:
        return -errno.ENOTTY
    if flags & FeatureFlags.PROBE:
        return 0
    if flags & FeatureFlags.GET:
        match feature:
            case Feature.MIGRATION:
                memory.write(8, "Q", device.migration_flags)
            case Feature.MIG_DATA_SIZE:
                memory.write(8, "Q", min(device.options.chunk, device.options.size))
            case Feature.MIG_DEVICE_STATE:
                memory.write(8, "Ii", device.state, -1)
        return 0
    if feature is not Feature.MIG_DEVICE_STATE:
        return -errno.ENOTTY
    (new,) = memory.read(8, "I")
    if new == DeviceState.ERROR or new >= len(DeviceState):
        return -errno.EINVAL
    data = device.set_state(DeviceState(new))
    memory.write(12, "i", give(data) if data >= 0 else -1)
    return 0


def _of_data(device: LiveDevice, call: Call | None, memory: Memory) -> int:
    if call is not Call.MIG_GET_PRECOPY_INFO or device.state not in PRECOPY_STATES:
        return -errno.EINVAL
    memory.write(8, "QQ", device.precopy_left(), 0)
    return 0
