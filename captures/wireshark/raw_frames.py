"""Writes TCP segments as raw IP in a classic pcap: the common form into which tshark's view of a capture is brought.

Every frame of the capture stays one record, so frame numbers stay true. A frame that is not TCP becomes an IPv4
header with nothing in it.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, NamedTuple

RAW_IP = 101
FILE_HEADER = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 1 << 24, RAW_IP)
"""Little-endian, nanoseconds, link type raw IP."""
_RECORD = struct.Struct("<IIII")
_IPV4 = struct.Struct(">HHHHHH4s4s")
_IPV6 = struct.Struct(">IHBB16s16s")
_TCP = struct.Struct(">HHIIHHHH")
_LARGEST = 0xFFFF
_TCP_PROTOCOL = 6
_NOT_TCP = _IPV4.pack(0x4500, _IPV4.size, 0, 0, 64 << 8 | 59, 0, bytes(4), bytes(4))
_NANOSECONDS = 1_000_000_000


class Segment(NamedTuple):
    """One TCP segment. ``length`` is what the sender sent; ``payload`` may be less, when snaplen cut the frame."""

    source: str
    """IPv4 or IPv6 address as text."""
    destination: str
    source_port: int
    destination_port: int
    sequence: int
    acknowledged: int
    flags: int
    """The twelve bits of the TCP header."""
    length: int
    payload: bytes
    window: int = _LARGEST
    """As the header has it."""


@lru_cache(maxsize=4096)
def _packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def write_record(file: IO[bytes], time: int, segment: Segment | None) -> None:
    """Append one record; ``time`` in nanoseconds since the epoch, None for a frame that holds no TCP segment.

    Raises ValueError for an address that is none, OSError from the file.
    """
    seconds, rest = divmod(time, _NANOSECONDS)
    if segment is None:
        file.write(_RECORD.pack(seconds & 0xFFFF_FFFF, rest, len(_NOT_TCP), len(_NOT_TCP)) + _NOT_TCP)
        return
    source, destination = _packed(segment.source), _packed(segment.destination)
    inner = _TCP.size + segment.length
    # A length that does not fit is written as 0, as captures of segments built by the card have it.
    if len(source) == 4:
        total = _IPV4.size + inner
        network = _IPV4.pack(
            0x4500, total if total <= _LARGEST else 0, 0, 0x4000, 64 << 8 | _TCP_PROTOCOL, 0, source, destination
        )
    else:
        network = _IPV6.pack(6 << 28, inner if inner <= _LARGEST else 0, _TCP_PROTOCOL, 64, source, destination)
    offset_flags = 5 << 12 | segment.flags & 0x0FFF
    header = network + _TCP.pack(
        segment.source_port,
        segment.destination_port,
        segment.sequence,
        segment.acknowledged,
        offset_flags,
        segment.window,
        0,
        0,
    )
    size = len(header) + len(segment.payload)
    file.write(_RECORD.pack(seconds & 0xFFFF_FFFF, rest, size, len(header) + segment.length) + header + segment.payload)


class RawRecord(NamedTuple):
    """One record as it was written."""

    header: bytes
    time: int
    """Nanoseconds since the epoch."""
    packet: bytes
    """From the IP header on."""

    @property
    def tcp_flags(self) -> int:
        """The twelve bits of flags in the TCP header; only for a record that holds a segment."""
        at = (_IPV4.size if self.packet[0] >> 4 == 4 else _IPV6.size) + 12
        return int.from_bytes(self.packet[at : at + 2], "big") & 0x0FFF


def read_records(path: Path) -> Iterator[RawRecord]:
    """The records that ``write_record`` wrote, one for each frame. Raises OSError."""
    with path.open("rb") as file:
        file.seek(len(FILE_HEADER))
        while header := file.read(_RECORD.size):
            seconds, rest, captured, _ = _RECORD.unpack(header)
            yield RawRecord(header, seconds * _NANOSECONDS + rest, file.read(captured))


def copy_records(path: Path, frames: Iterable[int], out: IO[bytes]) -> None:
    """Write some of the records at ``path``, by frame number in rising order, to ``out``. Raises OSError."""
    out.write(FILE_HEADER)
    records = enumerate(read_records(path), 1)
    for wanted in frames:
        record = next(record for number, record in records if number == wanted)
        out.write(record.header + record.packet)
