"""Where a command's output goes: a file, a pipe (plain, byte for byte the same everywhere), or a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analyzers.report.content import Block


def is_terminal(output: Path | None) -> bool:
    """Whether a person reads the output as it appears."""
    return output is None and sys.stdout.isatty()


@contextmanager
def naming(what: object) -> Iterator[None]:
    """Errors of writing, which name nothing, name that."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(what)
        raise


def write_text(text: str, output: Path | None = None) -> None:
    """All of the output at once, to stdout or to a file, which is complete or as it was before."""
    if output is None:
        write_lines([text])
        return
    from analyzers.report.texts import printable_lines  # noqa: PLC0415 -- start-up time
    from captures.write.replacing import write_whole  # noqa: PLC0415

    write_whole(output, printable_lines(text))


def write_lines(texts: Iterable[str]) -> None:
    """Texts to stdout as they come, whole lines; nothing in them can move a cursor."""
    from analyzers.report.texts import printable_lines  # noqa: PLC0415

    with naming("stdout"):
        for text in texts:
            sys.stdout.write(printable_lines(text))
        sys.stdout.flush()


def show_blocks(blocks: Iterable[Block], output: Path | None = None) -> None:
    """Blocks of text and tables: in colour on a terminal, plain elsewhere."""
    if is_terminal(output):
        from rich.console import Console  # noqa: PLC0415

        from analyzers.report.terminal import print_blocks  # noqa: PLC0415

        print_blocks(blocks, Console())
    else:
        from analyzers.report.text import blocks_lines  # noqa: PLC0415

        write_text("\n".join(blocks_lines(blocks)) + "\n", output)


def check_output(output: Path | None, inputs: Iterable[Path]) -> None:
    """Raises InputError for a file that cannot be written to, or is an input, before any work is done."""
    if output is not None:
        from captures.write.target import check_file  # noqa: PLC0415

        check_file(output, inputs)
