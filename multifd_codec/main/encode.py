"""The main channel: events to bytes.

Events do not hold payload. Whoever encodes gives it: for what was decoded, ``read`` is the ``read`` of its source; for
what is made from nothing, the Record of a draft. Encoding what was decoded gives the same bytes, whatever they were.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from multifd_codec.errors import EncodeError
from multifd_codec.layout import build_declared, compile_struct, layout
from multifd_codec.main import events as ev
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


def encode_main(items: Iterable[ev.MainItem], read: Read | None = None) -> Iterator[Buffer]:
    """The bytes of a main channel, piece by piece.

    ``read(offset, length)`` gives payload that events only point to; what it raises is passed on. Raises EncodeError
    when a value does not fit its field, or when payload is asked for and there is no ``read``.
    """
    for item in items:
        yield from encode_item(item, None, read)


def encode_item(event: ev.MainItem, payload: Buffer | None = None, read: Read | None = None) -> Iterator[Buffer]:
    """The bytes of one event. ``payload``: the bytes that belong to it but are not in it, as payload, device body,
    skipped or trailing bytes; of the block list of a mapped-ram file what stands behind each entry, joined. Without,
    ``read`` is asked. Raises EncodeError like ``encode_main``.
    """
    try:
        head = encode_head(event)
    except (struct.error, OverflowError) as error:
        raise EncodeError(str(error), channel="main", offset=event.offset) from None
    position = 0
    for piece in head:
        if isinstance(piece, bytes):
            yield piece
        elif payload is not None:
            yield payload[position : position + piece[1]]
            position += piece[1]
        else:
            yield from _pieces(event, read, *piece)


def place(event: ev.MainEvent, offset: int, payload: int | None = None) -> ev.MainEvent:
    """The event with the offsets and lengths it has when encoded at ``offset``, ``payload`` bytes of payload with it;
    None: as many as it says itself. Raises EncodeError like ``encode_main``.
    """
    event = event._replace(offset=offset)
    size = sum(map(len, encode_item(event, b"")))
    changes: dict[str, Any] = {"length": size}
    if isinstance(event, _BODIES):
        changes["length"] = event.length if payload is None else payload
    elif isinstance(event, ev.BlockList):
        changes["length"] += payload or 0
    elif (behind := getattr(event, "payload_length", None)) is not None:
        changes |= {"payload_offset": offset + size, "payload_length": behind if payload is None else payload}
    if isinstance(event, ev.Configuration):
        changes["subsections"] = tuple(_placed_subsections(event, offset))
    return event._replace(**changes)


_BODIES = (ev.DeviceBody, ev.Skipped, ev.Trailing, ev.StreamStopped, ev.MainEnd)
"""Events that are nothing but bytes not in the event."""


def encode_head(event: ev.MainItem) -> list[bytes | tuple[int, int]]:
    """The bytes of an event, with (offset, length) where bytes belong that are not in it."""
    match event:
        case ev.FileHeader():
            return [compile_struct(wire.FileHeader).pack(event.magic, event.version)]
        case ev.Configuration():
            return [_configuration(event)]
        case ev.SectionStart() | ev.SectionFull():
            kind = SectionType.START if isinstance(event, ev.SectionStart) else SectionType.FULL
            return [build_declared(wire.SectionStart, {"type": kind, **event._asdict()})]
        case ev.SectionPart():
            return [PART.pack(SectionType.PART, event.section_id)]
        case ev.SectionEnd():
            return [PART.pack(SectionType.END, event.section_id)]
        case ev.SectionFooter():
            return [PART.pack(SectionType.FOOTER, event.section_id)]
        case ev.Command():
            return [COMMAND.pack(SectionType.COMMAND, event.command, event.declared_length), event.payload]
        case ev.EndOfStream():
            return [bytes([SectionType.EOF])]
        case ev.VmDescription():
            head = compile_struct(wire.VmDescription).pack(SectionType.VMDESCRIPTION, event.declared_length)
            return [head, (event.payload_offset, event.payload_length)]
        case ev.VfioRecord():
            return _vfio(event)
        case ev.PackageEnd() | ev.Missing():
            return []
        case ev.DeviceBody() | ev.Skipped() | ev.Trailing() | ev.StreamStopped() | ev.MainEnd():
            return [(event.offset, event.length)]
        case _:
            return _ram(event)


def _ram(event: ev.MainItem) -> list[bytes | tuple[int, int]]:
    match event:
        case ev.ZeroPageRun():
            rows = np.empty(len(event.pages), ZERO.dtype)
            rows["word"] = event.pages | np.uint64(RamFlags.ZERO | RamFlags.CONTINUE)
            rows["fill"] = 0
            return [rows.tobytes()]
        case ev.BlockList():
            return _block_list(event)
        case ev.Flush() | ev.EndOfRam() | ev.Hook() | ev.UnknownRamRecord():
            return [WORD.pack(event.addr | event.flags)]
        case ev.ZeroPage():
            return [_page(event), FILL.pack(event.fill)]
        case ev.Page():
            return [_page(event), (event.payload_offset, event.payload_length)]
        case ev.XbzrlePage():
            head = compile_struct(ram_wire.XbzrlePage).pack(event.encoding, event.payload_length)
            return [_page(event), head, (event.payload_offset, event.payload_length)]
        case ev.CompressedPage():
            head = compile_struct(ram_wire.CompressedPage).pack(event.payload_length)
            return [_page(event), head, (event.payload_offset, event.payload_length)]
    raise EncodeError(f"{type(event).__name__} is not an event of the main channel", channel="main")


def _page(event: ev.ZeroPage | ev.Page | ev.XbzrlePage | ev.CompressedPage) -> bytes:
    word = WORD.pack(event.addr | event.flags)
    if bool(event.flags & RamFlags.CONTINUE) != (event.idstr is None):
        raise EncodeError("a record names its RAM block, or has the flag CONTINUE", channel="main", offset=event.offset)
    return word if event.idstr is None else word + build_declared(wire.Str8, event.idstr)


def _block_list(event: ev.BlockList) -> list[bytes | tuple[int, int]]:
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


def _block(block: ev.RamBlock) -> bytes:
    form = ram_wire.block_entry(
        page_size=block.page_size is not None,
        guest_address=block.guest_address is not None,
        mapped_ram=block.mapped_ram is not None,
    )
    values = block._asdict()
    if block.mapped_ram is not None:
        values["mapped_ram"] = block.mapped_ram._asdict()
    return build_declared(form, values)


def _vfio(event: ev.VfioRecord) -> list[bytes | tuple[int, int]]:
    if event.tag == VfioTagId.DEV_DATA_STATE:
        head = compile_struct(vfio_wire.VfioData).pack(event.tag, event.payload_length)
    else:
        head = compile_struct(vfio_wire.VfioTag).pack(event.tag)
    return [head, (event.payload_offset, event.payload_length)] if event.payload_length else [head]


def _configuration(event: ev.Configuration) -> bytes:
    head = build_declared(wire.Configuration, {"type": SectionType.CONFIGURATION, "name": event.name})
    return head + b"".join(map(_subsection, event.subsections))


def _subsection(part: ev.ConfigurationSubsection) -> bytes:
    match part:
        case ev.TargetPageBits():
            name, body = b"target-page-bits", build_declared(wire.TargetPageBits, {"bits": part.bits})
        case ev.CapabilityList():
            name, body = b"capabilities", build_declared(wire.CapabilityList, {"names": part.names})
        case ev.ConfigurationUuid():
            name, body = b"uuid", build_declared(wire.ConfigurationUuid, {"uuid": part.uuid})
    values = {"type": SectionType.SUBSECTION, "name": CONFIGURATION_PREFIX + name, "version_id": part.version_id}
    return build_declared(wire.Subsection, values) + body


def _placed_subsections(event: ev.Configuration, offset: int) -> Iterator[ev.ConfigurationSubsection]:
    offset += len(_configuration(event._replace(subsections=())))
    for part in event.subsections:
        length = len(_subsection(part))
        yield part._replace(offset=offset, length=length)
        offset += length


def _pieces(event: ev.MainItem, read: Read | None, offset: int, length: int) -> Iterator[Buffer]:
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
