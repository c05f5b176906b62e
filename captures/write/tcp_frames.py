"""Builds the frames of one TCP connection: Ethernet, IPv4, TCP with the timestamp option, in classic pcap records.

Only what a clean capture needs: no loss, no retransmission, windows that are never full. Addresses are from the
documentation range, the server port from the range that libvirt uses for migrations.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from multifd_codec.source import Buffer

MAX_SEGMENT = 65483
"""Payload of the largest segment: IPv4 total length 65535 less 20 bytes of IP and 32 of TCP with timestamps."""

PCAP_FILE_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
"""Little-endian, microseconds, snaplen 262144, link type Ethernet."""

_RECORD = struct.Struct("<IIII")
_ETHERNET_IPV4 = struct.Struct(">12sHHHHHHHII")
_TCP = struct.Struct(">HHIIHHHHHHII")
_IPV4_SIZE, _ETHERNET_SIZE = 20, 14

_CLIENT_MAC, _SERVER_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
_CLIENT_ADDRESS, _SERVER_ADDRESS = 0xC0000201, 0xC0000202  # 192.0.2.1 and 192.0.2.2
_VERSION_IHL_TOS = 0x4500
_DONT_FRAGMENT = 0x4000
_TTL_PROTOCOL = 64 << 8 | 6
_WINDOW = 0xFFFF
_NOP_NOP, _TIMESTAMPS = 0x0101, 0x080A
# Maximum segment size 1460; window scale 14, so that the window of 1 GiB is never full; end of options.
_SYN_OPTIONS = bytes.fromhex("020405b403030e00")
_MASK32 = 0xFFFF_FFFF


# TCP flags. Plain numbers: the arithmetic of an enum.IntFlag would double the cost of a frame.
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10


@dataclass(slots=True)
class Side:
    """One sender of a connection: what its frames say, and how far it has got."""

    macs: bytes
    """Ethernet addresses: destination, then source."""
    address: int
    peer_address: int
    port: int
    peer_port: int
    sequence: int
    """Sequence number of the next byte it sends, modulo 2**32."""
    acknowledged: int = 0
    """The next sequence number it expects from its peer, modulo 2**32."""
    identification: int = 0


def connect_sides(client_port: int, server_port: int, initial_sequence: int) -> tuple[Side, Side]:
    """Client and server of a connection whose first byte has the sequence number ``initial_sequence + 1``."""
    answer = (initial_sequence + 0x4000_0000) & _MASK32
    return (
        Side(_SERVER_MAC + _CLIENT_MAC, _CLIENT_ADDRESS, _SERVER_ADDRESS, client_port, server_port, initial_sequence),
        Side(_CLIENT_MAC + _SERVER_MAC, _SERVER_ADDRESS, _CLIENT_ADDRESS, server_port, client_port, answer),
    )


def _sum16(data: Buffer) -> int:
    """The data's big-endian 16-bit words added up, modulo 65535, an odd last byte padded with a zero."""
    whole = len(data) // 4
    words = np.frombuffer(data, "<u4", whole)
    # Little-endian 32-bit words add up fastest; 256 times that is the sum of the swapped halves.
    return (int(words.sum(dtype=np.uint64)) + int.from_bytes(data[4 * whole :], "little")) * 256


def _checksum(total: int) -> int:
    # Carries folded back until none is left is the remainder modulo 65535, so wider words may be added as they are.
    return 0xFFFF - (total % 0xFFFF or 0xFFFF)


def record_header(side: Side, flags: int, payload: Buffer, microseconds: int, *, checksum: bool) -> bytes:
    """Everything of one record in front of its payload; moves ``side`` on by what the segment carries.

    ``microseconds`` since the epoch. ``checksum``: fill in the TCP checksum; else it is 0, as if left to the card.
    """
    options = _SYN_OPTIONS if flags & SYN else b""
    tcp_size = _TCP.size + len(options)
    length = _IPV4_SIZE + tcp_size + len(payload)
    addresses = side.address + side.peer_address
    ipv4_sum = _checksum(_VERSION_IHL_TOS + length + side.identification + _DONT_FRAGMENT + _TTL_PROTOCOL + addresses)
    offset_flags = tcp_size << 10 | flags
    milliseconds = microseconds // 1000 & _MASK32
    echo = milliseconds if flags & ACK else 0
    tcp_sum = 0
    if checksum:
        fixed = side.port + side.peer_port + side.sequence + side.acknowledged + offset_flags + _WINDOW
        pseudo = addresses + 6 + tcp_size + len(payload)
        tcp_sum = fixed + _NOP_NOP + _TIMESTAMPS + milliseconds + echo + pseudo
        for part in (options, payload):
            if part:
                tcp_sum += _sum16(part)
        tcp_sum = _checksum(tcp_sum)
    seconds, rest = divmod(microseconds, 1_000_000)
    captured = _ETHERNET_SIZE + length
    header = (
        _RECORD.pack(seconds, rest, captured, captured)
        + _ETHERNET_IPV4.pack(
            side.macs, 0x0800, _VERSION_IHL_TOS, length, side.identification, _DONT_FRAGMENT, _TTL_PROTOCOL, ipv4_sum,
            side.address, side.peer_address,
        )
        + _TCP.pack(
            side.port, side.peer_port, side.sequence, side.acknowledged, offset_flags, _WINDOW, tcp_sum, 0,
            _NOP_NOP, _TIMESTAMPS, milliseconds, echo,
        )
        + options
    )  # fmt: skip
    side.identification = (side.identification + 1) & 0xFFFF
    side.sequence = (side.sequence + len(payload) + bool(flags & (SYN | FIN))) & _MASK32
    return header


def cut_record(header: bytes, payload: Buffer, snaplen: int) -> tuple[bytes, Buffer]:
    """A record as a tap with that snap length writes it: the frame is cut, its length is still told."""
    seconds, microseconds, captured, length = _RECORD.unpack_from(header)
    if captured <= snaplen:
        return header, payload
    kept = header[_RECORD.size :][:snaplen]
    head = _RECORD.pack(seconds, microseconds, snaplen, length)
    return head + kept, payload[: snaplen - len(kept)]
