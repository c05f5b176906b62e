"""The text report in colour, for a terminal. The only module of this package that imports rich."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.rule import Rule
from rich.table import Table as RichTable
from rich.text import Text

from analyzers.findings import Report
from analyzers.report.content import Block, Style, Table, report_blocks
from analyzers.report.text import table_lines
from analyzers.report.texts import printable

STYLES = {
    Style.PLAIN: "",
    Style.HEADING: "bold",
    Style.QUIET: "dim",
    Style.GOOD: "bold green",
    Style.BAD: "bold red",
    Style.DOUBTFUL: "yellow",
}


MEASURED_WIDTH = 10_000


def print_reports(reports: Sequence[Report], console: Console, *, witness: bool = False, what_if: bool = False) -> None:
    """The same content as ``render_text``, wrapped to the terminal's width."""
    for number, report in enumerate(reports):
        if number:
            console.print(Rule(style="dim"))
        print_blocks(report_blocks(report, witness=witness, what_if=what_if), console)


def print_blocks(blocks: Iterable[Block], console: Console) -> None:
    """Blocks of text and tables, an empty line between them."""
    for number, block in enumerate(blocks):
        if number:
            console.print()
        if isinstance(block, Table):
            _print_table(block, console)
            continue
        for line in block:
            # Text objects, not strings: what stands on the wire must not be taken for markup.
            console.print(Text.assemble(*((printable(span.text), STYLES[span.style]) for span in line.spans)))


def _print_table(table: Table, console: Console) -> None:
    unlimited = console.options.update(max_width=MEASURED_WIDTH)
    for padding in (2, 1):
        rich_table = _table(table, padding)
        if Measurement.get(console, unlimited, rich_table).maximum <= console.width:
            console.print(rich_table)
            return
    # Too narrow: the terminal wraps lines, but no number is cut off.
    console.print(Text("\n".join(table_lines(table))), soft_wrap=True)


def _table(table: Table, padding: int) -> RichTable:
    rich_table = RichTable(box=None, pad_edge=False, header_style="bold", padding=(0, padding, 0, 0))
    for column, name in enumerate(table.columns):
        if column < table.left:
            rich_table.add_column(Text(name), overflow="fold", min_width=8)
        else:
            # Numbers are never wrapped, two-word headings always.
            rich_table.add_column(Text(name.replace(" ", "\n")), justify="right", no_wrap=True)
    for row in table.rows:
        rich_table.add_row(*(Text(printable(cell)) for cell in row))
    return rich_table
