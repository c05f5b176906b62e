"""Edits put together: find a record, then set its fields, give it another payload, or put a record beside it.

A finder raises LacksError or returns the record, and changes nothing; so it is an edit itself, for mutations whose
question is what another destination makes of a healthy stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from analyzers.mutation.legal import resend
from analyzers.mutation.mutation import NOWHERE, Edit, Place
from analyzers.mutation.shape import Shape, avoid, need, pick
from multifd_codec.draft.draft import Draft, Record
from multifd_codec.source import Buffer

Finder = Callable[[Draft, Random], Record]
Records = Callable[[Shape], Sequence[Record]]
Demand = Callable[[Shape], None]
"""Raises LacksError."""


# What a stream must have.


def having(test: Callable[[Shape], object], what: str) -> Demand:
    return lambda shape: need(test(shape), what)


def without(test: Callable[[Shape], object], what: str) -> Demand:
    return lambda shape: avoid(test(shape), what)


def multifd(channels: int = 1) -> Demand:
    """A main channel, and so many others."""
    return lambda shape: shape.multifd(channels)


LISTED = having(lambda s: s.blocks, "a block list on main")
MISSING = "device state: it would be missing as well"
NO_STATE = without(lambda s: s.states, MISSING)


# What to find.


def one(records: Records, what: str, *demands: Demand) -> Finder:
    """One of them; ``what`` they are."""

    def find(draft: Draft, random: Random) -> Record:
        shape = Shape(draft)
        for demand in demands:
            demand(shape)
        return pick(random, records(shape), what)

    return find


def one_or_resent(records: Records, *demands: Demand) -> Finder:
    """One of them; where there are none, a page is sent again."""

    def find(draft: Draft, random: Random) -> Record:
        shape = Shape(draft)
        for demand in demands:
            demand(shape)
        found = records(shape)
        return random.choice(found) if found else resend(draft, random)

    return find


def asks(*demands: Demand, at: Place = NOWHERE) -> Edit:
    """No edit: the question is what another destination makes of the stream, or another recording."""

    def edit(draft: Draft, random: Random) -> Place:
        shape = Shape(draft)
        for demand in demands:
            demand(shape)
        return at

    return edit


# What to do.


def sets(find: Finder, **changes: object) -> Edit:
    """Set fields of a record; a value that is a function is called with its event, the shape and the random."""

    def edit(draft: Draft, random: Random) -> Record:
        record = find(draft, random)
        shape = Shape(draft)
        values = {k: v(record.event, shape, random) if callable(v) else v for k, v in changes.items()}
        return record.set(**values)

    return edit


def resized(record: Record, payload: Buffer) -> Record:
    """Replace the payload of a packet, and what its header says of it."""
    record.payload = payload
    return record.set(next_packet_size=len(payload), payload_length=len(payload))


def refills(find: Finder, payload: Callable[[bytes, Shape, Random], Buffer]) -> Edit:
    """Replace the payload of a packet by what is made of it."""

    def edit(draft: Draft, random: Random) -> Record:
        record = find(draft, random)
        return resized(record, payload(bytes(record.payload), Shape(draft), random))

    return edit


def drops(find: Finder) -> Edit:
    """Leave a record out; what stands behind it is where it is missed."""

    def edit(draft: Draft, random: Random) -> Record:
        record = find(draft, random)
        line = draft.line(record)
        at = next(i for i, other in enumerate(line) if other is record)
        draft.drop(record)
        return line[at]

    return edit


def before(find: Finder, make: Callable[[], Record]) -> Edit:
    """A record more in front of another."""
    return lambda draft, random: draft.before(find(draft, random), make())


def behind(find: Finder, make: Callable[[], Record]) -> Edit:
    """A record more behind another."""
    return lambda draft, random: draft.behind(find(draft, random), make())
