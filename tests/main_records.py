"""Records of the main channel, made from nothing, for a guest with two RAM blocks."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

from multifd_codec.draft.draft import Line, Record
from multifd_codec.main import events as ev
from multifd_codec.wire.ram import RamFlags

PAGE = 4096
RAM, BIOS = b"pc.ram", b"pc.bios"
BLOCKS = {RAM: 256, BIOS: 4}
"""RAM block to its pages."""


def flush() -> Record:
    return Record(ev.Flush(0, 8))


def eos() -> Record:
    return Record(ev.EndOfRam(0, 8))


def footer(section_id: int) -> Record:
    return Record(ev.SectionFooter(0, 5, section_id))


def command(number: int, payload: bytes = b"", declared: int | None = None) -> Record:
    return Record(ev.Command(0, 0, number, len(payload) if declared is None else declared, payload))


def zero_page(number: int, block: bytes | None = RAM, fill: int = 0) -> Record:
    flags = RamFlags.ZERO if block is not None else RamFlags.ZERO | RamFlags.CONTINUE
    return Record(ev.ZeroPage(0, 0, PAGE * number, block, None, fill, int(flags)))


def normal_page(number: int, content: bytes, block: bytes = RAM) -> Record:
    return Record(ev.Page(0, 0, PAGE * number, block, None, 0, len(content)), content)


def tag(value: int, data: bytes = b"") -> Record:
    return Record(ev.VfioRecord(0, 0, value, 0, len(data)), data)


def section(kind: type, section_id: int, *body: Record, name: bytes = b"", version: int = 1) -> Line:
    """A section with its footer."""
    named = (section_id, name, 0, version) if kind in (ev.SectionStart, ev.SectionFull) else (section_id,)
    return [Record(kind(0, 0, *named)), *body, footer(section_id)]


def body(section_id: int, data: bytes) -> Record:
    return Record(ev.DeviceBody(0, len(data), section_id, None, None, ev.BodyLength.VMDESCRIPTION), data)


TIMER = struct.pack(">qqq", 5, 0, 1234)
GLOBALSTATE = struct.pack(">I32sBB66s", 8, b"running", 0, 0, b"")
FIELDS: dict[bytes, list[tuple[str, str, int]]] = {
    b"timer": [("cpu_ticks_offset", "int64", 8), ("unused", "unused_buffer", 8), ("cpu_clock_offset", "int64", 8)],
    b"globalstate": [("size", "uint32", 4), ("runstate", "buffer", 32), ("flags", "buffer", 68)],
}


def description(devices: Sequence[bytes], page_size: int = PAGE) -> Record:
    """The vmdescription of these devices."""
    entries = []
    for name in devices:
        entry: dict[str, Any] = {"name": name.decode(), "instance_id": 0}
        fields = [dict(zip(("name", "type", "size"), field, strict=True)) for field in FIELDS.get(name, ())]
        known = {"vmsd_name": name.decode(), "version": 2 if name == b"timer" else 1, "fields": fields}
        opaque = {"size": 8, "fields": [{"name": "data", "size": 8, "type": "buffer"}]}
        entries.append(entry | (known if fields else opaque))
    head = {"vmsd_name": "configuration", "version": 1, "fields": []}
    return text({"configuration": head, "page_size": page_size, "devices": entries})


def text(value: object) -> Record:
    data = json.dumps(value).encode()
    return Record(ev.VmDescription(0, 5, len(data), 0, len(data)), data)


def block_list(blocks: Sequence[ev.RamBlock] | None = None) -> Record:
    entries = tuple(ev.RamBlock(name, PAGE * pages) for name, pages in BLOCKS.items()) if blocks is None else blocks
    return Record(ev.BlockList(0, 0, sum(entry.used_length for entry in entries), tuple(entries)))
