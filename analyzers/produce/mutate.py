"""Choosing and applying a mutation: the library's door to what ``multifd mutate`` does."""

from __future__ import annotations

import struct
from random import Random
from typing import NamedTuple

from analyzers.mutation.mutation import LacksError, Mutation, Options
from analyzers.rulebook.capture.spoilt import Spoilt
from analyzers.rulebook.mutation_registry import MUTATIONS, WITHOUT
from captures.write.tap import Tap
from multifd_codec.channel.events import ChannelInit
from multifd_codec.draft.draft import Draft, Record
from multifd_codec.errors import ChannelName, InputError
from multifd_codec.wire.handshake import MULTIFD_MAGIC, MULTIFD_VERSION

UNFIT = (LookupError, ArithmeticError, ValueError, StopIteration, struct.error)
"""What an edit of a stream that is not healthy may come to: finders look up what every healthy one has, and edits count
on from its numbers."""


class Mutated(NamedTuple):
    """What was done to a draft."""

    draft: Draft
    mutation: Mutation
    near: bool
    """It is the near miss: nothing must be found."""
    channel: ChannelName | None
    offset: int | None
    """Where lint will find it, in the mutated stream."""
    options: Options
    """With which options lint must judge it."""
    tap: Tap | None
    """How it must be recorded, if only a capture shows it."""


def mutations_of(code: str, way: str | None = None) -> tuple[Mutation, ...]:
    """The mutations of a rule, or the one of that name. Raises InputError when there is none."""
    code = code.strip().upper()
    if code in WITHOUT:
        raise InputError(f"{code} has no mutation: {WITHOUT[code]}")
    found = MUTATIONS.get(code)
    if found is None:
        raise InputError(f"there is no rule {code!r}; `multifd rules` lists all")
    if way is None:
        return found
    named = tuple(mutation for mutation in found if way in (mutation.way, mutation.what))
    if not named:
        raise InputError(f"{code} has no way {way!r}; there are {', '.join(m.way for m in found)}")
    return named


def mutate(draft: Draft, code: str, *, way: str | None = None, near: bool = False, seed: int = 0) -> Mutated:
    """Edit a healthy draft so that it breaks a rule, and with ``near`` so that it only nearly does.

    The first way that the stream has got what it needs for, unless one is named. The same draft and seed give the same
    result. Raises InputError for a code or way there is none of, LacksError when the stream lacks what they need.
    """
    lacks: list[str] = []
    for mutation in mutations_of(code, way):
        try:
            return apply(draft, mutation, near=near, seed=seed)
        except LacksError as error:
            if error.message not in lacks:
                lacks.append(error.message)
    raise LacksError(f"{code.strip().upper()}: {'; '.join(lacks)}")


def apply(draft: Draft, mutation: Mutation, *, near: bool = False, seed: int = 0) -> Mutated:
    """Edit a draft with that mutation. Raises LacksError."""
    edit = mutation.near if near else mutation.edit
    channels = len(draft.channels)
    try:
        place = edit(draft, Random(f"{mutation.code} {seed}"))
    except UNFIT as error:
        raise LacksError(f"not a healthy stream: what {mutation.way!r} changes is not in it") from error
    tap = Tap() if mutation.captured else None
    if isinstance(mutation, Spoilt):
        tap = (mutation.near_tap if near else mutation.tap)(draft, place)
    channel, offset = draft.place(place) if isinstance(place, Record) else place
    if isinstance(channel, int) and not _stated(draft, channel):
        channel = None  # what it is called depends on how it is recorded
    if tap is not None:
        offset = None  # that of what is missing, which the recording tells
        channel = None if tap.unopened else channel  # without its start, a channel has no id
    return Mutated(draft, mutation, near, channel, offset, _resolved(mutation.lint_options(near=near), channels), tap)


def _stated(draft: Draft, number: int) -> bool:
    """Whether a ChannelInit states that id in a way that can be believed (``CapturedChannel.stated_id``)."""
    firsts = (line[0].event for line in draft.channels if line)
    return any(
        first.id == number and (first.magic == MULTIFD_MAGIC or first.version == MULTIFD_VERSION)
        for first in firsts
        if isinstance(first, ChannelInit)
    )


def _resolved(options: Options, channels: int) -> Options:
    """``channels`` as a number: of all that there were, or one fewer."""
    counts: dict[str | int, int] = {"all": channels, "fewer": channels - 1}
    return {name: counts.get(value, value) if name == "channels" else value for name, value in options.items()}
