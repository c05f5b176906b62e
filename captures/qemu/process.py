"""A QEMU process with a monitor: started, asked, watched, ended.

Nothing of it is on disk: the monitor is a socket pair, what it prints goes to a file in memory. It ends when it is
left, when the interpreter ends, and when this process dies (PR_SET_PDEATHSIG); only its own process group is signalled.
A wrapper that starts QEMU as a child of its own, rather than becoming it, passes on all of these but the last.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import os
import resource
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from captures.qemu.binary import Qemu
from captures.qemu.stack import stack_of
from multifd_codec.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from qemu.qmp import QMPClient

    from captures.qemu.vfio import VfioDevices

START_SECONDS = 30.0
COMMAND_SECONDS = 10.0
END_SECONDS = 10.0
EXTRA = "qemu"
_PR_SET_PDEATHSIG = 1
_PRINTED = 1 << 16
_WORDS = 600
"""Characters kept of what it prints."""

_ADDRESS_SPACE = 16 << 30
"""Bytes, of a QEMU with devices."""

_libc = ctypes.CDLL(None)
_started: set[subprocess.Popen[bytes]] = set()


class GoneError(Exception):
    """The process ended, or its monitor does not answer."""


class Activity(NamedTuple):
    """What the threads of a process have done so far, and do now."""

    cpu: int
    """Nanoseconds of CPU time used by all of its threads."""
    threads: int
    asleep: bool
    """All of them wait for something; one that would run, had it a CPU, does not."""


def _qmp() -> Any:
    if not sys.platform.startswith("linux"):
        raise InputError("running QEMU needs Linux")
    try:
        from qemu import qmp  # noqa: PLC0415 - an extra
    except ImportError:
        from multifd_codec.compression import MissingExtraError  # noqa: PLC0415

        raise MissingExtraError(f"running QEMU needs the extra {EXTRA}: pip install 'multifd-codec[{EXTRA}]'") from None
    return qmp


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that is not waited for yet, with what it started; its number cannot belong to another one."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


@atexit.register
def _end_all() -> None:
    for process in list(_started):
        _end_group(process)


os.register_at_fork(after_in_child=_started.clear)


class Process:
    """A QEMU. An asynchronous context manager: leaving it ends the process.

    ``arguments`` come behind those of ``qemu``; ``files`` are descriptors that it inherits under the same numbers;
    ``devices`` are added to both, and closed when it is left.
    """

    def __init__(
        self,
        qemu: Qemu,
        arguments: Sequence[str],
        *,
        files: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
        devices: VfioDevices | None = None,
    ) -> None:
        if {"-daemonize", "--daemonize"} & {*qemu.command, *arguments}:
            raise InputError("-daemonize: it could not be ended; leave that out")
        self.qemu = qemu
        self.arguments = tuple(arguments)
        self._files = tuple(files)
        self._devices = devices
        self._environment = environment
        self._client: QMPClient | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._words = -1
        self._ended = asyncio.Event()
        self._watched = -1

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()

    async def _start(self) -> None:
        client = _qmp().QMPClient("multifd")
        client.logger.disabled = True
        ours, theirs = socket.socketpair()
        self._words = os.memfd_create("words")
        try:
            self._launch(theirs.fileno())
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            ours.close()
            raise InputError(f"{shlex.join(self.qemu.command)}: cannot be run: {error}") from None
        finally:
            theirs.close()
        self._client = client
        connecting = asyncio.ensure_future(client.connect(ours))
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({connecting, ended}, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not connecting.done() or connecting.exception() is not None:
                await self.wait(0.5)
                code = "no answer from its monitor" if self.exit_code is None else f"exit code {self.exit_code}"
                raise InputError(f"{self.qemu.name}: did not start: {self.words() or code}")
        finally:
            for task in (connecting, ended):
                task.cancel()

    def _launch(self, monitor: int) -> None:
        arguments = ["-chardev", f"socket,id=multifd,fd={monitor}", "-qmp", "chardev:multifd"]
        files = (monitor, *self._files)
        if self._devices is not None:
            arguments += self._devices.arguments
            files += self._devices.files
        parent = os.getpid()
        hardest = resource.getrlimit(resource.RLIMIT_AS)[1]
        address_space = _ADDRESS_SPACE if hardest == resource.RLIM_INFINITY else min(_ADDRESS_SPACE, hardest)

        def in_child() -> None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if self._devices is not None:  # the number of one packet makes QEMU allocate 32 GB
                resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                [*self.qemu.command, *self.arguments, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=self._words,
                stderr=self._words,
                pass_fds=files,
                preexec_fn=in_child,  # noqa: PLW1509 - it takes no lock
                start_new_session=True,
                env=None if self._environment is None else {**os.environ, **self._environment},
            )

        self._process = start() if self._devices is None else self._devices.launch(start)
        _started.add(self._process)
        self._watched = os.pidfd_open(self._process.pid)
        asyncio.get_running_loop().add_reader(self._watched, self._on_end)

    def _on_end(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            self._stop_watching()
            _started.discard(self._process)
            self._ended.set()

    def _stop_watching(self) -> None:
        if self._watched >= 0:
            asyncio.get_running_loop().remove_reader(self._watched)
            os.close(self._watched)
            self._watched = -1

    async def execute(
        self, command: str, arguments: Mapping[str, object] | None = None, seconds: float = COMMAND_SECONDS
    ) -> Any:
        """One monitor command. Raises GoneError without an answer in time, InputError when it is refused."""
        qmp = _qmp()
        if self._client is None:
            raise GoneError
        try:
            return await asyncio.wait_for(self._client.execute(command, arguments), seconds)
        except qmp.ExecuteError as error:
            raise InputError(f"{self.qemu.name}: {command}: {error}") from None
        except (TimeoutError, qmp.QMPError, OSError, EOFError):
            raise GoneError from None

    @property
    def exit_code(self) -> int | None:
        """Negative: minus the signal that ended it. None while it runs.

        A shell in between reports a signal as 128 more, which is told apart from QEMU's own codes, 0 and 1.
        """
        code = None if self._process is None else self._process.returncode
        return 128 - code if code is not None and 128 < code < 128 + signal.NSIG else code

    async def wait(self, seconds: float) -> int | None:
        """The exit code, once it has ended within that time."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), seconds)
        return self.exit_code

    def activity(self) -> Activity:
        """Of all threads, those of processes that a wrapper started included."""
        cpu, threads, asleep = 0, 0, True
        pending = [] if self._process is None else [self._process.pid]
        while pending:
            tasks = f"/proc/{pending.pop()}/task"
            try:
                listed = os.listdir(tasks)  # noqa: PTH208 - called often
            except OSError:
                asleep = False
                continue
            for thread in listed:
                try:
                    state = _read(f"{tasks}/{thread}/stat").rpartition(b")")[2].split(None, 1)[0]
                    cpu += int(_read(f"{tasks}/{thread}/schedstat").split(None, 1)[0])
                    pending += map(int, _read(f"{tasks}/{thread}/children").split())
                except (OSError, IndexError, ValueError):
                    asleep = False
                    continue
                threads += 1
                asleep = asleep and state == b"S"
        return Activity(cpu, threads, asleep)

    def words(self) -> str:
        """The end of what it printed, in one line; warnings left out."""
        if self._words < 0:
            return ""
        size = os.fstat(self._words).st_size
        text = os.pread(self._words, 4 * _WORDS, max(0, size - 4 * _WORDS)).decode("utf-8", "replace")
        lines = [_without_name(line).strip() for line in text.splitlines()]
        return "; ".join(line for line in lines if line and "warning:" not in line)[-_WORDS:]

    def printed(self) -> str:
        """The end of all that it printed."""
        if self._words < 0:
            return ""
        size = os.fstat(self._words).st_size
        return os.pread(self._words, _PRINTED, max(0, size - _PRINTED)).decode("utf-8", "replace")

    async def stack(self) -> str:
        """Where all of its threads are, by ``stack_of``; empty when it has ended."""
        return "" if self._process is None or self.exit_code is not None else await stack_of(self._process.pid)

    async def end(self) -> None:
        """End it; safe to call twice."""
        process = self._process
        if process is not None and process.returncode is None:
            _end_group(process)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), END_SECONDS)
        self._stop_watching()
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):
                await asyncio.wait_for(client.disconnect(), COMMAND_SECONDS)
        if self._words >= 0:
            os.close(self._words)
            self._words = -1
        if self._devices is not None:
            self._devices.close()


def _without_name(line: str) -> str:
    """Without the program's name in front."""
    name, found, rest = line.partition(": ")
    return rest if found and "qemu" in name.rpartition("/")[2] and " " not in name else line


def _read(path: str | Path) -> bytes:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        return file.read(512) or b""
