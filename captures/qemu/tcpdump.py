"""tcpdump on the loopback interface: started, known to listen, stopped, its counts read."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import struct
from contextlib import suppress
from typing import BinaryIO, NamedTuple, Self

from multifd_codec.errors import InputError

PROGRAM = "tcpdump"
BUFFER_KIB = 1 << 16
INTERFACE = "lo"
SYSTEM_FOLDERS = "/usr/sbin:/sbin:/usr/bin:/bin"
"""tcpdump is not in the PATH of every shell."""
KEEPER = ("/bin/sh", "-c", '"$@" & exec 2>&-; read -r _; kill -TERM $!; wait $!', PROGRAM)
"""Ends what it starts when its stdin is closed, so also when this process is killed: PR_SET_PDEATHSIG does not last, as
tcpdump becomes another user."""
START_SECONDS = 20.0
END_SECONDS = 30.0
_FILE_HEADER = 24
_RECORD = struct.Struct("=8xI4x")
"""Bytes kept of a frame, in the header of its record."""
_COUNT = re.compile(r"(\d+) packets? (captured|received by filter|dropped by kernel|dropped by interface)")


class Counts(NamedTuple):
    """What tcpdump says at its end; None where it does not."""

    captured: int | None = None
    received: int | None = None
    dropped: int | None = None
    """By kernel and interface together."""


def whole_frames(file: BinaryIO) -> int:
    """How many records a capture holds that tcpdump has written: it does not say when a disk is full."""
    number, size, descriptor = 0, os.fstat(file.fileno()).st_size, file.fileno()
    position = _FILE_HEADER
    while position + _RECORD.size <= size:
        (length,) = _RECORD.unpack(os.pread(descriptor, _RECORD.size, position))
        position += _RECORD.size + length
        number += position <= size
    return number


class Tcpdump:
    """Records TCP traffic of one port into an open file. An asynchronous context manager; leaving it ends it."""

    def __init__(self, port: int, output: BinaryIO, snaplen: int | None) -> None:
        self.counts = Counts()
        self._port, self._output, self._snaplen = port, output, snaplen
        self._process: asyncio.subprocess.Process | None = None
        self._said: list[str] = []

    async def __aenter__(self) -> Self:
        program = find_tcpdump()
        snaplen = [] if self._snaplen is None else ["-s", str(self._snaplen)]
        self._process = await asyncio.create_subprocess_exec(
            *KEEPER, program, "-i", INTERFACE, "-n", "-B", str(BUFFER_KIB), *snaplen, "-w", "-",
            f"tcp port {self._port}",
            stdin=asyncio.subprocess.PIPE, stdout=self._output, stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        try:
            async with asyncio.timeout(START_SECONDS):
                while "listening on" not in await self._line():
                    pass
        except TimeoutError:
            await self._end(kill=True)
            raise InputError(f"{PROGRAM}: does not begin to listen") from None
        except BaseException:
            await self._end(kill=True)
            raise
        return self

    async def _line(self) -> str:
        assert self._process is not None and self._process.stderr is not None
        line = await self._process.stderr.readline()
        if not line:
            raise InputError(f"{PROGRAM}: {self._said[-1] if self._said else 'ended'}")
        self._said.append(line.decode("utf-8", "replace").strip())
        return self._said[-1]

    async def stop(self) -> None:
        """Stop recording; what was recorded is in the file then, ``counts`` says how much.

        Raises InputError when it could not write it all.
        """
        await self._end()
        if self._process is not None and self._process.returncode:
            raise InputError(f"{PROGRAM}: {self._said[-1].removeprefix(f'{PROGRAM}: ') if self._said else 'failed'}")
        found = {what: int(number) for line in self._said for number, what in _COUNT.findall(line)}
        drops = [found[what] for what in ("dropped by kernel", "dropped by interface") if what in found]
        self.counts = Counts(found.get("captured"), found.get("received by filter"), sum(drops) if drops else None)
        written = whole_frames(self._output)
        if written < (self.counts.captured or 0):
            raise InputError(f"{PROGRAM}: only {written} of {self.counts.captured} frames could be written")

    async def _end(self, *, kill: bool = False) -> None:
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        if kill:
            self._kill(process)
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                with suppress(InputError):
                    while True:
                        await self._line()
                await process.wait()
        self._kill(process)
        await process.wait()

    def _kill(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    async def __aexit__(self, *_: object) -> None:
        await self._end(kill=True)


def find_tcpdump() -> str:
    """The program. Raises InputError when it is not installed."""
    program = shutil.which(PROGRAM) or shutil.which(PROGRAM, path=SYSTEM_FOLDERS)
    if program is None:
        raise InputError(f"recording needs the program {PROGRAM}, which is not installed")
    return program
