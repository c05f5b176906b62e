"""Frames of a classic pcap, taken apart and put together again by tests that alter recordings."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

FILE_HEADER = 24
RECORD = struct.Struct("<IIII")
ETHERNET = 14


class Frame(NamedTuple):
    """One record of a little-endian pcap. ``original`` is the length on the wire."""

    seconds: int
    fraction: int
    original: int
    data: bytes


def read_frames(path: Path) -> list[Frame]:
    data, position, frames = path.read_bytes(), FILE_HEADER, []
    while position < len(data):
        seconds, fraction, captured, original = RECORD.unpack_from(data, position)
        position += RECORD.size
        frames.append(Frame(seconds, fraction, original, data[position : position + captured]))
        position += captured
    return frames


def write_frames(path: Path, frames: Iterable[Frame], *, link: int = 1) -> Path:
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, link))
        for frame in frames:
            file.write(RECORD.pack(frame.seconds, frame.fraction, len(frame.data), frame.original) + frame.data)
    return path


def _ipv4(protocol: int, payload: bytes) -> bytes:
    header = struct.pack(">HHHHHH8s", 0x4500, 20 + len(payload), 0, 0, 64 << 8 | protocol, 0, bytes(range(8)))
    return header + payload


def _gre(ethernet: bytes) -> bytes:
    return bytes(12) + b"\x08\x00" + _ipv4(47, struct.pack(">HH", 0, 0x0800) + ethernet[ETHERNET:])


def _vxlan(ethernet: bytes) -> bytes:
    inner = struct.pack(">II", 0x0800_0000, 42 << 8) + ethernet
    return bytes(12) + b"\x08\x00" + _ipv4(17, struct.pack(">HHHH", 5555, 4789, 8 + len(inner), 0) + inner)


def _pppoe(ethernet: bytes) -> bytes:
    packet = ethernet[ETHERNET:]
    return bytes(12) + b"\x88\x64" + struct.pack(">BBHHH", 0x11, 0, 7, len(packet) + 2, 0x0021) + packet


def _ppp(ethernet: bytes) -> bytes:
    return b"\xff\x03\x00\x21" + ethernet[ETHERNET:]


ENCAPSULATIONS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "GRE": (1, _gre), "VXLAN": (1, _vxlan), "PPPoE": (1, _pppoe), "PPP": (9, _ppp),
}  # fmt: skip
"""Name -> link type, and how an Ethernet frame of IPv4 is carried. The native reader speaks none of them."""


def encapsulate(frame: Frame, name: str) -> Frame:
    """A whole (not cut) Ethernet frame of IPv4, carried in one of ``ENCAPSULATIONS``."""
    data = ENCAPSULATIONS[name][1](frame.data)
    return frame._replace(data=data, original=len(data))


def cut(frame: Frame, length: int) -> Frame:
    """As a snaplen of ``length`` would have left it."""
    return frame._replace(data=frame.data[:length])
