"""A stream into a destination, and what that does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from captures.qemu.binary import Qemu
from captures.qemu.destination import Destination, DestinationOptions, GoneError
from captures.qemu.observation import (
    COMPLETES,
    CRASHES,
    FAILS,
    HANGS,
    LOSES_DATA,
    Observation,
    Stream,
    first_difference,
)
from multifd_codec.errors import InputError
from multifd_codec.source import Buffer

PIECE = 1 << 18
POLL_SECONDS = 0.02
QUIET_SECONDS = 0.35
"""All threads asleep and no CPU time used for so long: nothing will happen any more. Nothing in an incoming migration
waits for a clock longer than the 1 ms of the channel peek."""
LIMIT_SECONDS = 30.0
QUIT_SECONDS = 5.0


def replay(
    qemu: Qemu,
    streams: Sequence[Stream],
    options: DestinationOptions,
    *,
    expected: Mapping[str, Buffer] | None = None,
    page_size: int = 4096,
    keep_memory: bool = False,
    limit: float = LIMIT_SECONDS,
) -> Observation:
    """Send a migration to a fresh destination and watch what it does, for ``limit`` seconds at most.

    ``expected``: RAM block to what it must hold when the migration completes; else the outcome is ``loses-data``.
    Raises InputError when QEMU cannot be run so.
    """
    return asyncio.run(
        _replay(qemu, streams, options, expected=expected, page_size=page_size, keep_memory=keep_memory, limit=limit)
    )


def replay_on(host: str, port: int, streams: Sequence[Stream], *, limit: float = LIMIT_SECONDS) -> list[int]:
    """Send a migration to a destination somebody else runs; the bytes of each stream that were taken."""

    async def run() -> list[int]:
        taken = [0] * len(streams)
        with suppress(TimeoutError):
            await asyncio.wait_for(_feed(host, port, streams, taken), limit)
        return taken

    return asyncio.run(run())


async def _feed(host: str, port: int, streams: Sequence[Stream], taken: list[int]) -> list[asyncio.StreamWriter]:
    """Connect in order, then write all streams at once."""
    writers: list[asyncio.StreamWriter] = []
    for _ in streams:
        try:
            _, writer = await asyncio.open_connection(host, port, limit=PIECE)
        except OSError as error:
            if not writers:
                raise InputError(f"{host}:{port}: {error.strerror or error}") from None
            break  # refused behind a full set of channels
        writers.append(writer)
    await asyncio.gather(
        *(_write(writer, streams[number], taken, number) for number, writer in enumerate(writers)),
        return_exceptions=True,
    )
    return writers


async def _write(writer: asyncio.StreamWriter, stream: Stream, taken: list[int], number: int) -> None:
    with suppress(OSError):
        view = memoryview(stream.data)
        for start in range(0, len(view), PIECE):
            writer.write(view[start : start + PIECE])
            await writer.drain()
            taken[number] = min(start + PIECE, len(view))
        if stream.closes:
            writer.write_eof()
            await writer.drain()


async def _replay(
    qemu: Qemu,
    streams: Sequence[Stream],
    options: DestinationOptions,
    *,
    expected: Mapping[str, Buffer] | None,
    page_size: int,
    keep_memory: bool,
    limit: float,
) -> Observation:
    async with Destination(qemu, options) as destination:
        try:
            await destination.listen()
        except GoneError:
            raise InputError(
                f"{qemu.name}: did not get ready: {destination.words() or 'its monitor is dead'}"
            ) from None
        begin = time.monotonic()
        taken = [0] * len(streams)
        feeding = asyncio.ensure_future(_feed("127.0.0.1", destination.port, streams, taken))
        try:
            outcome, status, alive = await _watch(destination, taken, begin + limit)
            page: tuple[str, int] | None = None
            if outcome == COMPLETES:
                if expected is not None:
                    blocks = [(name, expected[name]) for name, _ in options.blocks if name in expected]
                    page = first_difference(blocks, destination.memory(), page_size)
                outcome = LOSES_DATA if page is not None else COMPLETES
                with suppress(GoneError, InputError):
                    await destination.execute("quit", seconds=QUIT_SECONDS)
                code = await destination.wait(QUIT_SECONDS)
                if code is not None and code < 0:
                    outcome = CRASHES
            memory = destination.memory() if keep_memory else None
            return Observation(
                outcome, status, destination.words(), destination.exit_code, alive,
                time.monotonic() - begin, page, memory,
            )  # fmt: skip
        finally:
            feeding.cancel()
            with suppress(asyncio.CancelledError, Exception):
                _close(await feeding)


def _close(writers: Iterable[asyncio.StreamWriter]) -> None:
    for writer in writers:
        writer.transport.abort()


async def _watch(destination: Destination, taken: Sequence[int], deadline: float) -> tuple[str, str | None, bool]:
    """Outcome, last known status, whether the monitor answers.

    One question is asked at a time: QEMU reads commands in a thread of its own, so each one sent would look like life.
    """
    status: str | None = None
    seen: object = None
    quiet_since = asked = time.monotonic()
    question = destination.ask("query-migrate")
    try:
        while True:
            await asyncio.wait({question}, timeout=POLL_SECONDS)
            if destination.exit_code is not None or (question.done() and question.exception() is not None):
                code = await destination.wait(QUIT_SECONDS)
                return (HANGS if code is None else _exited(code)), status, False
            if question.done():
                status = question.result().get("status", status)
                if status in ("completed", "failed"):
                    await asyncio.sleep(POLL_SECONDS)  # an exit or a crash may follow
                    code = destination.exit_code
                    if code is not None and (status == "failed" or code < 0):
                        return _exited(code), status, False
                    return (COMPLETES if status == "completed" else FAILS), status, True
            now = time.monotonic()
            ticks, asleep = destination.activity()
            # Answering uses CPU time: while it answers, what it takes of the streams shows progress.
            place = (status, tuple(taken), None if question.done() else ticks)
            if place != seen or not (asleep or question.done()):
                seen, quiet_since = place, now
            silent = now - quiet_since
            if question.done() and silent >= 2 * QUIET_SECONDS:
                return HANGS, status, True
            if now > deadline or (silent >= QUIET_SECONDS and now - asked >= QUIET_SECONDS and not question.done()):
                return HANGS, status, question.done()
            if question.done():
                await asyncio.sleep(POLL_SECONDS)
                question, asked = destination.ask("query-migrate"), time.monotonic()
    finally:
        question.cancel()


def _exited(code: int) -> str:
    return CRASHES if code < 0 else FAILS
