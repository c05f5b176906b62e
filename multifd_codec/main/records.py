"""Records of a main channel made from nothing: what a sender or a test puts together and ``encode_main`` writes.

They have no offsets yet; ``place`` in encode.py gives them the offsets and lengths they get on the wire.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from multifd_codec.layout import build_declared
from multifd_codec.main.encode import WithPayload, encode_main, place
from multifd_codec.main.events import (
    BlockList,
    BodyLength,
    CapabilityList,
    Command,
    Configuration,
    ConfigurationSubsection,
    ConfigurationUuid,
    DeviceBody,
    EndOfRam,
    EndOfStream,
    FileHeader,
    Flush,
    MainEvent,
    PackageEnd,
    Page,
    RamBlock,
    SectionEnd,
    SectionFooter,
    SectionFull,
    SectionPart,
    SectionStart,
    TargetPageBits,
    Trailing,
    VfioRecord,
    VmDescription,
    ZeroPage,
)
from multifd_codec.main.vmdescription import parse_description
from multifd_codec.wire import qemufile as wire
from multifd_codec.wire.qemufile import QEMU_VM_FILE_MAGIC, QEMU_VM_FILE_VERSION, CommandId
from multifd_codec.wire.ram import RAM_VERSION, RamFlags
from multifd_codec.wire.vfio import VfioTagId

Item = MainEvent | WithPayload

FLUSH = Flush(0, 0)
END_OF_RAM = EndOfRam(0, 0)
END_OF_STREAM = EndOfStream(0)


def file_header(magic: int = QEMU_VM_FILE_MAGIC, version: int = QEMU_VM_FILE_VERSION) -> FileHeader:
    return FileHeader(0, 0, magic, version)


def configuration(
    machine: str,
    *,
    page_bits: int | None = None,
    capabilities: Sequence[str] = (),
    uuid: bytes | None = None,
) -> Configuration:
    """The configuration section; ``page_bits`` is log2 of the target page size, ``uuid`` 16 bytes."""
    parts: list[ConfigurationSubsection] = []
    if page_bits is not None:
        parts.append(TargetPageBits(0, 0, 1, page_bits))
    if capabilities:
        parts.append(CapabilityList(0, 0, 1, tuple(name.encode() for name in capabilities)))
    if uuid is not None:
        parts.append(ConfigurationUuid(0, 0, 1, uuid))
    return Configuration(0, 0, machine.encode(), tuple(parts))


def section_start(section_id: int, idstr: str, instance_id: int = 0, version_id: int = RAM_VERSION) -> SectionStart:
    return SectionStart(0, 0, section_id, idstr.encode(), instance_id, version_id)


def section_full(section_id: int, idstr: str, instance_id: int = 0, version_id: int = 1) -> SectionFull:
    return SectionFull(0, 0, section_id, idstr.encode(), instance_id, version_id)


def section_part(section_id: int, idstr: str | None = None, instance_id: int = 0) -> SectionPart:
    """``idstr`` and ``instance_id`` are those of the section's START; they are not on the wire."""
    return SectionPart(0, 0, section_id, *_bound(idstr, instance_id))


def section_end(section_id: int, idstr: str | None = None, instance_id: int = 0) -> SectionEnd:
    """Like ``section_part``."""
    return SectionEnd(0, 0, section_id, *_bound(idstr, instance_id))


def _bound(idstr: str | None, instance_id: int) -> tuple[bytes | None, int | None]:
    return (None, None) if idstr is None else (idstr.encode(), instance_id)


def footer(section_id: int) -> SectionFooter:
    return SectionFooter(0, 0, section_id)


def block_list(blocks: Iterable[RamBlock], total: int | None = None) -> BlockList:
    """MEM_SIZE; ``total`` is the sum of the blocks unless given."""
    listed = tuple(blocks)
    return BlockList(0, 0, sum(block.used_length for block in listed) if total is None else total, listed)


def zero_page(addr: int, block: str, *, named: bool = True, fill: int = 0) -> ZeroPage:
    """A ZERO record for byte offset ``addr`` of ``block``; with CONTINUE unless it is ``named``."""
    flags = RamFlags.ZERO if named else RamFlags.ZERO | RamFlags.CONTINUE
    return ZeroPage(0, 0, addr, block.encode() if named else None, block, fill, int(flags))


def page(addr: int, block: str, content: bytes, *, named: bool = True) -> WithPayload:
    """A PAGE record; ``content`` is one target page."""
    flags = RamFlags.PAGE if named else RamFlags.PAGE | RamFlags.CONTINUE
    name = block.encode() if named else None
    return WithPayload(Page(0, 0, addr, name, block, 0, len(content), int(flags)), content)


def vfio(tag: VfioTagId) -> VfioRecord:
    """One VFIO tag without payload."""
    return VfioRecord(0, 0, int(tag))


def vfio_data(data: bytes, tag: VfioTagId = VfioTagId.DEV_DATA_STATE) -> WithPayload:
    """DEV_DATA_STATE (or DEV_CONFIG_STATE) with its payload."""
    return WithPayload(VfioRecord(0, 0, int(tag), 0, len(data)), data)


def command(number: int, payload: bytes = b"") -> Command:
    return Command(0, 0, number, len(payload), payload)


def ping(value: int) -> Command:
    return command(CommandId.PING, build_declared(wire.Ping, {"value": value}))


def package(items: Iterable[Item]) -> list[Item]:
    """PACKAGED, the records in it, and its end."""
    inside = list(items)
    length = sum(len(piece) for piece in encode_main(inside))
    payload = build_declared(wire.Packaged, {"length": length})
    return [command(CommandId.PACKAGED, payload), *inside, PackageEnd(0)]


def device(section_id: int, idstr: str, body: bytes, instance_id: int = 0, version_id: int = 1) -> list[Item]:
    """A FULL section, whole."""
    content = DeviceBody(0, len(body), section_id, idstr.encode(), instance_id, BodyLength.VMDESCRIPTION)
    full = section_full(section_id, idstr, instance_id, version_id)
    return [full, WithPayload(content, body), footer(section_id)]


def vmdescription(value: Any) -> WithPayload:
    """``value`` is what the JSON says. Raises FormatError when that is no vmdescription."""
    text = json.dumps(value).encode()
    description = parse_description(text)
    event = VmDescription(0, 0, len(text), 0, len(text), description.page_size, description.described())
    return WithPayload(event, text)


def buffer_device(idstr: str, size: int, instance_id: int = 0) -> dict[str, Any]:
    """A device of ``size`` opaque bytes, as the vmdescription has those that are not made of vmstate fields."""
    data = {"name": "data", "size": size, "type": "buffer"}
    return {"name": idstr, "instance_id": instance_id, "size": size, "fields": [data]}


def trailing(data: bytes) -> WithPayload:
    return WithPayload(Trailing(0, len(data)), data)


def stream(items: Iterable[Item]) -> tuple[list[MainEvent], bytes]:
    """The events, placed, and the bytes they make."""
    placed = list(place(items))
    events = [item.event if isinstance(item, WithPayload) else item for item in placed]
    return events, b"".join(encode_main(placed))
