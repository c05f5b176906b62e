"""Device state: the buffers of device-state packets, VFIO data on main, and section bodies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from analyzers.receiver.device_state import state_buffers
from analyzers.rulebook.device_state.packet_rules import HEADER
from analyzers.survey.device_state import read_buffer
from multifd_codec.channel.events import DeviceStatePacket
from multifd_codec.device_key import DeviceKey
from multifd_codec.main import events as ev
from multifd_codec.source import Buffer, ByteSource, recorded
from multifd_codec.wire.vfio import VfioTagId

PIECE = 1 << 20
"""Bytes handed out together."""


class Stretch(NamedTuple):
    """Bytes of one channel."""

    source: ByteSource
    offset: int
    length: int


class Piece(NamedTuple):
    """Some of the bytes of a blob. ``data`` is None where they are not in the recording."""

    length: int
    data: Buffer | None


def pieces(stretches: list[Stretch]) -> Iterator[Piece]:
    """The bytes of all stretches, in order, in pieces of bounded size."""
    for source, start, length in stretches:
        position, end = start, start + length
        for offset, known in recorded(source, start, end):
            if offset > position:
                yield Piece(offset - position, None)
            position = offset + known
            for begin in range(offset, position, PIECE):
                size = min(PIECE, position - begin)
                yield Piece(size, source.read(begin, size))
        if position < end:
            yield Piece(end - position, None)


@dataclass(slots=True)
class Blob:
    """The state of one device as it travels in one way."""

    device: DeviceKey
    kind: str
    data: list[Stretch] = field(default_factory=list)
    config: list[Stretch] | None = None
    buffers: int = 0
    missing: list[int] = field(default_factory=list)
    complete: bool = True
    not_loaded: int = 0
    """Bytes of buffers that came, and that no loader comes to."""


@dataclass(slots=True)
class _Buffers:
    """Device-state packets of one device, by idx: whether it is the config, and its bytes behind the VFIO header."""

    placed: dict[int, tuple[bool, Stretch]] = field(default_factory=dict)


MAX_MISSING = 1000
"""Missing indices that are listed."""


class Devices:
    """Collects where the state of each device lies; no byte of it is read before it is written out."""

    def __init__(self) -> None:
        self._buffers: dict[DeviceKey, _Buffers] = {}
        self._main: dict[DeviceKey, Blob] = {}
        self._sections: dict[DeviceKey, Blob] = {}
        self.current: DeviceKey | None = None

    def packet(self, packet: DeviceStatePacket, source: ByteSource) -> str | None:
        """Queue the buffer of a device-state packet; what is wrong with it if that is not possible."""
        buffer = read_buffer(source, packet)
        mine = self._buffers.setdefault(buffer.device, _Buffers())
        if not buffer.recorded:
            return "the header of this device state is not in the recording"
        if buffer.index is None or not buffer.placed:
            return f"device state of {buffer.device.idstr!r} without a VFIO header that a destination takes"
        if buffer.index in mine.placed:
            return f"device-state buffer {buffer.index} of {buffer.device.idstr!r} is already there"
        start, length = packet.payload_offset + HEADER.size, packet.payload_length - HEADER.size
        mine.placed[buffer.index] = (buffer.config, Stretch(source, start, length))
        return None

    def record(self, item: ev.MainItem, source: ByteSource) -> None:
        """Follow the sections on main."""
        match item:
            case ev.SectionStart() | ev.SectionFull() | ev.SectionPart() | ev.SectionEnd():
                known = item.device is not None and item.instance_id is not None
                self.current = DeviceKey(item.device or "", item.instance_id or 0) if known else None
            case ev.DeviceBody() if item.device is not None and item.instance_id is not None:
                device = DeviceKey(item.device, item.instance_id)
                blob = self._sections.setdefault(device, Blob(device, "section"))
                blob.data.append(Stretch(source, item.offset, item.length))
            case ev.VfioRecord() if self.current is not None and item.payload_length:
                blob = self._main.setdefault(self.current, Blob(self.current, "VFIO data on main"))
                stretch = Stretch(source, item.payload_offset, item.payload_length)
                if item.tag == VfioTagId.DEV_CONFIG_STATE:
                    blob.config = [*(blob.config or []), stretch]
                else:
                    blob.data.append(stretch)
            case _:
                pass

    @property
    def count(self) -> int:
        """States there are, as many as ``blobs`` yields."""
        return len(self._buffers) + len(self._main) + len(self._sections)

    def blobs(self, *, loaders: bool | None = None) -> Iterator[Blob]:
        """The state of every device: from packets, from main, from its section.

        ``loaders``: of packets only what a destination's loaders get to, who were started or were not; None: all that
        was sent.
        """
        for device, buffers in self._buffers.items():
            yield _joined(device, buffers, loaders)
        yield from self._main.values()
        yield from self._sections.values()


def _joined(device: DeviceKey, buffers: _Buffers, loaders: bool | None) -> Blob:
    """Buffers in the order of idx. What stands behind the config is never loaded, and is left out."""
    state = state_buffers((index, config) for index, (config, _) in buffers.placed.items())
    blob = Blob(device, "device-state packets", buffers=len(buffers.placed))
    blob.complete = state.complete and loaders is not False
    expected = 0
    for index in sorted(buffers.placed):
        config, stretch = buffers.placed[index]
        blob.missing += range(expected, index)[: MAX_MISSING - len(blob.missing)]
        expected = index + 1
        if state.config is not None and index > state.config:
            continue
        if loaders is False or (loaders and blob.missing):
            blob.not_loaded += stretch.length
        elif config:
            blob.config = [stretch]
        else:
            blob.data.append(stretch)
    return blob
