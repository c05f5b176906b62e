"""An input file that becomes shorter while it is mapped: the kernel answers a look behind its end with SIGBUS."""

from __future__ import annotations

import os
import signal

from analyzers.report.exit_codes import ExitCode

MESSAGE = b"multifd: an input file became shorter while it was read\n"
_kept: list[object] = []
"""What C calls must not be collected."""


def tell_of_shrinking() -> None:
    """Have SIGBUS end the process with one line and exit code 2. Nothing of Python's can answer it: a handler of the
    signal module runs later, and the look that failed would be taken again first."""
    if _kept or not hasattr(signal, "SIGBUS"):
        return
    import ctypes  # noqa: PLC0415 -- numpy imports it, too, but later

    def end(_: int) -> None:
        os.write(2, MESSAGE)
        os._exit(ExitCode.FAILED)

    kind = ctypes.CFUNCTYPE(None, ctypes.c_int)
    _kept.append(handler := kind(end))
    install = ctypes.CDLL(None).signal
    install.argtypes, install.restype = (ctypes.c_int, kind), ctypes.c_void_p
    install(signal.SIGBUS, handler)
