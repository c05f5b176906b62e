"""Which QEMUs there are on this machine."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from multifd_codec.dialect.releases import Release, release_at
from multifd_codec.dialect.version import Version, dotted
from multifd_codec.errors import InputError

PROGRAM = "qemu-system-x86_64"
VARIABLE = "MULTIFD_QEMU"
"""Environment variable: further command lines, separated by colons."""
UNPACKED = Path(".setup")
"""Folder of the checkout in which `.ci/setup` unpacks releases beside the installed one: ``qemu-10.0`` and so on, each
with an executable ``run`` that starts it."""
CHECKOUT = Path(__file__).parents[2]
_ASK_SECONDS = 20.0
_ANSWER_BYTES = 1 << 16
_VERSION = re.compile(r"QEMU emulator version (\d+)\.(\d+)\.(\d+)")


class Qemu(NamedTuple):
    """One QEMU: how to start it, and its release."""

    command: tuple[str, ...]
    """The program, with a wrapper in front and leading arguments behind, if any."""
    version: Version
    micro: int

    @property
    def name(self) -> str:
        """As profiles are called."""
        return f"qemu-{dotted(self.version)}"

    @property
    def release(self) -> Release:
        """What it does on the wire, as far as known: its row of the table, or the newest before it."""
        return release_at(self.version)

    @property
    def full_version(self) -> str:
        return f"{dotted(self.version)}.{self.micro}"


@cache
def qemu(command: tuple[str, ...]) -> Qemu:
    """The QEMU of a command line. Raises InputError when it cannot be run or is none."""
    words = shlex.join(command)
    try:
        said = _answer([*command, "--version"])
    except TimeoutError:
        raise InputError(f"{words}: does not say its version within {_ASK_SECONDS:.0f} s") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{words}: cannot be run: {getattr(error, 'strerror', None) or error}") from None
    found = _VERSION.search(said)
    if found is None:
        lines = said.strip().splitlines()[:1]
        raise InputError(f"{words}: is no QEMU" + (f": {lines[0]}" if lines else ""))
    return Qemu(command, (int(found[1]), int(found[2])), int(found[3]))


def _answer(command: list[str]) -> str:
    """The beginning of what a program says; then it is ended, with all that it started. Raises TimeoutError, OSError,
    ValueError."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        late = threading.Event()

        def end() -> None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)

        def expire() -> None:
            late.set()
            end()

        timer = threading.Timer(_ASK_SECONDS, expire)
        timer.start()
        try:
            assert process.stdout is not None
            said = process.stdout.read(_ANSWER_BYTES)
        finally:
            timer.cancel()
            end()
    if late.is_set():
        raise TimeoutError
    return said.decode("utf-8", "replace")


def parse_command(text: str) -> Qemu:
    """The QEMU of a command line as a user writes it, quoted as for a shell. Raises InputError."""
    try:
        parts = tuple(shlex.split(text))
    except ValueError as error:
        raise InputError(f"{text!r}: {error}") from None
    if not parts:
        raise InputError("the QEMU command is empty")
    return qemu(parts)


def find_qemus() -> list[Qemu]:
    """All there are, oldest first, one a release: in MULTIFD_QEMU, unpacked by `.ci/setup`, and in PATH.

    Where two have the same release, the first of these places counts. Raises InputError for a command in MULTIFD_QEMU
    that is no QEMU.
    """
    found: dict[Version, Qemu] = {}
    for text in os.environ.get(VARIABLE, "").split(":"):
        if text.strip():
            one = parse_command(text)
            found.setdefault(one.version, one)
    folders = dict.fromkeys((UNPACKED.absolute(), CHECKOUT / UNPACKED))
    commands = [str(program) for folder in folders for program in sorted(folder.glob("qemu-*/run"))]
    if (installed := shutil.which(PROGRAM)) is not None:
        commands.append(installed)
    for command in commands:
        try:
            one = qemu((command,))
        except InputError:
            continue  # left half-made, or its libraries are gone
        found.setdefault(one.version, one)
    return [found[version] for version in sorted(found)]


def find_qemu(version: Version) -> Qemu | None:
    """The QEMU of that release, if there is one."""
    return next((one for one in find_qemus() if one.version == version), None)
