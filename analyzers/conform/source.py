"""What a source sends: recorded in every mode, compression method and number of channels, with and without devices, and
judged for every release."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

from analyzers.conform.conform import Result
from analyzers.findings import Report, Severity
from analyzers.linter.judged import LintOptions
from analyzers.linter.linter import lint_recording
from analyzers.report.texts import elsewhere_text
from captures.qemu import DestinationOptions, NoSuchMethodError, Qemu, VfioDevice
from captures.qemu.recorder import RecordOptions, record
from captures.recording import open_recording
from multifd_codec.dialect.compression import COMPRESSIONS
from multifd_codec.dialect.machine import PCI_MACHINE
from multifd_codec.dialect.releases import Mode

CODE = "SOURCE"
RAM = 2 << 20
CHANNELS = (1, 2, 4)
FIRST_SLOT = 4
BANDWIDTH = 64 << 20
"""Bytes a second: tcpdump keeps up, and there are a few rounds."""
STATE = 100 << 10


class SourceCheck(NamedTuple):
    """How one migration is made."""

    mode: Mode
    compression: str
    channels: int
    devices: int

    @property
    def name(self) -> str:
        """Stable."""
        parts = [f"{CODE}/{self.mode}", self.compression, f"{self.channels}-channels"]
        return "/".join([*parts, f"{self.devices}-devices"] if self.devices else parts)


def source_checks(source: Qemu) -> Iterator[SourceCheck]:
    """All that this source can be asked for; no compression method that needs hardware."""
    sender = source.release.sender
    modes = (Mode.PER_ROUND, Mode.PER_SECTION) if sender.per_round else (Mode.PER_SECTION,)
    methods = [name for name, method in COMPRESSIONS.items() if method.stock and method.since <= source.version]
    for mode, method, channels in product(modes, methods, CHANNELS):
        if method == "none" or channels == 2:
            yield SourceCheck(mode, method, channels, 0)
    if sender.device_state:
        for mode, devices in product(modes, (1, 2)):
            yield SourceCheck(mode, "none", 1 + devices, devices)


def run_source_check(check: SourceCheck, source: Qemu, destination: Qemu) -> Result:
    """Record it into a file that is gone afterwards, and judge it. Raises InputError, OSError."""
    guest = DestinationOptions(
        ram_size=RAM,
        ram_block="ram0",
        machine=PCI_MACHINE if check.devices else "none",
        mode=check.mode,
        channels=check.channels,
        compression=check.compression,
        capabilities=("return-path",),
        devices=tuple(VfioDevice(slot=FIRST_SLOT + n, seed=n, size=STATE) for n in range(check.devices)),
    )
    options = RecordOptions(source=source, destination=destination, guest=guest, seed=1, bandwidth=BANDWIDTH)
    with tempfile.TemporaryDirectory(prefix="multifd-") as folder:
        path = Path(folder) / "source.pcap"
        try:
            recorded = record(options, path)
        except NoSuchMethodError as error:
            return Result(check.name, CODE, skipped=error.message)
        with open_recording(path) as recording:
            (report,) = lint_recording(recording, LintOptions(profile=destination.release.name, elsewhere=True))
    foreseen = tuple(str(outcome) for outcome in report.possible_outcomes)
    sides = [f"{side} {recorded.facts[side]['status']}" for side in ("source", "destination")]
    seen = "completes" if recorded.completed else ", ".join(sides)
    found = _found(report)
    wrong = (f"found: {'; '.join(found)}",) if found else ()
    return Result(check.name, CODE, foreseen, (seen, *wrong), elsewhere_text(report))


def _found(report: Report) -> list[str]:
    return [f"{one.rule} {one.message}" for one in report.findings if one.severity is not Severity.INFO]
