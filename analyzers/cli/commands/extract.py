"""``multifd extract``: guest RAM and device state out of a migration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from analyzers.cli.inputs import choose_migration, file_path, open_input, reading_options, require_migration
from analyzers.cli.output import write_text
from analyzers.cli.progress import ProgressBar
from analyzers.report.exit_codes import ExitCode, gravest
from analyzers.report.texts import printable
from multifd_codec.errors import InputError

if TYPE_CHECKING:
    from analyzers.extraction.output import Place
    from analyzers.extraction.rebuild import RebuildOptions
    from analyzers.extraction.results import Rebuilt
    from captures.model import Migration, ProgressCallback, Reader

MAX_MIGRATIONS = 500
"""Migrations of one recording that are rebuilt together."""
EPILOG = """\b
Examples:
  multifd extract migration.pcap -o guest
  multifd extract migration.pcap -o guest --blocks pc.ram --provenance
  multifd extract mapped-ram-file -o guest --format json

\b
In the folder: NAME.bin for each RAM block, IDSTR-INSTANCE.bin for each device's state (its config in
IDSTR-INSTANCE.config.bin), manifest.json. Names from the stream are made safe; the manifest says which
file is whose. Pages that were never sent read as zero; pages whose content is not known keep what an
earlier round sent. The manifest lists both.

Pages are loaded round by round, as the rendezvous between main and channels order them. Inside a round
no order is defined between channels, nor between ZERO records on main and packets: main is loaded
first, then the channels by id; where that decides the content, it is said. A channel compressed with
zlib or zstd can be read up to its first hole only.

\b
Exit codes:
  0  everything that was sent is there
  1  something is wrong with the stream: a destination gets less than was sent
  2  could not run: bad arguments, unreadable input, or no migration in it
  3  the recording is incomplete: some pages or device state are unknown
"""


@click.command("extract", epilog=EPILOG, short_help="Rebuild guest RAM and device state from a migration.")
@click.argument("path", metavar="INPUT...", type=file_path, nargs=-1, required=True)
@click.option(
    "-o", "output", type=file_path, metavar="DIR", required=True, help="Folder to write to: a new or empty one."
)
@click.option("--force", is_flag=True, help="Write into a folder that is not empty, replacing files of the same name.")
@click.option("--blocks", multiple=True, metavar="NAME", help="Only this RAM block; may be given again.")
@click.option("--provenance", is_flag=True, help="Say for each page where it came from, in NAME.provenance.jsonl.")
@click.option("--migration", type=click.IntRange(1), metavar="N", help="Only the N-th migration in INPUT.")
@click.option("--all", "everything", is_flag=True, help="Load what a destination never reads, too.")
@click.option(
    "--mode",
    type=click.Choice(("per-section", "per-round")),
    help="Destination's multifd-flush-after-each-section: on is per-section, off is per-round.",
)
@click.option("--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True)
@reading_options
def command(
    *,
    path: tuple[Path, ...],
    output: Path,
    force: bool,
    blocks: tuple[str, ...],
    provenance: bool,
    migration: int | None,
    everything: bool,
    mode: str | None,
    form: str,
    page_size: int | None,
    keylog: Path | None,
    reader: Reader,
) -> int:
    """Rebuild guest RAM and device state as a destination loads them.

    With several migrations in INPUT each gets a folder of its own in DIR. DIR gets all of its files, or none if
    something goes wrong.
    """
    from analyzers.extraction.output import Folder  # noqa: PLC0415
    from analyzers.extraction.rebuild import RebuildOptions  # noqa: PLC0415
    from captures.formats.pipes import is_pipe  # noqa: PLC0415
    from multifd_codec.dialect.releases import Mode  # noqa: PLC0415

    options = RebuildOptions(
        page_size=page_size,
        mode=None if mode is None else Mode(mode),
        apply_all=everything,
        blocks=blocks or None,
        provenance=provenance,
    )
    documents: list[dict[str, Any]] = []
    lines: list[str] = []
    codes: list[ExitCode] = []
    with ProgressBar() as progress, open_input(path, reader, keylog, progress) as recording:
        require_migration(recording)
        wanted = list(enumerate(recording.migrations, 1))
        if migration is not None:
            wanted = [(migration, choose_migration(recording, migration))]
        if len(wanted) > MAX_MIGRATIONS:
            raise InputError(
                f"{path[0]}: holds {len(wanted)} migrations, more than {MAX_MIGRATIONS}; give --migration N"
            )
        named = [one for one in path if not is_pipe(one)]
        keep = named if keylog is None else [*named, keylog]
        from analyzers.extraction.manifest import manifest, text_lines  # noqa: PLC0415

        with Folder(output, overwrite=force, keep=keep) as folder:
            for number, one in wanted:
                place = folder.place(None if len(wanted) == 1 else f"migration-{number}")
                rebuilt = _extracted(one, options, place, progress)
                document = manifest(rebuilt, recording, number)
                _write_manifest(place, document)
                documents += [document] * (form == "json")
                lines += text_lines(rebuilt, recording, number, str(place.path))
                codes.append(_exit_code(rebuilt))
    if form == "json":
        write_text(json.dumps(documents[0] if len(documents) == 1 else documents, indent=1) + "\n")
    else:
        write_text("".join(f"{printable(line)}\n" for line in lines))
    return gravest(codes)


def _extracted(migration: Migration, options: RebuildOptions, place: Place, progress: ProgressCallback) -> Rebuilt:
    from analyzers.extraction.rebuild import rebuild  # noqa: PLC0415

    return rebuild(migration, options, folder=place, progress=progress)


def _write_manifest(place: Place, document: dict[str, Any]) -> None:
    import os  # noqa: PLC0415

    name = "manifest.json"
    with place.naming(name), os.fdopen(place.create(name), "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")


def _exit_code(rebuilt: Rebuilt) -> ExitCode:
    if not rebuilt.complete:
        return ExitCode.INCOMPLETE
    return ExitCode.CLEAN if rebuilt.sound else ExitCode.FINDINGS
