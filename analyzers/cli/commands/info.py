"""``multifd info``: one screen about an input."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from analyzers.cli.inputs import open_input, reading_options, require_migration
from analyzers.cli.output import show_blocks
from analyzers.cli.progress import ProgressBar

if TYPE_CHECKING:
    from captures.model import Reader

EPILOG = """\b
Example:
  multifd info migration.pcap
"""


@click.command("info", epilog=EPILOG, short_help="Show who migrated what, how much and when.")
@click.argument("path", metavar="INPUT...", type=Path, nargs=-1, required=True)
@reading_options
def command(*, path: tuple[Path, ...], page_size: int | None, keylog: Path | None, reader: Reader) -> int:
    """Show who migrated what, how much and when, on one screen.

    Nothing is judged: use `multifd lint` for that.
    """
    from analyzers.linter.judged import LintOptions  # noqa: PLC0415
    from analyzers.linter.linter import lint_recording  # noqa: PLC0415
    from analyzers.report.overview import overview_blocks  # noqa: PLC0415

    with ProgressBar() as progress, open_input(path, reader, keylog, progress) as recording:
        require_migration(recording)
        reports = lint_recording(recording, LintOptions(page_size=page_size), progress)
        show_blocks(list(overview_blocks(recording, reports)))
    return 0
