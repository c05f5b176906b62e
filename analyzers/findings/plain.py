"""Values of this package as what JSON has."""

from __future__ import annotations

import enum
from typing import Any


def plain(value: Any) -> Any:
    """Named tuples as objects, other tuples as arrays, members of enumerations as their values."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple):
        names = getattr(value, "_fields", None)
        if names is None:
            return [plain(item) for item in value]
        return {name: plain(item) for name, item in zip(names, value, strict=True)}
    return value


def told(value: Any, always: tuple[str, ...]) -> dict[str, Any]:
    """A named tuple that has a ``text``, as an object: ``always`` and the fields that are set, the text last."""
    defaults = value._field_defaults
    fields = {name: getattr(value, name) for name in value._fields}
    shown = {name: plain(item) for name, item in fields.items() if name in always or item != defaults.get(name)}
    return {**shown, "text": value.text}


def encodable(text: str) -> str:
    """A file name that may not be UTF-8 as text that is."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
