"""``multifd conform``: every rule put to a real destination."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from analyzers.cli.campaigns import interruptible
from analyzers.cli.errors import say
from analyzers.cli.inputs import file_path
from analyzers.cli.output import check_output, write_text
from analyzers.cli.progress import StatusLine
from analyzers.report.exit_codes import ExitCode
from multifd_codec.errors import InputError

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from contextlib import AbstractContextManager

    from analyzers.conform.conform import Result
    from analyzers.fuzz.case import Habitat
    from captures.qemu import Qemu

    Pool = AbstractContextManager[tuple[Executor, int]]

EPILOG = """\b
Examples:
  multifd conform --qemu qemu-system-x86_64
  multifd conform --source build/qemu-system-x86_64 --qemu qemu-system-x86_64 --all
  multifd conform --qemu build/qemu-system-x86_64 MFD301 MFD309 --all
  multifd conform --qemu build/qemu-system-x86_64 --state conform.jsonl --format junit -o conform.xml

For each way to break a rule, and for the near miss beside it, a stream goes into a destination of CMD: what
it does, in each of --runs runs, must be among the outcomes that the receiver model of its release foresees,
with guest RAM and the state of devices compared. Checks have stable names: rule, way, and near for the near
miss. With --state a run goes on where it was stopped.

With --source migrations of that QEMU to the one of --qemu (or to itself) are recorded, in every mode, method of
compression and number of channels, with and without VFIO devices: they must complete, as foreseen, without a
finding; each line says what other releases make of the same stream. That needs tcpdump.

\b
Exit codes:
  0  all as foreseen
  1  a destination did something else, or it was stopped before all was run
  2  could not run
"""


@click.command("conform", epilog=EPILOG, short_help="Put every rule to a real destination.")
@click.argument("codes", nargs=-1, metavar="[CODE]...")
@click.option("--qemu", "text", metavar="CMD", help="Command line of the destination.")
@click.option("--source", "source_text", metavar="CMD",
              help="Command line of a source: what it sends is recorded and judged.")  # fmt: skip
@click.option("--mode", type=click.Choice(("per-section", "per-round")),
              help="The destination's mode. [per-round where it can]")  # fmt: skip
@click.option("--runs", type=click.IntRange(1, 100), default=3, show_default=True, metavar="N",
              help="Runs of each check: some outcomes are races.")  # fmt: skip
@click.option("--scheduler", metavar="ADDRESS", help="Let a Dask cluster do it: tcp://HOST:PORT. [processes]")
@click.option("--jobs", type=click.IntRange(1, 256), metavar="N", help="Processes. [all cores]")
@click.option("--state", type=file_path, metavar="FILE", help="Keep results here, and go on from there.")
@click.option("--all", "everything", is_flag=True, help="A line a check in the text, not only a line a rule.")
@click.option("--format", "form", type=click.Choice(("text", "json", "junit")), default="text", show_default=True)
@click.option("-o", "output", type=file_path, metavar="FILE", help="Write the report here. [standard output]")
def command(
    *,
    codes: tuple[str, ...],
    text: str | None,
    source_text: str | None,
    mode: str | None,
    runs: int,
    scheduler: str | None,
    jobs: int | None,
    state: Path | None,
    everything: bool,
    form: str,
    output: Path | None,
) -> int:
    """Put every mutation and near miss of the rules (of CODEs only) to a real destination, and judge what a source
    sends."""
    from analyzers.conform.report import render_json, render_junit, render_text, summary  # noqa: PLC0415
    from analyzers.fuzz.workers import workers_of  # noqa: PLC0415
    from captures.qemu.binary import parse_command  # noqa: PLC0415

    check_output(output, [])
    check_output(state, [])
    if text is None and source_text is None:
        raise InputError("give --qemu CMD, --source CMD, or both")
    qemu = None if text is None else parse_command(text)
    source = None if source_text is None else parse_command(source_text)
    results: list[Result] = []
    missing, names = 0, []
    if source is not None:
        names.append(f"source {source.name} ({source.full_version})")
        results += _judge_source(source, qemu or source)
    if qemu is not None:
        habitat = _habitat(qemu, mode)
        names.append(f"{qemu.name} ({qemu.full_version}) {habitat.destination.mode}")
        put, missing = _put(qemu, habitat, codes, runs, state, workers_of(jobs, scheduler))
        results += put
    if form == "text":
        document = render_text(results, everything=everything)
    elif form == "junit":
        document = render_junit(results, ", ".join(names))
    else:
        document = render_json(results, {"qemu": text, "source": source_text, "names": names, "runs": runs})
    write_text(document, output)
    if output is not None:
        say(f"{', '.join(names)}: {summary(results)}")
    if missing:
        say(f"stopped: {missing} checks were not run")
    return ExitCode.FINDINGS if missing or any(one.agrees is False for one in results) else ExitCode.CLEAN


def _habitat(qemu: Qemu, mode: str | None) -> Habitat:
    from analyzers.fuzz.case import Habitat  # noqa: PLC0415
    from multifd_codec.dialect.destination import Destination  # noqa: PLC0415
    from multifd_codec.dialect.releases import Mode  # noqa: PLC0415

    chosen = None if mode is None else Mode(mode)
    return Habitat(Destination.in_mode(f"qemu-{qemu.full_version}", chosen), stock=True)


def _put(
    qemu: Qemu, habitat: Habitat, codes: tuple[str, ...], runs: int, state: Path | None, pool: Pool
) -> tuple[list[Result], int]:
    """The results, and how many are missing."""
    from analyzers.conform.checks import checks  # noqa: PLC0415
    from analyzers.conform.conform import Conformance  # noqa: PLC0415

    listed = list(checks(habitat, codes))
    conformance = Conformance(listed, habitat, qemu, runs=runs, state=state)
    with StatusLine() as show, interruptible() as stopped, pool as (executor, workers):
        results = conformance.run(
            executor, workers, lambda: bool(stopped), lambda done, total: show(f"{done} of {total} checks")
        )
    return results, len(listed) - len(results)


def _judge_source(source: Qemu, destination: Qemu) -> Iterator[Result]:
    from analyzers.conform.source import run_source_check, source_checks  # noqa: PLC0415

    listed = list(source_checks(source))
    with StatusLine() as show:
        for number, check in enumerate(listed):
            show(f"{number} of {len(listed)} migrations")
            yield run_source_check(check, source, destination)
