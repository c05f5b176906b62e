"""Which QEMUs there are on this machine."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import NamedTuple

from multifd_codec.dialect import Version
from multifd_codec.errors import InputError

PROGRAM = "qemu-system-x86_64"
VARIABLE = "MULTIFD_QEMU"
"""Further command lines, separated by colons."""
UNPACKED = ".setup"
"""Folder in which `.ci/setup` unpacks releases beside the installed one: ``qemu-10.0`` and so on."""
_ASK_SECONDS = 20.0
_VERSION = re.compile(r"QEMU emulator version (\d+)\.(\d+)\.(\d+)")


class Qemu(NamedTuple):
    """One QEMU: how to start it, and its release."""

    command: tuple[str, ...]
    """The program and leading arguments."""
    version: Version
    micro: int

    @property
    def name(self) -> str:
        """As profiles are called."""
        return f"qemu-{self.version[0]}.{self.version[1]}"


@cache
def qemu(command: tuple[str, ...]) -> Qemu:
    """The QEMU of a command line. Raises InputError when it does not say that it is one."""
    try:
        asking = [*command, "--version"]
        run = subprocess.run(
            asking, check=False, capture_output=True, text=True, timeout=_ASK_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{shlex.join(command)}: cannot be run: {error}") from None
    found = _VERSION.search(run.stdout)
    if found is None:
        words = (run.stderr or run.stdout).strip().splitlines()[:1]
        raise InputError(f"{shlex.join(command)}: is no QEMU" + (f": {words[0]}" if words else ""))
    return Qemu(command, (int(found[1]), int(found[2])), int(found[3]))


def parse_command(text: str) -> Qemu:
    """The QEMU of a command line as a user gives it. Raises InputError."""
    try:
        parts = tuple(shlex.split(text))
    except ValueError as error:
        raise InputError(f"{text!r}: {error}") from None
    if not parts:
        raise InputError("an empty QEMU command")
    return qemu(parts)


def find_qemus() -> list[Qemu]:
    """All there are, oldest first, one a release: in MULTIFD_QEMU, unpacked by `.ci/setup`, and in PATH."""
    commands = [tuple(shlex.split(text)) for text in os.environ.get(VARIABLE, "").split(":") if text.strip()]
    for folder in sorted(Path(UNPACKED).glob("qemu-*/usr")):
        if (folder / "bin" / PROGRAM).is_file():
            commands.append((str(folder.resolve() / "bin" / PROGRAM), "-L", str(folder.resolve() / "share" / "qemu")))
    if (installed := shutil.which(PROGRAM)) is not None:
        commands.append((installed,))
    found: dict[Version, Qemu] = {}
    for command in commands:
        try:
            one = qemu(command)
        except InputError:
            continue
        found.setdefault(one.version, one)
    return [found[version] for version in sorted(found)]
