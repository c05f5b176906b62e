"""``multifd generate``: migrations from nothing."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from analyzers.cli.errors import say
from analyzers.cli.inputs import check_input, file_path, page_size_option
from analyzers.cli.numbers import FiniteRange
from analyzers.cli.output import check_output, write_text
from analyzers.cli.progress import ProgressBar
from analyzers.report.exit_codes import ExitCode
from multifd_codec.dialect.compression import COMPRESSIONS, either
from multifd_codec.dialect.machine import PCI_MACHINE
from multifd_codec.dialect.releases import EVERY_PROFILE
from multifd_codec.dialect.sync_policy import UPSTREAM, policy_of
from multifd_codec.dialect.words import since, which
from multifd_codec.errors import InputError

if TYPE_CHECKING:
    from captures.model import ProgressCallback
    from multifd_codec.plan.plan import Device, MigrationPlan

CHECKSUMS_BELOW = 256 << 20
"""Bytes of guest memory and device state from which on TCP checksums are left out of a capture."""
OFTEN = 0.25
"""Of the SYNCs that could, so many are merged into data, by sources that do so."""
MERGERS = which(lambda r: r.sender.sync_carries_pages).capitalize()
UPSTREAMS = since(lambda r: r.sender.per_round and policy_of(r.sender) is UPSTREAM)
FLUSHERS = which(lambda r: r.sender.flush_at_complete)
EPILOG = f"""\b
Examples:
  multifd generate --dialect qemu-7.2 --ram 64M -o out.pcap
  multifd generate --policy rfc-v3 --channels 4 --device 0000:00:05.0/vfio=8M -o channels/
  multifd generate --ram 1M --rounds 3 --print-plan > plan.json
  multifd generate --plan plan.json --seed 7 -o out.pcap
  multifd generate --from recorded.pcap --dialect qemu-9.2 -o out.pcap

A plan file is JSON and says everything, page by page (docs/plans.md); --print-plan writes one to start
from. Options given beside --plan replace what it says, but for the pages and their content. --from makes
the plan of a recording: same pages, rounds and devices. The same plan and seed give the same bytes, always.

\b
Sync policies (when the final SYNC is sent):
  ram-complete       when RAM is complete, whatever device state follows
  rfc-v3             with device state behind all of it (v3 16/24 of the VFIO multifd series)
  defer-always       behind all iterable devices, device state or not
  threads-only       never: the source waits for its own threads only
  upstream           per section only (QEMU {UPSTREAMS})
  flush-at-complete  with a FLUSH of its own (QEMU {FLUSHERS})
"""


@click.command("generate", epilog=EPILOG, short_help="Make a migration as a QEMU release would send it.")
@click.option("-o", "output", type=file_path, metavar="OUT", help="OUT.pcap: a capture; another name: a folder.")
@click.option("--plan", "plan_file", type=file_path, metavar="FILE", help="Plan file (JSON).")
@click.option("--from", "recorded", type=file_path, metavar="INPUT", help="Plan of a recorded migration.")
@click.option("--dialect", metavar="RELEASE", help=f"Sending release: {EVERY_PROFILE}. [qemu-10.0]")
@click.option("--policy", metavar="NAME", help="Sync policy. Default: the release's own.")
@click.option(
    "--mode", type=click.Choice(("per-section", "per-round")), help="Default: as release and machine have it."
)
@click.option("--machine", metavar="TYPE", help=f"Machine type in the stream. [none; {PCI_MACHINE} with devices]")
@click.option("--channels", type=click.IntRange(1, 255), metavar="N", help="multifd-channels. [2]")
@click.option("--ram", multiple=True, metavar="[NAME=]SIZE", help="A RAM block; repeat for more. [ram=4M]")
@click.option("--rounds", type=click.IntRange(1, 1000), metavar="N", help="Rounds while the guest runs. [1]")
@click.option("--dirty", type=FiniteRange(0, 1), metavar="SHARE", help="Part of RAM dirty in further rounds. [0.1]")
@click.option("--zero", type=FiniteRange(0, 1), metavar="SHARE", help="Part of the pages that are zero. [0]")
@click.option("--zero-page-detection", type=click.Choice(("none", "legacy", "multifd")), help="Where zero pages go.")
@click.option("--compression", metavar="METHOD", help=f"{either(list(COMPRESSIONS))}. [none]")
@click.option("--page-size", callback=page_size_option, metavar="BYTES", help="Target page size. [4096]")
@click.option("--device", "devices", multiple=True, metavar="IDSTR=SIZE[/BUFFER]", help="VFIO device with state.")
@click.option(
    "--merge-sync", type=FiniteRange(0, 1), metavar="SHARE", help=f"{MERGERS}: SYNCs merged into data. [0.25]"
)
@click.option("--uuid", metavar="UUID", help="The source's uuid. [none given]")
@click.option("--return-path", is_flag=True, help="Open the return path, as libvirt has it.")
@click.option("--switchover-start/--no-switchover-start", default=None, help="SWITCHOVER_START on main.")
@click.option("--seed", type=int, metavar="N", help="Page content, which pages, which channel. [0]")
@click.option("--print-plan", is_flag=True, help="Print the plan as JSON instead of sending it.")
@click.option("--force", is_flag=True, help="Replace the channel files in a folder.")
def command(
    *,
    output: Path | None,
    plan_file: Path | None,
    recorded: Path | None,
    dialect: str | None,
    policy: str | None,
    mode: str | None,
    machine: str | None,
    channels: int | None,
    ram: tuple[str, ...],
    rounds: int | None,
    dirty: float | None,
    zero: float | None,
    zero_page_detection: str | None,
    compression: str | None,
    page_size: int | None,
    devices: tuple[str, ...],
    merge_sync: float | None,
    uuid: str | None,
    return_path: bool,
    switchover_start: bool | None,
    seed: int | None,
    print_plan: bool,
    force: bool,
) -> int:
    """Make a migration from nothing, as a QEMU release would send it, and write it to OUT.

    The stream is complete: a stock destination (-machine none, with the same RAM, uuid, number of channels and
    compression) accepts it.
    """
    from analyzers.produce.outline import Outline, outlined, with_options  # noqa: PLC0415
    from multifd_codec.dialect.releases import Mode, release  # noqa: PLC0415
    from multifd_codec.plan.file import parse_uuid, plan_from_json, plan_to_json  # noqa: PLC0415
    from multifd_codec.plan.plan import check  # noqa: PLC0415

    if plan_file is not None and recorded is not None:
        raise InputError("--plan and --from: give one of them")
    given = plan_file or recorded
    if given is not None and (ram or rounds is not None or dirty is not None or zero is not None):
        raise InputError(f"{given} says what the pages are: leave out --ram, --rounds, --dirty and --zero")
    if output is None and not print_plan:
        raise InputError("give -o OUT, or --print-plan")
    options = {
        "dialect": dialect,
        "policy": policy,
        "mode": None if mode is None else Mode(mode),
        "machine": machine or (PCI_MACHINE if devices and given is None else None),
        "channels": channels,
        "zero_page_detection": zero_page_detection,
        "compression": compression,
        "page_size": page_size,
        "merge_sync": merge_sync,
        "uuid": None if uuid is None else parse_uuid(uuid),
        "return_path": return_path or None,
        "switchover_start": switchover_start,
        "seed": seed,
        "devices": tuple(_device(text) for text in devices) or None,
    }
    if plan_file is not None:
        check_input(plan_file)
        plan = plan_from_json(plan_file.read_bytes())
    elif recorded is not None:
        plan = _recorded(recorded, dialect)
    else:
        outline = Outline(
            blocks=tuple(_block(text) for text in ram or ("ram=4M",)),
            page_size=page_size or 4096,
            rounds=rounds or 1,
            dirty=0.1 if dirty is None else dirty,
            zero=zero or 0.0,
            seed=seed or 0,
        )
        plan = outlined(outline)
        if merge_sync is None and release(dialect or plan.dialect).sender.sync_carries_pages:
            options["merge_sync"] = OFTEN
    plan = with_options(plan, options)
    check(plan)
    if print_plan:
        check_output(output, [given] if given else [])
        write_text(plan_to_json(plan) + "\n", output)
        return ExitCode.CLEAN
    assert output is not None
    return _write(plan, output, force, [given] if given else [])


def _write(plan: MigrationPlan, output: Path, force: bool, inputs: Iterable[Path]) -> int:
    from captures.write.sent import write_sent  # noqa: PLC0415
    from captures.write.target import check_space, check_target  # noqa: PLC0415
    from multifd_codec.plan.plan import dirty, least_bytes  # noqa: PLC0415
    from multifd_codec.sender import send  # noqa: PLC0415

    check_space(output, least_bytes(plan))
    check_target(output, force=force, inputs=inputs)
    total = sum(pages.count for pages, _ in dirty(plan)) * plan.page_size + sum(d.size for d in plan.devices)
    with ProgressBar() as progress:
        size = write_sent(
            output, send(plan), plan.channels, partial(_shown, progress, total), checksums=total < CHECKSUMS_BELOW
        )
    say(f"{output}: {size:,} bytes on main and {plan.channels} channels")
    return ExitCode.CLEAN


def _shown(progress: ProgressCallback, total: int, what: str, done: int, _: int) -> None:
    progress(what, done, total)


def _recorded(path: Path, dialect: str | None) -> MigrationPlan:
    """The plan of a recording's only migration."""
    from analyzers.cli.inputs import open_input, require_migration  # noqa: PLC0415
    from analyzers.produce.plan_of_recording import plan_of  # noqa: PLC0415

    with open_input(path, "auto", None, None) as recording:
        require_migration(recording)
        if len(recording.migrations) > 1:
            raise InputError(f"{path}: holds {len(recording.migrations)} migrations; give a capture of one")
        return plan_of(recording.migrations[0], dialect=dialect)


def _block(text: str) -> tuple[str, int]:
    from multifd_codec.plan.file import parse_size  # noqa: PLC0415

    name, found, size = text.rpartition("=")
    return (name if found else "ram", parse_size(size))


def _device(text: str) -> Device:
    from multifd_codec.plan.file import parse_size  # noqa: PLC0415
    from multifd_codec.plan.plan import Device  # noqa: PLC0415

    idstr, found, sizes = text.rpartition("=")
    if not found:
        raise InputError(f"--device {text}: give IDSTR=SIZE, as 0000:00:05.0/vfio=8M")
    size, _, buffer = sizes.partition("/")
    device = Device(idstr, parse_size(size))
    return device._replace(buffer_size=parse_size(buffer)) if buffer else device
