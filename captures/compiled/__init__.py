"""Loops over frames in machine code, for large captures: the optional extra ``fast``.

Loading numba takes as long as reading a million and a half frames without it, so small captures never see it. What is
compiled is kept between runs, beside this file or in the user's cache folder (``NUMBA_CACHE_DIR`` names another); where
nothing can be kept numpy does the work: compiling anew in each run would take longer.
"""

from __future__ import annotations

import functools
from importlib.util import find_spec
from types import ModuleType

PAYS_FROM = 3 << 19
"""Frames from which on it pays, by measurement: loading takes 0.35 s, each frame 0.25 microseconds less."""


def loops_for(frames: int) -> ModuleType | None:
    """``captures.compiled.loops`` when about so many frames are still to be read; None when numpy is faster or numba is
    not there."""
    return _load() if frames >= PAYS_FROM else None


@functools.cache
def _load() -> ModuleType | None:
    if find_spec("numba") is None:
        return None
    try:
        from captures.compiled import loops  # noqa: PLC0415 -- slow to import
    except (ImportError, OSError, RuntimeError):  # no folder to keep it in, or no room there
        return None
    return loops
