"""What a mutation is: an edit of a draft that makes it break one rule, and the near miss that breaks none."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from analyzers.findings import Outcome, Severity
from multifd_codec.draft.draft import Draft, Record
from multifd_codec.errors import ChannelName, InputError

Place = Record | tuple[ChannelName | None, int | None]
"""Where the finding must be: at a record, on a channel (with offset), or nowhere in particular (None, None)."""
Edit = Callable[[Draft, Random], Place]
Options = Mapping[str, str | int]
"""Options of ``multifd lint`` by name: ``profile``, ``mode``, ``channels``. Of the last, ``"all"`` is as many as the
healthy stream has, ``"fewer"`` one less."""
NOWHERE: Place = (None, None)


COMPLETES, LOSES, FAILS = (frozenset({o}) for o in (Outcome.COMPLETES, Outcome.LOSES_DATA, Outcome.FAILS))
HANGS, CRASHES, UNDECIDED = (frozenset({o}) for o in (Outcome.HANGS, Outcome.CRASHES, Outcome.UNDECIDED))


class LacksError(InputError):
    """A mutation does not fit the stream; the message says what is missing or in the way."""


def untouched(draft: Draft, random: Random) -> Place:
    """No edit: the healthy migration has the legal form itself."""
    return NOWHERE


def same(edit: Callable[[Draft, Random], object]) -> Edit:
    """A near miss that breaks nothing, so that its place does not matter."""

    def edited(draft: Draft, random: Random) -> Place:
        edit(draft, random)
        return NOWHERE

    return edited


@dataclass(frozen=True, slots=True)
class Mutation:
    """One way to violate one rule."""

    code: str
    what: str
    """What the edit does, in a few words."""
    outcomes: frozenset[Outcome]
    """All that a destination can come to. They are those of a stream that the reference sender makes with the rule in
    mind; one of another release, or with more to lose, may have others."""
    edit: Edit
    """Changes a healthy draft; the place of the finding that must follow. Raises LacksError, before it has changed
    anything, when the stream lacks what the rule is about."""
    near: Edit = untouched
    """A legal edit as close to ``edit`` as possible."""
    name: str | None = None
    """Wire field of the finding."""
    options: Options = field(default_factory=dict)
    """With which options lint must judge the result."""
    near_options: Options | None = None
    """With which ones it finds nothing in the near miss; None: the same."""
    also: frozenset[str] = frozenset()
    """Further rules that this violation may break by necessity, depending on the stream."""
    severity: Severity | None = None
    """Of the finding; None: the rule's own."""
    captured: bool = False
    """Only a capture shows it: what was sent when, or what a recording lacks."""

    @property
    def way(self) -> str:
        """``what`` as one word."""
        return re.sub(r"[^a-z0-9]+", "-", self.what.lower()).strip("-")

    def lint_options(self, *, near: bool = False) -> Options:
        """The options for lint."""
        return self.near_options if near and self.near_options is not None else self.options
