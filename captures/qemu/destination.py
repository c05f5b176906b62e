"""One destination process: started, prepared to take a migration, watched, ended."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from captures.qemu.binary import Qemu
from multifd_codec.compression import MissingExtraError
from multifd_codec.errors import InputError

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

START_SECONDS = 20.0
COMMAND_SECONDS = 2.0
RAM_ALIGNMENT = 8192
"""Guest RAM is rounded up to a multiple of this (set_memory_options, softmmu/vl.c)."""
_PR_SET_PDEATHSIG = 1
_WORDS = 600
"""Characters kept of what it prints."""


@dataclass(frozen=True, slots=True)
class DestinationOptions:
    """What the stream does not say about the destination it is for."""

    blocks: tuple[tuple[str, int], ...] = (("ram", 4 << 20),)
    """Guest RAM: ``-machine none`` has one block."""
    channels: int = 2
    compression: str = "none"
    per_section: bool = False
    """multifd-flush-after-each-section; releases before 8.1 are always so."""
    uuid: str | None = None
    machine: str = "none"
    arguments: tuple[str, ...] = ()
    """Further arguments."""
    capabilities: tuple[str, ...] = ()
    """Further capabilities to switch on."""


class GoneError(Exception):
    """The process ended, or its monitor does not answer."""


def _qmp() -> Any:
    try:
        from qemu import qmp  # noqa: PLC0415 - an extra
    except ImportError:
        raise MissingExtraError("running QEMU needs the extra qemu: pip install 'multifd-codec[qemu]'") from None
    return qmp


def die_with_parent() -> None:
    """Called in the child: the process must not outlive whoever watches it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """A QEMU with a monitor. An asynchronous context manager: leaving it ends the process and removes its files."""

    def __init__(self, qemu: Qemu, arguments: tuple[str, ...]) -> None:
        self.qemu = qemu
        self.arguments = arguments
        self.folder = tempfile.TemporaryDirectory(prefix="multifd-")
        self.path = Path(self.folder.name)
        self._client: QMPClient | None = None
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        client = _qmp().QMPClient("multifd")
        client.logger.disabled = True
        self._client = client
        socket = str(self.path / "monitor")
        try:
            await client.start_server(socket)
            with (self.path / "words").open("wb") as words:
                self._process = await asyncio.create_subprocess_exec(
                    *self.qemu.command, *self.arguments, "-qmp", f"unix:{socket}",
                    stdin=asyncio.subprocess.DEVNULL, stdout=words, stderr=words,
                    preexec_fn=die_with_parent, cwd=self.path,
                )  # fmt: skip
            await self._accept(client)
        except BaseException:
            await self._end()
            raise
        return self

    async def _accept(self, client: QMPClient) -> None:
        assert self._process is not None
        accepting = asyncio.ensure_future(client.accept())
        ended = asyncio.ensure_future(self._process.wait())
        try:
            await asyncio.wait({accepting, ended}, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not accepting.done() or accepting.exception() is not None:
                raise InputError(f"{self.qemu.command[0]}: did not start: {self.words() or 'no monitor'}")
        finally:
            for task in (accepting, ended):
                task.cancel()

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

    def ask(self, command: str) -> asyncio.Future[Any]:
        """The answer to come; nobody waits for it here. It fails when the process ends."""
        assert self._client is not None
        return asyncio.ensure_future(self._client.execute(command))

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.returncode

    async def wait(self, seconds: float) -> int | None:
        """The exit code, once it has ended within that time."""
        assert self._process is not None
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), seconds)
        return self._process.returncode

    def activity(self) -> tuple[int, bool]:
        """(clock ticks used by all its threads, whether all of them sleep)."""
        assert self._process is not None
        ticks, asleep = 0, True
        with suppress(OSError):
            for thread in Path(f"/proc/{self._process.pid}/task").iterdir():
                with suppress(OSError, IndexError, ValueError):
                    fields = (thread / "stat").read_text().rpartition(")")[2].split()
                    ticks += int(fields[11]) + int(fields[12])
                    asleep = asleep and fields[0] == "S"
                    ticks += sum(map(int, (thread / "schedstat").read_text().split()[:1]))
        return ticks, asleep

    def words(self) -> str:
        """What it printed, in one line."""
        with suppress(OSError):
            text = (self.path / "words").read_bytes()[-4 * _WORDS :].decode("utf-8", "replace")
            lines = [line.partition(": ")[2] if line.startswith(self.qemu.command[0]) else line for line in
                     text.splitlines()]  # fmt: skip
            return "; ".join(line.strip() for line in lines if line.strip())[:_WORDS]
        return ""

    async def _end(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), START_SECONDS)
        if self._client is not None:
            with suppress(Exception):
                await asyncio.wait_for(self._client.disconnect(), COMMAND_SECONDS)
        self.folder.cleanup()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()


class Destination(Process):
    """A destination that waits for a migration on a port of its own."""

    def __init__(self, qemu: Qemu, options: DestinationOptions) -> None:
        self.options = options
        self.port = 0
        if options.machine == "none" and len(options.blocks) != 1:
            raise InputError(f"-machine none has one RAM block, the stream {len(options.blocks)}")
        if options.blocks[0][1] % RAM_ALIGNMENT:
            raise InputError(f"QEMU rounds guest RAM up to a multiple of {RAM_ALIGNMENT} bytes; the stream has not")
        super().__init__(qemu, ())
        self.arguments = tuple(self._arguments())

    def _arguments(self) -> list[str]:
        options = self.options
        name, size = options.blocks[0]
        result = ["-display", "none", "-nodefaults", "-incoming", "defer", "-m", f"{-(-size // 1024)}k"]
        if options.machine == "none":
            backend = f"memory-backend-file,id={name},size={size},mem-path={self.path / 'ram'},share=on"
            result += ["-object", backend, "-machine", f"none,memory-backend={name}"]
        else:
            result += ["-machine", options.machine]
        if options.uuid is not None:
            result += ["-uuid", options.uuid]
        if self.qemu.version >= (8, 1):
            state = "on" if options.per_section else "off"
            result += ["-global", f"migration.multifd-flush-after-each-section={state}"]
        return [*result, *options.arguments]

    async def listen(self) -> None:
        """Get ready for the migration. Raises GoneError, InputError."""
        options = self.options
        names = ("multifd", *options.capabilities)
        switched_on = [{"capability": name, "state": True} for name in names]
        await self.execute("migrate-set-capabilities", {"capabilities": switched_on})
        parameters: dict[str, object] = {"multifd-channels": options.channels}
        if options.compression != "none":
            parameters["multifd-compression"] = options.compression
        await self.execute("migrate-set-parameters", parameters)
        await self.execute("migrate-incoming", {"uri": "tcp:127.0.0.1:0"})
        status = await self.execute("query-migrate")
        self.port = int(status["socket-address"][0]["port"])

    def memory(self) -> bytes:
        """Guest RAM as it is now."""
        with suppress(OSError):
            return (self.path / "ram").read_bytes()
        return b""
