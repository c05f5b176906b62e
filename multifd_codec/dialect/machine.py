"""One table: what a versioned machine type implies on both sides, whatever the release that runs it.

Each row states what changed with the machine types of that release; QEMU says the same backwards, as what older ones
turn off (hw_compat_* in hw/core/machine.c).
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple

from multifd_codec.dialect.releases import Mode
from multifd_codec.dialect.version import Version

PCI_MACHINE = "x-remote"
"""A PCI bus, no CPU, no firmware, one RAM block: QEMU starts in 0.1 s, and the name carries no release."""


class MachineDefaults(NamedTuple):
    """Defaults of migration properties."""

    mode: Mode = Mode.PER_SECTION
    """multifd-flush-after-each-section; hw_compat_8_0 sets it."""
    zero_page_detection: str = "legacy"
    """hw_compat_8_2 sets ``legacy``."""
    switchover_start: bool = False
    """send-switchover-start; hw_compat_9_2 turns it off."""
    device_state: bool = False
    """x-migration-multifd-transfer of VFIO devices may be on; hw_compat_9_2 turns it off."""


_CHANGES: dict[Version, dict[str, Any]] = {
    (8, 1): {"mode": Mode.PER_ROUND},
    (9, 0): {"zero_page_detection": "multifd"},
    (10, 0): {"switchover_start": True, "device_state": True},
}


def machine_version(machine: str) -> Version | None:
    """The release in a versioned machine type (``pc-i440fx-8.0``, ``pc-q35-10.0``, ``virt-9.1``), else None."""
    found = re.fullmatch(r".+-(\d+)\.(\d+)(?:-.*)?", machine)
    return (int(found[1]), int(found[2])) if found else None


@cache
def machine_defaults(version: Version | None) -> MachineDefaults:
    """What the machine types of a release imply; None, a machine type without version: as the newest."""
    result = MachineDefaults()
    for first, defaults in _CHANGES.items():
        if version is None or first <= version:
            result = result._replace(**defaults)
    return result
