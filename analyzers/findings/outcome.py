"""The ways a destination can end."""

from __future__ import annotations

import enum


class Outcome(enum.StrEnum):
    """How a destination can end, from harmless to worst."""

    COMPLETES = "completes"
    UNDECIDED = "undecided"
    """The recording lacks bytes the answer depends on."""
    FAILS = "fails"
    """An error is reported: the process exits or the status becomes failed."""
    LOSES_DATA = "loses-data"
    """Completed is reported, but guest memory or device state is wrong."""
    HANGS = "hangs"
    CRASHES = "crashes"

    @property
    def rank(self) -> int:
        """0 for the most harmless; the worst outcome of a set has the highest rank."""
        return list(Outcome).index(self)

    @property
    def is_error(self) -> bool:
        """Worse than ``undecided``."""
        return self.rank > Outcome.UNDECIDED.rank
