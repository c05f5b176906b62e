"""Where a QEMU is: gdb asked, if the machine has it."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress

from captures.qemu.binary import Qemu

GDB = "gdb"
_QUIET = ("-batch", "-nx", "-q")
_STACKS = ("-ex", "thread apply all bt 30")
ATTACH_SECONDS = 20.0
LONGEST = 1 << 16
"""Characters kept."""


async def stack_of(process: int) -> str:
    """The stacks of all threads of a process, as gdb prints them; empty without gdb, or when it may not attach."""
    gdb = shutil.which(GDB)
    if gdb is None:
        return ""
    asked = await asyncio.create_subprocess_exec(
        gdb,
        *_QUIET,
        *_STACKS,
        "-p",
        str(process),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        said, _ = await asyncio.wait_for(asked.communicate(), ATTACH_SECONDS)
    except TimeoutError:
        with suppress(ProcessLookupError):
            asked.kill()
        await asked.wait()
        return ""
    text = said.decode("utf-8", "replace")
    at = text.find("\nThread ")
    return text[at + 1 :][:LONGEST] if at >= 0 else ""


def with_debugger(qemu: Qemu) -> Qemu | None:
    """The same below gdb, which prints the stacks when it crashes; None without gdb."""
    gdb = shutil.which(GDB)
    if gdb is None:
        return None
    signals = "handle SIGUSR1 SIGUSR2 SIGPIPE nostop noprint pass"
    words = (gdb, *_QUIET, "-ex", "set startup-with-shell off", "-ex", signals, "-ex", "run")
    return qemu._replace(command=(*words, *_STACKS, "-ex", "kill", "--args", *_program(qemu)))


def _program(qemu: Qemu) -> tuple[str, ...]:
    """gdb runs programs, not scripts."""
    first, *rest = qemu.command
    with open(first, "rb") as file:  # noqa: PTH123
        return qemu.command if file.read(2) != b"#!" else ("/bin/sh", first, *rest)
