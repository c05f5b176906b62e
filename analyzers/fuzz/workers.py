"""Who does the work of a campaign: processes that end with it, whose Ctrl-C is not theirs, or a Dask cluster."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, parent_process
from threading import Thread
from typing import Any

from multifd_codec.errors import InputError

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


@contextmanager
def workers_of(jobs: int | None, scheduler: str | None) -> Iterator[tuple[Executor, int]]:
    """An executor, and how many work in it: ``jobs`` processes (None: one a core), or those of a Dask scheduler.

    Raises InputError when they are lost, or the scheduler is not there.
    """
    if scheduler is not None:
        from analyzers.fuzz.cluster import cluster  # noqa: PLC0415 - an extra

        with cluster(scheduler) as there:
            yield there
        return
    count = jobs or os.cpu_count() or 1
    with Workers(count) as executor:
        try:
            yield executor, count
        except BrokenProcessPool:
            raise InputError("a worker process was ended from outside (out of memory?)") from None
        except KeyboardInterrupt:
            for process in active_children():
                process.kill()
            raise
