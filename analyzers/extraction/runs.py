"""Pages that follow each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def consecutive(offsets: NDArray[np.int64], size: int) -> bool:
    """Whether these are pages in a row."""
    return bool((offsets[1:] - offsets[:-1] == size).all())


def stretches(offsets: NDArray[np.int64], size: int, *, one_run: bool) -> list[tuple[int, int]]:
    """(first, behind) of each stretch of consecutive pages, as positions in ``offsets``."""
    if one_run:
        return [(0, len(offsets))]
    breaks = (np.flatnonzero(offsets[1:] - offsets[:-1] != size) + 1).tolist()
    return list(zip([0, *breaks], [*breaks, len(offsets)], strict=True))
