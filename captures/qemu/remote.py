"""A stream to a destination that somebody else runs: only what its connections tell is known."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import NamedTuple

from captures.qemu.feeding import Feed, Feeder
from captures.qemu.loop import run
from captures.qemu.observation import COMPLETES, FAILS
from multifd_codec.errors import FormatError
from multifd_codec.main.return_path import ReturnPathMessage, decode_return_path
from multifd_codec.source import BufferSource
from multifd_codec.wire.return_path import ReturnPathType


class Delivery(NamedTuple):
    """What became of the bytes."""

    outcome: str | None
    """``completes`` or ``fails``, as the destination said on the return path; None: it said nothing."""
    taken: tuple[int, ...]
    """Bytes that each connection could be given, in the order of the streams."""
    everything: bool
    """All bytes could be given."""
    closed: bool
    """The destination closed the main connection."""
    seconds: float

    def line(self) -> str:
        """In one line, for people."""
        if self.outcome is not None:
            return f"{self.outcome}: so said the destination on the return path"
        what = "took all bytes" if self.everything else "did not take all bytes"
        end = "closed the main connection" if self.closed else "keeps the main connection open"
        return f"unknown: the destination {what}, {end}, and said nothing on the return path"


def send_to(host: str, port: int, feed: Feed, *, limit: float) -> Delivery:
    """Send a migration, the first stream main, and wait until main is closed, for ``limit`` seconds at most.

    Raises InputError when nobody listens there.
    """
    return run(_send_to(host, port, feed, limit))


async def _send_to(host: str, port: int, feed: Feed, limit: float) -> Delivery:
    begin = time.monotonic()
    async with Feeder(host, port, feed) as feeder:
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await feeder.finished()
                await feeder.connections[0].closed.wait()
        everything = all(c.complete and not c.refused and not c.waiting for c in feeder.connections)
        main = feeder.connections[0]
        return Delivery(
            _said(bytes(main.received)), feeder.taken, everything, main.closed.is_set(), time.monotonic() - begin
        )


def _said(data: bytes) -> str | None:
    for message in decode_return_path(BufferSource(data)):
        if isinstance(message, ReturnPathMessage) and message.type == ReturnPathType.SHUT:
            with suppress(FormatError):
                return COMPLETES if message.arguments()["value"] == 0 else FAILS
    return None
