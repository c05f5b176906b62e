"""The mutations of all rules, from ``mutations.py`` beside each family's ``rules.py``.

Apart from the rules, and loaded when somebody asks for one: they cost a fifth of the start of a lint, which needs none.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from itertools import groupby
from operator import attrgetter
from pkgutil import iter_modules

from analyzers import rulebook
from analyzers.mutation.mutation import Mutation


def _ways(family: str) -> tuple[tuple[Mutation, ...], Mapping[str, str]]:
    """Mutations of a family, and its rules without. Raises LookupError for a rule that the family does not have."""
    rules = {rule.code for rule in import_module(f"{family}.rules").RULES}
    module = import_module(f"{family}.mutations")
    mutations, without = tuple(module.MUTATIONS), getattr(module, "WITHOUT", {})
    unknown = {mutation.code for mutation in mutations} | without.keys()
    if unknown - rules:
        raise LookupError(f"{family} has no rules {', '.join(sorted(unknown - rules))}, but mutations of them")
    return mutations, without


_FAMILIES = [_ways(f.name) for f in iter_modules(rulebook.__path__, f"{rulebook.__name__}.") if f.ispkg]

MUTATIONS: Mapping[str, tuple[Mutation, ...]] = {
    code: tuple(ways)
    for code, ways in groupby(
        sorted((m for mutations, _ in _FAMILIES for m in mutations), key=attrgetter("code")), key=attrgetter("code")
    )
}
"""Code to the ways to violate that rule, the default first."""

WITHOUT: Mapping[str, str] = {code: why for _, without in _FAMILIES for code, why in without.items()}
"""Rules no mutation can violate, and why."""
