"""``multifd edit``: a stream changed by hand."""

from __future__ import annotations

from pathlib import Path

import click

from analyzers.cli.drafts import draft_of
from analyzers.cli.inputs import file_path, open_input, reading_options
from analyzers.cli.output import write_lines
from analyzers.cli.progress import ProgressBar
from analyzers.report.exit_codes import ExitCode
from captures.model import Reader

EPILOG = """\b
Examples:
  multifd edit in.pcap --set 'channel 1 packet 3 next_packet_size=0xffffffff' -o out.pcap
  multifd edit in.pcap --drop 'main command -1' --repeat 'channel 0 sync 0' -o out.pcap
  multifd edit in.pcap --move 'channel 0 sync -1 behind channel 0 device-state -1' -o out/

A place is a channel and a record on it: 'channel 1 packet 3', 'main record 7', 'main section-start 2', 'channel 0
@22912'. Numbers count from 0, negative ones from the end; packet is any packet, record anything, @ the offset
where it begins, other words are the kinds of `multifd decode`. Places are those of INPUT, whatever else is
edited. Field names are those of `multifd decode --format json`; bytes are text, or hex: and hex digits.

OUT is a capture if it ends in .pcap, else a folder of channel files.

\b
Exit codes:
  0  the stream was written
  2  could not run: no such place or field, a value that does not fit, unreadable input
  3  bytes are missing in the input
"""


@click.command("edit", epilog=EPILOG, short_help="Change a stream by hand.")
@click.argument("path", metavar="INPUT", type=file_path)
@click.option("--set", "sets", multiple=True, metavar="'PLACE FIELD=VALUE'", help="Set a field; repeat.")
@click.option("--repeat", "repeats", multiple=True, metavar="PLACE", help="A record stands twice; repeat.")
@click.option("--move", "moves", multiple=True, metavar="'PLACE before|behind PLACE'", help="Move a record; repeat.")
@click.option("--drop", "drops", multiple=True, metavar="PLACE", help="Leave a record out; repeat.")
@click.option("--migration", type=click.IntRange(1), metavar="N", help="Which migration, if INPUT holds several.")
@click.option(
    "-o", "output", type=file_path, metavar="OUT", required=True, help="The capture (*.pcap) or folder to write."
)
@click.option("--force", is_flag=True, help="Replace the channel files in a folder.")
@reading_options
def command(
    *,
    path: Path,
    sets: tuple[str, ...],
    repeats: tuple[str, ...],
    moves: tuple[str, ...],
    drops: tuple[str, ...],
    migration: int | None,
    output: Path,
    force: bool,
    page_size: int | None,
    keylog: Path | None,
    reader: Reader,
) -> int:
    """Change a stream by hand, and say what was done."""
    from analyzers.produce.draft_of_recording import tap_of  # noqa: PLC0415
    from analyzers.produce.edit import Action, HandEdit, edit_by_hand  # noqa: PLC0415
    from captures.write.sent import write_draft  # noqa: PLC0415
    from captures.write.target import check_target  # noqa: PLC0415

    asked = {Action.SET: sets, Action.REPEAT: repeats, Action.MOVE: moves, Action.DROP: drops}
    edits = [HandEdit(action, text) for action, texts in asked.items() for text in texts]
    if not edits:
        raise click.UsageError("give at least one of --set, --repeat, --move, --drop")
    check_target(output, force=force, inputs=(path,) if keylog is None else (path, keylog))
    with ProgressBar() as progress, open_input(path, reader, keylog, progress) as recording:
        chosen, draft = draft_of(path, recording, migration, page_size)
        done = edit_by_hand(draft, edits)
        write_draft(output, draft, tap_of(chosen), chosen.return_path)
    write_lines([f"{line}\n" for line in done])
    return ExitCode.CLEAN
