"""Builds TCP segments, the packets and frames around them, and capture files of them; independent of the readers."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
ETHERTYPES = {4: 0x0800, 6: 0x86DD}
VLAN_TAGS = (0x8100, 0x88A8, 0x9100, 0x8100)


@dataclass(frozen=True)
class Tcp:
    """A segment; ``tcp_options`` and ``ip_options`` are padded by the caller to multiples of four and eight."""

    source: str
    destination: str
    source_port: int
    destination_port: int
    sequence: int
    acknowledgement: int = 0
    flags: int = ACK
    payload: bytes = b""
    tcp_options: bytes = b""
    ip_options: bytes = b""
    """IPv4 options, or IPv6 extension headers that end with the protocol number of TCP."""
    fragment: int = 0
    """IPv4: more-fragments flag and fragment offset as on the wire."""
    offloaded: bool = False
    """The length field is 0, as in packets larger than it can say."""


def packet(tcp: Tcp) -> bytes:
    """The network packet; checksums stay 0."""
    offset = (5 + len(tcp.tcp_options) // 4) << 12
    body = struct.pack(
        ">HHIIHHHH",
        tcp.source_port,
        tcp.destination_port,
        tcp.sequence % 2**32,
        tcp.acknowledgement % 2**32,
        offset | tcp.flags,
        65535,
        0,
        0,
    )
    return ip_packet(tcp.source, tcp.destination, 6, body + tcp.tcp_options + tcp.payload, tcp)


def ip_packet(source: str, destination: str, protocol: int, body: bytes, tcp: Tcp | None = None) -> bytes:
    options = tcp.ip_options if tcp else b""
    offloaded = bool(tcp and tcp.offloaded)
    addresses = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    if len(addresses) == 8:
        words = 5 + len(options) // 4
        total = 0 if offloaded else words * 4 + len(body)
        fragment = tcp.fragment if tcp else 0
        return (
            struct.pack(">BBHHHBBH", 0x40 | words, 0, total, 7, fragment, 64, protocol, 0) + addresses + options + body
        )
    first = options[-1] if options else protocol
    length = 0 if offloaded else len(options[:-1]) + len(body)
    return struct.pack(">IHBB", 6 << 28, length, first, 64) + addresses + options[:-1] + body


def hop_by_hop() -> bytes:
    """An IPv6 hop-by-hop header in front of TCP, as ``Tcp.ip_options`` wants it."""
    return struct.pack(">BB6s", 6, 0, b"\x01\x04\0\0\0\0") + b"\0"


def ethernet(data: bytes, version: int, tags: Sequence[int] = ()) -> bytes:
    types = [*tags, ETHERTYPES[version]]
    head = bytes(range(12)) + struct.pack(">H", types[0])
    return head + b"".join(struct.pack(">HH", 42, following) for following in types[1:]) + data


def cooked1(data: bytes, version: int) -> bytes:
    return struct.pack(">HHH8sH", 0, 1, 6, bytes(8), ETHERTYPES[version]) + data


def cooked2(data: bytes, version: int) -> bytes:
    return struct.pack(">HHIHBB8s", ETHERTYPES[version], 0, 3, 1, 0, 6, bytes(8)) + data


def loopback(data: bytes, version: int, order: str, family6: int = 30) -> bytes:
    return struct.pack(f"{order}I", 2 if version == 4 else family6) + data


LINKS = {
    "Ethernet": (1, ethernet),
    "VLAN": (1, lambda data, version: ethernet(data, version, VLAN_TAGS[:1])),
    "QinQ": (1, lambda data, version: ethernet(data, version, VLAN_TAGS[1:3])),
    "stacked VLANs": (1, lambda data, version: ethernet(data, version, VLAN_TAGS)),
    "cooked v1": (113, cooked1),
    "cooked v1 with VLAN": (113, lambda data, version: cooked1(b"", 4)[:-2] + ethernet(data, version, [0x8100])[12:]),
    "cooked v2": (276, cooked2),
    "loopback, little-endian": (0, lambda data, version: loopback(data, version, "<")),
    "loopback, big-endian": (0, lambda data, version: loopback(data, version, ">", 24)),
    "OpenBSD loop": (108, lambda data, version: loopback(data, version, ">", 24)),
    "raw IP": (101, lambda data, version: data),
    "raw IP, BSD": (12, lambda data, version: data),
    "raw IP, OpenBSD": (14, lambda data, version: data),
    "IPv4": (228, lambda data, version: data),
    "IPv6": (229, lambda data, version: data),
}
"""Name -> link type, and how a packet of an IP version is framed. "IPv4" and "IPv6" carry either: readers look."""


@dataclass(frozen=True)
class Frame:
    """``original`` is the length on the wire, that of ``data`` when None; ``time`` in nanoseconds."""

    data: bytes
    original: int | None = None
    time: int = 1_700_000_000_123_456_000
    link: int = 1

    def cut(self, snaplen: int) -> Frame:
        return replace(self, data=self.data[:snaplen], original=self.length)

    @property
    def length(self) -> int:
        return len(self.data) if self.original is None else self.original


def frame(tcp: Tcp, link: str = "Ethernet", **fields: int) -> Frame:
    number, build = LINKS[link]
    return Frame(build(packet(tcp), 6 if ":" in tcp.source else 4), link=number, **fields)


def pcap(frames: Sequence[Frame], order: str = "<", *, nanoseconds: bool = False, snaplen: int = 262144) -> bytes:
    """A classic pcap; all frames must have one link type."""
    magic, unit = (0xA1B23C4D, 1) if nanoseconds else (0xA1B2C3D4, 1000)
    parts = [struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, snaplen, frames[0].link if frames else 1)]
    for item in frames:
        seconds, rest = divmod(item.time, 10**9)
        parts += [struct.pack(f"{order}IIII", seconds, rest // unit, len(item.data), item.length), item.data]
    return b"".join(parts)


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    length = 12 + len(body)
    return struct.pack(f"{order}II", kind, length) + body + struct.pack(f"{order}I", length)


def option(order: str, code: int, value: bytes) -> bytes:
    return struct.pack(f"{order}HH", code, len(value)) + value + bytes(-len(value) % 4)


def pcapng(frames: Iterable[Frame], order: str = "<", *, resolution: int = 6, kind: int = 6) -> bytes:
    """One section with an interface for each link type, announced when first needed, and a block of an unknown type.

    ``resolution``: ``if_tsresol``; 6 leaves the option out. ``kind``: enhanced (6), obsolete (2) or simple (3) blocks.
    """
    parts = [block(order, 0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1)), block(order, 0xBAD, b"?")]
    interfaces: list[int] = []
    ticks = 2 ** (resolution & 127) if resolution & 128 else 10**resolution
    for item in frames:
        if item.link not in interfaces:
            interfaces.append(item.link)
            options = b"" if resolution == 6 else option(order, 9, bytes([resolution])) + option(order, 0, b"")
            parts.append(block(order, 1, struct.pack(f"{order}HHI", item.link, 0, 0) + options))
        number, time = interfaces.index(item.link), item.time * ticks // 10**9
        heads = {
            6: struct.pack(f"{order}IIIII", number, time >> 32, time % 2**32, len(item.data), item.length),
            2: struct.pack(f"{order}HHIIII", number, 0, time >> 32, time % 2**32, len(item.data), item.length),
            3: struct.pack(f"{order}I", item.length),
        }
        parts.append(block(order, kind, heads[kind] + item.data))
    return b"".join(parts)


@dataclass
class Conversation:
    """A client and a server that speak TCP properly; gives the segments to be framed."""

    client: str = "192.0.2.1"
    server: str = "192.0.2.2"
    client_port: int = 50000
    server_port: int = 4444
    client_first: int = 1000
    """Sequence number of the client's first byte."""
    server_first: int = 9000

    def to_server(
        self, offset: int, payload: bytes = b"", flags: int = ACK, acknowledged: int = 0, **more: object
    ) -> Tcp:
        """``offset`` in the client's stream; ``acknowledged`` in the server's."""
        sequence, number = self.client_first + offset, self.server_first + acknowledged
        ends = (self.client, self.server, self.client_port, self.server_port)
        return Tcp(*ends, sequence, number, flags, payload, **more)  # type: ignore[arg-type]

    def to_client(
        self, offset: int, payload: bytes = b"", flags: int = ACK, acknowledged: int = 0, **more: object
    ) -> Tcp:
        sequence, number = self.server_first + offset, self.client_first + acknowledged
        ends = (self.server, self.client, self.server_port, self.client_port)
        return Tcp(*ends, sequence, number, flags, payload, **more)  # type: ignore[arg-type]

    def opening(self) -> list[Tcp]:
        syn = replace(self.to_server(-1, flags=SYN), acknowledgement=0)
        return [syn, self.to_client(-1, flags=SYN | ACK), self.to_server(0)]

    def whole(self, stream: bytes, size: int = 1448, back: bytes = b"") -> list[Tcp]:
        """Opened, sent, acknowledged, closed."""
        starts = range(0, len(stream), size)
        data = [self.to_server(start, stream[start : start + size], ACK | PSH) for start in starts]
        end = len(stream)
        answers = [self.to_client(0, back, acknowledged=end)] if back else []
        closing = [
            self.to_server(end, flags=FIN | ACK, acknowledged=len(back)),
            self.to_client(len(back), flags=FIN | ACK, acknowledged=end + 1),
            self.to_server(end + 1, acknowledged=len(back) + 1),
        ]
        return [*self.opening(), *data, *answers, *closing]


MAIN = b"QEVM\0\0\0\3" + bytes(range(200)) * 3


def channel_init(channel_id: int) -> bytes:
    return struct.pack(">II16sB39s", 0x11223344, 1, bytes(16), channel_id, b"")


def multifd(channel_id: int, length: int = 2000) -> bytes:
    """A ChannelInit, and bytes for packets."""
    return channel_init(channel_id) + bytes((channel_id * 7 + index * 31) % 251 for index in range(length))
