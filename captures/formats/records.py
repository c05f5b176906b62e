"""What a capture file format hands on: frames, thousands at a time, as columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from captures.formats.mapped import MappedFile
from captures.model import CaptureNote, InputForm

BATCH_FRAMES = 8192
"""Frames at a time: their headers fit the CPU's caches, and the columns of a batch are small change."""
COOKED_V2 = 276
"""Link type of ``tcpdump -i any``: its header says on which interface a frame was seen."""
COOKED_V2_INTERFACE = 4
MAX_CAPTURED = 262144
"""Longest frame that capture programs write, unless the file itself announces a longer one."""


class FrameBatch(NamedTuple):
    """Consecutive frames. ``record``: file offsets of the records they are in; ``start``: of their first bytes;
    ``captured`` and ``original``: lengths in the file and on the wire; ``link``: link types."""

    first_frame: int
    """Number of the first one; the first frame of a capture is number 1."""
    record: NDArray[np.int64]
    start: NDArray[np.int64]
    captured: NDArray[np.int64]
    original: NDArray[np.int64]
    link: NDArray[np.int64]


class CaptureFormat(Protocol):
    """A capture file being read. Never raises; ``notes`` say where the file could not be read."""

    kind: InputForm
    frames: int
    """Seen so far."""
    notes: list[CaptureNote]
    position: int
    """File offset up to which the file has been read."""

    def __init__(self, file: MappedFile) -> None: ...

    def batches(self) -> Iterator[FrameBatch]:
        """All frames in file order. To be called once."""

    def time(self, record: int) -> float | None:
        """Seconds since the epoch of the frame whose record is at that file offset; None when it does not say."""

    def interface(self, record: int) -> int | None:
        """A number for the interface on which that frame was seen; None when it does not say."""
