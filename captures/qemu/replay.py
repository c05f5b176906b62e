"""A stream into a destination, and what that does; destinations that wait in stock, so that starting costs no time."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Self

from captures.qemu.binary import Qemu, parse_command
from captures.qemu.destination import HOST, Destination
from captures.qemu.feeding import Feed, Feeder
from captures.qemu.guest import DestinationOptions
from captures.qemu.loop import run
from captures.qemu.observation import COMPLETES, HANGS, LOSES_DATA, NOTHING_EXPECTED, Expected, Observation
from captures.qemu.watching import watch
from multifd_codec.errors import InputError

LIMIT_SECONDS = 30.0


class DestinationPool:
    """Destinations of one kind, ``size`` of them started ahead of their use. A context manager; leaving it ends them.

    ``replay`` can be called from several threads at once. Each destination takes one migration.
    """

    def __init__(self, command: Qemu | str, options: DestinationOptions | None = None, size: int = 2) -> None:
        self.qemu = parse_command(command) if isinstance(command, str) else command
        self.options = options or DestinationOptions()
        self.size = size
        self._ready: deque[asyncio.Task[Destination]] = deque()

    def __enter__(self) -> Self:
        run(self._fill())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run(self._close())

    def replay(
        self,
        feed: Feed,
        options: DestinationOptions | None = None,
        *,
        expected: Expected = NOTHING_EXPECTED,
        keep_ram: bool = False,
        stack: bool = False,
        limit: float = LIMIT_SECONDS,
    ) -> Observation:
        """Send a migration to a destination nobody has used, and watch what it does, for ``limit`` seconds at most.

        ``options`` may differ from the pool's; where they differ in more than channels, compression and capabilities,
        a destination is started for them. ``expected``: what must be there when the migration completes, else the
        outcome is ``loses-data``; ``keep_ram`` keeps it for the caller to look at; ``stack`` asks
        gdb where a destination that hangs is. Raises InputError when QEMU
        cannot be run so, OSError for a file that cannot be read.
        """
        return run(self._replay(feed, options or self.options, expected, keep_ram, stack, limit))

    async def _fill(self) -> None:
        while len(self._ready) < self.size:
            self._ready.append(asyncio.ensure_future(_started(self.qemu, self.options)))

    async def _close(self) -> None:
        waiting, self.size = list(self._ready), 0
        self._ready.clear()
        await asyncio.gather(*map(_discarded, waiting))

    async def _take(self, options: DestinationOptions) -> Destination:
        if options.at_start() != self.options.at_start():
            return await _started(self.qemu, options)
        while self._ready:
            task = self._ready.popleft()
            await self._fill()
            try:
                destination = await task
            except asyncio.CancelledError:
                await _discarded(task)
                raise
            if destination.exit_code is None:
                return destination
            await destination.end()
        return await _started(self.qemu, options)

    async def _replay(
        self,
        feed: Feed,
        options: DestinationOptions,
        expected: Expected,
        keep_ram: bool,
        stack: bool,
        limit: float,
    ) -> Observation:
        destination = await self._take(options)
        try:
            await destination.listen(options)
            return await observe(destination, feed, expected, limit, keep_ram=keep_ram, stack=stack)
        finally:
            await destination.end()


async def _started(qemu: Qemu, options: DestinationOptions) -> Destination:
    return await Destination(qemu, options).__aenter__()


async def _discarded(task: asyncio.Task[Destination]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, InputError):  # it could not be started: whoever wants one is told
        await (await task).end()


async def observe(
    destination: Destination,
    feed: Feed,
    expected: Expected,
    limit: float,
    *,
    keep_ram: bool = False,
    stack: bool = False,
) -> Observation:
    """Feed a destination that listens, and watch it."""
    begin = time.monotonic()
    async with Feeder(HOST, destination.port, feed) as feeder:
        verdict = await watch(destination, feeder, limit)
        seconds = time.monotonic() - begin
        stacks = await destination.stack() if stack and verdict.outcome == HANGS else ""
        taken = feeder.taken
    outcome, page, device = verdict.outcome, None, None
    states = destination.device_states()
    if outcome == COMPLETES:
        if expected.ram is not None:
            page = await asyncio.to_thread(destination.different_page, expected.ram, expected.page_size)
        device = expected.different_device(states)
        outcome = COMPLETES if page is None and device is None else LOSES_DATA
    return Observation(
        outcome=outcome,
        status=verdict.status,
        words=verdict.words,
        exit_code=destination.exit_code,
        monitor_alive=verdict.monitor_alive,
        seconds=seconds,
        taken=taken,
        different_page=page,
        device_states=states,
        different_device=device,
        printed=destination.printed(),
        stack=stacks,
        ram=destination.read_ram(0, destination.options.ram_size)
        if keep_ram and verdict.outcome == COMPLETES
        else None,
        timed_out=verdict.timed_out,
    )


def replay(
    command: Qemu | str,
    feed: Feed,
    options: DestinationOptions | None = None,
    *,
    expected: Expected = NOTHING_EXPECTED,
    keep_ram: bool = False,
    stack: bool = False,
    limit: float = LIMIT_SECONDS,
) -> Observation:
    """As ``DestinationPool.replay``, once."""
    with DestinationPool(command, options, size=0) as pool:
        return pool.replay(feed, expected=expected, keep_ram=keep_ram, stack=stack, limit=limit)
