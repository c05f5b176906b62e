"""Named tuples whose fields are numpy columns of equal length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

LEAST_ROWS = 1 << 20
"""To begin with: a row that is not written to yet takes no memory, but moving those that are takes time."""
FEW_KEYS = 32
"""So few are looked for one by one, which takes less memory than to sort."""
Columns = TypeVar("Columns")
Rows = NDArray[np.int64] | NDArray[np.bool_] | slice


def column_names(columns: Any) -> tuple[str, ...]:
    """Of a named tuple of columns, or its class."""
    names: tuple[str, ...] = columns._fields
    return names


def take(columns: Columns, rows: Rows) -> Columns:
    """The chosen rows; without copying when ``rows`` is a slice."""
    return type(columns)(*(getattr(columns, name)[rows] for name in column_names(columns)))


def concatenate(parts: Sequence[Columns]) -> Columns:
    """All rows of at least one part."""
    names = column_names(parts[0])
    return type(parts[0])(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def empty(form: type[Columns], **dtypes: DTypeLike) -> Columns:
    """No rows; ``dtypes`` by column name."""
    return form(*(np.empty(0, dtypes[name]) for name in column_names(form)))


class Collector(Generic[Columns]):
    """Gathers columns piece by piece."""

    def __init__(self, nothing: Columns) -> None:
        """``nothing`` has no rows, but the right types."""
        self._form = type(nothing)
        self._columns = {name: _Growing(getattr(nothing, name)) for name in column_names(nothing)}
        self._keys = _Growing(np.empty(0, np.uint32))

    def add(self, keys: np.ndarray, columns: Columns) -> None:
        if len(keys):
            self._keys.add(keys)
            for name, column in self._columns.items():
                column.add(getattr(columns, name))

    def room(self, count: int) -> list[np.ndarray]:
        """Where ``count`` further rows go, keys first: to be filled in, and then kept."""
        return [column.room(count) for column in (self._keys, *self._columns.values())]

    def keep(self, count: int) -> None:
        """So many rows were filled in."""
        for column in (self._keys, *self._columns.values()):
            column.keep(count)

    def last(self, key: int) -> Columns | None:
        """The last row of a key."""
        rows = np.flatnonzero(self._keys.rows() == key)[-1:]
        return self._form(*(column.rows()[rows] for column in self._columns.values())) if len(rows) else None

    def grouped(self, count: int) -> tuple[Columns, NDArray[np.int64]]:
        """All rows sorted by key (0 to ``count`` - 1), those of one key in the order they came; and where each key's
        rows start, with the number of all rows at the end. To be called once: columns are sorted one after the other
        and the unsorted ones let go, so that memory never holds everything twice."""
        keys = self._keys.rows()
        bounds = np.concatenate([[0], np.bincount(keys, minlength=count).cumsum()]).astype(np.int64)
        order = _order(keys, bounds)
        del keys, self._keys
        return self._form(*(self._columns.pop(name).rows()[order] for name in list(self._columns))), bounds


def _order(keys: np.ndarray, bounds: NDArray[np.int64]) -> NDArray[np.uint32]:
    """The rows sorted by key; ``bounds`` as of ``grouped``."""
    if len(bounds) > FEW_KEYS:
        # numpy sorts 16-bit integers in linear time.
        short = keys.astype(np.uint16 if len(bounds) <= 1 << 16 else np.uint32)
        return short.argsort(kind="stable").astype(np.uint32)
    order = np.empty(len(keys), np.uint32)
    for key in range(len(bounds) - 1):
        order[bounds[key] : bounds[key + 1]] = np.flatnonzero(keys == key)
    return order


class _Growing:
    """A column that gets longer, in one piece: thousands of small arrays would leave the heap in shreds."""

    def __init__(self, nothing: np.ndarray) -> None:
        self._array = nothing
        self._length = 0

    def add(self, more: np.ndarray) -> None:
        self.room(len(more))[:] = more
        self.keep(len(more))

    def room(self, count: int) -> np.ndarray:
        length = self._length + count
        if length > len(self._array):
            longer = np.empty(max(2 * length, LEAST_ROWS), self._array.dtype)
            longer[: self._length] = self.rows()
            self._array = longer
        return self._array[self._length : length]

    def keep(self, count: int) -> None:
        self._length += count

    def rows(self) -> np.ndarray:
        return self._array[: self._length]
