"""Fields of a device body, as the vmdescription describes them: names, places and values.

Follows vmstate_load_state, migration/vmstate.c, without knowing any device: integers are big-endian, what is not an
integer stays bytes. Arrays of integers are one field with several values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from multifd_codec.errors import FormatError
from multifd_codec.layout import parse_declared
from multifd_codec.main.vmdescription import MAX_DEPTH, element_count, element_size, entries, subsection_head
from multifd_codec.source import Buffer
from multifd_codec.wire import qemufile as wire
from multifd_codec.wire.qemufile import SectionType

_INTEGER = re.compile(r"(u?)int(8|16|32|64)(?: equal| le)?")
MAX_TYPE = 64

Value = int | bool | bytes | tuple[int, ...] | tuple[bool, ...]


class DeviceField(NamedTuple):
    """One field. ``offset`` counts from the start of the main stream."""

    path: str
    """Names from the outside in, with dots, and element numbers: ``env.segs[2].base``."""
    type: str
    """As in the vmdescription: ``uint32``, ``timer``, ``buffer``, ...; ``subsection`` for the head of one."""
    offset: int
    length: int
    value: Value


def device_fields(device: dict[str, Any], body: Buffer, offset: int) -> Iterator[DeviceField]:
    """The fields of ``body``, which stands at ``offset`` of the main stream, in wire order.

    Raises FormatError where the body ends too early or a subsection is not where it should be.
    """
    yield from _Walk(bytes(body), offset).state(device, "", 0)


class _Walk:
    def __init__(self, body: bytes, base: int) -> None:
        self._body = body
        self._base = base
        self._position = 0

    def state(self, state: Any, prefix: str, depth: int) -> Iterator[DeviceField]:
        if depth > MAX_DEPTH:
            raise self._error("nested too deep", prefix)
        for entry in entries(state, "fields"):
            yield from self._field(entry, prefix, depth)
        for subsection in entries(state, "subsections"):
            name = f"{prefix}{subsection.get('vmsd_name')}"
            yield self._subsection(subsection, name)
            yield from self.state(subsection, f"{name}.", depth + 1)

    def _field(self, entry: dict[str, Any], prefix: str, depth: int) -> Iterator[DeviceField]:
        name, kind = str(entry.get("name", "")), str(entry.get("type", ""))[:MAX_TYPE]
        path = prefix + name
        size, count = element_size(entry), element_count(entry)
        if "index" in entry and not name.endswith("]"):
            path += f"[{entry['index']}]"
        inner = entry.get("struct", entry if "fields" in entry else None)
        if inner is None or size == 0:
            yield self._value(path, kind, size, count)
            return
        for index in range(count):
            element = f"{path}[{index}]" if count > 1 else path
            begin = self._position
            yield from self.state(inner, f"{element}.", depth + 1)
            if self._position - begin != size:
                raise self._error(f"fields take {self._position - begin} bytes, {size} are described", element)

    def _subsection(self, subsection: dict[str, Any], path: str) -> DeviceField:
        begin, length = self._position, subsection_head(subsection)
        head = self._take(length, path)
        name = str(subsection["vmsd_name"]).encode("utf-8", "surrogatepass")
        if head[0] != SectionType.SUBSECTION or head[1] != len(name) & 0xFF or head[2 : 2 + len(name)] != name:
            raise self._error("this subsection does not stand here", path, begin)
        version = parse_declared(wire.Subsection, head).version_id
        return DeviceField(path, "subsection", self._base + begin, length, int(version))

    def _value(self, path: str, kind: str, size: int, count: int) -> DeviceField:
        begin, length = self._position, size * count
        data = self._take(length, path)
        return DeviceField(path, kind, self._base + begin, length, _decode(kind, data, size, count))

    def _take(self, length: int, path: str) -> bytes:
        if length > len(self._body) - self._position:
            raise self._error(f"{length} bytes described, {len(self._body) - self._position} are left", path)
        data = self._body[self._position : self._position + length]
        self._position += length
        return data

    def _error(self, message: str, path: str, position: int | None = None) -> FormatError:
        offset = self._base + (self._position if position is None else position)
        return FormatError(message, channel="main", offset=offset, field=path)


def _decode(kind: str, data: bytes, size: int, count: int) -> Value:
    if size == 0:
        return b""
    integer = _INTEGER.fullmatch(kind)
    signed = integer is not None and not integer.group(1)
    if kind == "bool" and size == 1:
        flags = tuple(byte != 0 for byte in data)
        return flags if count != 1 else flags[0]
    if (integer is not None and size == int(integer.group(2)) // 8) or (kind == "timer" and size == 8):
        starts = range(0, len(data), size)
        values = tuple(int.from_bytes(data[start : start + size], "big", signed=signed) for start in starts)
        return values if count != 1 else values[0]
    return data
