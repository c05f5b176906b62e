"""Edits by hand: records found by where they stand, fields set by name.

A place is a channel and a record on it: ``channel 1 packet 3``, ``main record 7``, ``main section-start 2``,
``channel 0 sync -1``, ``channel 0 @22912``. Numbers count from 0, negative ones from the end. ``packet`` is any packet,
``record`` anything at all, other words are the kinds that ``multifd decode`` shows; ``@`` is the byte offset where it
begins. Places are those of the stream as it came, whatever other edits do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from analyzers.report.event_record import kind_of, known_kinds
from multifd_codec.channel.events import DeviceStatePacket, RamPacket
from multifd_codec.draft.draft import Draft, Line, Record
from multifd_codec.draft.edits import PLACING
from multifd_codec.errors import EncodeError, InputError

PACKET, RECORD = "packet", "record"
_PLACE = re.compile(r"\s*(main|channel\s+(\d+))\s+(?:@(\d+)|([a-z-]+)\s+(-?\d+))\s*")
_BITS = 64
NOT_SENT = PLACING | {"payload_length"}


class Action(StrEnum):
    SET = "set"
    REPEAT = "repeat"
    MOVE = "move"
    DROP = "drop"


class HandEdit(NamedTuple):
    """One edit, as it was written."""

    action: Action
    wish: str


def edit_by_hand(draft: Draft, edits: Sequence[HandEdit]) -> list[str]:
    """Change a draft; what was done, a line each. Raises InputError for a place or field there is none of, and for a
    value that a field cannot hold."""
    asked = [(edit, *_found(draft, edit)) for edit in edits]
    return [_DO[edit.action](draft, record, rest) for edit, record, rest in asked]


def _found(draft: Draft, edit: HandEdit) -> tuple[Record, Any]:
    match = _PLACE.match(edit.wish)
    if match is None:
        raise InputError(f"{edit.wish!r} begins with no place, as 'channel 1 packet 3' or 'main @120'")
    record, rest = _at(draft, match), edit.wish[match.end() :]
    if edit.action is Action.SET:
        return record, _assignment(record, rest, edit.wish)
    if edit.action is Action.MOVE:
        behind, _, place = rest.partition(" ")
        target = _PLACE.fullmatch(place)
        if behind not in ("before", "behind") or target is None:
            raise InputError(f"{edit.wish!r}: say where to, as 'channel 0 sync -1 before channel 0 packet 2'")
        return record, (behind == "behind", _at(draft, target))
    if rest.strip():
        raise InputError(f"{edit.wish!r}: {rest.strip()!r} is too much")
    return record, None


def _at(draft: Draft, match: re.Match[str]) -> Record:
    """The record of a place. Raises InputError."""
    name, number, offset, kind, position = match.groups()
    line: Line = draft.main
    if number is not None:
        if int(number) >= len(draft.channels):
            raise InputError(f"there is no {name}; there are {len(draft.channels)}, from 0 on")
        line = draft.channels[int(number)]
    if offset is not None:
        at = 0
        for record in line:
            if at == int(offset):
                return record
            at += record.size()
        raise InputError(f"no record of {name} begins at offset {offset}")
    return _counted(line, name, kind, int(position))


def _counted(line: Line, name: str, kind: str, position: int) -> Record:
    if kind == RECORD:
        found = line
    elif kind == PACKET:
        found = [record for record in line if isinstance(record.event, RamPacket | DeviceStatePacket)]
    elif kind in known_kinds():
        found = [record for record in line if record.event is not None and kind_of(record.event) == kind]
    else:
        words = ", ".join((PACKET, RECORD, *sorted(known_kinds())))
        raise InputError(f"there is no record called {kind!r}; there are {words}")
    if not -len(found) <= position < len(found):
        raise InputError(f"{name} has {len(found)} times {kind}, no number {position}")
    return found[position]


def _assignment(record: Record, text: str, whole: str) -> tuple[str, object]:
    """Field and value. Raises InputError."""
    field, found, value = (part.strip() for part in text.partition("="))
    if not found:
        raise InputError(f"{whole!r}: say FIELD=VALUE behind the place")
    fields = {} if record.event is None else {n: v for n, v in record.event._asdict().items() if n not in NOT_SENT}
    kinds = (int, bytes, str)
    settable = {name: old for name, old in fields.items() if isinstance(old, kinds) and type(old) is not bool}
    if field not in settable:
        raise InputError(f"{whole!r}: there is no field {field!r}; there are {', '.join(settable) or 'none'}")
    old = settable[field]
    try:
        return field, _value(old, value)
    except ValueError:
        what = "a number" if isinstance(old, int) else "text, or hex: and hex digits"
        raise InputError(f"{whole!r}: {field} takes {what}") from None


def _value(old: object, text: str) -> object:
    if isinstance(old, int):
        number = int(text, 0)
        return number % (1 << _BITS) if number < 0 else number
    if isinstance(old, str):
        return text
    assert isinstance(old, bytes)
    new = bytes.fromhex(text.removeprefix("hex:")) if text.startswith("hex:") else text.encode()
    return new.ljust(len(old), b"\0") if old.endswith(b"\0") else new


def _set(draft: Draft, record: Record, assignment: tuple[str, object]) -> str:
    field, value = assignment
    old = getattr(record.event, field)
    where = _where(draft, record)
    record.set(**{field: value})
    try:
        record.size()
    except EncodeError:
        raise InputError(f"{where}: {field} cannot be {_said(value)}") from None
    return f"{where}: {field} {_said(old)} becomes {_said(value)}"


def _repeat(draft: Draft, record: Record, _: None) -> str:
    where = _where(draft, record)
    draft.behind(record, record.copy())
    return f"{where}: stands twice"


def _move(draft: Draft, record: Record, to: tuple[bool, Record]) -> str:
    behind, target = to
    if target is record:
        raise InputError("a record cannot be moved in front of itself or behind itself")
    where = _where(draft, record)
    draft.drop(record)
    (draft.behind if behind else draft.before)(target, record)
    draft.order = [other for other in draft.order if other is not record]
    return f"{where}: moved to {_where(draft, record)}"


def _drop(draft: Draft, record: Record, _: None) -> str:
    where = _where(draft, record)
    draft.drop(record)
    draft.order = [other for other in draft.order if other is not record]
    return f"{where}: left out"


_DO: dict[Action, Callable[[Draft, Record, Any], str]] = {
    Action.SET: _set,
    Action.REPEAT: _repeat,
    Action.MOVE: _move,
    Action.DROP: _drop,
}


def _where(draft: Draft, record: Record) -> str:
    for name, line in draft.lines():
        for number, other in enumerate(line):
            if other is record:
                kind = "raw bytes" if record.event is None else kind_of(record.event)
                return f"{'main' if name == 'main' else f'channel {name}'} record {number} ({kind})"
    raise InputError("a record that another edit has left out")


def _said(value: object) -> str:
    if isinstance(value, bytes):
        return repr(value.rstrip(b"\0")[:40])
    return f"{value:#x}" if isinstance(value, int) and value > 9 else str(value)
