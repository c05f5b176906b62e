"""``multifd lint``: judge migrations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from analyzers.cli.errors import describe, say
from analyzers.cli.inputs import file_path, open_inputs, reading_options
from analyzers.cli.output import check_output, is_terminal, write_text
from analyzers.cli.progress import ProgressBar
from analyzers.report import FORMATS, render
from analyzers.report.exit_codes import ExitCode, exit_code, gravest
from multifd_codec.dialect.compression import COMPRESSIONS
from multifd_codec.dialect.releases import OLDEST, RELEASES, RFC_V3
from multifd_codec.errors import MultifdError

if TYPE_CHECKING:
    from uuid import UUID

    from analyzers.findings import Report
    from captures.model import Reader

EPILOG = """\b
Examples:
  multifd lint migration.pcap
  multifd lint --profile qemu-9.2 --mode per-round channels/
  multifd lint --select MFD3,MFD4 --format json a.pcap b.pcap.zst
  multifd lint --keylog keys.txt tls.pcap

The verdict is that of a destination: --profile names it, by default it is inferred from the stream.
The possible outcomes are all that some timing can reach: completes, undecided, fails, loses-data, hangs,
crashes; the outcome is the worst of them. --select and --ignore choose which findings are shown and
counted; outcome and explanation stay those of the whole stream.

\b
Exit codes:
  0  no error-level finding
  1  at least one error-level finding
  2  could not run: bad arguments or unreadable input
  3  the input is incomplete or holds no migration, and nothing is wrong in what is there
"""


@click.command("lint", epilog=EPILOG, short_help="Judge migrations: rules they break, ways they can end.")
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=file_path)
@click.option("--profile", metavar="P",
              help=f"Destination that judges: a release from {RELEASES[OLDEST].name} on, or {RFC_V3}.")  # fmt: skip
@click.option(
    "--mode",
    type=click.Choice(("per-section", "per-round")),
    help="Destination's multifd-flush-after-each-section: on is per-section, off is per-round.",
)
@click.option(
    "--channels", type=click.IntRange(0, 255), metavar="N", help="Destination's multifd-channels; 0: multifd is off."
)
@click.option("--no-multifd", is_flag=True, help="The destination's multifd is off, as --channels 0.")
@click.option("--compression", type=click.Choice(tuple(COMPRESSIONS)), help="Destination's multifd-compression.")
@click.option("--postcopy/--no-postcopy", default=None, help="Destination's capability postcopy-ram. [as the source's]")
@click.option("--switchover-ack/--no-switchover-ack", default=None,
              help="Destination's capability switchover-ack. [as the source's]")  # fmt: skip
@click.option("--device-transfer/--no-device-transfer", default=None,
              help="x-migration-multifd-transfer of the destination's devices. [as the source's]")  # fmt: skip
@click.option("--config-after-iter/--no-config-after-iter", default=None,
              help="x-migration-load-config-after-iter of the destination's devices. [as the source's]")  # fmt: skip
@click.option("--machine", metavar="TYPE", help="Destination's machine type, pc-q35-10.0.")
@click.option("--uuid", metavar="UUID", help="Destination's uuid.")
@click.option("--what-if", is_flag=True, help="What becomes of the streams for every release and mode, with reasons.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True, help="Report format.")
@click.option("--select", multiple=True, metavar="CODES", help="Only these findings: codes or prefixes, MFD3,MFD401.")
@click.option("--ignore", multiple=True, metavar="CODES", help="Not these findings.")
@reading_options
@click.option(
    "--together/--apart",
    default=None,
    help="All INPUTs are one recording, or each is its own. Default: captures that go on in each other are one.",
)
@click.option("--witness", is_flag=True, help="Add a schedule, step by step, that ends in the outcome.")
@click.option("-o", "output", type=file_path, metavar="FILE", help="Write the report to FILE.")
def command(
    *,
    inputs: tuple[Path, ...],
    profile: str | None,
    mode: str | None,
    channels: int | None,
    no_multifd: bool,
    compression: str | None,
    postcopy: bool | None,
    switchover_ack: bool | None,
    device_transfer: bool | None,
    config_after_iter: bool | None,
    machine: str | None,
    uuid: str | None,
    what_if: bool,
    form: str,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    page_size: int | None,
    keylog: Path | None,
    reader: Reader,
    together: bool | None,
    witness: bool,
    output: Path | None,
) -> int:
    """Judge migrations: every rule a stream breaks, and every way a destination can end.

    A report for each migration in each INPUT: a file, a folder of channel files, or - for standard input. With several
    inputs an unreadable one does not stop the others. A capture without any migration is reported as incomplete.
    """
    from analyzers.linter.facts_file import with_facts  # noqa: PLC0415
    from analyzers.linter.judged import LintOptions  # noqa: PLC0415
    from analyzers.linter.linter import lint_recording  # noqa: PLC0415
    from analyzers.report.selection import parse_codes, with_selected_findings  # noqa: PLC0415
    from analyzers.rulebook.registry import RULES  # noqa: PLC0415
    from multifd_codec.dialect.releases import Mode, release  # noqa: PLC0415

    if profile is not None:
        release(profile)  # a misspelt profile is told before a large input is read
    selected, ignored = parse_codes(select, RULES), parse_codes(ignore, RULES)
    check_output(output, inputs)
    chosen = None if mode is None else Mode(mode)
    if no_multifd:
        channels = 0
    options = LintOptions(
        profile=profile,
        mode=chosen,
        channels=channels,
        page_size=page_size,
        machine=machine,
        compression=compression,
        postcopy=postcopy,
        switchover_ack=switchover_ack,
        device_transfer=device_transfer,
        config_after_iter=config_after_iter,
        uuid=None if uuid is None else _uuid(uuid),
        witness=witness,
        elsewhere=True,
    )
    reports: list[Report] = []
    judged: list[tuple[int, list[Report]]] = []
    failures = []
    with ProgressBar() as progress:
        for path, found in open_inputs(inputs, together, reader, keylog, progress):
            try:
                if isinstance(found, Exception):
                    raise found
                with found as recording:
                    found_here = lint_recording(recording, with_facts(options, path), progress)
                judged.append((inputs.index(path), found_here))
            except (MultifdError, OSError) as error:
                failures.append(error)
    for _, some in sorted(judged, key=lambda one: one[0]):
        reports += some
    reports = [with_selected_findings(report, select=selected, ignore=ignored) for report in reports]
    if reports or form != "text":
        _show(reports, form, output, witness=witness, what_if=what_if)
    for failure in failures:
        say(describe(failure))
    codes = [exit_code(reports)] if reports else []
    return gravest(codes + [ExitCode.FAILED] * bool(failures))


def _uuid(text: str) -> UUID:
    from multifd_codec.plan.file import parse_uuid  # noqa: PLC0415 -- rarely given

    return parse_uuid(text)


def _show(reports: list[Report], form: str, output: Path | None, *, witness: bool, what_if: bool) -> None:
    if form == "text" and is_terminal(output):
        from rich.console import Console  # noqa: PLC0415

        from analyzers.report.terminal import print_reports  # noqa: PLC0415

        print_reports(reports, Console(), witness=witness, what_if=what_if)
        return
    write_text(render(reports, form, witness=witness, what_if=what_if), output)
