"""What a real destination did with a stream."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from multifd_codec.source import Buffer

COMPLETES, FAILS, LOSES_DATA, HANGS, CRASHES = "completes", "fails", "loses-data", "hangs", "crashes"
"""The outcomes of the report contract, as far as a process can show them (``analyzers.findings.Outcome``)."""


class Expected(NamedTuple):
    """What must be there when a migration completes; None: whatever it is."""

    ram: Buffer | Path | None = None
    page_size: int = 4096
    devices: tuple[bytes | None, ...] = ()
    """The state of each device."""
    damaged: frozenset[int] = frozenset()
    """Numbers of devices whose state cannot be right, whatever is loaded: the stream has not got it whole."""

    def different_device(self, states: Sequence[bytes | None]) -> int | None:
        """Number of the first device whose state is another one."""
        pairs = enumerate(zip(self.devices, states, strict=False))
        different = {number for number, (wanted, seen) in pairs if wanted is not None and wanted != seen}
        return min(different | self.damaged, default=None)


NOTHING_EXPECTED = Expected()


class Observation(NamedTuple):
    """How one run ended."""

    outcome: str
    """``completes``, ``fails``, ``loses-data``, ``hangs`` or ``crashes``. A migration that never started hangs, with
    the monitor alive."""
    status: str | None
    """Of query-migrate, when it last answered with one; None: it never had one."""
    words: str
    """Its error messages, in one line."""
    exit_code: int | None
    """Negative: minus the signal that ended it. None: it had to be ended."""
    monitor_alive: bool
    """Whether it still answered when it was given up. False when it ended itself."""
    seconds: float
    """From the first connection to the verdict."""
    taken: tuple[int, ...]
    """Bytes that each connection could be given, in the order of the streams."""
    different_page: int | None = None
    """Byte offset in guest RAM of the first page that is not as expected."""
    ram: bytes | None = None
    """Guest RAM at the end, when it was asked for and the migration completed."""
    device_states: tuple[bytes | None, ...] = ()
    """What was loaded into each of its devices, complete or not; None: nothing was begun."""
    different_device: int | None = None
    """Number of the first device whose state is not as expected."""
    printed: str = ""
    """The end of all that it printed, as it stands."""
    stack: str = ""
    """Where the threads of a destination that hangs are, when that was asked for and gdb is there."""
    timed_out: bool = False
    """It was still at work when the time limit was reached; ``hangs`` is then a guess."""

    def _lost(self) -> str:
        if self.different_page is not None:
            return f"guest RAM differs at {self.different_page:#x}"
        if self.different_device is None:
            return ""
        loaded = self.device_states[self.different_device]
        return f"the state of device {self.different_device} differs, {len(loaded or b'')} bytes were loaded"

    def line(self) -> str:
        """In one line, for people."""
        details = {
            HANGS: "monitor alive" if self.monitor_alive else "monitor dead",
            CRASHES: f"signal {-self.exit_code}" if self.exit_code is not None else "",
            FAILS: f"exit code {self.exit_code}" if self.exit_code is not None else f"status {self.status}",
            LOSES_DATA: self._lost(),
        }
        detail = details.get(self.outcome, "")
        if self.outcome == HANGS:
            detail += f", status {self.status}" if self.status else ", never started" if self.monitor_alive else ""
            detail += ", still at work" if self.timed_out else ""
        text = f"{self.outcome} ({detail})" if detail else self.outcome
        return f"{text}: {self.words}" if self.words else text
