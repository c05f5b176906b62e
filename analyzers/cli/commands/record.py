"""``multifd record``: a migration between two real QEMUs, recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from analyzers.cli.devices import parse_device
from analyzers.cli.errors import say
from analyzers.cli.inputs import check_input, file_path
from analyzers.cli.numbers import FiniteRange
from analyzers.cli.output import check_output, write_text
from analyzers.cli.progress import ProgressBar
from analyzers.report.exit_codes import ExitCode
from multifd_codec.dialect.machine import PCI_MACHINE
from multifd_codec.dialect.words import since, which
from multifd_codec.errors import InputError

if TYPE_CHECKING:
    from captures.qemu.recorder import RecordOptions

SINCE = since(lambda r: r.sender.per_round)
DEFAULT_QEMU = "qemu-system-x86_64"
FACTS_SUFFIX = ".json"
FIRST_SLOT = 4
DEVICE_STATE = which(lambda r: r.sender.device_state)

EPILOG = """\b
Examples:
  multifd record --seed 7 -o out.pcap
  multifd record --ram-size 1G --ram-file ram.bin --channels 4 --compression zstd -o out.pcap
  multifd record --device 300K --device 1M,chunk=64K,precopy=200K -o devices.pcap
  multifd record --machine pc --ram-size 32M --running --bandwidth 8M -o out.pcap
  multifd record --source 'qemu-7.2/run' --destination 'qemu-10.0/run' --mode per-section -o out.pcap

Both QEMUs run on this machine, the migration goes over the loopback interface, and tcpdump records it:
that needs the right to capture. OUT.pcap.json has the facts: versions, parameters, how both sides ended,
SHA-256 of guest RAM on both, what tcpdump dropped. --machine none has no processor and starts in no time.
--device makes a vfio-pci device that does not exist (no hardware, no privilege): SIZE of its state, then
chunk= (bytes a packet), precopy= (bytes read while the guest runs), slot=, and properties of vfio-pci.
Its state goes over multifd; the facts say whether the destination has loaded it as it was.

\b
Exit codes:
  0  completed on both sides, and nothing was dropped
  1  anything else happened; capture and facts are there
  2  could not run
"""


@click.command("record", epilog=EPILOG, short_help="Record a migration between two real QEMUs.")
@click.option("-o", "output", type=file_path, metavar="OUT", required=True, help="Capture to write, a classic pcap.")
@click.option("--qemu", metavar="CMD", default=DEFAULT_QEMU, show_default=True, help="Command line of both QEMUs.")
@click.option("--source", metavar="CMD", help="Command line of the source instead.")
@click.option("--destination", metavar="CMD", help="Command line of the destination instead.")
@click.option("--machine", metavar="TYPE", help=f"Machine type of both. [none; {PCI_MACHINE} with devices]")
@click.option("--device", "devices", multiple=True, metavar="SIZE[,OPTION=...]",
              help="A VFIO device on both sides whose state has SIZE; repeat.")  # fmt: skip
@click.option("--ram-size", metavar="SIZE", default="4M", show_default=True, help="Guest RAM, as 64M.")
@click.option("--ram-block", metavar="NAME", help="Name of its RAM block. [ram0 with machine none, else pc.ram]")
@click.option("--ram-file", type=file_path, metavar="FILE", help="What guest RAM begins with.")
@click.option("--seed", type=int, metavar="N", help="Fill guest RAM with noise of this seed; half the pages are zero.")
@click.option("--running", is_flag=True, help="Let the guest run while it is migrated.")
@click.option("--channels", type=click.IntRange(1, 255), metavar="N", default=2, show_default=True)
@click.option("--compression", metavar="METHOD", default="none", show_default=True, help="multifd-compression.")
@click.option("--mode", type=click.Choice(("per-section", "per-round")),
              help=f"multifd-flush-after-each-section. [per-round; per-section with one before {SINCE}]")  # fmt: skip
@click.option("--uuid", metavar="UUID", help="Of both sides. [none given]")
@click.option("--return-path/--no-return-path", default=True, show_default=True, help="As libvirt has it.")
@click.option("--capability", "capabilities", multiple=True, metavar="NAME", help="Switch on on both sides, too.")
@click.option("--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="Parameter of the source.")
@click.option("--global", "properties", multiple=True, metavar="PROPERTY", help="-global for both sides.")
@click.option("--argument", "arguments", multiple=True, metavar="ARG", help="Further argument of both QEMUs; repeat.")
@click.option("--bandwidth", metavar="SIZE", help="Bytes a second, as 10M. Default: QEMU's.")
@click.option(
    "-s", "--snaplen", type=click.IntRange(1, 1 << 18), metavar="BYTES", help="Keep so much of each frame only."
)
@click.option("--limit", type=FiniteRange(1), default=600.0, show_default=True, metavar="SECONDS",
              help="The migration may take so long.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True)
def command(
    *,
    output: Path,
    qemu: str,
    source: str | None,
    destination: str | None,
    machine: str | None,
    devices: tuple[str, ...],
    ram_size: str,
    ram_block: str | None,
    ram_file: Path | None,
    seed: int | None,
    running: bool,
    channels: int,
    compression: str,
    mode: str | None,
    uuid: str | None,
    return_path: bool,
    capabilities: tuple[str, ...],
    parameters: tuple[str, ...],
    properties: tuple[str, ...],
    arguments: tuple[str, ...],
    bandwidth: str | None,
    snaplen: int | None,
    limit: float,
    form: str,
) -> int:
    """Start two QEMUs, migrate one to the other, and record it with tcpdump."""
    from captures.qemu.binary import parse_command  # noqa: PLC0415
    from captures.qemu.guest import DestinationOptions  # noqa: PLC0415
    from captures.qemu.recorder import RecordOptions  # noqa: PLC0415
    from multifd_codec.dialect.releases import Mode  # noqa: PLC0415
    from multifd_codec.plan.file import parse_size, parse_uuid  # noqa: PLC0415

    if ram_file is not None:
        check_input(ram_file)
        if seed is not None:
            raise InputError("--ram-file or --seed, not both")
    inputs = [ram_file] if ram_file is not None else []
    check_output(output, inputs)
    check_output(facts_path(output), inputs)
    more = [word for name in properties for word in ("-global", name)] + list(arguments)
    qemus = parse_command(source or qemu), parse_command(destination or qemu)
    old = next((one.name for one in qemus if not one.release.sender.per_round), None)
    if old is not None and mode == "per-round":
        raise InputError(f"{old} has no per-round mode ({which(lambda r: r.sender.per_round)} have)")
    own_devices = tuple(parse_device(text, FIRST_SLOT + number) for number, text in enumerate(devices))
    if own_devices and (before := next((one.name for one in qemus if not one.release.sender.device_state), None)):
        raise InputError(f"{before} has no device state on multifd channels ({DEVICE_STATE} have)")
    machine = machine or (PCI_MACHINE if own_devices else "none")
    guest = DestinationOptions(
        ram_size=parse_size(ram_size),
        ram_block=ram_block or ("ram0" if machine == "none" else "pc.ram"),
        machine=machine,
        uuid=None if uuid is None else parse_uuid(uuid),
        mode=(Mode.PER_ROUND if old is None else Mode.PER_SECTION) if mode is None else Mode(mode),
        channels=channels,
        compression=compression,
        capabilities=(*(["return-path"] if return_path else []), *capabilities),
        parameters=tuple(_parameter(text) for text in parameters),
        devices=own_devices,
    )
    options = RecordOptions(
        source=qemus[0],
        destination=qemus[1],
        guest=guest,
        ram_file=ram_file,
        seed=seed,
        running=running,
        source_arguments=tuple(more),
        destination_arguments=tuple(more),
        bandwidth=None if bandwidth is None else parse_size(bandwidth),
        snaplen=snaplen,
        limit=limit,
    )
    return _record(options, output, form)


def facts_path(output: Path) -> Path:
    """Where the facts of a capture are."""
    return output.with_name(output.name + FACTS_SUFFIX)


def _record(options: RecordOptions, output: Path, form: str) -> int:
    from captures.qemu.recorder import record  # noqa: PLC0415

    with ProgressBar() as progress:
        recorded = record(options, output, progress)
    document = json.dumps(recorded.facts, indent=1) + "\n"
    write_text(document, facts_path(output))
    if form == "json":
        write_text(document)
    else:
        facts = recorded.facts
        ends = ", ".join(f"{side} {facts[side]['status'] or 'without status'}" for side in ("source", "destination"))
        words = "".join(
            f"; {side}: {facts[side]['words']}" for side in ("source", "destination") if facts[side]["words"]
        )
        counts = facts["tcpdump"]
        say(f"{output}: {ends}; {counts['captured']} frames, {counts['dropped']} dropped{words}")
    return ExitCode.CLEAN if recorded.completed else ExitCode.FINDINGS


def _parameter(text: str) -> tuple[str, object]:
    name, found, value = text.partition("=")
    if not found or not name:
        raise InputError(f"--parameter {text}: give NAME=VALUE")
    if value in ("on", "off"):
        return name, value == "on"
    return name, int(value) if value.isascii() and value.isdigit() else value
