"""``multifd mutate``: streams that are wrong on purpose."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from analyzers.cli.drafts import draft_of
from analyzers.cli.inputs import file_path, open_input, reading_options
from analyzers.cli.output import show_blocks, write_lines
from analyzers.cli.progress import ProgressBar
from analyzers.report.exit_codes import ExitCode
from multifd_codec.errors import InputError

if TYPE_CHECKING:
    from analyzers.mutation.mutation import Options
    from analyzers.produce.mutate import Mutated
    from captures.model import Migration, Reader
    from multifd_codec.draft.draft import Draft

EPILOG = """\b
Examples:
  multifd mutate --list --rule MFD301
  multifd mutate healthy.pcap --rule MFD301 -o wrong.pcap
  multifd mutate healthy.pcap --rule MFD408 --way a-gap --seed 7 -o wrong-channels/
  multifd mutate healthy.pcap --rule MFD301 --near -o near-miss.pcap

INPUT must hold the whole stream: no lost bytes, no snap length, TLS only with its key log. OUT is a capture if
it ends in .pcap, else a folder of channel files. The same input and seed give the same output.

\b
Exit codes:
  0  the stream was written (with --check: lint finds in it what it must)
  1  with --check: it does not
  2  could not run: bad arguments, unreadable input, or the stream lacks what the rule is about
  3  bytes are missing in the input
"""


@click.command("mutate", epilog=EPILOG, short_help="Make a stream that breaks a rule, out of one that does not.")
@click.argument("path", metavar="[INPUT]", type=file_path, required=False)
@click.option("--rule", "code", metavar="CODE", help="The rule to break: MFD301.")
@click.option("--way", metavar="WAY", help="Which way to break it; --list tells. Default: the first that fits.")
@click.option("--near", is_flag=True, help="The near miss instead: as close as possible, and legal.")
@click.option("--seed", type=int, default=0, show_default=True, help="For choices: which packet, which page.")
@click.option("--migration", type=click.IntRange(1), metavar="N", help="Which migration, if INPUT holds several.")
@click.option("-o", "output", type=file_path, metavar="OUT", help="The capture (*.pcap) or folder to write.")
@click.option("--force", is_flag=True, help="Replace the channel files in a folder.")
@click.option("--check", is_flag=True, help="Let lint judge the result: exit code 1 if it finds something else.")
@click.option("--list", "listing", is_flag=True, help="Only list the ways to break rules.")
@reading_options
def command(
    *,
    path: Path | None,
    code: str | None,
    way: str | None,
    near: bool,
    seed: int,
    migration: int | None,
    output: Path | None,
    force: bool,
    check: bool,
    listing: bool,
    page_size: int | None,
    keylog: Path | None,
    reader: Reader,
) -> int:
    """Make a stream that violates one rule, and says which, out of a healthy one.

    Every rule owns the mutations that violate just it. `multifd lint` of the result reports that rule.
    """
    from analyzers.produce.mutate import mutate, mutations_of  # noqa: PLC0415
    from captures.write.target import check_target  # noqa: PLC0415

    if listing:
        show_list(code)
        return ExitCode.CLEAN
    if path is None or code is None or output is None:
        raise click.UsageError("give INPUT, --rule CODE and -o OUT, or --list")
    mutations_of(code, way)  # a misspelt rule is told before a large input is read
    check_target(output, force=force, inputs=(path,) if keylog is None else (path, keylog))
    with ProgressBar() as progress, open_input(path, reader, keylog, progress) as recording:
        chosen, draft = draft_of(path, recording, migration, page_size)
        done = mutate(draft, code, way=way, near=near, seed=seed)
        write(output, draft, chosen, done)
    write_lines([summary(done, output) + "\n"])
    return ExitCode.FINDINGS if check and not as_announced(done, output) else ExitCode.CLEAN


def write(output: Path, draft: Draft, migration: Migration, done: Mutated) -> None:
    """Write the mutated draft, as the mutation wants it recorded. Raises InputError, EncodeError, OSError."""
    from analyzers.produce.draft_of_recording import tap_of  # noqa: PLC0415
    from captures.write.sent import write_draft  # noqa: PLC0415
    from captures.write.tap import Tap  # noqa: PLC0415
    from captures.write.target import CAPTURE_SUFFIX, is_capture  # noqa: PLC0415

    if done.tap is not None and not is_capture(output):
        raise InputError(f"{done.mutation.code} is about captures: give an output whose name ends in {CAPTURE_SUFFIX}")
    tap = done.tap or Tap()
    write_draft(output, draft, replace(tap, ends=tap_of(migration).ends | tap.ends), migration.return_path)


def summary(done: Mutated, output: Path) -> str:
    """What was done, in one line."""
    mutation = done.mutation
    command = " ".join(["multifd lint", *options_text(done.options), str(output)])
    if done.near:
        return f"{output}: near miss of {mutation.code}, {mutation.what}; nothing is wrong for: {command}"
    where = [] if done.channel is None else ["on main" if done.channel == "main" else f"on channel {done.channel}"]
    where += [] if done.offset is None else [f"at offset {done.offset}"]
    also = f" (and perhaps {', '.join(sorted(mutation.also))})" if mutation.also else ""
    place = f" {' '.join(where)}" if where else ""
    return f"{output}: {mutation.what}{place}; {mutation.code}{also} is found by: {command}"


def options_text(options: Options) -> list[str]:
    """The options as they are given to lint."""
    return [f"--{name} {value}" for name, value in options.items()]


def as_announced(done: Mutated, output: Path) -> bool:
    """Whether lint reports the rule, and nothing but remarks for a near miss."""
    from analyzers.findings import Severity  # noqa: PLC0415
    from analyzers.linter.judged import LintOptions  # noqa: PLC0415
    from analyzers.linter.linter import lint_recording  # noqa: PLC0415
    from captures.recording import open_recording  # noqa: PLC0415

    with open_recording(output) as recording:
        reports = lint_recording(recording, LintOptions(**done.options))  # type: ignore[arg-type]
    findings = [finding for report in reports for finding in report.findings]
    if done.near:
        return all(finding.severity is Severity.INFO for finding in findings)
    return any(finding.rule == done.mutation.code for finding in findings)


def show_list(code: str | None) -> None:
    """The table of mutations, of one rule or of all."""
    from analyzers.produce.mutate import mutations_of  # noqa: PLC0415
    from analyzers.report.content import Table, line  # noqa: PLC0415
    from analyzers.rulebook.mutation_registry import MUTATIONS, WITHOUT  # noqa: PLC0415

    chosen = mutations_of(code) if code is not None else tuple(m for ways in MUTATIONS.values() for m in ways)
    rows = tuple(
        (
            mutation.code,
            mutation.way,
            " ".join(options_text(mutation.options)).replace("--channels all", "--channels N").replace("fewer", "N-1"),
            ", ".join(sorted(mutation.also)),
        )
        for mutation in chosen
    )
    blocks: list[Table | tuple[object, ...]] = [Table(("rule", "way", "lint with", "breaks perhaps too"), 4, rows)]
    if code is None:
        blocks.append(tuple(line(f"{rule} has none: {why}") for rule, why in WITHOUT.items()))
    show_blocks(blocks)  # type: ignore[arg-type]
