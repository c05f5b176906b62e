"""What a capture file format hands on: frames, thousands at a time, as columns."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from captures.formats.mapped import MappedFile, gather
from captures.model import CaptureNote, InputForm

BATCH_FRAMES = 8192
"""Frames at a time: their headers fit the CPU's caches, and the columns of a batch are small change."""
HEAD = 112
"""First bytes of a record that are copied when it is found: its own header and those of an Ethernet frame with IPv4 and
TCP, options included. To go back to where they lie in the file would mean to wait for memory again."""
PACKET_KINDS = (2, 3, 6)
"""Types of the pcapng blocks that hold frames: obsolete, simple and enhanced packet blocks."""
COOKED_V2 = 276
"""Link type of ``tcpdump -i any``: its header says on which interface a frame was seen."""
COOKED_V2_INTERFACE = 4
MAX_CAPTURED = 262144
"""Longest frame that capture programs write, unless the file itself announces a longer one."""


class FrameBatch(NamedTuple):
    """Consecutive frames. ``record``: file offsets of the records they are in; ``start``: of their first bytes;
    ``captured`` and ``original``: lengths in the file and on the wire; ``link``: link types; ``head``: (n, HEAD) the
    first bytes of the records, zeros behind the end of the file."""

    first_frame: int
    """Number of the first one; the first frame of a capture is number 1."""
    record: NDArray[np.int64]
    start: NDArray[np.int64]
    captured: NDArray[np.int64]
    original: NDArray[np.int64]
    link: NDArray[np.int64]
    head: NDArray[np.uint8]
    loops: ModuleType | None = None
    """``captures.compiled.loops`` where the capture is large enough for them."""

    def read(self, file: MappedFile, rows: NDArray[np.int64], position: NDArray[np.int64], dtype: DTypeLike) -> Any:
        """One item of ``dtype`` (unaligned) from each of ``position`` in ``file``, which lies behind the beginning of
        the record of each of ``rows``; copied. All must lie inside the file."""
        form = np.dtype(dtype)
        place = position - self.record[rows]
        if len(place) and int(place.max()) + form.itemsize > HEAD:
            return file.gather(position, form)
        return gather(self.head, place + rows * HEAD, form)


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
