"""All rules: every folder beside this module is a family, and the rows in its ``rules.py`` are found here.

The texts of a rule stand alone: ``multifd explain`` prints nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import TypeVar

import analyzers.rulebook
from analyzers.rulebook.conditions import (
    DeviceStateCondition,
    HeaderCondition,
    MainProblem,
    MainRefusal,
    PacketCondition,
    RecordingNote,
)
from analyzers.rulebook.rule import Rule
from captures.model import NoteKind
from multifd_codec.main.problems import ProblemKind

Key = TypeVar("Key")
Value = TypeVar("Value")

_FAMILIES = [
    import_module(f"{analyzers.rulebook.__name__}.{folder.name}.rules")
    for folder in iter_modules(analyzers.rulebook.__path__)
    if folder.ispkg
]
_ROWS: list[tuple[Rule, str]] = [(rule, module.FAMILY) for module in _FAMILIES for rule in module.RULES]
_IN_ORDER = sorted(_ROWS, key=lambda row: row[0].code)


def _unique(pairs: Iterable[tuple[Key, Value]]) -> Mapping[Key, Value]:
    """A mapping of pairs whose keys are all different. Raises ValueError."""
    found: dict[Key, Value] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key} stands in two rows of the rulebook")
        found[key] = value
    return found


RULES: Mapping[str, Rule] = _unique((rule.code, rule) for rule, _ in _IN_ORDER)
"""Code to rule, in code order."""

FAMILIES: Mapping[str, str] = _unique(dict.fromkeys((rule.code[:4], family) for rule, family in _IN_ORDER))
"""Code prefix to family name."""

_CONDITIONS = [(rule, condition) for rule, _ in _ROWS for condition in rule.conditions]

PROBLEMS: Mapping[ProblemKind, tuple[Rule, MainProblem]] = _unique(
    (condition.kind, (rule, condition)) for rule, condition in _CONDITIONS if isinstance(condition, MainProblem)
)
"""What the decoder of the main channel finds, and the rule it breaks."""

NOTES: Mapping[NoteKind, tuple[Rule, RecordingNote]] = _unique(
    (condition.kind, (rule, condition)) for rule, condition in _CONDITIONS if isinstance(condition, RecordingNote)
)
"""What a reader notices about a recording, and the rule it belongs to."""

PACKET_CONDITIONS: Mapping[PacketCondition, Rule] = _unique(
    (condition, rule) for rule, condition in _CONDITIONS if isinstance(condition, PacketCondition)
)
"""What may hold of a RAM packet, and the rule it breaks; in the order in which a receiver meets them."""

HEADER_CONDITIONS = tuple(condition for condition in PACKET_CONDITIONS if isinstance(condition, HeaderCondition))

DEVICE_STATE_CONDITIONS = sorted(
    ((rule, found) for rule, found in _CONDITIONS if isinstance(found, DeviceStateCondition)),
    key=lambda row: row[0].code[:4],
)
"""What may hold of a device-state packet, in the order in which a receiver meets it, and the rule it breaks: the header
that all packets have comes first (multifd_recv_thread, migration/multifd.c)."""

MAIN_REFUSALS = [(rule, found) for rule, found in _CONDITIONS if isinstance(found, MainRefusal)]
"""What some destinations refuse on the main channel, and the rule it breaks."""
