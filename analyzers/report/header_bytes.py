"""The bytes of a record beside its fields: offset, field, hex, value, as the declarations say."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from analyzers.report.event_record import flag_names
from analyzers.report.main_bytes import main_pieces
from multifd_codec.channel.events import ChannelInit, DeviceStatePacket, RamPacket
from multifd_codec.channel.framing import DEVICE, FIXED, INIT
from multifd_codec.errors import MultifdError
from multifd_codec.layout import FieldSpan, Layout, layout
from multifd_codec.main.device_fields import DeviceField
from multifd_codec.main.events import DeviceBody
from multifd_codec.names import is_printable
from multifd_codec.source import ByteSource, read_known
from multifd_codec.wire.packet import MULTIFD_PACKET_SIZE, ram_packet
from multifd_codec.wire.vfio import VFIODeviceStatePacket

FieldsOf = Callable[[DeviceBody], Iterator[DeviceField]]
VFIO = layout(VFIODeviceStatePacket)

ROW = 16
"""Bytes shown on one line."""
MAX_OTHER = 256
"""Bytes shown of a record whose fields are not declared one by one."""


class FieldBytes(NamedTuple):
    """One field of one record. ``offset`` counts from the start of the stream, ``data`` may be cut by a hole."""

    name: str
    offset: int
    data: bytes
    value: str


def field_bytes(source: ByteSource, event: Any, inside: FieldsOf | None = None) -> Iterator[FieldBytes]:
    """The fields of an event's header in wire order; of arrays only the used entries, then the padding as one field.

    ``inside`` gives the fields of a device body (``MainDecoder.fields``).
    """
    if isinstance(event, DeviceBody) and inside is not None:
        try:
            yield from [_device_field(source, field) for field in inside(event)]
            return
        except MultifdError:
            pass  # not described: shown as plain bytes
    form = _layout(event)
    if form is None:
        yield from _main_fields(source, event)
        return
    header = read_known(source, event.offset, form.size)
    yield from _fields(form, header, event)
    if isinstance(event, DeviceStatePacket):
        payload = read_known(source, event.payload_offset, min(VFIO.size, event.payload_length))
        for span in VFIO.fields:
            yield _field(span, None, payload, event.payload_offset)


def _main_fields(source: ByteSource, event: Any) -> Iterator[FieldBytes]:
    length = int(getattr(event, "length", 0))
    head = read_known(source, event.offset, min(length, MAX_OTHER))
    position = 0
    for piece in main_pieces(event, head):
        data = head[piece.start : piece.start + piece.length]
        position = piece.start + len(data)
        yield FieldBytes(piece.name, event.offset + piece.start, data, piece.value)
    if position < length:
        rest = length - len(head)
        value = f"and {rest} more bytes" if rest else ""
        yield FieldBytes("", event.offset + position, head[position:], value)


def _device_field(source: ByteSource, field: DeviceField) -> FieldBytes:
    data = bytes(source.read(field.offset, min(field.length, MAX_OTHER)))
    value = "" if isinstance(field.value, bytes) else f"{field.value} "
    return FieldBytes(field.path, field.offset, data, f"{value}({field.type})")


def _fields(form: Layout, header: bytes, event: Any) -> Iterator[FieldBytes]:
    for span in form.fields:
        if span.count is None:
            yield _field(span, None, header, event.offset)
            continue
        size = span.size // span.count
        used = span.count
        if isinstance(event, RamPacket) and span.name == "offset":
            used = min(span.count, event.normal_pages + event.zero_pages)
        for index in range(used):
            yield _field(span, index, header, event.offset)
        if used < span.count:
            padding = header[span.offset + used * size : span.offset + span.size]
            value = "padding, all zero" if not any(padding) else "padding, left over from earlier packets"
            yield FieldBytes(f"{span.name}[{used}:]", event.offset + span.offset + used * size, padding, value)


def vfio_header(source: ByteSource, packet: DeviceStatePacket) -> dict[str, int] | None:
    """version, idx and flags in front of the device's data; None where they were not recorded."""
    data = read_known(source, packet.payload_offset, min(VFIO.size, packet.payload_length))
    return VFIO.parse(data) if len(data) == VFIO.size else None


def hex_lines(fields: Iterator[FieldBytes]) -> Iterator[str]:
    """One line a field, long ones on several with repeated lines as ``*``."""
    for field in fields:
        rows = [field.data[start : start + ROW] for start in range(0, len(field.data), ROW)] or [b""]
        skipped = False
        for number, row in enumerate(rows):
            if 0 < number < len(rows) - 1 and row == rows[number - 1]:
                if not skipped:
                    yield f"  {'*':>12}"
                skipped = True
                continue
            skipped = False
            name, value = (field.name, field.value) if number == 0 else ("", "")
            text = f"  {field.offset + number * ROW:>12}  {name:<20}  {row.hex(' '):<47}  {value}"
            yield text.rstrip()


def _layout(event: Any) -> Layout | None:
    match event:
        case ChannelInit():
            return INIT
        case DeviceStatePacket():
            return DEVICE
        case RamPacket():
            entries = (event.length - FIXED.size) // struct.calcsize(">Q")
            return layout(ram_packet(MULTIFD_PACKET_SIZE // max(1, entries)))
    return None


def _field(span: FieldSpan, index: int | None, header: bytes, base: int) -> FieldBytes:
    """A scalar field, or one element of an array."""
    size = span.size // (span.count or 1)
    begin = span.offset + (index or 0) * size
    data = header[begin : begin + size]
    name = span.name if index is None else f"{span.name}[{index}]"
    return FieldBytes(name, base + begin, data, _value(span, data, size))


def _value(span: FieldSpan, data: bytes, size: int) -> str:
    if len(data) < size:
        return "not recorded"
    if span.code == "s":
        text, _, rest = data.partition(b"\0")
        if not any(data):
            return "all zero"
        if not is_printable(text):
            return ""
        return f'"{text.decode("ascii")}"' + (" and left-over bytes" if any(rest) else "")
    (number,) = struct.unpack(f">{span.code}", data)
    if span.name == "flags":
        return f"{number:#x} {'|'.join(flag_names(number))}".rstrip()
    return f"{number} ({number:#x})" if number > 9 else str(number)
