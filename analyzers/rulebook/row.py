"""What rows of the rulebook are made of: frozen values that are themselves, whatever they hold.

To a type checker they are dataclasses. Nothing is generated for a class, which would cost every start
of the command line half a millisecond for each.
"""

from __future__ import annotations

from typing import Any, ClassVar, dataclass_transform


@dataclass_transform(eq_default=False, frozen_default=True)
class Row:
    """Fields are the annotations of the class, their defaults its attributes. Raises TypeError for a wrong field."""

    _names: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **_: bool) -> None:
        own = [name for name in cls.__annotations__ if not name.startswith("_")]
        cls._names = (*cls._names, *own)

    def __init__(self, *values: Any, **given: Any) -> None:
        given = dict(zip(self._names, values, strict=False)) | given
        wrong = given.keys() - set(self._names)
        lacking = [name for name in self._names if name not in given and not hasattr(type(self), name)]
        if wrong or lacking or len(values) > len(self._names):
            raise TypeError(f"{type(self).__name__}: no field {sorted(wrong)}, no value for {lacking}")
        self.__dict__.update(given)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")
