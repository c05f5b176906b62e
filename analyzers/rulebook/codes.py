"""Rules by their names: ``from analyzers.rulebook.codes import MFD301`` is that rule; another name fails."""

from __future__ import annotations

from analyzers.rulebook.registry import RULES
from analyzers.rulebook.rule import Rule


def __getattr__(name: str) -> Rule:
    if name not in RULES:
        raise AttributeError(f"there is no rule {name}")
    return RULES[name]
