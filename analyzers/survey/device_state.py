"""One device-state packet and the VFIO header of its payload."""

from __future__ import annotations

from dataclasses import dataclass

from analyzers.rulebook.device_state.packet_rules import HEADER, HUGE_INDEX, TAG
from multifd_codec.channel.events import DeviceStatePacket
from multifd_codec.device_key import DeviceKey
from multifd_codec.source import ByteSource, bytes_known
from multifd_codec.wire.vfio import CONFIG_STATE


@dataclass(frozen=True, slots=True)
class Buffer:
    """A device-state packet, with what its VFIO payload header says (None where that is too short or not there)."""

    packet: DeviceStatePacket
    device: DeviceKey
    terminated: bool
    """The device's name ends in a NUL within its 256 bytes."""
    version: int | None
    index: int | None
    flags: int | None
    first_tag: int | None = None
    """Config: first and last be64 of the config data."""
    last_tag: int | None = None
    recorded: bool = True
    """The payload header is in the recording."""

    @property
    def placed(self) -> bool:
        """The receiver finds a place for it: its VFIO header is one, and its index is possible."""
        return self.version == 0 and self.index is not None and self.index < HUGE_INDEX

    @property
    def config(self) -> bool:
        return bool((self.flags or 0) & CONFIG_STATE)


def read_buffer(source: ByteSource, packet: DeviceStatePacket) -> Buffer:
    """Read the payload header (12 bytes) and, of a config, the tags at both ends."""
    start, length = packet.payload_offset, packet.payload_length
    device = DeviceKey(packet.device, packet.instance_id)
    terminated = packet.idstr[-1] == 0
    if length < HEADER.size:
        return Buffer(packet, device, terminated, None, None, None)
    if bytes_known(source, start) < HEADER.size:
        return Buffer(packet, device, terminated, None, None, None, recorded=False)
    version, index, flags = HEADER.struct.unpack(source.read(start, HEADER.size))
    first = last = None
    if flags & CONFIG_STATE and length >= HEADER.size + TAG.size:
        first = _tag(source, start + HEADER.size)
        last = _tag(source, start + length - TAG.size)
    return Buffer(packet, device, terminated, version, index, flags, first, last)


def _tag(source: ByteSource, offset: int) -> int | None:
    if bytes_known(source, offset) < TAG.size:
        return None
    return int(TAG.unpack(source.read(offset, TAG.size))[0])
