"""Devices as they are given on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multifd_codec.errors import InputError

if TYPE_CHECKING:
    from captures.qemu.vfio import VfioDevice


def parse_device(text: str, slot: int) -> VfioDevice:
    """``SIZE[,chunk=SIZE][,precopy=SIZE][,slot=N][,PROPERTY=VALUE]...``. Raises InputError."""
    from captures.qemu.vfio import VfioDevice  # noqa: PLC0415 - an extra
    from multifd_codec.plan.file import parse_size  # noqa: PLC0415

    size, *options = text.split(",")
    given: dict[str, str] = {}
    for option in options:
        name, found, value = option.partition("=")
        if not found or not name:
            raise InputError(f"--device {text}: {option!r} is no OPTION=VALUE")
        given[name] = value
    default = VfioDevice()
    number = given.pop("slot", str(slot))
    if not number.isdecimal() or not 0 < int(number) < 1 << 5:
        raise InputError(f"--device {text}: a slot is 1 to 31")
    device = VfioDevice(
        slot=int(number),
        seed=int(number),
        size=parse_size(size),
        chunk=parse_size(given.pop("chunk", str(default.chunk))),
        precopy=parse_size(given.pop("precopy", "0")),
        multifd_transfer=given.pop("x-migration-multifd-transfer", default.multifd_transfer),
        properties=tuple(given.items()),
    )
    if device.precopy > device.size or not device.chunk or not device.size:
        raise InputError(f"--device {text}: sizes above 0, and precopy is a part of SIZE")
    return device
