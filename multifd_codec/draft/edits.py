"""Small edits of a migration, as values: what fuzzing and shrinking try, wherever they may lead.

Every edit can be applied to every draft: positions count modulo what is there, so that any integer means something, and
an edit that finds nothing to change changes nothing. A mutation that breaks one named rule is another matter.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from multifd_codec.draft.draft import Draft, Line, Record, raw
from multifd_codec.errors import ChannelName, EncodeError
from multifd_codec.main.events import ZeroPageRun


class EditKind(enum.StrEnum):
    """What is done to one record."""

    DROP = "drop"
    """It is left out."""
    REPEAT = "repeat"
    """It stands twice, one behind the other."""
    MOVE = "move"
    """It stands at another position of its channel, ``to``."""
    TRANSFER = "transfer"
    """It stands on another channel, ``other``, at position ``to``."""
    SET = "set"
    """Its field number ``field`` gets a boundary value, number ``to``."""
    FLIP = "flip"
    """Bit number ``to`` of its bytes (payload included, the highest bit of the first byte is 0) is the other one."""
    CUT = "cut"
    """Its channel ends behind ``to`` bytes of it."""


class Edit(NamedTuple):
    """One edit; all numbers may be any integers."""

    kind: EditKind
    channel: ChannelName
    """The record's channel: ``"main"``, or its position among the multifd channels."""
    position: int
    """The record's position on that channel."""
    to: int = 0
    other: ChannelName = 0
    field: int = 0


def apply(draft: Draft, edit: Edit) -> Draft:
    """The draft with that edit; the one given stays as it is, records that are not edited are shared by both.

    A record whose bits were changed or that was cut is one of raw bytes afterwards. Raises EncodeError only when the
    record could not be encoded before.
    """
    return _applied(draft, edit)[0]


def apply_all(draft: Draft, edits: Iterable[Edit]) -> Draft:
    """Several edits, one on top of the other."""
    for edit in edits:
        draft = apply(draft, edit)
    return draft


def describe(draft: Draft, edit: Edit) -> str:
    """What the edit does to that draft, in a few words: ``channel 0 record 7 (RamPacket): flags 1 becomes 0``."""
    return _applied(draft, edit)[1]


def random_edit(draft: Draft, chance: random.Random, kinds: Sequence[EditKind] | None = None) -> Edit:
    """An edit of a record that is there; kinds and channels are equally likely, early bits likelier than late ones."""
    names = [name for name, _ in draft.lines()] or ["main"]
    channel = chance.choice(names)
    position = chance.randrange(max(1, len(_line(draft, channel))))
    match kind := chance.choice(kinds or KINDS):
        case EditKind.MOVE:
            return Edit(kind, channel, position, chance.randrange(max(1, len(_line(draft, channel)))))
        case EditKind.TRANSFER:
            other = chance.choice([name for name in names if name != channel] or names)
            return Edit(kind, channel, position, chance.randrange(len(_line(draft, other)) + 1), other)
        case EditKind.SET:
            return Edit(kind, channel, position, chance.getrandbits(8), field=chance.getrandbits(8))
        case EditKind.FLIP | EditKind.CUT:
            return Edit(kind, channel, position, chance.getrandbits(chance.randint(1, 24)))
    return Edit(kind, channel, position)


KINDS = tuple(EditKind)
NOTHING = "nothing to change"


def _line(draft: Draft, channel: ChannelName) -> Line:
    if channel == "main":
        return draft.main
    return draft.channels[channel % len(draft.channels)] if draft.channels else []


def _applied(draft: Draft, edit: Edit) -> tuple[Draft, str]:
    """The edited draft and what was done."""
    draft = Draft(list(draft.main), [list(line) for line in draft.channels], draft.order)
    line = _line(draft, edit.channel)
    if not line:
        return draft, NOTHING
    at = edit.position % len(line)
    record = line[at]
    what = "main" if edit.channel == "main" else f"channel {edit.channel % len(draft.channels)}"
    what += f" record {at} ({'raw bytes' if record.event is None else type(record.event).__name__}): "
    match edit.kind:
        case EditKind.DROP:
            del line[at]
            _forget(draft, record)
            return draft, what + "dropped"
        case EditKind.REPEAT:
            line.insert(at + 1, record.copy())
            return draft, what + "repeated"
        case EditKind.MOVE:
            del line[at]
            _forget(draft, record)
            to = edit.to % (len(line) + 1)
            line.insert(to, record)
            return draft, what + (f"moved to {to}" if to != at else NOTHING)
        case EditKind.TRANSFER:
            return _transferred(draft, edit, line, at, what)
        case EditKind.SET:
            found = next(_boundaries(record, edit), None)
            if found is None:
                return draft, what + NOTHING
            changed, field = found
            _replace(draft, line, at, changed)
            return draft, what + field
        case EditKind.FLIP:
            data = bytearray(record.encoded())
            if not data:
                return draft, what + NOTHING
            bit = edit.to % (8 * len(data))
            data[bit // 8] ^= 0x80 >> bit % 8
            _replace(draft, line, at, raw(bytes(data)))
            return draft, what + f"bit {bit} flipped"
        case EditKind.CUT:
            data = bytearray(record.encoded())
            kept = edit.to % len(data) if data else 0
            _forget(draft, *line[at + 1 :])
            del line[at + 1 :]
            _replace(draft, line, at, raw(bytes(data[:kept])))
            if not kept:
                _forget(draft, line.pop())
            return draft, what + f"the channel ends behind {kept} bytes of it"


def _transferred(draft: Draft, edit: Edit, line: Line, at: int, what: str) -> tuple[Draft, str]:
    other = _line(draft, edit.other)
    if other is line or (not other and edit.other != "main"):
        return draft, what + NOTHING
    record = line.pop(at)
    _forget(draft, record)
    to = edit.to % (len(other) + 1)
    other.insert(to, record)
    where = "main" if edit.other == "main" else f"channel {edit.other % len(draft.channels)}"
    return draft, what + f"moved to {where}, position {to}"


def _forget(draft: Draft, *records: Record) -> None:
    """Records that are no longer sent when they were: they follow the one in front of them, or are gone."""
    gone = {id(record) for record in records}
    draft.order = [record for record in draft.order if id(record) not in gone]


def _replace(draft: Draft, line: Line, at: int, record: Record) -> None:
    old, line[at] = line[at], record
    draft.order = [record if other is old else other for other in draft.order]


# Fields.

PLACING = frozenset({"offset", "length", "payload_offset", "known"})
"""Fields that say where a record lies in a recording: not part of what is sent."""
EDGES = (0, 1, 2, 0x7F, 0xFF, 0xFFFF, 1 << 31, (1 << 32) - 1, 1 << 63, (1 << 64) - 1)
"""Values at the ends of the widths that wire fields have."""
BITS = (0, 1, 2, 3, 4, 5, 6, 7, 9, 15, 31)
"""Bits that some flags have, and some that none has."""


def _boundaries(record: Record, edit: Edit) -> Iterator[tuple[Record, str]]:
    """The record with a field changed, from the field and value asked for on; only what can be encoded, and what shows
    in the bytes."""
    if record.event is None or isinstance(record.event, ZeroPageRun):
        return
    values = record.event._asdict()
    names = [name for name, value in values.items() if name not in PLACING and _candidates(name, value)]
    before = list(record.pieces())
    for number in range(len(names)):
        name = names[(edit.field + number) % len(names)]
        old = values[name]
        candidates = _candidates(name, old)
        for choice in range(len(candidates)):
            new = candidates[(edit.to + choice) % len(candidates)]
            changed = Record(record.event._replace(**{name: new}), record.payload)
            try:
                if list(changed.pieces()) == before:
                    continue
            except EncodeError:
                continue
            yield changed, _said(name, old, new)


def _candidates(name: str, value: Any) -> list[Any]:
    """What a field that holds ``value`` may be set to."""
    if isinstance(value, bool):
        return []
    if isinstance(value, int):
        near = [value ^ 1 << bit for bit in BITS] if name == "flags" else [value + 1, max(0, value - 1), 2 * value]
        return [new for new in (*near, *EDGES) if new != value]
    if isinstance(value, bytes) and value:
        first = bytes([value[0] ^ 1]) + value[1:]
        return [new for new in (first, bytes(len(value)), b"\xff" * len(value), value[:-1] + b"\xff") if new != value]
    if name == "pages" and isinstance(value, tuple) and value:
        head, rest = value[0], value[1:]
        return [(new, *rest) for new in (head + 1, head ^ 1 << 12, head ^ 1 << 40, (1 << 64) - 1) if new < 1 << 64]
    return []


def _said(name: str, old: Any, new: Any) -> str:
    if isinstance(old, tuple):
        return f"{name}[0] {old[0]:#x} becomes {new[0]:#x}"
    if isinstance(old, bytes):
        stripped = [bytes(value).rstrip(b"\0")[:20] for value in (old, new)]
        return f"{name} {stripped[0]!r} becomes {stripped[1]!r}"
    return f"{name} {old} becomes {new}"
