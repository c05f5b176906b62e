"""A rule, a stream that violates just it, and a legal one as close to that as possible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from analyzers.findings import Outcome, Severity
from multifd_codec.draft import Record
from multifd_codec.errors import ChannelName
from tests.migrations import like
from tests.streams import Stream

Place = Record | tuple[ChannelName | str, int | None] | None
"""Where the finding must be: at a record, on a channel (with offset), or nowhere in particular."""
Edit = Callable[[Stream], Place]
Options = dict[str, Any]

COMPLETES = frozenset({Outcome.COMPLETES})
FAILS = frozenset({Outcome.FAILS})
HANGS = frozenset({Outcome.HANGS})
CRASHES = frozenset({Outcome.CRASHES})
LOSES = frozenset({Outcome.LOSES_DATA})
UNDECIDED = frozenset({Outcome.UNDECIDED})

V10 = like()


@dataclass(frozen=True, slots=True)
class Near:
    """A legal stream: no finding above info, and it completes."""

    edit: Callable[[Stream], object] = lambda stream: None
    """By default none: the healthy migration has the legal form itself."""
    make: Callable[[], Stream] | None = None
    """None: what the case itself starts from."""
    options: Options | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One violation."""

    code: str
    what: str
    """What the edit does, in a few words."""
    edit: Edit
    outcomes: frozenset[Outcome]
    near: Near
    make: Callable[[], Stream] = V10
    name: str | None = None
    """Wire field of the finding."""
    also: frozenset[str] = frozenset()
    """Further rules that this violation breaks by necessity."""
    severity: Severity | None = None
    """None: the rule's own."""
    options: Options = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.code}-{self.what.replace(' ', '-')}"
