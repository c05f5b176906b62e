"""One event loop, on a thread of its own, for all QEMUs of this Python process.

So functions that callers use are plain and can be called from any thread, many runs share one thread, and QEMUs are
always children of a thread that lives as long as the process (they are told to die with it).
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_CLEAN_SECONDS = 5.0

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def event_loop() -> asyncio.AbstractEventLoop:
    """The loop, running."""
    global _loop  # noqa: PLW0603 - one a process
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="multifd-qemu", daemon=True).start()
        return _loop


def start(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Begin some work on the loop."""
    return asyncio.run_coroutine_threadsafe(work, event_loop())


def run(work: Coroutine[Any, Any, T]) -> T:
    """Its result. Interrupted (Ctrl-C), the work is cancelled and has cleaned up before this returns."""
    done = threading.Event()
    future = start(_announced(work, done))
    try:
        return future.result()
    except BaseException:
        if not done.is_set():
            future.cancel()
            done.wait(_CLEAN_SECONDS)
        raise


async def _announced(work: Coroutine[Any, Any, T], done: threading.Event) -> T:
    try:
        return await work
    finally:
        done.set()


def _forget() -> None:
    """A forked child has no such thread."""
    global _loop, _lock
    _loop, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
