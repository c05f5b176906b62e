"""Places where a stream breaks a rule, collected with bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from analyzers.findings import Severity

KEPT = 20
"""Places kept in detail for each condition and channel; the rest is counted."""


class Hit(NamedTuple):
    """One place."""

    offset: int
    length: int
    segment: int
    message: str
    severity: Severity | None = None
    """None: that of the rule."""


@dataclass(slots=True)
class Hits:
    """All places of one condition on one channel."""

    kept: list[Hit] = field(default_factory=list)
    count: int = 0
    segments: set[int] = field(default_factory=set)

    def add(self, hit: Hit) -> None:
        self.count += 1
        self.segments.add(hit.segment)
        if len(self.kept) < KEPT:
            self.kept.append(hit)

    def more(self, count: int, segments: set[int]) -> None:
        """Count further places without detail."""
        self.count += count
        self.segments |= segments

    @property
    def first(self) -> Hit:
        return self.kept[0]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.kept)
