"""Names of a package that are imported when they are asked for (PEP 562): a face that costs no start-up time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(package: dict[str, Any], homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package whose ``globals()`` are given. ``homes``: name to ``module`` or ``module:name``
    where it is called otherwise."""

    def get(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package['__name__']!r} has no attribute {name!r}")
        module, _, other = home.partition(":")
        value = package[name] = getattr(import_module(module), other or name)
        return value

    return get
