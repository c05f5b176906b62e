"""The vmdescription: JSON behind EOF that says which fields the FULL sections have, the only way to walk their bodies.

Source: vmstate_save_state_v and vmsd_desc_field_start/end in migration/vmstate.c, should_send_vmdesc in
migration/savevm.c (2.3 to 11.1); scripts/analyze-migration.py reads it the same way. ``size`` of a field is the bytes
one element took on the wire, nested subsections included. Everything in here is untrusted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeGuard

from multifd_codec.channel.framing import PAGE_SIZES
from multifd_codec.device_key import DeviceKey
from multifd_codec.errors import FormatError, HoleError
from multifd_codec.layout import compile_struct
from multifd_codec.main.events import DescribedDevice
from multifd_codec.source import Buffer, ByteSource, recorded
from multifd_codec.wire import qemufile as wire
from multifd_codec.wire.qemufile import SectionType

HEAD = compile_struct(wire.VmDescription)
SUBSECTION_EMPTY = len(wire.Subsection.build({"type": 0, "name": b"", "version_id": 0}))
MAX_TEXT = 64 << 20
"""A longer text is not read: a guest of 1000 CPUs has about 30 MiB."""
MAX_CONTAINERS = 750_000
"""Objects and lists of a text that is read: they take a hundred times the memory of their two characters."""
MAX_COMMAS = 3_000_000
MAX_TRIES = 4096
MAX_DEPTH = 64
SEARCH_CHUNK = 1 << 20
_MARK = re.compile(rb"\x06[\x00-\x04](?s:...)\{\s*\"")
_LARGEST_SIZE = 1 << 48
SKIPS_PAGES = ("virtio-mem", "virtio-balloon-device/free-page")
"""What the vmstates begin with of devices that tell the source which pages hold nothing. Only machine types from 8.1 on
have virtio-mem-device-early beside virtio-mem."""


@dataclass(slots=True)
class Description:
    """A parsed vmdescription: ``devices`` in its order, ``keys`` their names."""

    page_size: int | None
    devices: list[dict[str, Any]] = field(default_factory=list)
    keys: list[DeviceKey] = field(default_factory=list)
    configuration: bool = False
    """The configuration section is described (8.2 and later, where it was sent)."""
    _of: dict[DeviceKey, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, key: DeviceKey, device: dict[str, Any]) -> None:
        self.devices.append(device)
        self.keys.append(key)
        self._of.setdefault(key, []).append(device)

    def described(self) -> tuple[DescribedDevice, ...]:
        """The devices as events have them."""
        devices = zip(self.keys, self.devices, strict=True)
        return tuple(DescribedDevice(*key, body_size(device), _version(device)) for key, device in devices)

    @property
    def skips_pages(self) -> bool:
        """Whether a device tells the source which pages hold nothing: virtio-mem's unplugged blocks, or a balloon whose
        driver hints free pages (virtio_mem_*, hw/virtio/virtio-mem.c; virtio_balloon_free_page_support)."""
        return any(_skips(device) for device in self.devices)

    def device(self, key: DeviceKey, number: int) -> dict[str, Any] | None:
        """What describes the FULL section of ``key`` in front of which there were ``number`` others of that name."""
        found = self._of.get(key, ())
        return found[min(number, len(found) - 1)] if found else None


def _skips(device: dict[str, Any]) -> bool:
    left = [device]
    while left:
        described = left.pop()
        if str(described.get("vmsd_name", "")).startswith(SKIPS_PAGES):
            return True
        left += _items(described, "subsections")
        left += [inside for field in _items(described, "fields") if isinstance(inside := field.get("struct"), dict)]
    return False


def _items(device: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = device.get(name)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


class Located(NamedTuple):
    """Where a vmdescription was found: ``offset`` is that of its type byte."""

    offset: int
    description: Description


def find_description(source: ByteSource) -> Located | None:
    """The last vmdescription in ``source``, at most MAX_TEXT and some slack in front of its end; None without one."""
    end = source.size
    stop = max(0, end - MAX_TEXT - SEARCH_CHUNK)
    # Bytes of text and places tried in all, or a crafted stream could make this take for ever.
    budget, tries = 2 * MAX_TEXT, MAX_TRIES
    while end > stop:
        begin = max(stop, end - SEARCH_CHUNK)
        for offset in reversed(_marks(source, begin, min(end + HEAD.size + 8, source.size), end)):
            try:
                length = HEAD.unpack(source.read(offset, HEAD.size))[1]
                if bytes(source.read(offset + HEAD.size + length - 1, 1)) != b"}":
                    continue
                budget, tries = budget - length, tries - 1
                if budget < 0 or tries < 0:
                    return None
                return Located(offset, read_description(source, offset))
            except (FormatError, HoleError):
                continue
        end = begin
    return None


def _marks(source: ByteSource, begin: int, end: int, last: int) -> list[int]:
    stretches = ((offset, bytes(source.read(offset, known))) for offset, known in recorded(source, begin, end))
    found = (offset + match.start() for offset, data in stretches for match in _MARK.finditer(data))
    return [offset for offset in found if offset < last]


def read_description(source: ByteSource, offset: int) -> Description:
    """The vmdescription whose type byte stands at ``offset``. Raises FormatError or HoleError."""
    kind, length = HEAD.unpack(bytes(source.read(offset, HEAD.size)).ljust(HEAD.size, b"\0"))
    begin = offset + HEAD.size
    if kind != SectionType.VMDESCRIPTION:
        raise FormatError("not a vmdescription", channel="main", offset=offset, field="type")
    if begin + length > source.size:
        message = f"text of {length} bytes, {max(0, source.size - begin)} are there"
        raise FormatError(message, channel="main", offset=offset + 1, field="length")
    if length > MAX_TEXT:
        raise FormatError(f"text of {length} bytes is not read", channel="main", offset=offset + 1, field="length")
    return parse_description(source.read(begin, length), begin)


def parse_description(text: Buffer, offset: int = 0) -> Description:
    """Raises FormatError when ``text`` is not the JSON of a vmdescription."""
    raw = bytes(text)
    if raw.count(b"[") + raw.count(b"{") > MAX_CONTAINERS or raw.count(b",") > MAX_COMMAS:
        message = f"a text of more than {MAX_CONTAINERS} objects and lists is not read"
        raise FormatError(message, channel="main", offset=offset, field="json")
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        message = f"not JSON: {str(error).splitlines()[0]}"
        raise FormatError(message, channel="main", offset=offset, field="json") from None
    devices = value.get("devices") if isinstance(value, dict) else None
    if not isinstance(devices, list):
        raise FormatError("no list of devices in it", channel="main", offset=offset, field="devices")
    result = Description(_page_size(value.get("page_size")), configuration="configuration" in value)
    for device in devices:
        name = device.get("name") if isinstance(device, dict) else None
        instance = device.get("instance_id") if isinstance(device, dict) else None
        if not isinstance(name, str) or not _is_count(instance):
            raise FormatError("a device without name or instance_id", channel="main", offset=offset, field="devices")
        result.add(DeviceKey(name.encode("utf-8", "backslashreplace").decode("utf-8"), int(instance)), device)
    return result


def _version(device: dict[str, Any]) -> int | None:
    value = device.get("version")
    return int(value) if _is_count(value) else None


def _page_size(value: Any) -> int | None:
    return int(value) if _is_count(value) and value in PAGE_SIZES else None


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_SIZE


def body_size(device: dict[str, Any]) -> int | None:
    """Bytes of the body ``device`` describes; None when the description does not add up to a number."""
    try:
        return _size(device, 0)
    except FormatError:
        return None


def _size(state: Any, depth: int) -> int:
    """Bytes of fields and subsections of a vmsd. Nested ones are counted in the ``size`` of the fields around them."""
    total = sum(element_size(entry) * element_count(entry) for entry in entries(state, "fields"))
    for subsection in entries(state, "subsections"):
        if depth == MAX_DEPTH:
            raise FormatError("nested too deep", field="subsections")
        total += subsection_head(subsection) + _size(subsection, depth + 1)
    if total > _LARGEST_SIZE:
        raise FormatError("larger than any device", field="size")
    return total


def entries(state: Any, name: str) -> Iterator[dict[str, Any]]:
    """The objects in a list of a described state. Raises FormatError."""
    found = state.get(name, []) if isinstance(state, dict) else None
    if not isinstance(found, list):
        raise FormatError("not a list", field=name)
    for entry in found:
        if not isinstance(entry, dict):
            raise FormatError("not a list of objects", field=name)
        yield entry


def element_size(entry: dict[str, Any]) -> int:
    """Bytes of one element of a field. Raises FormatError."""
    return _count(entry, "size", 0)


def element_count(entry: dict[str, Any]) -> int:
    """Elements that one entry stands for. Raises FormatError."""
    return _count(entry, "array_len", 1)


def subsection_head(subsection: dict[str, Any]) -> int:
    """Bytes in front of a subsection's fields. Raises FormatError."""
    name = subsection.get("vmsd_name")
    if not isinstance(name, str):
        raise FormatError("a subsection without a name", field="vmsd_name")
    return SUBSECTION_EMPTY + len(name.encode("utf-8", "surrogatepass"))


def _count(entry: dict[str, Any], name: str, otherwise: int) -> int:
    value = entry.get(name, otherwise)
    if not _is_count(value):
        raise FormatError("not a size", field=name)
    return int(value)
