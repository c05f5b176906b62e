"""What a device is called on the wire."""

from __future__ import annotations

from typing import NamedTuple


class DeviceKey(NamedTuple):
    """A device as device-state packets, sections of main and the vmdescription name it."""

    idstr: str
    instance_id: int
