"""Runs the tshark program over a capture file and gives its rows of fields, a line at a time.

tshark is given a configuration folder of its own, so that a person's preferences change nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import NamedTuple

from multifd_codec.errors import InputError

LONGEST_LINE = 32 << 20
"""Bytes of one row: 128 KiB for a frame of 64 KiB, more where a late frame completes many TLS records at once."""
_NOISE = ("Running as user", "could be dangerous")


class TsharkEnd(NamedTuple):
    """How tshark ended: its exit code, and the last line of what it complained about."""

    code: int
    complaint: str


def find_tshark() -> str:
    """Path of the tshark program. Raises InputError saying what to install."""
    program = shutil.which("tshark")
    if program is None:
        raise InputError("this capture needs tshark, which is not installed: the Debian package is called tshark")
    return program


def rows(
    path: Path, fields: Sequence[str], options: Sequence[str] = (), *, occurrence: str = "l"
) -> Generator[list[str], None, TsharkEnd]:
    """One row for each frame of a capture file, the fields in the order asked for; returns how tshark ended.

    ``occurrence``: of a field that stands in several layers the last (``l``, the innermost), or all (``a``, with
    commas between). Memory does not depend on the capture. tshark is ended when the generator is. Raises InputError.
    """
    command = [
        find_tshark(), "-n", "-r", str(path), *options,
        "-T", "fields", "-E", f"occurrence={occurrence}", "-E", "aggregator=,", "-E", "separator=/t",
    ]  # fmt: skip
    for field in fields:
        command += ["-e", field]
    with tempfile.TemporaryDirectory() as configuration, tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, bufsize=1 << 20,
            env=os.environ | {"WIRESHARK_CONFIG_DIR": configuration},
        )  # fmt: skip
        try:
            output = process.stdout
            assert output is not None
            while line := output.readline(LONGEST_LINE):
                if len(line) == LONGEST_LINE:
                    raise InputError(f"{path}: a frame's dissection is longer than {LONGEST_LINE} bytes")
                if not line.endswith(b"\n"):
                    break  # tshark died while it was writing.
                yield line[:-1].decode("ascii", "replace").split("\t")
            code = process.wait()
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        complaints.seek(0)
        lines = [line for line in complaints.read(1 << 16).decode(errors="replace").splitlines() if line.strip()]
        lines = [line.strip().removeprefix("tshark: ") for line in lines if not any(noise in line for noise in _NOISE)]
        return TsharkEnd(code, lines[-1] if lines else "")
