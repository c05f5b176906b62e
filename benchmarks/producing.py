"""How fast files are made: generate against dd, extract against cp on one disk; fuzzing of models and real QEMUs."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from functools import partial
from pathlib import Path

from benchmarks.measure import Cost, Run, cost, race, run
from benchmarks.table import Table
from captures.qemu import find_qemu

MULTIFD = str(Path(sys.executable).with_name("multifd"))
DD_SHARE = 1 / 3
"""Part of dd's speed that generate reaches at least."""
CP_SHARE = 1 / 2
"""Part of cp's speed, of the same input, that extract reaches at least."""
MODEL_STREAMS_PER_SECOND = 1000
"""Of CPU time: what one core does when it has nothing else to do."""
REAL_STREAMS_PER_SECOND = 3
QEMUS = ((7, 2), (10, 0))
ROUNDS = 3


def bench_generate(table: Table, folder: Path, *, quick: bool) -> None:
    """A plain stream as a capture and as channel files, against as many bytes of zeros. Raises ProgramFailedError."""
    mib = 64 if quick else 1024
    capture, channels, zeros = folder / "generated.pcap", folder / "generated", folder / "zeros"
    folder.mkdir(parents=True, exist_ok=True)

    def clear() -> None:
        for path in (capture, zeros):
            path.unlink(missing_ok=True)
        shutil.rmtree(channels, ignore_errors=True)

    generate = [MULTIFD, "generate", "--ram", f"{mib}M", "-o"]
    runs: dict[str, Run] = {
        "dd": lambda: run(["dd", "if=/dev/zero", f"of={zeros}", "bs=1M", f"count={mib}"]),
        "generate pcap": lambda: run([*generate, str(capture)]),
        "generate folder": lambda: run([*generate, str(channels)]),
    }
    try:
        # Each writes new files: what the last one wrote is gone from disk and caches, and its time is not counted.
        times = race(runs, ROUNDS, before=clear)
    finally:
        clear()
    theirs = times.pop("dd")
    for name, ours in times.items():
        table.row(name, f"{mib} MiB of RAM in {ours:.3f} s  ({mib * 1.048576 / ours:,.0f} MB/s)", "", "")
        what = f"dd {theirs:.3f} s: {theirs / ours:.2f} of its speed"
        table.verdict(name, what, f"at least {DD_SHARE:.2f} of its speed", kept=theirs / ours >= DD_SHARE)


def bench_extract(table: Table, folder: Path, *, quick: bool) -> None:
    """A plain stream as a capture and as channel files: its guest memory in a folder, against a copy of the input.

    Raises ProgramFailedError.
    """
    mib = 64 if quick else 1024
    folder.mkdir(parents=True, exist_ok=True)
    copy, guest = folder / "copied", folder / "guest"

    def clear() -> None:
        copy.unlink() if copy.is_file() else shutil.rmtree(copy, ignore_errors=True)
        shutil.rmtree(guest, ignore_errors=True)

    share = 0 if quick else CP_SHARE  # 64 MiB are copied before Python has started
    for what, source in (("pcap", folder / "plain.pcap"), ("folder", folder / "plain")):
        try:
            run([MULTIFD, "generate", "--ram", f"{mib}M", "-o", str(source)])
            runs: dict[str, Run] = {
                "cp": partial(run, ["cp", "-r", str(source), str(copy)]),
                "extract": partial(run, [MULTIFD, "extract", str(source), "-o", str(guest)]),
            }
            times = race(runs, ROUNDS, before=clear)
        finally:
            clear()
            source.unlink() if source.is_file() else shutil.rmtree(source, ignore_errors=True)
        name, ours, theirs = f"extract {what}", times["extract"], times["cp"]
        table.row(name, f"{mib} MiB of RAM in {ours:.3f} s  ({mib * 1.048576 / ours:,.0f} MB/s)", "", "")
        said = f"cp {theirs:.3f} s: {theirs / ours:.2f} of its speed"
        table.verdict(name, said, f"at least {share:.2f} of its speed", kept=theirs / ours >= share)


def bench_fuzz(table: Table, *, quick: bool) -> None:
    """Streams per second, start-up included: by CPU time on the model, by the clock against each QEMU there is.

    Raises ProgramFailedError, also for a disagreement.
    """
    name, streams = "fuzz model", 1000 if quick else 10_000
    spent, count = _best(["--streams", str(streams), "--jobs", "1"], by_clock=False)
    rate, promised = count / spent.cpu, MODEL_STREAMS_PER_SECOND
    what = f"{rate:,.0f} streams/s and core ({spent.wall:.1f} s by the clock)"
    table.verdict(name, what, f"{promised:,} streams/s and core", kept=rate >= promised)
    for version in QEMUS:
        release = f"{version[0]}.{version[1]}"
        name, promise = f"fuzz {release}", f"{REAL_STREAMS_PER_SECOND} streams/s"
        qemu = find_qemu(version)
        if qemu is None:
            print(f"*** MISSING: QEMU {release}; fuzzing it is not measured", file=sys.stderr)
            table.skipped(name, f"QEMU {release}: not installed", promise)
            continue
        arguments = ["--against", shlex.join(qemu.command), "--streams", "8" if quick else "80"]
        spent, count = _best(arguments, by_clock=True)
        rate = count / spent.wall
        what = f"{rate:.1f} streams/s on {os.cpu_count()} cores"
        table.verdict(name, what, promise, kept=rate >= REAL_STREAMS_PER_SECOND)


def _best(arguments: list[str], *, by_clock: bool) -> tuple[Cost, int]:
    """The cheapest of some runs of `multifd fuzz`, all with the same seeds, and how many streams it tried."""
    measure = partial(cost, [MULTIFD, "fuzz", "--format", "json", *arguments])
    spent, said = min((measure() for _ in range(ROUNDS)), key=lambda one: one[0].wall if by_clock else one[0].cpu)
    return spent, int(json.loads(said)["streams"])
