"""The three standard streams as a program needs them, whatever the shell closed."""

from __future__ import annotations

import io
import os
import sys
from typing import NoReturn

from multifd_codec.errors import InputError


class _Closed(io.TextIOBase):
    """A stdout that nobody will read: who writes to it is told."""

    def write(self, _: str) -> NoReturn:
        raise InputError("stdout is closed; use -o FILE or a pipe")


def complete_streams() -> None:
    """What is closed (``>&-``) is replaced: stdin is empty then, writing to stdout an InputError, and nobody is there
    to be told anything on stderr. None of their numbers is free for a file that is opened later, or what is printed by
    accident would go into it. What the encoding of stdout lacks is escaped."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115
    if sys.stdout is None:
        sys.stdout = _Closed()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
