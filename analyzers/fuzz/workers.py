"""The processes of a campaign: they end with it, and its Ctrl-C is not theirs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import parent_process
from threading import Thread
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Workers(ProcessPoolExecutor):
    """A process pool; ``submit`` is for the thread that has the handlers of SIGINT and SIGTERM."""

    def __init__(self, jobs: int) -> None:
        super().__init__(jobs, initializer=_as_worker)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As any executor. The first task starts the processes, and until they come to ``_as_worker`` they have our
        handlers: signals wait for that."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _as_worker() -> None:
    """Ctrl-C is for the parent; without it, however it ended, there is nothing left to do."""

    def follow() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    Thread(target=follow, daemon=True).start()
