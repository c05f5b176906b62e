"""``multifd fuzz``: migrations without end, against the model and against real destinations."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from analyzers.cli.campaigns import interruptible
from analyzers.cli.errors import say
from analyzers.cli.inputs import file_path
from analyzers.cli.numbers import FiniteRange
from analyzers.cli.output import write_text
from analyzers.cli.progress import StatusLine
from analyzers.report.exit_codes import ExitCode
from multifd_codec.errors import InputError

if TYPE_CHECKING:
    from analyzers.fuzz.campaign import Campaign, Totals

EPILOG = """\b
Examples:
  multifd fuzz --streams 100000
  multifd fuzz --against qemu-system-x86_64 --streams 300 -o campaign/
  multifd fuzz --against 'qemu-system-x86_64 -L /opt/q10/share/qemu' --mode per-section --seconds 600
  multifd fuzz --against qemu-system-x86_64 --keep crashes,hangs --seconds 600 -o campaign/
  multifd fuzz --corpus seeds/ --streams 200

Without --against each plan and the edits of its stream go through encoder, decoder, receiver model and
linter, and what must hold between them is checked. With --against each stream goes into a real
destination: what it does must be among the outcomes the linter foresees, and guest RAM and the state of
devices are compared; the devices are VFIO devices that do not exist.

With --keep streams that do one of these things are kept, up to five of each cause: capture, seed, what was
done to the stream, what QEMU printed, and the stacks of its threads if gdb is there.

--corpus writes one file a channel for other fuzzers, with a dictionary, a script that runs AFL++ on a QEMU's
main channel and one that runs atheris (libFuzzer) on the decoders here.

A disagreement is shrunk and saved in the folder given with -o: a capture, and both verdicts with the
seed. A campaign with a folder resumes where it stopped.

\b
Exit codes:
  0  no disagreement
  1  at least one
  2  could not run
"""


KEEPABLE = frozenset({"crashes", "hangs", "fails", "loses-data"})
DEVICES = {"none": 0.0, "some": 0.5, "always": 1.0}
"""Of the cases that can have them, so many have devices."""


@click.command("fuzz", epilog=EPILOG, short_help="Try varied migrations on the model or a real QEMU.")
@click.option("--against", metavar="CMD", help="QEMU command line of the destination.")
@click.option("--profile", metavar="P", help="Model alone: the destination. [qemu-10.0]")
@click.option("--mode", type=click.Choice(("per-section", "per-round")), help="The destination's mode.")
@click.option("--streams", type=click.IntRange(1), metavar="N", help="How many at least. [until Ctrl-C]")
@click.option("--seconds", type=FiniteRange(0.1), metavar="S", help="How long. [until Ctrl-C]")
@click.option("--seed", type=int, default=0, show_default=True, help="The first seed.")
@click.option("--scheduler", metavar="ADDRESS", help="Let a Dask cluster do it: tcp://HOST:PORT. [processes]")
@click.option("--jobs", type=click.IntRange(1, 256), metavar="N", help="Processes. [all cores]")
@click.option("--edits", type=click.IntRange(0, 8), default=2, show_default=True, help="Edits of a stream at most.")
@click.option("--devices", type=click.Choice(list(DEVICES)), default="some", show_default=True,
              help="Cases with VFIO devices, where the destination can have them.")  # fmt: skip
@click.option("--keep", "keep_text", metavar="OUTCOMES",
              help="Keep streams that do this (crashes,hangs) in DIR/kept, by cause.")  # fmt: skip
@click.option("-o", "folder", type=file_path, metavar="DIR", help="Where disagreements and the state are kept.")
@click.option("--corpus", type=file_path, metavar="DIR", help="Write channel files as seeds for other fuzzers instead.")
@click.option("--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True)
def command(
    *,
    against: str | None,
    profile: str | None,
    mode: str | None,
    streams: int | None,
    seconds: float | None,
    seed: int,
    scheduler: str | None,
    jobs: int | None,
    edits: int,
    devices: str,
    keep_text: str | None,
    folder: Path | None,
    corpus: Path | None,
    form: str,
) -> int:
    """Try varied migrations, healthy and edited ones, and tell where two verdicts differ."""
    from analyzers.fuzz.campaign import Campaign, Task  # noqa: PLC0415
    from analyzers.fuzz.case import Habitat  # noqa: PLC0415
    from captures.write.target import check_folder  # noqa: PLC0415
    from multifd_codec.dialect.destination import Destination  # noqa: PLC0415
    from multifd_codec.dialect.releases import RFC_V3, Mode, release  # noqa: PLC0415

    if against is not None and profile is not None:
        raise InputError("--against says which release it is: leave out --profile")
    qemu = None
    if against is not None:
        from captures.qemu.binary import parse_command  # noqa: PLC0415

        qemu = parse_command(against)
    if profile == RFC_V3:
        raise InputError(f"{RFC_V3} is a source's policy, not a destination to fuzz for; give a release")
    row = release(qemu.name if qemu is not None else profile or "qemu-10.0")
    profile = row.name if qemu is None else f"qemu-{qemu.full_version}"
    destination = Destination.in_mode(profile, None if mode is None else Mode(mode))
    habitat = Habitat(destination, stock=qemu is not None, edits=edits, devices=DEVICES[devices])
    for path in (folder, corpus):
        if path is not None:
            check_folder(path)
    if corpus is not None:
        from analyzers.fuzz.corpus import write_corpus  # noqa: PLC0415

        count = write_corpus(corpus, habitat, streams or 100, seed)
        say(f"{corpus}: {count} files")
        return ExitCode.CLEAN
    kept = frozenset() if keep_text is None else frozenset(part.strip() for part in keep_text.split(","))
    if kept - KEEPABLE:
        raise InputError(f"--keep {min(kept - KEEPABLE)}: there are {', '.join(sorted(KEEPABLE))}")
    if kept and (folder is None or qemu is None):
        raise InputError("--keep needs --against and -o")
    campaign = Campaign(Task(habitat, qemu, keep=kept), folder, seed)
    _run(campaign, jobs, scheduler, streams, seconds)
    _report(campaign, form)
    return ExitCode.FINDINGS if campaign.totals.disagreements else ExitCode.CLEAN


def _run(
    campaign: Campaign, jobs: int | None, scheduler: str | None, streams: int | None, seconds: float | None
) -> None:
    from analyzers.fuzz.model import all_transitions  # noqa: PLC0415
    from analyzers.fuzz.workers import workers_of  # noqa: PLC0415

    begin = time.monotonic()
    against, every = campaign.task.qemu is not None, all_transitions()
    first = campaign.totals.streams
    with (
        StatusLine() as show,
        interruptible() as stopped,
        workers_of(jobs, scheduler) as (executor, workers),
    ):

        def stop() -> bool:
            return bool(stopped) or (seconds is not None and time.monotonic() - begin > seconds)

        def progress(totals: Totals) -> None:
            rate = (totals.streams - first) / (time.monotonic() - begin)
            seen = ", ".join(f"{name} {count}" for name, count in sorted(totals.outcomes.items()))
            covered = len(every) - len(totals.uncovered)
            line = f"{totals.streams} streams, {rate:.0f}/s; {seen}; {totals.disagreements} disagreements"
            show(line if against else f"{line}; {covered} of {len(every)} transitions")

        campaign.run(executor, workers, streams=streams, stop=stop, progress=progress)


def _report(campaign: Campaign, form: str) -> None:
    import json  # noqa: PLC0415

    totals = campaign.totals
    if form == "json":
        found = [
            {"seed": d.case.seed, "invariant": d.invariant, "predicted": d.predicted, "observed": d.observed,
             "message": d.message}
            for d in campaign.found
        ]  # fmt: skip
        document = {
            "schema": "multifd-fuzz/1",
            "streams": totals.streams,
            "next_seed": totals.next_seed,
            "undecided": totals.undecided,
            "outcomes": dict(sorted(totals.outcomes.items())),
            "transitions": dict(sorted(totals.transitions.items())),
            "transitions_not_taken": totals.uncovered,
            "disagreements": found,
        }
        write_text(json.dumps(document, indent=1) + "\n")
        return
    lines = [f"{totals.streams} streams, seeds up to {totals.next_seed}, {totals.disagreements} disagreements"]
    lines.append("outcomes: " + ", ".join(f"{name} {count}" for name, count in sorted(totals.outcomes.items())))
    if campaign.task.qemu is None:
        lines.append("transitions not taken: " + ("; ".join(totals.uncovered) or "none"))
    for one in campaign.found:
        verdicts = f"foreseen {', '.join(one.predicted)}; seen {one.observed}: " if one.observed else ""
        lines.append(f"seed {one.case.seed}: {one.invariant}: {verdicts}{one.message}")
    write_text("".join(f"{line}\n" for line in lines))
