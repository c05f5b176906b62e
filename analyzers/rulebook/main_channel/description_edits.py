"""The vmdescription behind the main channel's EOF byte: edits for MFD518 to 520."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from analyzers.mutation.main_edits import eof, first, fulls
from analyzers.mutation.mutation import Place
from analyzers.mutation.shape import need
from multifd_codec.draft.draft import Draft, Record, raw
from multifd_codec.main import events as ev


def described(draft: Draft) -> Record:
    return first(draft, ev.VmDescription, "a vmdescription")


def no_description(draft: Draft, random: Random) -> Place:
    record, place = described(draft), eof(draft)
    at = next(i for i, other in enumerate(draft.main) if other is record)
    del draft.main[at:]
    return place


def no_json(draft: Draft, random: Random) -> Place:
    """Only where all bodies are known without it."""
    record = described(draft)
    text = b"{page: 1}"
    record.event = ev.VmDescription(0, 5, len(text), 0, len(text))
    record.payload = text
    return record


def cut_description(draft: Draft, random: Random) -> Place:
    record = described(draft)
    record.payload = bytes(record.payload)[:-3]
    at = next(i for i, other in enumerate(draft.main) if other is record)
    del draft.main[at + 1 :]
    return record


def rewritten(draft: Draft, value: Any) -> Record:
    """The vmdescription says ``value``."""
    record = described(draft)
    text = json.dumps(value).encode()
    record.event = ev.VmDescription(0, 5, len(text), 0, len(text))
    record.payload = text
    return record


def description(draft: Draft) -> dict[str, Any]:
    try:
        value = json.loads(bytes(described(draft).payload))
        devices = value["devices"]
    except (ValueError, TypeError, KeyError):
        devices = None
    need(isinstance(devices, list) and devices, "a vmdescription with devices")
    return dict(value)


def another_key(draft: Draft, random: Random) -> None:
    """The text may say more than is known."""
    rewritten(draft, {"comment": [1, {}]} | description(draft))


def not_sent(draft: Draft, random: Random) -> Place:
    value = description(draft)
    fields = [{"name": "data", "size": 8, "type": "buffer"}]
    more = {"name": "cpu_extra", "instance_id": 0, "size": 8, "fields": fields}
    return rewritten(draft, value | {"devices": [*value["devices"], more]})


def another_order(draft: Draft, random: Random) -> Place:
    value = description(draft)
    devices = value["devices"]
    need(len(devices) > 1, "several devices in its vmdescription")
    at = random.randrange(len(devices) - 1)
    swapped = [*devices[:at], devices[at + 1], devices[at], *devices[at + 2 :]]
    need(swapped != devices, "several devices in its vmdescription")
    return rewritten(draft, value | {"devices": swapped})


def both_orders(draft: Draft, random: Random) -> None:
    """The last two FULL sections and their descriptions change places."""
    value = description(draft)
    sections, devices = fulls(draft), value["devices"]
    if len(sections) < 2 or len(devices) != len(sections):
        return
    before, last = sections[-2], sections[-1]
    for record in last.records:
        draft.drop(record)
    draft.before(before.header, *last.records)
    rewritten(draft, value | {"devices": [*devices[:-2], devices[-1], devices[-2]]})


def trailing(draft: Draft, random: Random) -> Place:
    need(draft.main and isinstance(draft.main[-1].event, ev.VmDescription), "a vmdescription at the end of main")
    return draft.behind(draft.main[-1], raw(bytes(4)))
