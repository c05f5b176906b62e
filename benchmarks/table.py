"""What is printed: one row for each thing measured, and whether the promise was kept."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Table:
    """Rows as they come, and whether all contracts so far were kept."""

    kept: bool = True
    judged: bool = True
    """False for --quick: start-up time rules there, so nothing is judged."""
    widths: tuple[int, ...] = field(default=(16, 46, 26, 0))

    def row(self, *cells: str) -> None:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, self.widths, strict=True)).rstrip(), flush=True)

    def verdict(self, name: str, what: str, promise: str, *, kept: bool | None) -> None:
        """``kept`` is None where nothing is promised."""
        if not self.judged:
            kept = None
        self.kept = self.kept and kept is not False
        self.row(name, what, promise, "" if kept is None else "PASS" if kept else "FAIL")

    def skipped(self, name: str, what: str, promise: str) -> None:
        """Something could not be measured: not a failure, but never silent."""
        self.row(name, what, promise, "SKIPPED")
