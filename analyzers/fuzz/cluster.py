"""Work on a Dask cluster instead of processes of one's own: the extra ``cluster``.

Its scheduler hands out again the blocks that a lost worker had. Workers need this package and, against a real
destination, the QEMU of the command line.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

from multifd_codec.compression import MissingExtraError
from multifd_codec.errors import InputError

EXTRA = "cluster"
CONNECT_SECONDS = 4
RETRIES = 5
"""Times a block is tried again when its worker is lost."""


@contextmanager
def cluster(address: str) -> Iterator[tuple[Executor, int]]:
    """The workers of a scheduler, ``tcp://HOST:PORT``, and how many threads they have now; more may come.

    Raises InputError when there is no scheduler, when it has no worker, and for what goes wrong with it meanwhile.
    """
    distributed = _distributed()
    try:
        client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{address}: no Dask scheduler answers there: {reason}") from None
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise InputError(f"{address}: the scheduler has no workers; start some with `dask worker {address}`")
        try:
            yield client.get_executor(pure=False, retries=RETRIES), threads
        except distributed.KilledWorker as error:
            raise InputError(f"{address}: a block was lost with each of {RETRIES} workers: {error}") from None
        except distributed.client.FutureCancelledError as error:
            raise InputError(f"{address}: the scheduler is gone: {error}") from None


def _distributed() -> Any:
    try:
        import distributed  # noqa: PLC0415 - an extra, and heavy
    except ImportError:
        raise MissingExtraError(f"a scheduler needs the extra {EXTRA}: pip install 'multifd-codec[{EXTRA}]'") from None
    return distributed
