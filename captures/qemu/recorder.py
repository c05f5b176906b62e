"""Two QEMUs, a migration between them over the loopback interface, and tcpdump beside it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from captures.model import ProgressCallback
from captures.qemu.binary import Qemu
from captures.qemu.destination import HOST, Destination
from captures.qemu.guest import DestinationOptions, Guest
from captures.qemu.loop import run
from captures.qemu.process import GoneError, Process
from captures.qemu.tcpdump import Tcpdump
from captures.qemu.vfio import VfioDevice
from captures.write.replacing import replaced
from multifd_codec.dialect.releases import Mode
from multifd_codec.errors import InputError
from multifd_codec.plan.page_content import Pattern

POLL_SECONDS = 0.1
SETTLE_SECONDS = 1.5
"""tcpdump goes on for so long, for what is still in its buffer and in the connections."""
BOOT_SECONDS = 1.0
"""A running guest gets so long to begin before it is migrated."""
DESTINATION_SECONDS = 5.0
"""So long the destination may take once the source has ended, and the other way round."""
LIMIT_SECONDS = 600.0
_FINAL = ("completed", "failed", "cancelled")
_PAGE = 4096
_FILL = 1 << 12
"""Pages made at once."""


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What to record."""

    source: Qemu
    destination: Qemu
    guest: DestinationOptions
    """Both sides. Its ``parameters`` go to the source, but for those that a destination has, too."""
    ram_file: Path | None = None
    """What guest RAM begins with; zeros follow."""
    seed: int | None = None
    """Guest RAM begins with noise of this seed, as ``plan.page_content`` makes it; half the pages are zero."""
    running: bool = False
    """The guest runs while it is migrated, so that pages get dirty. Not with ``-machine none``."""
    source_arguments: tuple[str, ...] = ()
    destination_arguments: tuple[str, ...] = ()
    bandwidth: int | None = None
    """max-bandwidth of the source, bytes a second."""
    snaplen: int | None = None
    """Bytes kept of each frame."""
    limit: float = LIMIT_SECONDS
    """Seconds the migration may take."""


class Side(NamedTuple):
    """How one side ended."""

    status: str | None
    """Of query-migrate, when it last answered with one."""
    exit_code: int | None
    """None: it was still there."""
    words: str
    ram_after: str
    """SHA-256 of guest RAM."""


class Recorded(NamedTuple):
    """What happened."""

    facts: dict[str, Any]
    """The JSON document."""
    completed: bool
    """On both sides, with the state of every device, and nothing was dropped."""


def record(options: RecordOptions, output: Path, progress: ProgressCallback | None = None) -> Recorded:
    """Record one migration into a capture. Raises InputError when something cannot be started, OSError.

    ``progress`` is as the source tells it."""
    if options.running and options.guest.machine == "none":
        raise InputError("-machine none has no processor: it cannot be migrated running")
    return run(_record(options, output, progress))


async def _record(options: RecordOptions, output: Path, progress: ProgressCallback | None) -> Recorded:
    sender = replace(options.guest, arguments=options.source_arguments)
    receiver = replace(options.guest, arguments=options.destination_arguments, parameters=())
    if options.bandwidth is not None:
        sender = replace(sender, parameters=(*sender.parameters, ("max-bandwidth", options.bandwidth)))
    async with (
        Guest(options.source, sender, sender.arguments, stopped=True) as source,
        Destination(options.destination, receiver) as destination,
    ):
        await destination.listen()
        await _set_up(source)
        _fill(source, options)
        before = _hash(source)
        with replaced(output) as part, part.open("w+b") as file:
            async with Tcpdump(destination.port, file, options.snaplen) as tcpdump:
                begin = time.monotonic()
                await _start(source, destination, options)
                statuses = await _both_end(source, destination, options.limit, progress)
                seconds = time.monotonic() - begin
                await asyncio.sleep(SETTLE_SECONDS)
                await tcpdump.stop()
        sides = [
            Side(status, process.exit_code, process.words(), _hash(process))
            for process, status in zip((source, destination), statuses, strict=True)
        ]
        statistics = await _statistics(source)
        devices = [
            _device(device, loaded)
            for device, loaded in zip(options.guest.devices, destination.device_states(), strict=True)
        ]
    completed = all(side.status == "completed" for side in sides) and tcpdump.counts.dropped == 0
    completed = completed and all(device["as_sent"] for device in devices)
    guest = options.guest
    per_round = options.source.release.sender.per_round and guest.mode is Mode.PER_ROUND
    facts = {
        "schema": "multifd-recording/1",
        "capture": output.name,
        "source": _side(options.source, sides[0], options.source_arguments),
        "destination": _side(options.destination, sides[1], options.destination_arguments),
        "machine": guest.machine,
        "ram_block": guest.ram_block,
        "ram_size": guest.ram_size,
        "ram_before": before,
        "running": options.running,
        "channels": guest.channels,
        "compression": guest.compression,
        "mode": str(Mode.PER_ROUND if per_round else Mode.PER_SECTION),
        "uuid": None if guest.uuid is None else str(guest.uuid),
        "devices": devices,
        "capabilities": ["multifd", *guest.capabilities],
        "parameters": dict(sender.parameters),
        "snaplen": options.snaplen,
        "seconds": round(seconds, 3),
        "statistics": statistics,
        "tcpdump": tcpdump.counts._asdict(),
        "completed": completed,
    }
    return Recorded(facts, completed)


def _side(qemu: Qemu, side: Side, arguments: tuple[str, ...]) -> dict[str, Any]:
    return {
        "version": qemu.full_version,
        "arguments": list(arguments),
        "status": side.status,
        "exit_code": side.exit_code,
        "words": side.words,
        "ram_after": side.ram_after,
    }


def _device(device: VfioDevice, loaded: bytes | None) -> dict[str, Any]:
    return {
        "name": device.name,
        "size": device.size,
        "precopy": device.precopy,
        "loaded": None if loaded is None else len(loaded),
        "as_sent": loaded == device.state,
    }


def _fill(source: Guest, options: RecordOptions) -> None:
    size = options.guest.ram_size
    if options.ram_file is not None:
        with options.ram_file.open("rb") as file:
            offset = 0
            while offset < size and (data := file.read(min(1 << 20, size - offset))):
                source.fill_ram(offset, data)
                offset += len(data)
            if file.read(1):
                raise InputError(f"{options.ram_file}: is longer than guest RAM of {size} bytes")
    elif options.seed is not None:
        content = Pattern(options.seed, 0.5)
        for first in range(0, size // _PAGE, _FILL):
            count = min(_FILL, size // _PAGE - first)
            pages = content.pages(options.guest.ram_block, first, count, _PAGE, 0)
            source.fill_ram(first * _PAGE, pages.tobytes())


def _hash(guest: Guest) -> str:
    digest = hashlib.sha256()
    for offset in range(0, guest.options.ram_size, 1 << 20):
        digest.update(guest.read_ram(offset, 1 << 20))
    return digest.hexdigest()


async def _set_up(source: Guest) -> None:
    try:
        await source.set_up(source.options)
    except GoneError:
        raise InputError(f"{source.qemu.name}: source: {source.words() or 'does not answer'}") from None


async def _start(source: Guest, destination: Destination, options: RecordOptions) -> None:
    try:
        if options.running:
            await source.execute("cont")
            await asyncio.sleep(BOOT_SECONDS)
        await source.execute("migrate", {"uri": f"tcp:{HOST}:{destination.port}"})
    except GoneError:
        raise InputError(f"{source.qemu.name}: source: {source.words() or 'does not answer'}") from None


async def _both_end(
    source: Process, destination: Process, limit: float, progress: ProgressCallback | None
) -> tuple[str | None, str | None]:
    """The last known status of both. Either may be stuck: the other one then gets a few seconds."""
    deadline = time.monotonic() + limit
    statuses: list[str | None] = [None, None]
    over = [False, False]
    while not all(over):
        for index, process in enumerate((source, destination)):
            if over[index]:
                continue
            answer = await _status(process)
            statuses[index] = answer.get("status", statuses[index])
            over[index] = process.exit_code is not None or statuses[index] in _FINAL
            if over[index]:
                deadline = min(deadline, time.monotonic() + DESTINATION_SECONDS)
            ram = answer.get("ram", {})
            if progress is not None and index == 0 and ram:
                progress(
                    "migrating",
                    int(ram.get("transferred", 0)),
                    int(ram.get("transferred", 0) + ram.get("remaining", 0)),
                )
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(POLL_SECONDS)
    return statuses[0], statuses[1]


async def _status(process: Process) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = await process.execute("query-migrate", seconds=1.0)
        return answer
    except (GoneError, InputError):
        await process.wait(POLL_SECONDS)
        return {}


STATISTICS = ("transferred", "total", "duplicate", "normal", "dirty-sync-count", "multifd-bytes", "page-size")


async def _statistics(source: Process) -> dict[str, int]:
    """What the source counted."""
    answer = await _status(source)
    ram = answer.get("ram", {})
    return {name: int(ram[name]) for name in STATISTICS if name in ram} | {
        name: int(answer[name]) for name in ("total-time", "downtime") if name in answer
    }
