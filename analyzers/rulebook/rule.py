"""What a rule is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analyzers.findings import Severity
from analyzers.rulebook.conditions import Condition
from analyzers.rulebook.row import Row

if TYPE_CHECKING:
    from analyzers.mutation.mutation import Mutation

LETTERS = {"MFD3": "S", "MFD4": "V", "MFD5": "M", "MFD6": "C"}


class Rule(Row, kw_only=True):
    """One thing a stream may do wrong. Its code is its only name."""

    code: str
    """``MFD`` and three digits: 1xx framing, 2xx packet fields, 3xx synchronisation, 4xx device state, 5xx main
    channel, 6xx channel set, 7xx what was seen to happen, 9xx capture quality. Below 7xx the last two digits are the
    row number in the protocol reference."""
    title: str
    """What a legal stream does, in one line."""
    severity: Severity
    """Severity when nothing about the sender makes it milder."""
    why: str
    """What goes wrong otherwise, in a few sentences."""
    destination: str
    """What a QEMU destination does with a violation."""
    reference: str
    """Function and file in QEMU, commits where known."""
    since: str
    """Releases it holds for."""
    example: str
    """A minimal violating stream in the notation of the protocol reference (I, S, D, V, F, E)."""
    beside_channels: bool = False
    """It holds only where there are multifd channels."""
    conditions: tuple[Condition, ...] = ()
    """What breaks it, where one packet, problem or note tells; else the linter, a survey or the judge does."""

    @property
    def row(self) -> str:
        """Row of the protocol reference, ``S-01``; empty for capture quality."""
        family = self.code[:4]
        if family in ("MFD1", "MFD2"):
            return f"P-{self.code[4:]}"
        return f"{LETTERS[family]}-{self.code[4:]}" if family in LETTERS else ""

    @property
    def mutations(self) -> tuple[Mutation, ...]:
        """The ways to violate it on purpose, the default first; none where its family says why not."""
        from analyzers.rulebook.mutation_registry import MUTATIONS  # noqa: PLC0415 -- linting needs none of them

        return MUTATIONS.get(self.code, ())
