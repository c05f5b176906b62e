"""Decoded events as plain dictionaries: what ``decode`` prints as JSON lines and, shortened, as a table."""

from __future__ import annotations

import dataclasses
import enum
import re
from functools import lru_cache
from typing import Any, get_args

from multifd_codec.channel.batch import PacketBatch
from multifd_codec.channel.events import ChannelEnd, ChannelInit, DeviceStatePacket, RamPacket, Unreadable
from multifd_codec.main.events import MainEnd, MainEvent
from multifd_codec.main.problems import Problem
from multifd_codec.names import block_name, text
from multifd_codec.wire.packet import COMPRESSION_MASK, SYNC, PacketFlags
from multifd_codec.wire.ram import RamFlags

KINDS: dict[type, str] = {
    ChannelInit: "init",
    DeviceStatePacket: "device-state",
    Unreadable: "unreadable",
    ChannelEnd: "end",
    MainEnd: "end",
}
"""Names that differ from the event's; a RAM packet is ``ram``, or ``sync`` with the SYNC flag."""
RAM_KINDS = ("ram", "sync")
RAM_NUMBERS = RamPacket._fields[2:11]


ALWAYS_SHOWN: dict[str, tuple[str, ...]] = {
    "init": ("id", "uuid"),
    "ram": ("block", "normal_pages", "zero_pages", "packet_num"),
    "sync": ("packet_num",),
    "device-state": ("device", "instance_id", "next_packet_size"),
    "unreadable": ("hole", "found"),
    "end": ("position", "end"),
    "file-header": ("version",),
    "configuration": ("machine",),
    "section-start": ("section_id", "device", "instance_id", "version_id"),
    "section-full": ("section_id", "device", "instance_id", "version_id"),
    "section-part": ("section_id", "device", "instance_id"),
    "section-end": ("section_id", "device", "instance_id"),
    "section-footer": ("section_id",),
    "device-body": ("device", "instance_id", "how"),
    "zero-page": ("block", "addr"),
    "page": ("block", "addr"),
    "vfio-record": ("name",),
    "command": ("name",),
    "stream-stopped": ("reason",),
}
NEVER_SHOWN = frozenset(
    [
        *(
            "channel",
            "frame",
            "seconds",
            "time",
            "offset",
            "length",
            "kind",
            "magic",
            "version",
            "flags",
            "flag_names",
            "known",
            "fields",
        ),
        *("payload_offset", "payload_length", "normal", "zero", "pages_alloc", "record"),
        *("tag", "command", "problems"),
    ]
)
"""In a table, that is: shown otherwise, or to be had with --hex or as JSON."""
SHORT_LIST = 4
PLAIN = frozenset({int, str, bool, float, type(None)})
TEXT_PROPERTIES = frozenset({"device", "machine", "block"})
RAW_NAMES = frozenset({"idstr", "ramblock", "name"})
_known_properties: dict[type, tuple[str, ...]] = {}


def kind_of(event: Any) -> str:
    """``sync`` or ``section-start``: the name ``--kind`` takes."""
    if isinstance(event, RamPacket):
        return RAM_KINDS[event.sync]
    return KINDS.get(type(event)) or kind_name(type(event))


def kind_name(event_class: type) -> str:
    """``SectionStart`` as ``section-start``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", event_class.__name__).lower()


def known_kinds() -> frozenset[str]:
    """Every name ``--kind`` takes."""
    others = (event_class for event_class in get_args(MainEvent) if event_class not in KINDS)
    return frozenset((*RAM_KINDS, *KINDS.values())).union(map(kind_name, others))


def event_record(event: Any) -> dict[str, Any]:
    """``offset``, ``length``, ``kind``, then the event's fields with JSON values."""
    values = _fields(event)
    record: dict[str, Any] = {"offset": values.pop("offset"), "length": values.pop("length", 0), "kind": kind_of(event)}
    pages: dict[str, Any] = {}
    match event:
        case RamPacket():
            used = event.normal_pages + event.zero_pages
            del values["pages"], values["sync"]
            values["flag_names"] = flag_names(event.flags)
            pages = {
                "normal": list(event.pages[: event.normal_pages]),
                "zero": list(event.pages[event.normal_pages : used]),
            }
        case ChannelInit():
            values["uuid"] = uuid_text(event.uuid)
        case DeviceStatePacket():
            values["flag_names"] = flag_names(event.flags)
        case _ if "flags" in values:
            values["flag_names"] = flag_names(event.flags, RamFlags)
    record.update(_json_values(values))
    return record | pages if pages else record


class RamRecords:
    """The same of all RAM packets of a batch, made of its columns: there are millions of them."""

    def __init__(self, batch: PacketBatch) -> None:
        self.batch = batch
        self.offset = batch.offset.tolist()
        rows, length = batch.rows, batch.header_length
        names = ("flags", "normal_pages", "zero_pages", "unused64", "ramblock")
        self._named = list(zip(*(rows[name].tolist() for name in names), strict=True))
        self._numbers = list(zip(*(rows[name].tolist() for name in RAM_NUMBERS), strict=True))
        payload = batch.payload.tolist()
        places = [offset + length for offset in self.offset]
        self._payload = list(zip(places, payload, batch.known.tolist(), strict=True))
        self._pages = batch.pages()
        self.placed: dict[str, Any] | None = None
        """What the record made last begins with: many packets are in one frame."""

    def add(self, index: int, record: dict[str, Any]) -> None:
        """Adds the fields of one packet to ``record``."""
        flags, normal, zero, unused, name = self._named[index]
        record["offset"] = self.offset[index]
        record["length"] = self.batch.header_length
        record["kind"] = RAM_KINDS[flags & SYNC != 0]
        record.update(zip(RAM_NUMBERS, self._numbers[index], strict=True))
        record["unused64"] = unused
        record["payload_offset"], record["payload_length"], record["known"] = self._payload[index]
        record["compression"] = flags & COMPRESSION_MASK
        record["block"] = _block(name)
        record["flag_names"] = flag_names(flags)
        pages = self._pages[index]
        record["normal"] = pages[:normal].tolist()
        record["zero"] = pages[normal : normal + zero].tolist()


@lru_cache(maxsize=256)
def _block(raw: bytes) -> str:
    return text(block_name(raw))


def flag_names(flags: int, flag_class: type[enum.IntFlag] = PacketFlags) -> list[str]:
    """Names of the flag bits that are set, in bit order; bits without a name as ``bit 9``."""
    return list(_flag_names(flags, flag_class))


@lru_cache(maxsize=256)
def _flag_names(flags: int, flag_class: type[enum.IntFlag]) -> tuple[str, ...]:
    bits = [1 << bit for bit in range(32) if flags >> bit & 1]
    names = {int(flag): flag.name or "" for flag in flag_class}
    return tuple(names.get(bit, f"bit {bit.bit_length() - 1}") for bit in bits)


def uuid_text(raw: bytes) -> str:
    """16 bytes as QEMU prints a UUID."""
    digits = raw.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _json_values(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value if type(value) in PLAIN else json_value(value) for name, value in values.items()}


def json_value(value: Any) -> Any:
    """A value of an event as JSON: bytes as hex, enums as their value, nested events as records."""
    if type(value) in PLAIN:
        return value
    match value:
        case enum.Enum():
            return json_value(value.value)
        case int() | float() | str():
            return value
        case bytes() | bytearray() | memoryview():
            return bytes(value).hex()
        case dict():
            return {str(key): json_value(item) for key, item in value.items()}
        case Problem():
            return _json_values(_fields(value)) | {"row": _row(value)}
        case _ if _is_event(value):
            return _json_values(_fields(value))
        case _ if hasattr(value, "tolist"):
            return value.tolist()
        case list() | tuple():
            return [item if type(item) in PLAIN else json_value(item) for item in value]
        case _:
            return str(value)


def _row(problem: Problem) -> str | None:
    """Row of the protocol reference that a problem breaks; None for one that limits the reader."""
    from analyzers.rulebook.registry import PROBLEMS  # noqa: PLC0415 -- few streams have problems

    rule, condition = PROBLEMS[problem.kind]
    return None if condition.silent else rule.row


def detail_text(record: dict[str, Any]) -> str:
    """The fields of a record in one line, ``name=value``.

    First those that matter for its kind, whatever they hold, then all others that are not zero or empty.
    """
    first = ALWAYS_SHOWN.get(record["kind"], ())
    parts = ["|".join(record["flag_names"])] if record.get("flag_names") else []
    parts += [f"{name}={record[name]}" for name in first if name in record]
    for name, value in record.items():
        if name in NEVER_SHOWN or name in first or _is_empty(value):
            continue
        parts.append(name if value is True else f"{name}={_short(value)}")
    parts += [f"({problem['kind']}: {problem['message']})" for problem in record.get("problems", ())]
    return " ".join(parts)


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"[{len(value)}]" if len(value) > SHORT_LIST else f"[{', '.join(map(_short, value))}]"
    if isinstance(value, dict):
        return "(" + " ".join(f"{name}={_short(item)}" for name, item in value.items() if item is not None) + ")"
    return str(value)


def _is_empty(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_empty, value))
    return value is None or value is False or value in (0, "", {}) or (isinstance(value, str) and not value.strip("0"))


def _is_event(value: Any) -> bool:
    return hasattr(value, "_asdict") or (dataclasses.is_dataclass(value) and not isinstance(value, type))


def _properties(event_class: type) -> tuple[str, ...]:
    if event_class not in _known_properties:
        names = (name for name, member in vars(event_class).items() if isinstance(member, property))
        _known_properties[event_class] = tuple(names)
    return _known_properties[event_class]


def _fields(event: Any) -> dict[str, Any]:
    """Fields and properties. Names are shown as text, under the property's name, and not as bytes once more."""
    if hasattr(event, "_asdict"):
        values = dict(event._asdict())
    else:
        values = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    values |= {name: getattr(event, name) for name in _properties(type(event))}
    if not TEXT_PROPERTIES.isdisjoint(values):
        values = {name: value for name, value in values.items() if name not in RAW_NAMES or isinstance(value, str)}
    return values
