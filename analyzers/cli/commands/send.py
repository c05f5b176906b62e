"""``multifd send``: a recorded migration into a real destination."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from analyzers.cli.errors import describe, say
from analyzers.cli.inputs import READERS, check_input, choose_migration, file_path, open_input, require_migration
from analyzers.cli.numbers import FiniteRange
from analyzers.cli.output import check_output, write_text
from analyzers.cli.progress import ProgressBar
from analyzers.report.exit_codes import ExitCode
from analyzers.report.texts import counted
from multifd_codec.errors import HoleError, InputError

if TYPE_CHECKING:
    from captures.model import Migration, Reader
    from captures.qemu.feeding import Feed

EPILOG = """\b
Examples:
  multifd send migration.pcap --qemu qemu-system-x86_64
  multifd send channels/ --qemu 'qemu-10.0/run' --mode per-section --expect-ram ram0.bin
  multifd send migration.pcap --to 127.0.0.1:4444 --format json

With --qemu a destination is started for the stream: machine type, RAM block, uuid, number of channels,
compression and mode are those the stream speaks for, unless given. It is watched until it has completed,
ended, or will never do either, and is ended then. With --to somebody else runs the destination; how it
ends is known only if the stream opens the return path and the destination answers on it.

Each connection is closed behind its last byte if the recording shows it closed.

\b
Exit codes:
  0  the destination completes
  1  it does anything else, or does not say what
  2  could not run
  3  bytes are missing in the recording: it cannot be sent
"""


@click.command("send", epilog=EPILOG, short_help="Send a recorded migration to a real destination.")
@click.argument("path", metavar="STREAM", type=file_path)
@click.option("--to", "address", metavar="HOST:PORT", help="A destination that listens there.")
@click.option("--qemu", "qemu_command", metavar="CMD", help="Start this QEMU as the destination.")
@click.option("--migration", type=click.IntRange(1), default=1, show_default=True, metavar="N",
              help="The N-th migration in STREAM.")  # fmt: skip
@click.option("--mode", type=click.Choice(("per-section", "per-round")), help="multifd-flush-after-each-section.")
@click.option("--channels", type=click.IntRange(1, 255), metavar="N", help="multifd-channels.")
@click.option("--compression", metavar="METHOD", help="multifd-compression.")
@click.option("--uuid", metavar="UUID", help="-uuid.")
@click.option("--machine", metavar="TYPE", help="Machine type.")
@click.option("--ram-block", metavar="NAME", help="Name of the RAM block.")
@click.option("--ram-size", metavar="SIZE", help="Size of guest RAM, as 64M.")
@click.option("--argument", "arguments", multiple=True, metavar="ARG", help="Further argument of QEMU; repeat.")
@click.option(
    "--expect-ram", type=file_path, metavar="FILE", help="Guest RAM must be this; else the outcome is loses-data."
)
@click.option("--save-ram", type=file_path, metavar="FILE", help="Write guest RAM to FILE when it completes.")
@click.option("--keep-open", is_flag=True, help="Do not close connections behind their last byte.")
@click.option("--limit", type=FiniteRange(0.1), default=30.0, show_default=True, metavar="SECONDS",
              help="Give up after so long.")  # fmt: skip
@click.option("--keylog", type=file_path, metavar="FILE", help="TLS key log to decrypt the capture with; needs tshark.")
@click.option("--reader", type=click.Choice(READERS), default="auto", show_default=True)
@click.option("--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True)
def command(
    *,
    path: Path,
    address: str | None,
    qemu_command: str | None,
    migration: int,
    mode: str | None,
    channels: int | None,
    compression: str | None,
    uuid: str | None,
    machine: str | None,
    ram_block: str | None,
    ram_size: str | None,
    arguments: tuple[str, ...],
    expect_ram: Path | None,
    save_ram: Path | None,
    keep_open: bool,
    limit: float,
    keylog: Path | None,
    reader: Reader,
    form: str,
) -> int:
    """Send a migration to a real destination and say what that did with it, in one line."""
    from analyzers.produce.destination_for import Wishes  # noqa: PLC0415
    from captures.qemu.feeding import feed_of_migration  # noqa: PLC0415
    from multifd_codec.dialect.releases import Mode  # noqa: PLC0415
    from multifd_codec.plan.file import parse_size, parse_uuid  # noqa: PLC0415

    if (address is None) == (qemu_command is None):
        raise InputError("give --to HOST:PORT or --qemu CMD")
    if expect_ram is not None:
        check_input(expect_ram)
    check_output(save_ram, [path] if expect_ram is None else [path, expect_ram])
    size = None if ram_size is None else parse_size(ram_size)
    chosen_mode = None if mode is None else Mode(mode)
    own_uuid = None if uuid is None else parse_uuid(uuid)
    wishes = Wishes(chosen_mode, channels, compression, own_uuid, machine, ram_block, size, arguments)
    if address is not None and (expect_ram or save_ram or any(wishes)):
        raise InputError("--to: the destination runs already; leave out what it should be like")
    with ProgressBar() as progress, open_input(path, reader, keylog, progress) as recording:
        require_migration(recording)
        chosen = choose_migration(recording, migration)
        try:
            feed = feed_of_migration(chosen)
        except HoleError as error:
            say(f"{path}: {describe(error)}")
            return ExitCode.INCOMPLETE
        if keep_open:
            feed = feed._replace(streams=tuple(stream._replace(closes=False) for stream in feed.streams))
        if address is not None:
            line, facts = _to(address, feed, limit)
        else:
            assert qemu_command is not None
            line, facts = _into(qemu_command, chosen, feed, wishes, expect_ram, save_ram, limit)
        facts = {"schema": "multifd-send/1", "input": str(path), "migration": migration, **facts}
        facts["connections"] = _connections(chosen, facts.pop("taken"))
    write_text(json.dumps(facts, indent=1) + "\n" if form == "json" else line + "\n")
    return ExitCode.CLEAN if facts["outcome"] == "completes" else ExitCode.FINDINGS


def _to(address: str, feed: Feed, limit: float) -> tuple[str, dict[str, Any]]:
    from captures.qemu.remote import send_to  # noqa: PLC0415

    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise InputError(f"--to {address}: give HOST:PORT")
    delivery = send_to(host.strip("[]"), int(port), feed, limit=limit)
    return delivery.line(), {"to": address, **delivery._asdict()}


def _into(
    text: str,
    migration: Migration,
    feed: Feed,
    wishes: Any,
    expect_ram: Path | None,
    save_ram: Path | None,
    limit: float,
) -> tuple[str, dict[str, Any]]:
    from analyzers.produce.destination_for import destination_for  # noqa: PLC0415
    from captures.qemu import parse_command, replay  # noqa: PLC0415
    from captures.write.replacing import replaced  # noqa: PLC0415

    qemu = parse_command(text)
    options, expected = destination_for(migration, qemu, wishes)
    keep = save_ram is not None
    expected = expected._replace(ram=expect_ram)
    seen = replay(qemu, feed, options, expected=expected, keep_ram=keep, limit=limit)
    if save_ram is not None and seen.ram is not None:
        with replaced(save_ram) as part:
            part.write_bytes(seen.ram)
    destination = {
        "version": qemu.full_version,
        "machine": options.machine,
        "ram_block": options.ram_block,
        "ram_size": options.ram_size,
        "uuid": None if options.uuid is None else str(options.uuid),
        "channels": options.channels,
        "compression": options.compression,
        "mode": str(options.mode),
    }
    facts = {
        name: value
        for name, value in seen._asdict().items()
        if name not in ("ram", "device_states", "printed", "stack")
    }
    facts["devices"] = [
        {
            "name": device.name,
            "loaded": None if state is None else len(state),
            "expected": None if wanted is None else len(wanted),
            "as_expected": None if wanted is None else state == wanted,
        }
        for device, state, wanted in zip(options.devices, seen.device_states, expected.devices, strict=True)
    ]
    compared = [] if expect_ram is not None else ["guest RAM not compared"]
    if facts["devices"]:
        compared.append(f"the state of {counted(len(facts['devices']), 'device')} is as it was sent")
    remark = f" ({'; '.join(compared)})" if compared and seen.outcome == "completes" else ""
    return seen.line() + remark, {"destination": destination, **facts}


def _connections(migration: Migration, taken: tuple[int, ...]) -> list[dict[str, Any]]:
    from captures.qemu.feeding import in_feeding_order  # noqa: PLC0415

    names = dict(zip(migration.channels, migration.names, strict=True))
    return [
        {
            "channel": names[channel],
            "bytes": channel.source.size,
            "taken": count,
        }
        for channel, count in zip(in_feeding_order(migration), taken, strict=True)
    ]
