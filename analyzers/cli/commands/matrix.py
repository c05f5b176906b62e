"""``multifd matrix``: sync policies against destinations."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from analyzers.cli.inputs import check_input, file_path
from analyzers.cli.output import show_blocks, write_text
from analyzers.cli.progress import ProgressBar
from analyzers.report.exit_codes import ExitCode
from multifd_codec.dialect.version import dotted
from multifd_codec.errors import InputError

if TYPE_CHECKING:
    from analyzers.produce.matrix import Cell
    from multifd_codec.dialect.sync_policy import SyncPolicy

EPILOG = """\b
Examples:
  multifd matrix
  multifd matrix --verify
  multifd matrix --policy-file mine.toml --verify
  multifd matrix --format json

\b
mine.toml, a table a policy; what is not said with device state is as without:
  [mine]
  title = "final SYNC behind all iterable devices, with device state only"
  per-section = "at RAM complete"
  per-round = "none"
  per-section-device-state = "behind all iterable device state"
Each is one of "none", "with FLUSH", "at RAM complete" and "behind all iterable device state".

Each cell is the set of outcomes that a destination can reach with a stream of that policy. --verify runs
them on the QEMUs that are installed (in PATH, in MULTIFD_QEMU, or unpacked by .ci/setup) and marks them:
+ as foreseen, ! not as foreseen. Device state goes into a VFIO device that does not exist.

\b
Exit codes:
  0  as foreseen, as far as it was run
  1  a real destination did something else
  2  could not run
"""


@click.command("matrix", epilog=EPILOG, short_help="Sync policies against destinations, foreseen and verified.")
@click.option("--verify", is_flag=True, help="Run each cell on the installed QEMU of its release.")
@click.option("--policy-file", type=file_path, metavar="FILE", help="Own policies (TOML) instead of the known ones.")
@click.option("--format", "form", type=click.Choice(("text", "json", "markdown")), default="text", show_default=True)
def command(*, verify: bool, policy_file: Path | None, form: str) -> int:
    """Show what each way to send the final SYNC does to each destination, and why."""
    from analyzers.produce.matrix import COLUMNS, cells  # noqa: PLC0415
    from analyzers.produce.matrix import verify as run  # noqa: PLC0415

    matrix = cells() if policy_file is None else cells(_policies(policy_file))
    if verify:
        from captures.qemu import find_qemus  # noqa: PLC0415

        wanted = {column.release.version for column in COLUMNS}
        qemus = [qemu for qemu in find_qemus() if qemu.version in wanted]
        if not qemus:
            raise InputError("none of these releases is installed; name one in MULTIFD_QEMU")
        with ProgressBar() as progress:
            matrix = list(run(matrix, qemus, progress))
    if form == "json":
        write_text(json.dumps([cell.as_json() for cell in matrix], indent=1) + "\n")
    elif form == "markdown":
        write_text(markdown(matrix))
    else:
        _show(matrix)
    return ExitCode.FINDINGS if any(cell.agrees is False for cell in matrix) else ExitCode.CLEAN


def _policies(path: Path) -> list[SyncPolicy]:
    from multifd_codec.dialect.sync_policy import policies_from_toml  # noqa: PLC0415

    check_input(path)
    try:
        return policies_from_toml(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise InputError(f"{path}: not TOML: it is no UTF-8") from None
    except InputError as error:
        raise InputError(f"{path}: {error.message}") from None


LEGEND = "+ real destinations did just that, ! they did something else; the rest was not run"


def _text(cell: Cell) -> str:
    mark = {True: " +", False: f" ! {'/'.join(sorted(set(cell.observed)))}", None: ""}[cell.agrees]
    return "/".join(str(outcome) for outcome in cell.outcomes) + mark


def _rows(matrix: Iterable[Cell]) -> dict[tuple[str, bool], list[Cell]]:
    rows: dict[tuple[str, bool], list[Cell]] = {}
    for cell in matrix:
        rows.setdefault((cell.policy.name, cell.device_state), []).append(cell)
    return rows


def _heads(matrix: list[Cell]) -> list[str]:
    columns = list(dict.fromkeys(cell.destination for cell in matrix))
    return [f"{dotted(column.release.version)} {column.mode}" for column in columns]


def _show(matrix: list[Cell]) -> None:
    from analyzers.report.content import Block, Line, Span, Table  # noqa: PLC0415

    blocks: list[Block] = []
    rows = _rows(matrix)
    for state in (False, True):
        lines = [[name, *map(_text, row)] for (name, device_state), row in rows.items() if device_state is state]
        heads = ("policy", *_heads(matrix))
        blocks.append((Line((Span("with device state" if state else "without device state"),)),))
        blocks.append(Table(heads, len(heads), tuple(tuple(line) for line in lines)))
    if any(cell.observed for cell in matrix):
        blocks.append((Line((Span(LEGEND),)),))
    blocks.append(tuple(Line((Span(reason),)) for reason in _reasons(matrix)))
    show_blocks(blocks)


def _reasons(matrix: list[Cell]) -> list[str]:
    """Each policy, and each reason once with the cells it holds for."""
    lines: list[str] = []
    for (name, state), row in _rows(matrix).items():
        reasons: dict[str, list[str]] = {}
        for cell, head in zip(row, _heads(matrix), strict=True):
            outcomes = "/".join(str(outcome) for outcome in cell.outcomes)
            reasons.setdefault(f"{outcomes}: {cell.why}", []).append(head)
        for reason, heads in reasons.items():
            where = "" if len(reasons) == 1 else f" ({', '.join(heads)})"
            lines.append(f"{name}, {'with' if state else 'without'} device state{where}: {reason}")
    return lines


def markdown(matrix: list[Cell]) -> str:
    """The tables for a document."""
    rows = _rows(matrix)
    parts = []
    for state in (False, True):
        head = ["with device state" if state else "without device state", *_heads(matrix)]
        lines = [head, ["---"] * len(head)]
        lines += [[f"`{name}`", *map(_text, row)] for (name, is_state), row in rows.items() if is_state is state]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts) + "\n"
