"""One device-state packet and the VFIO header of its payload."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

from analyzers.rulebook.device_state.packet_rules import HEADER, HUGE_INDEX, TAG
from multifd_codec.channel.events import DeviceStatePacket
from multifd_codec.device_key import DeviceKey
from multifd_codec.layout import compile_struct
from multifd_codec.source import ByteSource, StreamEnd, bytes_known
from multifd_codec.wire.vfio import CONFIG_STATE, PCI_CONFIG_VERSION, PciConfig, VfioTagId

PCI_CONFIG = compile_struct(PciConfig)
END_OF_STATE = TAG.pack(VfioTagId.END_OF_STATE)
MOST_CONFIG = 1 << 16
"""Bytes of config data that are looked at: 2048 MSI-X vectors have half as many."""


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
    config_problem: str = ""
    """Config: why its data cannot be loaded, as far as the bytes tell."""
    digest: int = 0
    """Config: checksum of its data, 0 when it is not all recorded."""
    recorded: bool = True
    """The payload header is in the recording, or it never came: the channel ends in front of it."""

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
    known = bytes_known(source, start)
    if known < HEADER.size:
        ends = source.end is StreamEnd.CLOSED and start + known == source.size
        return Buffer(packet, device, terminated, None, None, None, recorded=ends)
    version, index, flags = HEADER.struct.unpack(source.read(start, HEADER.size))
    why, digest = _config(source, start + HEADER.size, length - HEADER.size) if flags & CONFIG_STATE else ("", 0)
    return Buffer(packet, device, terminated, version, index, flags, why, digest)


def _config(source: ByteSource, start: int, length: int) -> tuple[str, int]:
    """What is wrong with config data, and its checksum (vfio_load_device_config_state, hw/vfio/migration.c).

    A destination reads what its own device has, then END_OF_STATE; what stands behind that is left unread.
    """
    length = min(length, MOST_CONFIG)
    if bytes_known(source, start) < length:
        return "", 0
    data = bytes(source.read(start, length))
    if length < TAG.size:
        return f"config data of {length} bytes", crc32(data)
    (first,), (last,) = TAG.unpack_from(data), TAG.unpack_from(data, length - TAG.size)
    if first != VfioTagId.DEV_CONFIG_STATE:
        return f"config data starts with {first:#x}, not DEV_CONFIG_STATE", crc32(data)
    behind = TAG.size + PCI_CONFIG.size
    if last != VfioTagId.END_OF_STATE and END_OF_STATE not in data[behind:]:
        return f"config data ends with {last:#x}, not END_OF_STATE", crc32(data)
    if length >= behind + TAG.size:
        version, _, *interrupts = PCI_CONFIG.unpack_from(data, TAG.size)
        if version > PCI_CONFIG_VERSION:
            return f"config data is version {version} of a PCI device, {PCI_CONFIG_VERSION} is the highest", crc32(data)
        if max(interrupts) > 1:
            return f"config data says that an interrupt is at level {max(interrupts)}", crc32(data)
    return "", crc32(data)
