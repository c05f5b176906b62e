"""Every error a user can cause is one line on stderr and an exit code."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

import click

from analyzers.report.exit_codes import ExitCode
from multifd_codec.errors import MultifdError

INTERRUPTED = 130
PIPE_CLOSED = 141
"""What a shell shows for a program ended by SIGPIPE."""
TRACEBACK_VARIABLE = "MULTIFD_TRACEBACK"


class Stop(Exception):  # noqa: N818
    """Leave quietly with ``code``: Ctrl-C, nobody reads the output any more, or all is said that there is to say."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def say(message: str) -> None:
    """One line on stderr."""
    from analyzers.report.texts import printable  # noqa: PLC0415 (only where something is wrong)

    text = f"multifd: {printable(' '.join(message.split()))}"
    with suppress(OSError):  # stderr may be closed: then there is nobody to tell
        click.echo(text, err=True)


def describe(error: BaseException) -> str:
    """What went wrong, in one line."""
    match error:
        case click.UsageError():
            command = error.ctx.command_path if error.ctx is not None else "multifd"
            return f"{error.format_message()} (see `{command} --help`)"
        case click.ClickException():
            return error.format_message()
        case MultifdError():
            return str(error)
        case OSError():
            name = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
            return f"{name}{error.strerror or error}"
        case MemoryError():
            return "out of memory"
        case _:
            text = f"internal error, please report it: {type(error).__name__}: {error}"
            return f"{text} (set {TRACEBACK_VARIABLE}=1 to see where)"


class Commands(click.Group):
    """A group whose errors are one line, and whose exit code is what the command returns."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Like click's, with our exit codes. Always raises SystemExit."""
        extra["standalone_mode"] = False
        try:
            code = super().main(*args, **extra)
            sys.stdout.flush()
        except Stop as stop:
            code = stop.code
        except BrokenPipeError:
            code = PIPE_CLOSED
        except (KeyboardInterrupt, click.Abort):
            code = INTERRUPTED
        except Exception as error:
            if os.environ.get(TRACEBACK_VARIABLE):
                raise
            say(describe(error))
            code = ExitCode.FAILED
        if code == PIPE_CLOSED:
            _silence_stdout()
        sys.exit(int(code or 0))

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Read the arguments; where they ask for help, click would end with exit code 1 when nobody reads it."""
        try:
            return super().make_context(*args, **extra)
        except BrokenPipeError:
            raise Stop(PIPE_CLOSED) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; click itself would answer these two with a blank line and exit code 1."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Stop(INTERRUPTED) from None
        except BrokenPipeError:
            raise Stop(PIPE_CLOSED) from None


def _silence_stdout() -> None:
    """The interpreter flushes stdout once more at exit, which would complain about the closed pipe again."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
