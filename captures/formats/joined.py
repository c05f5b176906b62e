"""Several capture files as one: their bytes stand one behind the other, wherever each of them is mapped."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple, Protocol

from captures.formats.mapped import MappedFile, Opened
from captures.formats.records import CaptureFormat


class Sliceable(Protocol):
    """Bytes that are read in slices without copies: a memoryview, or several."""

    def __getitem__(self, place: slice, /) -> memoryview: ...


class Part(NamedTuple):
    """One of the files. ``base``: position of its first byte among those of all files."""

    opened: Opened
    capture: CaptureFormat
    base: int

    @property
    def file(self) -> MappedFile:
        return self.opened.file


class JoinedView:
    """The bytes of several files. A slice must lie inside one of them, as the bytes of a frame do."""

    def __init__(self, parts: list[Part]) -> None:
        self._views = [part.file.view for part in parts]
        self._bases = [part.base for part in parts]
        # Where the last slice was: the next one is mostly there, too.
        self._view, self._low, self._high = self._views[0], 0, len(self._views[0])

    def __getitem__(self, place: slice, /) -> memoryview:
        start, stop = place.start, place.stop
        if not self._low <= start < self._high:
            index = bisect_right(self._bases, start) - 1
            self._view, self._low = self._views[index], self._bases[index]
            self._high = self._low + len(self._view)
        return self._view[start - self._low : stop - self._low]


class JoinedRecords:
    """When and where a frame was seen, by the position of its record among the bytes of all files."""

    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts
        self._bases = [part.base for part in parts]

    def time(self, record: int) -> float | None:
        """As of a CaptureFormat."""
        part = self._part(record)
        return part.capture.time(record - part.base)

    def interface(self, record: int) -> int | None:
        """As of a CaptureFormat."""
        part = self._part(record)
        return part.capture.interface(record - part.base)

    def _part(self, record: int) -> Part:
        return self._parts[bisect_right(self._bases, record) - 1]
