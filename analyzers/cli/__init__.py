"""The command line; its commands are in ``commands`` and hold no logic, which is that of the packages below."""

from __future__ import annotations

import _thread
import gc
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from analyzers.cli.streams import complete_streams


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``multifd`` with ``arguments`` (those of the process when None); the exit code."""
    # numpy's OpenBLAS starts a thread a core when it is imported, which takes 0.1 s and is never used here.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Importing makes many objects and no garbage; collecting it takes a tenth of the time of a small capture.
    gc.set_threshold(200_000, 20, 20)
    try:
        from analyzers.cli.app import multifd  # noqa: PLC0415

        multifd.main(arguments, prog_name="multifd")
    except SystemExit as exit_request:
        return exit_request.code if isinstance(exit_request.code, int) else int(exit_request.code is not None)
    except KeyboardInterrupt:
        return 130
    return 0


def _end(number: int, _: object) -> NoReturn:
    """Told to end: what is left half done is tidied up first."""
    sys.exit(128 + number)


AGAIN_SECONDS = 0.01


def _come_again(unraisable: sys.UnraisableHookArgs) -> None:
    """An interrupt in a finalizer, or wherever else Python can only print it: it comes again, a moment later."""
    error = unraisable.exc_value
    if not isinstance(error, KeyboardInterrupt | SystemExit):
        sys.__unraisablehook__(unraisable)
        return
    number = signal.SIGINT if isinstance(error, KeyboardInterrupt) else int(error.code or 0) - 128

    def send() -> None:
        time.sleep(AGAIN_SECONDS)
        os.kill(os.getpid(), number)

    _thread.start_new_thread(send, ())


def run() -> NoReturn:
    """The ``multifd`` program. Everything is written and closed by then, so the process ends without tearing down
    every module, which takes as long as judging a small capture."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores it
            signal.signal(number, _end)
    sys.unraisablehook = _come_again
    complete_streams()
    code = main()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # too late to interrupt anything
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        code = code or 2  # ExitCode.FAILED, which is dear to import
    os._exit(code)
