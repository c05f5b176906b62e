"""``multifd decode``: what stands in a channel, record by record."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from analyzers.cli.inputs import file_path, open_input, reading_options, require_migration
from analyzers.cli.output import write_lines
from analyzers.cli.progress import ProgressBar
from multifd_codec.errors import InputError

if TYPE_CHECKING:
    from captures.model import Reader
    from multifd_codec.errors import ChannelName

LARGEST_PORT = 65535
MOST_DIGITS = len(str(LARGEST_PORT))
EPILOG = """\b
Examples:
  multifd decode migration.pcap | less
  multifd decode --channel 0 --kind sync,device-state migration.pcap
  multifd decode --channel main --format jsonl migration.pcap
  multifd decode --by time --kind sync,flush,command migration.pcap
  multifd decode --channel 1 --range 0x1000:0x2000 --hex migration.pcap

\b
Kinds on a multifd channel: init, ram, sync (with or without pages), device-state, unreadable, end.
Kinds on main are the names in the kind column, like section-start or flush.

Offsets count bytes from the start of a channel's stream. Payload is skipped, not printed. Seconds count from the
first frame of the migration; JSON lines have "time", in seconds since the epoch, too.
"""


@click.command("decode", epilog=EPILOG, short_help="Print what the channels carry, record by record.")
@click.argument("path", metavar="INPUT...", type=file_path, nargs=-1, required=True)
@click.option("--channel", "channel_text", metavar="main|N", help="Only this channel. Default: main, then all others.")
@click.option(
    "--kind", "kinds", multiple=True, metavar="KIND", help="Only these kinds of record; repeat or use commas."
)
@click.option(
    "--range", "span", metavar="A:B", help="Only records that touch offsets A to B (B excluded); hex is fine."
)
@click.option(
    "--by",
    "order",
    type=click.Choice(("channel", "time")),
    default="channel",
    show_default=True,
    help="One channel after the other, or all as they were recorded.",
)
@click.option("--migration", type=click.IntRange(1), metavar="N", help="Only the N-th migration in INPUT.")
@click.option("--format", "form", type=click.Choice(("table", "jsonl")), default="table", show_default=True)
@click.option("--hex", "hexadecimal", is_flag=True, help="Show the bytes of each header: offset, field, hex, value.")
@click.option("--limit", type=click.IntRange(0), metavar="N", help="Stop after N records.")
@reading_options
def command(
    *,
    path: tuple[Path, ...],
    channel_text: str | None,
    kinds: tuple[str, ...],
    span: str | None,
    order: str,
    migration: int | None,
    form: str,
    hexadecimal: bool,
    limit: int | None,
    page_size: int | None,
    keylog: Path | None,
    reader: Reader,
) -> int:
    """Print what the channels of a migration carry, record by record.

    Nothing is judged: use `multifd lint` for that.
    """
    from analyzers.report.decoding import Filter, Order, decoded, json_lines, text_lines  # noqa: PLC0415

    start, stop = parse_range(span)
    wanted = Filter(parse_channel(channel_text), parse_kinds(kinds), start, stop)
    with ProgressBar() as progress, open_input(path, reader, keylog, progress) as recording:
        require_migration(recording)
        migrations = recording.migrations
        if migration is not None:
            if migration > len(migrations):
                raise InputError(f"{recording.path}: there is no migration {migration}, only {len(migrations)}")
            migrations = migrations[migration - 1 : migration]
        events = decoded(migrations, wanted, page_size, Order(order))
        lines = json_lines if form == "jsonl" else text_lines
        write_lines(
            lines(
                events if limit is None else itertools.islice(events, min(limit, sys.maxsize)), hexadecimal=hexadecimal
            )
        )
    return 0


def parse_channel(text: str | None) -> ChannelName | None:
    """``main``, a channel id, or the port of a channel that states none. Raises InputError."""
    if text is None:
        return None
    if text == "main":
        return "main"
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS and int(text) <= LARGEST_PORT):
        raise InputError(f"--channel {text}: give main, a channel id, or the port of a channel that states none")
    return int(text)


def parse_kinds(texts: tuple[str, ...]) -> frozenset[str]:
    """Kinds from comma lists. Raises InputError for one that no event has."""
    from analyzers.report.event_record import known_kinds  # noqa: PLC0415

    kinds = frozenset(kind.strip().lower() for text in texts for kind in text.split(",") if kind.strip())
    known = known_kinds()
    for kind in sorted(kinds - known):
        raise InputError(f"--kind {kind}: no record has this name; there are {', '.join(sorted(known))}")
    return kinds


def parse_range(text: str | None) -> tuple[int, int | None]:
    """``A:B``, ``A:`` or ``:B``, decimal or 0x. Raises InputError."""
    if text is None:
        return 0, None
    try:
        first, separator, last = text.partition(":")
        start, stop = int(first, 0) if first else 0, int(last, 0) if last else None
    except ValueError:
        separator, start, stop = "", 0, None
    if not separator or start < 0 or (stop is not None and stop <= start):
        raise InputError(f"--range {text}: give A:B, two offsets with A below B")
    return start, stop
