"""The bytes of a migration into the connections of a destination, however it reads them.

Nothing waits for ever: writing is non-blocking, connections do not hold each other up, and every connection can be
asked whether bytes are still on their way.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from captures.model import CapturedChannel, ChannelKind, Migration, StreamSource
from multifd_codec.errors import HoleError, InputError
from multifd_codec.source import Buffer, StreamEnd

PIECE = 1 << 18
CONNECT_SECONDS = 3.0
_TCP_INFO = struct.Struct("=24xI")
"""tcpi_unacked of struct tcp_info (linux/tcp.h): segments sent and not acknowledged."""
CONNECT_PATIENCE = 0.05
"""So long the next connection waits for the one before it."""
ORDER_SECONDS = 0.02
"""So long bytes wait for those in front of them in the sending order, when a full connection does not take them."""
KEPT = 1 << 16
BACKLOG = 64 << 20
"""Bytes that may wait for a full connection while others go on."""


class Stream(NamedTuple):
    """The bytes of one connection, in pieces."""

    pieces: Iterable[Buffer]
    closes: bool = True
    """The connection is closed (in this direction) behind its last byte."""


class Feed(NamedTuple):
    """A migration to send. Connections are opened in the order of ``streams``; before 8.0 the first one is main."""

    streams: tuple[Stream, ...]
    order: Iterable[tuple[int, Buffer]] | None = None
    """Sending order: (position of the stream, its next bytes). The streams' own pieces follow these, normally none."""


def feed_of(streams: Iterable[Buffer], *, closes: bool = True) -> Feed:
    """Whole streams in memory, all sent at once."""
    return Feed(tuple(Stream((data,), closes) for data in streams))


def feed_in_order(count: int, order: Iterable[tuple[int, Buffer]], *, closes: bool = True) -> Feed:
    """``count`` streams, sent piece by piece: (position of the stream, its next bytes)."""
    return Feed((Stream((), closes),) * count, order)


def feed_of_migration(migration: Migration) -> Feed:
    """A recorded migration, main first; a connection the recording does not show closed stays open.

    Raises HoleError when bytes are missing, InputError when they are encrypted.
    """
    channels = in_feeding_order(migration)
    for channel in channels:
        if channel.kind is ChannelKind.TLS:
            raise InputError(f"{channel.label}: is encrypted, it cannot be sent without its keys")
        holes = channel.source.holes()
        if holes or not channel.start_captured:
            where = f"at offset {holes[0].start}" if holes else "at its start"
            raise HoleError(f"{channel.label}: bytes are missing {where}, it cannot be sent")
    return Feed(tuple(Stream(_pieces(c.source), c.source.end is not StreamEnd.OPEN) for c in channels))


def in_feeding_order(migration: Migration) -> list[CapturedChannel]:
    """The channels as ``feed_of_migration`` has them: main first."""
    return sorted(migration.channels, key=lambda channel: channel.kind is not ChannelKind.MAIN)


def _pieces(source: StreamSource) -> Iterable[Buffer]:
    return (source.read(start, PIECE) for start in range(0, source.size, PIECE))


class Connection:
    """One connection to the destination, and what is still to be written to it."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.taken = 0
        """Bytes the kernel has taken."""
        self.waiting: deque[memoryview] = deque()
        self.backlog = 0
        self.complete = False
        """Nothing will be added to what waits."""
        self.done = False
        """All written, or the other side closed it."""
        self.refused = False
        """It was not accepted, or closed before all was written."""
        self.received = bytearray()
        """The return path, its first KEPT bytes."""
        self.closed = asyncio.Event()
        """The other side closed it, or it was refused."""
        self.socket: socket.socket | None = None
        self._writable = asyncio.Event()
        self._emptied = asyncio.Event()
        self._added = asyncio.Event()

    async def open(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = infos[0]
        own = socket.socket(family, kind, protocol)
        own.setblocking(False)
        try:
            await asyncio.wait_for(loop.sock_connect(own, address), CONNECT_SECONDS)
        except BaseException:
            own.close()
            raise
        self.socket = own
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop.add_reader(own, self._receive)

    def _receive(self) -> None:
        """Read the return path: a full one would stop the destination."""
        assert self.socket is not None
        try:
            data = self.socket.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.received += data[: KEPT - len(self.received)]
        if not data:
            asyncio.get_running_loop().remove_reader(self.socket)
            self.closed.set()

    def add(self, data: Buffer) -> None:
        """More bytes to write."""
        self.waiting.append(memoryview(data).cast("B"))
        self.backlog += len(data)
        self._emptied.clear()
        self._added.set()

    async def emptied(self, seconds: float | None = None) -> None:
        """All that waits is written, or that time has passed."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._emptied.wait(), seconds)

    async def write(self) -> None:
        """Write what waits, until it is complete."""
        try:
            while self.socket is not None:
                while self.waiting:
                    await self._write_first()
                self._emptied.set()
                if self.complete:
                    if self.stream.closes:
                        self.socket.shutdown(socket.SHUT_WR)
                    break
                self._added.clear()
                await self._added.wait()
        except OSError:
            self.refused = bool(self.waiting) or not self.complete
        self.done = True
        self.waiting.clear()
        self.backlog = 0
        self._emptied.set()

    async def _write_first(self) -> None:
        assert self.socket is not None
        view = self.waiting[0]
        try:
            count = self.socket.send(view[:PIECE])
        except BlockingIOError:
            await self._until_writable()
            return
        self.taken += count
        self.backlog -= count
        if count < len(view):
            self.waiting[0] = view[count:]
        else:
            self.waiting.popleft()
        await asyncio.sleep(0)

    async def _until_writable(self) -> None:
        loop = asyncio.get_running_loop()
        self._writable.clear()
        loop.add_writer(self.socket, self._writable.set)  # type: ignore[arg-type]
        try:
            await self._writable.wait()
        finally:
            if self.socket is not None:
                loop.remove_writer(self.socket)

    def refuse(self) -> None:
        """It could not be opened."""
        self.done = self.refused = True
        self.closed.set()

    def complete_with(self) -> None:
        """Nothing more will be added."""
        self.complete = True
        self._added.set()

    def on_its_way(self) -> bool:
        """Whether bytes were sent that the receiving kernel has not acknowledged."""
        if self.socket is None:
            return False
        with suppress(OSError):
            info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
            return bool(_TCP_INFO.unpack(info)[0])
        return False

    def close(self) -> None:
        if self.socket is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self.socket)
            loop.remove_writer(self.socket)
            self.socket.close()
            self.socket = None


class Feeder:
    """Connections to one destination, being fed. An asynchronous context manager; leaving it closes them."""

    def __init__(self, host: str, port: int, feed: Feed) -> None:
        self.host, self.port, self.feed = host, port, feed
        self.connections = [Connection(stream) for stream in feed.streams]
        self._opening: list[asyncio.Future[None]] = []
        self.stuck = False
        """The sending order cannot go on: too much waits for a full connection."""
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Feeder:
        self._task = asyncio.ensure_future(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        for task in (self._task, *self._opening):
            task.cancel()
        await asyncio.wait({self._task, *self._opening})
        for connection in self.connections:
            connection.close()

    async def finished(self) -> None:
        """Everything is written, or the other side closed. Raises InputError when there is no connection at all."""
        assert self._task is not None
        await asyncio.shield(self._task)

    async def _run(self) -> None:
        for connection in self.connections:
            self._opening.append(asyncio.ensure_future(connection.open(self.host, self.port)))
            # Behind a full set of channels nobody accepts any more: the others need not wait for that.
            await asyncio.wait(self._opening[-1:], timeout=CONNECT_PATIENCE)
            await self._first_opened()
        async with asyncio.TaskGroup() as group:
            for connection, opening in zip(self.connections, self._opening, strict=True):
                group.create_task(self._write(connection, opening))
            if self.feed.order is not None:
                await self._in_order(self.feed.order)
            for connection in self.connections:
                group.create_task(self._fill(connection))

    async def _first_opened(self) -> None:
        try:
            await self._opening[0]
        except (OSError, TimeoutError) as error:
            known = error.errno is not None and error.errno > 0  # those of names are negative
            reason = os.strerror(error.errno or 0) if known else error.strerror or str(error) or "no answer"
            raise InputError(f"{self.host}:{self.port}: {reason}") from None
        except UnicodeError:
            raise InputError(f"{self.host}: cannot be the name of a host") from None

    async def _write(self, connection: Connection, opening: asyncio.Future[None]) -> None:
        try:
            await opening
        except (OSError, TimeoutError):
            connection.refuse()
        await connection.write()

    @property
    def opened(self) -> bool:
        """All connections are open, or were refused."""
        return len(self._opening) == len(self.connections) and all(opening.done() for opening in self._opening)

    async def _in_order(self, order: Iterable[tuple[int, Buffer]]) -> None:
        for number, data in order:
            connection = self.connections[number]
            if connection.done:
                continue
            connection.add(data)
            await connection.emptied(ORDER_SECONDS)
            while connection.backlog > BACKLOG:
                self.stuck = True
                await connection.emptied(ORDER_SECONDS)
            self.stuck = False

    async def _fill(self, connection: Connection) -> None:
        for data in connection.stream.pieces:
            if connection.done:
                connection.refused = True
                break
            connection.add(data)
            await connection.emptied()
        connection.complete_with()

    @property
    def taken(self) -> tuple[int, ...]:
        """Bytes that each connection was given."""
        return tuple(connection.taken for connection in self.connections)

    def unread(self) -> dict[int, int]:
        """For each connection, by its port on our side, the bytes that the destination has received and not read."""
        result: dict[int, int] = {}
        with suppress(OSError, ValueError, IndexError):
            for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
                fields = line.split()
                if int(fields[1].rpartition(":")[2], 16) == self.port:
                    result[int(fields[2].rpartition(":")[2], 16)] = int(fields[4].rpartition(":")[2], 16)
        return result

    @property
    def failure(self) -> BaseException | None:
        """Why feeding ended early, on our side."""
        done = self._task is not None and self._task.done() and not self._task.cancelled()
        return self._task.exception() if done and self._task is not None else None

    def settled(self) -> bool:
        """Whether only the destination can move anything: each connection has given all it has or is full, and the
        receiving kernel has all that was given.

        A kernel opens a full window as soon as its reader has read, so bytes that do not fit are the reader's doing.
        """
        return self.opened and not any(
            connection.on_its_way() or not (connection.done or connection.waiting or self.stuck)
            for connection in self.connections
        )
