"""The main channel: events to bytes.

Events do not hold payload. Whoever encodes gives it: for what was decoded, ``read`` is the ``read`` of its source; for
what is made from nothing, WithPayload carries it. Encoding what was decoded gives the same bytes, whatever they were.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from multifd_codec.errors import EncodeError
from multifd_codec.layout import build_declared, compile_struct, layout
from multifd_codec.main.events import (
    BlockList,
    CapabilityList,
    Command,
    CompressedPage,
    Configuration,
    ConfigurationSubsection,
    ConfigurationUuid,
    DeviceBody,
    EndOfRam,
    EndOfStream,
    FileHeader,
    Flush,
    Hook,
    MainEnd,
    MainEvent,
    MainItem,
    Missing,
    PackageEnd,
    Page,
    RamBlock,
    SectionEnd,
    SectionFooter,
    SectionFull,
    SectionPart,
    SectionStart,
    Skipped,
    StreamStopped,
    TargetPageBits,
    Trailing,
    UnknownRamRecord,
    VfioRecord,
    VmDescription,
    XbzrlePage,
    ZeroPage,
    ZeroPageRun,
)
from multifd_codec.source import Buffer
from multifd_codec.wire import qemufile as wire
from multifd_codec.wire import ram as ram_wire
from multifd_codec.wire import vfio as vfio_wire
from multifd_codec.wire.qemufile import CONFIGURATION_PREFIX, SectionType
from multifd_codec.wire.ram import RamFlags
from multifd_codec.wire.vfio import VfioTagId

WORD = compile_struct(ram_wire.RamWord)
ZERO = layout(ram_wire.ZeroRecord)
FILL = compile_struct(ram_wire.ZeroFill)
PART = compile_struct(wire.SectionPart)
COMMAND = compile_struct(wire.Command)
PIECE = 1 << 20
"""Payload is passed on in pieces of this size."""

Read = Callable[[int, int], Buffer]


class WithPayload(NamedTuple):
    """An event and the bytes that belong to it but are not in it: payload, device body, skipped or trailing bytes.

    For the block list of a mapped-ram file: what stands behind each entry, joined.
    """

    event: MainEvent
    payload: Buffer


def encode_main(items: Iterable[MainItem | WithPayload], read: Read | None = None) -> Iterator[Buffer]:
    """The bytes of a main channel, piece by piece.

    ``read(offset, length)`` gives payload that events only point to; what it raises is passed on. Raises EncodeError
    when a value does not fit its field, or when payload is asked for and there is neither ``read`` nor WithPayload.
    """
    for item in items:
        event, given = (item.event, item.payload) if isinstance(item, WithPayload) else (item, None)
        offset = event.offset
        try:
            head = encode_head(event)
        except (struct.error, OverflowError) as error:
            raise EncodeError(str(error), channel="main", offset=offset) from None
        position = 0
        for piece in head:
            if isinstance(piece, bytes):
                yield piece
            elif given is not None:
                yield given[position : position + piece[1]]
                position += piece[1]
            else:
                yield from _pieces(event, read, *piece)


def place(items: Iterable[MainEvent | WithPayload]) -> Iterator[MainEvent | WithPayload]:
    """The same with the offsets and lengths they have when encoded one behind the other: for events made from nothing.

    Raises EncodeError like ``encode_main``.
    """
    offset = 0
    for item in items:
        event, given = (item.event, item.payload) if isinstance(item, WithPayload) else (item, None)
        event = event._replace(offset=offset)
        own = isinstance(event, _BODIES)
        size = sum(len(piece) for piece in encode_main([event if given is None else WithPayload(event, b"")], _nothing))
        payload = len(given or b"")
        changes: dict[str, Any] = {"length": size}
        if own:
            changes["length"] = event.length if given is None else payload
        elif isinstance(event, BlockList):
            changes["length"] += payload
        elif (behind := getattr(event, "payload_length", None)) is not None:
            changes |= {"payload_offset": offset + size, "payload_length": behind if given is None else payload}
        if isinstance(event, Configuration):
            changes["subsections"] = tuple(_placed_subsections(event, offset))
        event = event._replace(**changes)
        offset += changes["length"] + changes.get("payload_length", 0)
        yield event if given is None else WithPayload(event, given)


_BODIES = (DeviceBody, Skipped, Trailing, StreamStopped, MainEnd)
"""Events that are nothing but bytes not in the event."""


def encode_head(event: MainItem) -> list[bytes | tuple[int, int]]:
    """The bytes of an event, with (offset, length) where bytes belong that are not in it."""
    match event:
        case FileHeader():
            return [compile_struct(wire.FileHeader).pack(event.magic, event.version)]
        case Configuration():
            return [_configuration(event)]
        case SectionStart() | SectionFull():
            kind = SectionType.START if isinstance(event, SectionStart) else SectionType.FULL
            return [build_declared(wire.SectionStart, {"type": kind, **event._asdict()})]
        case SectionPart():
            return [PART.pack(SectionType.PART, event.section_id)]
        case SectionEnd():
            return [PART.pack(SectionType.END, event.section_id)]
        case SectionFooter():
            return [PART.pack(SectionType.FOOTER, event.section_id)]
        case Command():
            return [COMMAND.pack(SectionType.COMMAND, event.command, event.declared_length), event.payload]
        case EndOfStream():
            return [bytes([SectionType.EOF])]
        case VmDescription():
            head = compile_struct(wire.VmDescription).pack(SectionType.VMDESCRIPTION, event.declared_length)
            return [head, (event.payload_offset, event.payload_length)]
        case VfioRecord():
            return _vfio(event)
        case PackageEnd() | Missing():
            return []
        case DeviceBody() | Skipped() | Trailing() | StreamStopped() | MainEnd():
            return [(event.offset, event.length)]
        case _:
            return _ram(event)


def _ram(event: MainItem) -> list[bytes | tuple[int, int]]:
    match event:
        case ZeroPageRun():
            rows = np.empty(len(event.pages), ZERO.dtype)
            rows["word"] = event.pages | np.uint64(RamFlags.ZERO | RamFlags.CONTINUE)
            rows["fill"] = 0
            return [rows.tobytes()]
        case BlockList():
            return _block_list(event)
        case Flush() | EndOfRam() | Hook() | UnknownRamRecord():
            return [WORD.pack(event.addr | event.flags)]
        case ZeroPage():
            return [_page(event), FILL.pack(event.fill)]
        case Page():
            return [_page(event), (event.payload_offset, event.payload_length)]
        case XbzrlePage():
            head = compile_struct(ram_wire.XbzrlePage).pack(event.encoding, event.payload_length)
            return [_page(event), head, (event.payload_offset, event.payload_length)]
        case CompressedPage():
            head = compile_struct(ram_wire.CompressedPage).pack(event.payload_length)
            return [_page(event), head, (event.payload_offset, event.payload_length)]
    raise EncodeError(f"{type(event).__name__} is not an event of the main channel", channel="main")


def _page(event: ZeroPage | Page | XbzrlePage | CompressedPage) -> bytes:
    word = WORD.pack(event.addr | event.flags)
    if bool(event.flags & RamFlags.CONTINUE) != (event.idstr is None):
        raise EncodeError("a record names its RAM block, or has the flag CONTINUE", channel="main", offset=event.offset)
    return word if event.idstr is None else word + build_declared(wire.Str8, event.idstr)


def _block_list(event: BlockList) -> list[bytes | tuple[int, int]]:
    pieces: list[bytes | tuple[int, int]] = [WORD.pack(event.total | event.flags)]
    position = event.offset + WORD.size
    for block in event.blocks:
        entry = _block(block)
        pieces.append(entry)
        position += len(entry)
        if block.behind:
            pieces.append((position, block.behind))
            position += block.behind
    return pieces


def _block(block: RamBlock) -> bytes:
    form = ram_wire.block_entry(
        page_size=block.page_size is not None,
        guest_address=block.guest_address is not None,
        mapped_ram=block.mapped_ram is not None,
    )
    values = block._asdict()
    if block.mapped_ram is not None:
        values["mapped_ram"] = block.mapped_ram._asdict()
    return build_declared(form, values)


def _vfio(event: VfioRecord) -> list[bytes | tuple[int, int]]:
    if event.tag == VfioTagId.DEV_DATA_STATE:
        head = compile_struct(vfio_wire.VfioData).pack(event.tag, event.payload_length)
    else:
        head = compile_struct(vfio_wire.VfioTag).pack(event.tag)
    return [head, (event.payload_offset, event.payload_length)] if event.payload_length else [head]


def _configuration(event: Configuration) -> bytes:
    head = build_declared(wire.Configuration, {"type": SectionType.CONFIGURATION, "name": event.name})
    return head + b"".join(map(_subsection, event.subsections))


def _subsection(part: ConfigurationSubsection) -> bytes:
    match part:
        case TargetPageBits():
            name, body = b"target-page-bits", build_declared(wire.TargetPageBits, {"bits": part.bits})
        case CapabilityList():
            name, body = b"capabilities", build_declared(wire.CapabilityList, {"names": part.names})
        case ConfigurationUuid():
            name, body = b"uuid", build_declared(wire.ConfigurationUuid, {"uuid": part.uuid})
    values = {"type": SectionType.SUBSECTION, "name": CONFIGURATION_PREFIX + name, "version_id": part.version_id}
    return build_declared(wire.Subsection, values) + body


def _placed_subsections(event: Configuration, offset: int) -> Iterator[ConfigurationSubsection]:
    offset += len(_configuration(event._replace(subsections=())))
    for part in event.subsections:
        length = len(_subsection(part))
        yield part._replace(offset=offset, length=length)
        offset += length


def _pieces(event: MainItem, read: Read | None, offset: int, length: int) -> Iterator[Buffer]:
    if length and read is None:
        name = type(event).__name__
        raise EncodeError(f"the {length} bytes of {name} are not given", channel="main", offset=offset)
    while length > 0 and read is not None:
        data = read(offset, min(length, PIECE))
        if not data:
            return  # the stream ends inside this payload
        yield data
        offset += len(data)
        length -= len(data)


def _nothing(_offset: int, _length: int) -> bytes:
    return b""
