"""The command group. Each command stands in a file of its own in ``commands``, imported when it is called."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

import click

from analyzers.cli import commands
from analyzers.cli.errors import Commands
from analyzers.report.exit_codes import ExitCode

HELP_ORDER = (
    "lint",
    "decode",
    "info",
    "extract",
    "generate",
    "mutate",
    "edit",
    "fuzz",
    "minimize",
    "conform",
    "matrix",
    "record",
    "send",
    "explain",
    "rules",
)
"""In which the help shows commands; others follow."""

EPILOG = """\b
Examples:
  multifd lint migration.pcap
  multifd lint --format sarif -o result.sarif migration.pcap
  multifd decode --channel 0 --kind sync migration.pcap
  multifd explain MFD301

\b
Exit codes:
  0  no error-level finding
  1  at least one error-level finding
  2  could not run: bad arguments or unreadable input
  3  the input is incomplete or holds no migration, and nothing is wrong in what is there
  With several inputs or migrations the gravest counts: 2, then 1, then 3.
  128 + N  ended by signal N: 130 by Ctrl-C, 143 by SIGTERM, 141 when nobody reads the output any more
"""


class LazyCommands(Commands):
    """Finds a command ``name`` as ``command`` in ``commands/name.py``: start-up time is part of the contract."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        names = {module.name for module in iter_modules(commands.__path__)}
        return [*(name for name in HELP_ORDER if name in names), *sorted(names.difference(HELP_ORDER))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = import_module(f"{commands.__name__}.{cmd_name}").command
        return command


def _print_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from analyzers.report.tool import tool_version  # noqa: PLC0415

        click.echo(f"multifd {tool_version() or '(not installed)'}")
        ctx.exit()


@click.group(
    cls=LazyCommands,
    epilog=EPILOG,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
@click.pass_context
def multifd(ctx: click.Context) -> int | None:
    """Decode and judge QEMU multifd migration streams.

    INPUT of a command is a packet capture (pcap or pcapng, also compressed with gzip or zstd), a folder with one file a
    channel, a single channel file, a mapped-ram file, a virsh save image, or a qcow2 image with internal snapshots. It
    is recognised by content, whatever it is called.
    """
    if ctx.invoked_subcommand is not None:
        return None
    click.echo(ctx.get_help())
    return ExitCode.FAILED
