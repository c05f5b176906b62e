"""The return path: messages from destination to source on the main channel's connection, bytes to events.

Source: source_return_path_thread, migration/migration.c; ram_dirty_bitmap_reload, migration/ram.c (10.0).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from multifd_codec.errors import FormatError
from multifd_codec.layout import compile_struct, parse_declared
from multifd_codec.source import ByteSource, StreamEnd, bytes_known
from multifd_codec.wire import return_path as wire
from multifd_codec.wire.return_path import PAYLOADS, ReturnPathType

MESSAGE = compile_struct(wire.Message)
SIZE = compile_struct(wire.ReceivedBitmapSize)
ENDING = compile_struct(wire.ReceivedBitmapEnding)
_NAMES = {int(kind): kind.name for kind in ReturnPathType}


class ReceivedBitmap(NamedTuple):
    """What follows RECV_BITMAP outside its length: the bitmap (not held) and its end mark."""

    bitmap_offset: int
    bitmap_length: int
    ending: int


class ReturnPathMessage(NamedTuple):
    """One message. ``length`` counts all its bytes, bitmap included; ``payload`` is what its own length covers."""

    offset: int
    length: int
    type: int
    payload: bytes
    bitmap: ReceivedBitmap | None = None

    @property
    def name(self) -> str:
        """QEMU's name of the message, without prefix."""
        return _NAMES.get(self.type, f"UNKNOWN_{self.type:#x}")

    def arguments(self) -> dict[str, Any]:
        """Fields of the payload. Raises FormatError when it has not the form its type prescribes."""
        form = PAYLOADS.get(self.type)
        if form is None:
            raise FormatError(
                f"no message of type {self.type}", channel="return path", offset=self.offset, field="type"
            )
        parsed = parse_declared(form, self.payload, channel="return path", offset=self.offset)
        values = {name: value for name, value in parsed.items() if not name.startswith("_")}
        if len(form.build(values)) != len(self.payload):
            message = f"{self.name} with {len(self.payload)} bytes of payload"
            raise FormatError(message, channel="return path", offset=self.offset, field="length")
        return values


class ReturnPathEnd(NamedTuple):
    """The end of what is there; ``length`` bytes from ``offset`` on are a message that is cut or was not recorded."""

    offset: int
    length: int
    end: StreamEnd


def decode_return_path(source: ByteSource) -> Iterator[ReturnPathMessage | ReturnPathEnd]:
    """All messages in order, ending in ReturnPathEnd: at the end, or where a hole takes the framing away.

    Raises nothing, whatever the bytes: a message of unknown type is framed by its length.
    """
    offset = 0
    while (message := _message(source, offset)) is not None:
        yield message
        offset += message.length
    yield ReturnPathEnd(offset, source.size - offset, source.end)


def _message(source: ByteSource, offset: int) -> ReturnPathMessage | None:
    if bytes_known(source, offset) < MESSAGE.size:
        return None
    kind, size = MESSAGE.unpack(source.read(offset, MESSAGE.size))
    length = MESSAGE.size + size
    if bytes_known(source, offset) < length:
        return None
    payload = bytes(source.read(offset + MESSAGE.size, size))
    if kind != ReturnPathType.RECV_BITMAP:
        return ReturnPathMessage(offset, length, kind, payload)
    begin = offset + length
    if bytes_known(source, begin) < SIZE.size:
        return None
    (bitmap,) = SIZE.unpack(source.read(begin, SIZE.size))
    behind = begin + SIZE.size + bitmap
    if bytes_known(source, behind) < ENDING.size:
        return None
    (ending,) = ENDING.unpack(source.read(behind, ENDING.size))
    following = ReceivedBitmap(begin + SIZE.size, bitmap, ending)
    return ReturnPathMessage(offset, behind + ENDING.size - offset, kind, payload, following)
