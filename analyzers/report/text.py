"""Plain text: no colour, no wrapping, the same bytes wherever it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from analyzers.findings import Report
from analyzers.report.content import Block, Table, report_blocks
from analyzers.report.texts import printable


def render_text(reports: Sequence[Report], *, witness: bool = False, what_if: bool = False) -> str:
    """All reports, an empty line between blocks and a ruled line between reports."""
    texts = [
        "\n".join(blocks_lines(report_blocks(report, witness=witness, what_if=what_if))) + "\n" for report in reports
    ]
    return ("\n" + "-" * 72 + "\n\n").join(texts)


def blocks_lines(blocks: Iterable[Block]) -> Iterator[str]:
    """The lines of blocks, without line ends."""
    for number, block in enumerate(blocks):
        if number:
            yield ""
        if isinstance(block, Table):
            yield from table_lines(block)
        else:
            yield from (printable(line.text.rstrip()) for line in block)


def table_lines(table: Table) -> Iterator[str]:
    """Columns padded to their widest cell, two blanks apart."""
    rows = tuple(tuple(map(printable, row)) for row in (table.columns, *table.rows))
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    for row in rows:
        cells = (
            cell.ljust(width) if column < table.left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()
