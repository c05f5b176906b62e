"""Migration plans as JSON: everything the command line's options cannot say.

    {"schema": "multifd-plan/1", "dialect": "qemu-10.0", "channels": 2,
     "blocks": [{"name": "ram", "size": "4M"}],
     "rounds": [{"pages": [{"block": "ram", "first": 0, "count": 1024, "content": {"pattern": 7, "zero_share": 0.5}}]}],
     "final": [{"pages": [{"block": "ram", "first": 3, "count": 2, "content": "zero"}]}],
     "devices": [{"idstr": "0000:00:05.0/vfio", "size": "8M"}]}

Content is ``"zero"``, ``{"pattern": seed}`` or ``{"hex": "00ff..."}``; sizes are bytes, or text with a K, M or G. Keys
not given have the defaults of ``MigrationPlan``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any
from uuid import UUID

from multifd_codec.dialect.releases import Mode
from multifd_codec.dialect.sync_policy import SyncPolicy, policy_as_data, policy_from_data
from multifd_codec.errors import InputError
from multifd_codec.plan.page_content import Given, PageContent, Pattern, Zero
from multifd_codec.plan.plan import Block, Device, MigrationPlan, Pages, Round, Section, check

SCHEMA = "multifd-plan/1"
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"([0-9]{1,15})\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)


def parse_size(text: str | int) -> int:
    """``64M``, ``512 KiB`` or a number of bytes. Raises InputError."""
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    found = _SIZE.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise InputError(f"{text!r} is not a size: give bytes, or a number with K, M or G")
    return int(found[1]) * _UNITS[found[2].upper()]


def parse_uuid(text: str) -> UUID:
    """A uuid in its usual form. Raises InputError."""
    digits = text.replace("-", "")
    if re.fullmatch(r"[0-9a-fA-F]{32}", digits) is None:
        raise InputError(f"{text!r} is not a uuid")
    return UUID(hex=digits)


def plan_from_json(text: str | bytes) -> MigrationPlan:
    """The plan in a JSON text, checked. Raises InputError, in one line that names the key."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the plan is not JSON: {str(error).splitlines()[0]}") from None
    top = _Object(value, "the plan")
    schema = top.take("schema", str, SCHEMA)
    if schema != SCHEMA:
        raise InputError(f"the plan's schema is {schema!r}, this is {SCHEMA}")
    plan = MigrationPlan(**{key: _KEYS[key](item, key) for key, item in top.rest(_KEYS)}, **_required(top))
    check(plan)
    return plan


def plan_to_json(plan: MigrationPlan) -> str:
    """A plan as JSON, without what is default. Page content that is neither zero nor a pattern becomes hex digits."""
    result: dict[str, Any] = {"schema": SCHEMA}
    for entry in fields(plan):
        value = getattr(plan, entry.name)
        if value != entry.default or entry.name in ("dialect", "final"):
            result[entry.name] = _WRITTEN[entry.name](value, plan) if entry.name in _WRITTEN else value
    return json.dumps(result, indent=1)


def _required(top: _Object) -> dict[str, Any]:
    return {key: _listed(top.take(key, list), key, make) for key, make in (("blocks", _block), ("rounds", _round))}


class _Object:
    """A JSON object whose keys are taken one by one; what nobody takes is a misspelling."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise InputError(f"{where}: not a JSON object")
        self.value = dict(value)
        self.where = where

    def take(self, key: str, kind: type | tuple[type, ...], *default: Any) -> Any:
        if key not in self.value:
            if not default:
                raise InputError(f"{self.where}: {key} is missing")
            return default[0]
        value = self.value.pop(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
            raise InputError(f"{self.where}: {key} is {json.dumps(value)[:40]}, which it cannot be")
        return value

    def size(self, key: str, *default: Any) -> int:
        return parse_size(self.take(key, (int, str), *default))

    def rest(self, known: Iterable[str] = ()) -> list[tuple[str, Any]]:
        """What has not been taken. Raises InputError when a key is not in ``known``."""
        known = (*known, "blocks", "rounds")
        if wrong := [key for key in self.value if key not in known]:
            raise InputError(f"{self.where}: there is no key {wrong[0]!r}")
        return [(key, value) for key, value in self.value.items() if key not in ("blocks", "rounds")]

    def done(self) -> None:
        self.rest()


def _listed(value: Any, where: str, make: Callable[[Any, str], Any]) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise InputError(f"{where}: not a list")
    return tuple(make(item, f"{where}[{number}]") for number, item in enumerate(value))


def _block(value: Any, where: str) -> Block:
    entry = _Object(value, where)
    result = Block(entry.take("name", str), entry.size("size"))
    entry.done()
    return result


def _round(value: Any, where: str) -> Round:
    entry = _Object(value, where)
    pages = _listed(entry.take("pages", list, []), f"{where}.pages", _pages)
    result = Round(pages, entry.take("sections", int, 1))
    entry.done()
    return result


def _pages(value: Any, where: str) -> Pages:
    entry = _Object(value, where)
    first = entry.take("first", int)
    content = _content(entry.take("content", (str, dict), "zero"), f"{where}.content", first)
    result = Pages(entry.take("block", str), first, entry.take("count", int), content)
    entry.done()
    return result


def _content(value: Any, where: str, first: int) -> PageContent:
    if value == "zero":
        return Zero()
    if isinstance(value, str):
        raise InputError(f"{where}: {value!r} is no content; there are zero, pattern and hex")
    entry = _Object(value, where)
    if "hex" in entry.value:
        try:
            result: PageContent = Given(bytes.fromhex(entry.take("hex", str)), first)
        except ValueError:
            raise InputError(f"{where}: not hex digits") from None
    else:
        seed, share = entry.take("pattern", int), entry.take("zero_share", (int, float), 0.0)
        if not 0 <= share <= 1:  # before it becomes a float, which not every integer can
            raise InputError(f"{where}: zero_share is a share from 0 to 1")
        result = Pattern(seed, float(share))
    entry.done()
    return result


def _device(value: Any, where: str) -> Device:
    entry = _Object(value, where)
    default = Device("", 0)
    result = Device(
        entry.take("idstr", str),
        entry.size("size"),
        entry.size("buffer_size", default.buffer_size),
        entry.take("instance_id", int, 0),
        _config(entry, where, default.config),
    )
    entry.done()
    return result


def _config(entry: _Object, where: str, default: bytes) -> bytes:
    try:
        return bytes.fromhex(entry.take("config", str, default.hex()))
    except ValueError:
        raise InputError(f"{where}: config is not hex digits") from None


def _section(value: Any, where: str) -> Section:
    entry = _Object(value, where)
    try:
        body = bytes.fromhex(entry.take("body", str))
    except ValueError:
        raise InputError(f"{where}: body is not hex digits") from None
    number, name = entry.take("section_id", int), entry.take("idstr", str)
    result = Section(number, name, body, entry.take("version_id", int, 1), entry.take("instance_id", int, 0))
    entry.done()
    return result


def _of(*kinds: type) -> Callable[[Any, str], Any]:
    def read(value: Any, where: str) -> Any:
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise InputError(f"{where}: {json.dumps(value)[:40]} cannot be")
        return value

    return read


def _mode(value: Any, where: str) -> Mode:
    try:
        return Mode(value)
    except ValueError:
        raise InputError(f"{where}: {value!r} is neither per-section nor per-round") from None


_KEYS: dict[str, Callable[[Any, str], Any]] = {
    "final": lambda value, where: _listed(value, where, _round),
    "devices": lambda value, where: _listed(value, where, _device),
    "sections": lambda value, where: _listed(value, where, _section),
    "dialect": _of(str),
    "mode": _mode,
    "policy": lambda value, where: policy_from_data(value) if isinstance(value, dict) else _of(str)(value, where),
    "machine": _of(str),
    "channels": _of(int),
    "page_size": _of(int),
    "compression": _of(str),
    "zero_page_detection": _of(str),
    "uuid": lambda value, where: parse_uuid(str(value)),
    "return_path": _of(bool),
    "switchover_start": _of(bool),
    "merge_sync": _of(int, float),
    "channel_order": lambda value, where: _listed(value, where, _of(int)),
    "description": _of(dict),
    "seed": _of(int),
}


def _written_content(pages: Pages, page_size: int) -> Any:
    content = pages.content
    match content:
        case Zero():
            return "zero"
        case Pattern():
            share = {"zero_share": content.zero_share} if content.zero_share else {}
            return {"pattern": content.seed, **share}
        case Given():
            start = (pages.first - content.first) * page_size
            return {"hex": bytes(content.data[start : start + pages.count * page_size]).hex()}
    raise InputError(f"page content {content!r} has no JSON form")


def _written_round(one: Round, plan: MigrationPlan) -> dict[str, Any]:
    pages = [
        {"block": p.block, "first": p.first, "count": p.count, "content": _written_content(p, plan.page_size)}
        for p in one.pages
    ]
    return {"pages": pages} | ({"sections": one.sections} if one.sections != 1 else {})


def _written_rounds(value: Iterable[Round], plan: MigrationPlan) -> list[dict[str, Any]]:
    return [_written_round(one, plan) for one in value]


_WRITTEN: dict[str, Callable[[Any, MigrationPlan], Any]] = {
    "blocks": lambda value, _: [block._asdict() for block in value],
    "rounds": _written_rounds,
    "final": _written_rounds,
    "devices": lambda value, _: [device._asdict() | {"config": device.config.hex()} for device in value],
    "sections": lambda value, _: [{**section._asdict(), "body": bytes(section.body).hex()} for section in value],
    "uuid": lambda value, _: value.hex,
    "policy": lambda value, _: policy_as_data(value) if isinstance(value, SyncPolicy) else value,
}
