"""Records of a main channel made from nothing: what a sender, a mutation or a test puts together.

They have no offsets yet; ``placed`` gives them the offsets and lengths they get on the wire.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from multifd_codec.draft.draft import Record
from multifd_codec.layout import build_declared
from multifd_codec.main import events as ev
from multifd_codec.main.encode import place
from multifd_codec.main.vmdescription import parse_description
from multifd_codec.wire import qemufile as wire
from multifd_codec.wire.qemufile import QEMU_VM_FILE_MAGIC, QEMU_VM_FILE_VERSION, CommandId
from multifd_codec.wire.ram import RAM_VERSION, RamFlags
from multifd_codec.wire.vfio import VfioTagId

MainRecord = Record[ev.MainEvent]


def flush() -> Record[ev.Flush]:
    return Record(ev.Flush(0, 0))


def end_of_ram() -> Record[ev.EndOfRam]:
    return Record(ev.EndOfRam(0, 0))


def end_of_stream() -> Record[ev.EndOfStream]:
    return Record(ev.EndOfStream(0))


def file_header(magic: int = QEMU_VM_FILE_MAGIC, version: int = QEMU_VM_FILE_VERSION) -> Record[ev.FileHeader]:
    return Record(ev.FileHeader(0, 0, magic, version))


def configuration(
    machine: str,
    *,
    page_bits: int | None = None,
    capabilities: Sequence[str] = (),
    uuid: bytes | None = None,
) -> Record[ev.Configuration]:
    """The configuration section; ``page_bits`` is log2 of the target page size, ``uuid`` 16 bytes."""
    parts: list[ev.ConfigurationSubsection] = []
    if page_bits is not None:
        parts.append(ev.TargetPageBits(0, 0, 1, page_bits))
    if capabilities:
        parts.append(ev.CapabilityList(0, 0, 1, tuple(name.encode() for name in capabilities)))
    if uuid is not None:
        parts.append(ev.ConfigurationUuid(0, 0, 1, uuid))
    return Record(ev.Configuration(0, 0, machine.encode(), tuple(parts)))


def section_start(
    section_id: int, idstr: str, instance_id: int = 0, version_id: int = RAM_VERSION
) -> Record[ev.SectionStart]:
    return Record(ev.SectionStart(0, 0, section_id, idstr.encode(), instance_id, version_id))


def section_full(section_id: int, idstr: str, instance_id: int = 0, version_id: int = 1) -> Record[ev.SectionFull]:
    return Record(ev.SectionFull(0, 0, section_id, idstr.encode(), instance_id, version_id))


def section_part(section_id: int, idstr: str | None = None, instance_id: int = 0) -> Record[ev.SectionPart]:
    """``idstr`` and ``instance_id`` are those of the section's START; they are not on the wire."""
    return Record(ev.SectionPart(0, 0, section_id, *_bound(idstr, instance_id)))


def section_end(section_id: int, idstr: str | None = None, instance_id: int = 0) -> Record[ev.SectionEnd]:
    """Like ``section_part``."""
    return Record(ev.SectionEnd(0, 0, section_id, *_bound(idstr, instance_id)))


def _bound(idstr: str | None, instance_id: int) -> tuple[bytes | None, int | None]:
    return (None, None) if idstr is None else (idstr.encode(), instance_id)


def footer(section_id: int) -> Record[ev.SectionFooter]:
    return Record(ev.SectionFooter(0, 0, section_id))


def block_list(blocks: Iterable[ev.RamBlock], total: int | None = None) -> Record[ev.BlockList]:
    """MEM_SIZE; ``total`` is the sum of the blocks unless given."""
    listed = tuple(blocks)
    return Record(ev.BlockList(0, 0, sum(block.used_length for block in listed) if total is None else total, listed))


def zero_page(addr: int, block: str, *, named: bool = True, fill: int = 0) -> Record[ev.ZeroPage]:
    """A ZERO record for byte offset ``addr`` of ``block``; with CONTINUE unless it is ``named``."""
    flags = RamFlags.ZERO if named else RamFlags.ZERO | RamFlags.CONTINUE
    return Record(ev.ZeroPage(0, 0, addr, block.encode() if named else None, block, fill, int(flags)))


def page(addr: int, block: str, content: bytes, *, named: bool = True) -> Record[ev.Page]:
    """A PAGE record; ``content`` is one target page."""
    flags = RamFlags.PAGE if named else RamFlags.PAGE | RamFlags.CONTINUE
    name = block.encode() if named else None
    return Record(ev.Page(0, 0, addr, name, block, 0, len(content), int(flags)), content)


def vfio(tag: VfioTagId) -> Record[ev.VfioRecord]:
    """One VFIO tag without payload."""
    return Record(ev.VfioRecord(0, 0, int(tag)))


def command(number: int, payload: bytes = b"") -> Record[ev.Command]:
    return Record(ev.Command(0, 0, number, len(payload), payload))


def ping(value: int) -> Record[ev.Command]:
    return command(CommandId.PING, build_declared(wire.Ping, {"value": value}))


def device(section_id: int, idstr: str, body: bytes, instance_id: int = 0, version_id: int = 1) -> list[MainRecord]:
    """A FULL section, whole."""
    content = ev.DeviceBody(0, len(body), section_id, idstr.encode(), instance_id, ev.BodyLength.VMDESCRIPTION)
    full = section_full(section_id, idstr, instance_id, version_id)
    return [full, Record(content, body), footer(section_id)]


def vmdescription(value: Any) -> Record[ev.VmDescription]:
    """``value`` is what the JSON says. Raises FormatError when that is no vmdescription."""
    text = json.dumps(value).encode()
    description = parse_description(text)
    event = ev.VmDescription(0, 0, len(text), 0, len(text), description.page_size, description.described())
    return Record(event, text)


def buffer_device(idstr: str, size: int, instance_id: int = 0) -> dict[str, Any]:
    """A device of ``size`` opaque bytes, as the vmdescription has those that are not made of vmstate fields."""
    data = {"name": "data", "size": size, "type": "buffer"}
    return {"name": idstr, "instance_id": instance_id, "size": size, "fields": [data]}


def placed(records: Iterable[MainRecord]) -> Iterator[MainRecord]:
    """The same with the offsets and lengths they have when encoded one behind the other. Raises EncodeError."""
    offset = 0
    for record in records:
        event = place(record.event, offset, len(record.payload) or None)
        yield Record(event, record.payload)
        offset = ev.end_of(event)
