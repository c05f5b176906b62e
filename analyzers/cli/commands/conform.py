"""``multifd conform``: every rule put to a real destination."""

from __future__ import annotations

import os
from pathlib import Path

import click

from analyzers.cli.campaigns import interruptible
from analyzers.cli.errors import say
from analyzers.cli.output import check_output, output_path, write_text
from analyzers.cli.progress import StatusLine
from analyzers.report.exit_codes import ExitCode
from multifd_codec.errors import InputError

EPILOG = """\b
Examples:
  multifd conform --qemu qemu-system-x86_64
  multifd conform --qemu build/qemu-system-x86_64 MFD301 MFD309 --all
  multifd conform --qemu build/qemu-system-x86_64 --state conform.jsonl --format junit -o conform.xml

For each way to break a rule, and for the near miss beside it, a stream goes into a destination of CMD: what
it does, in each of --runs runs, must be among the outcomes that the receiver model of its release foresees,
with guest RAM and the state of devices compared. Checks have stable names: rule, way, and near for the near
miss. With --state a run goes on where it was stopped.

\b
Exit codes:
  0  all as foreseen
  1  a destination did something else, or it was stopped before all was run
  2  could not run
"""


@click.command("conform", epilog=EPILOG, short_help="Put every rule to a real destination.")
@click.argument("codes", nargs=-1, metavar="[CODE]...")
@click.option("--qemu", "text", metavar="CMD", required=True, help="Command line of the destination.")
@click.option("--mode", type=click.Choice(("per-section", "per-round")),
              help="The destination's mode. [per-round where it can]")  # fmt: skip
@click.option("--runs", type=click.IntRange(1, 100), default=3, show_default=True, metavar="N",
              help="Runs of each check: some outcomes are races.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1, 256), metavar="N", help="Processes. [all cores]")
@click.option("--state", type=output_path, metavar="FILE", help="Keep results here, and go on from there.")
@click.option("--all", "everything", is_flag=True, help="A line a check in the text, not only a line a rule.")
@click.option("--format", "form", type=click.Choice(("text", "json", "junit")), default="text", show_default=True)
@click.option("-o", "output", type=output_path, metavar="FILE", help="Write the report here. [standard output]")
def command(
    *,
    codes: tuple[str, ...],
    text: str,
    mode: str | None,
    runs: int,
    jobs: int | None,
    state: Path | None,
    everything: bool,
    form: str,
    output: Path | None,
) -> int:
    """Put every mutation and near miss of the rules (of CODEs only) to a real destination."""
    from concurrent.futures.process import BrokenProcessPool  # noqa: PLC0415

    from analyzers.conform.checks import checks  # noqa: PLC0415
    from analyzers.conform.conform import Conformance  # noqa: PLC0415
    from analyzers.conform.report import render_json, render_junit, render_text, summary  # noqa: PLC0415
    from analyzers.fuzz.case import Habitat  # noqa: PLC0415
    from analyzers.fuzz.workers import Workers  # noqa: PLC0415
    from captures.qemu.binary import parse_command  # noqa: PLC0415
    from multifd_codec.dialect.destination import Destination  # noqa: PLC0415
    from multifd_codec.dialect.releases import Mode  # noqa: PLC0415

    check_output(output, [])
    check_output(state, [])
    qemu = parse_command(text)
    can = qemu.release.destination.flush_known
    chosen = Mode(mode) if mode is not None else Mode.PER_ROUND if can else Mode.PER_SECTION
    if chosen is Mode.PER_ROUND and not can:
        raise InputError(f"{qemu.name} has no per-round mode")
    habitat = Habitat(Destination(f"qemu-{qemu.full_version}", chosen), stock=True)
    listed = list(checks(habitat, codes))
    conformance = Conformance(listed, habitat, qemu, runs=runs, state=state)
    workers = jobs or os.cpu_count() or 1
    with StatusLine() as show, interruptible() as stopped, Workers(workers) as executor:
        try:
            results = conformance.run(
                executor, workers, lambda: bool(stopped), lambda done, total: show(f"{done} of {total} checks")
            )
        except BrokenProcessPool:
            raise InputError("a worker process was ended from outside (out of memory?)") from None
    facts = {"qemu": text, "version": qemu.full_version, "mode": str(chosen), "runs": runs}
    name = f"{qemu.name} ({qemu.full_version}) {chosen}"
    document = (
        render_text(results, everything=everything)
        if form == "text"
        else render_json(results, facts)
        if form == "json"
        else render_junit(results, name)
    )
    write_text(document, output)
    if output is not None:
        say(f"{name}: {summary(results)}")
    if len(results) < len(listed):
        say(f"stopped: {len(results)} of {len(listed)} checks were run")
    done = len(results) == len(listed) and all(result.agrees is not False for result in results)
    return ExitCode.CLEAN if done else ExitCode.FINDINGS
