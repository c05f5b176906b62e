"""A QEMU whose guest RAM can be read and filled from outside: a file in memory that both have open."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from captures.qemu.binary import Qemu
from captures.qemu.process import Process
from captures.qemu.vfio import VfioDevice, VfioDevices
from multifd_codec.dialect.releases import Mode
from multifd_codec.errors import InputError
from multifd_codec.source import Buffer

_COMPARED = 1 << 20


@dataclass(frozen=True, slots=True)
class DestinationOptions:
    """What a destination must be given to take a stream; a source has the same."""

    ram_size: int = 4 << 20
    """Bytes of guest RAM."""
    ram_block: str = "ram"
    """Name of its RAM block; ``-machine none`` has this one only."""
    machine: str = "none"
    uuid: UUID | None = None
    mode: Mode = Mode.PER_ROUND
    """multifd-flush-after-each-section, on per section. Old releases know nothing else, whatever is said here."""
    arguments: tuple[str, ...] = ()
    """Further arguments of the program."""
    channels: int = 2
    compression: str = "none"
    capabilities: tuple[str, ...] = ()
    """Further capabilities to switch on."""
    parameters: tuple[tuple[str, object], ...] = ()
    """Further migration parameters."""
    devices: tuple[VfioDevice, ...] = ()
    """vfio-pci devices; they need a machine with a PCI bus, as ``dialect.machine.PCI_MACHINE`` is."""

    def at_start(self) -> DestinationOptions:
        """Without what can still be chosen when it runs: equal for destinations that can stand in for each other."""
        return replace(self, channels=2, compression="none", capabilities=(), parameters=())


def _arguments(qemu: Qemu, options: DestinationOptions, ram: int, stopped: bool) -> list[str]:
    name = options.ram_block.replace(",", ",,")
    backend = f"memory-backend-file,id={name},size={options.ram_size}B,mem-path=/proc/self/fd/{ram},share=on"
    result = ["-machine", f"{options.machine},memory-backend={name}", "-object", backend]
    result += ["-m", f"size={options.ram_size}B", "-display", "none", "-nodefaults", "-no-user-config"]
    result += ["-S"] * stopped
    if options.uuid is not None:
        result += ["-uuid", str(options.uuid)]
    if qemu.release.sender.per_round:
        state = "on" if options.mode is Mode.PER_SECTION else "off"
        result += ["-global", f"migration.multifd-flush-after-each-section={state}"]
    return result


class NoSuchMethodError(InputError):
    """A QEMU was built without this compression."""


class Guest(Process):
    """A QEMU with one RAM block of its own; ``stopped``: it does not start to run."""

    def __init__(
        self, qemu: Qemu, options: DestinationOptions, arguments: Sequence[str] = (), *, stopped: bool = True
    ) -> None:
        self.options = options
        if options.ram_size <= 0:
            raise InputError(f"guest RAM of {options.ram_size} bytes")
        self._ram = os.memfd_create("ram")
        try:
            os.ftruncate(self._ram, options.ram_size)
        except (OSError, OverflowError) as error:
            os.close(self._ram)
            raise InputError(f"guest RAM of {options.ram_size} bytes: {getattr(error, 'strerror', error)}") from None
        own = _arguments(qemu, options, self._ram, stopped)
        self._vfio = VfioDevices(options.devices) if options.devices else None
        super().__init__(qemu, [*own, *arguments], files=(self._ram,), devices=self._vfio)

    async def set_up(self, options: DestinationOptions) -> None:
        """Switch on multifd with these channels, compression, capabilities and parameters.

        Raises InputError when it refuses them, NoSuchMethodError among them, GoneError.
        """
        self.options = options
        switched_on = [{"capability": name, "state": True} for name in ("multifd", *options.capabilities)]
        await self.execute("migrate-set-capabilities", {"capabilities": switched_on})
        parameters: dict[str, object] = {"multifd-channels": options.channels, **dict(options.parameters)}
        if options.compression != "none":
            method = {"multifd-compression": options.compression}
            try:
                await self.execute("migrate-set-parameters", method)
            except InputError as error:
                raise NoSuchMethodError(error.message) from None
        await self.execute("migrate-set-parameters", parameters)

    def read_ram(self, offset: int, length: int) -> bytes:
        """Guest RAM as it is now."""
        return os.pread(self._ram, length, offset)

    def device_states(self) -> tuple[bytes | None, ...]:
        """What it has loaded into each of its devices so far, see ``VfioDevices.loaded``."""
        return () if self._vfio is None else self._vfio.loaded()

    def fill_ram(self, offset: int, data: Buffer) -> None:
        """Write guest RAM behind the guest's back: for one that has not begun to run."""
        os.pwrite(self._ram, data, offset)

    def different_page(self, expected: Buffer | Path, page_size: int) -> int | None:
        """Byte offset of the first page that is not as expected. What is longer differs where the other one ends."""
        if isinstance(expected, Path):
            with expected.open("rb") as file:
                return first_difference(lambda at, size: os.pread(file.fileno(), size, at), self.read_ram, page_size)
        view = memoryview(expected).cast("B")
        return first_difference(lambda at, size: bytes(view[at : at + size]), self.read_ram, page_size)

    async def end(self) -> None:
        await super().end()
        if self._ram >= 0:
            os.close(self._ram)
            self._ram = -1


Reader = Callable[[int, int], bytes]


def first_difference(expected: Reader, actual: Reader, page_size: int) -> int | None:
    """Byte offset of the first page in which two readers (offset, length) differ, None when they are the same."""
    for offset in range(0, 1 << 62, _COMPARED):
        one, other = expected(offset, _COMPARED), actual(offset, _COMPARED)
        if one != other:
            pages = range(0, max(len(one), len(other)), page_size)
            return next(offset + at for at in pages if one[at : at + page_size] != other[at : at + page_size])
        if not one:
            return None
    return None
