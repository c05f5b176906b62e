"""``multifd info``: one screen about an input."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from analyzers.cli.inputs import file_path, open_input, reading_options, require_migration
from analyzers.cli.output import show_blocks, write_text
from analyzers.cli.progress import ProgressBar

if TYPE_CHECKING:
    from analyzers.findings import Report
    from analyzers.report.overview import Rounds
    from analyzers.survey.migration import Surveyed
    from captures.model import Reader

EPILOG = """\b
Examples:
  multifd info migration.pcap
  multifd info --rounds migration.pcap
  multifd info --rounds --format json migration.pcap

A round goes from one SYNC that pages stand behind to the next; of a source that sends one in every section, from the
first page that is sent again to the next such page. Round 0 is the setup. Downtime: from the last byte of RAM packets
in front of SWITCHOVER_START (in front of the END section, where there is none) to the EOF byte.
"""


@click.command("info", epilog=EPILOG, short_help="Show who migrated what, how much and when.")
@click.argument("path", metavar="INPUT...", type=file_path, nargs=-1, required=True)
@click.option("--rounds", "with_rounds", is_flag=True, help="Each round, the downtime, the pages sent most often.")
@click.option("--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True)
@reading_options
def command(
    *, path: tuple[Path, ...], with_rounds: bool, form: str, page_size: int | None, keylog: Path | None, reader: Reader
) -> int:
    """Show who migrated what, how much and when, on one screen.

    Nothing is judged: use `multifd lint` for that.
    """
    from analyzers.linter.judged import LintOptions  # noqa: PLC0415
    from analyzers.linter.linter import lint_surveyed  # noqa: PLC0415
    from analyzers.report.overview import Overview, overview_blocks  # noqa: PLC0415
    from analyzers.survey.migration import survey_migration  # noqa: PLC0415

    options = LintOptions(page_size=page_size)
    overviews = []
    with ProgressBar() as progress, open_input(path, reader, keylog, progress) as recording:
        require_migration(recording)
        for migration in recording.migrations:
            surveyed = survey_migration(migration, page_size=page_size, progress=progress)
            report, _ = lint_surveyed(recording, surveyed, options)
            rounds = _rounds(surveyed, report) if with_rounds else None
            overviews.append(Overview(migration, report, rounds))
        if form == "json":
            from analyzers.report.info_document import render_info  # noqa: PLC0415

            write_text(render_info(overviews))
        else:
            show_blocks(list(overview_blocks(overviews)))
    return 0


def _rounds(surveyed: Surveyed, report: Report) -> Rounds:
    from analyzers.report.overview import Rounds  # noqa: PLC0415
    from analyzers.survey.downtime import downtime  # noqa: PLC0415
    from analyzers.survey.repeats import sent_pages  # noqa: PLC0415
    from analyzers.survey.rounds import rounds_of, segment_pages  # noqa: PLC0415
    from multifd_codec.dialect.releases import Mode  # noqa: PLC0415

    mode = Mode.PER_ROUND if report.profile is None else report.profile.destination.mode
    rounds = tuple(rounds_of(surveyed, mode))
    total = sum(one.normal_pages + one.zero_pages + one.main_pages for one in rounds)
    pages = sent_pages(segment_pages(surveyed, mode), surveyed.page_size, total)
    return Rounds(rounds, downtime(surveyed), pages)
