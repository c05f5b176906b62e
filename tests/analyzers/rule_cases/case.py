"""A rule, a stream that violates just it, and legal ones as close to that as possible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from analyzers.findings import Outcome, Severity
from analyzers.mutation.mutation import Mutation
from analyzers.produce.mutate import apply, mutations_of
from multifd_codec.draft.draft import Record
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
    """One violation: the public mutation of that rule and description, unless the case has an edit of its own."""

    code: str
    what: str
    """What the edit does, in a few words."""
    outcomes: frozenset[Outcome]
    near: Near | None = None
    """None: that of the mutation, which is tested anyway."""
    edit: Edit | None = None
    make: Callable[[], Stream] = V10
    name: str | None = None
    """Wire field of the finding, for an own edit."""
    also: frozenset[str] = frozenset()
    """Further rules that this violation breaks by necessity."""
    severity: Severity | None = None
    """None: the rule's own."""
    options: Options | None = None
    """None: those of the mutation."""
    seed: int = 0

    @property
    def id(self) -> str:
        return f"{self.code}-{self.what.replace(' ', '-')}"

    @property
    def mutation(self) -> Mutation | None:
        if self.edit is not None:
            return None
        (mutation,) = mutations_of(self.code, self.what)
        return mutation

    def violate(self) -> Violation:
        """A stream with the violation."""
        stream = self.make()
        mutation = self.mutation
        if mutation is None:
            assert self.edit is not None
            place = self.edit(stream)
            found = stream.place(place) if isinstance(place, Record) else place or (None, None)
            return Violation(stream, *found, self.name, self.options or {})
        done = apply(stream, mutation, seed=self.seed)
        options = done.options if self.options is None else self.options
        return Violation(stream, done.channel, done.offset, mutation.name, dict(options))


class Violation(NamedTuple):
    """A stream, where the finding must be in it, its wire field, and the options of lint."""

    stream: Stream
    channel: ChannelName | str | None
    offset: int | None
    name: str | None
    options: Options
