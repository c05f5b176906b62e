"""Frozen dataclasses whose fields are numpy columns of equal length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any, Generic, TypeVar, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

Columns = TypeVar("Columns")
Values = TypeVar("Values", bound=np.ndarray)
Rows = NDArray[np.int64] | NDArray[np.bool_] | slice


@lru_cache
def _names(form: Any) -> tuple[str, ...]:
    return tuple(column.name for column in fields(form))


def column_names(columns: Any) -> tuple[str, ...]:
    """Of a dataclass or an instance of it."""
    return _names(columns if isinstance(columns, type) else type(columns))


def distinct(values: Values) -> Values:
    """Sorted, each value once. (numpy.unique imports numpy.ma, which takes longer than reading a small capture.)"""
    ordered = np.sort(values)
    first = np.ones(len(ordered), np.bool_)
    first[1:] = ordered[1:] != ordered[:-1]
    return cast(Values, ordered[first])


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
        self._lists = {name: [getattr(nothing, name)] for name in column_names(nothing)}
        self._keys = [np.empty(0, np.uint32)]

    def add(self, keys: np.ndarray, columns: Columns) -> None:
        if len(keys):
            self._keys.append(keys.astype(np.uint32))
            for name, parts in self._lists.items():
                parts.append(getattr(columns, name).astype(parts[0].dtype, copy=False))

    def grouped(self, count: int) -> tuple[Columns, NDArray[np.int64]]:
        """All rows sorted by key (0 to ``count`` - 1), those of one key in the order they came; and where each key's
        rows start, with the number of all rows at the end. To be called once: columns are joined one after the other
        and their parts let go, so that memory never holds everything twice."""
        keys = np.concatenate(self._keys)
        self._keys.clear()
        # numpy sorts 16-bit integers in linear time.
        order = keys.astype(np.uint16 if count <= 1 << 16 else np.uint32).argsort(kind="stable")
        bounds = np.concatenate([[0], np.bincount(keys, minlength=count).cumsum()]).astype(np.int64)
        del keys
        return self._form(*(np.concatenate(self._lists.pop(name))[order] for name in list(self._lists))), bounds
