"""Link layers, network protocols and TCP as tables: where their fields are. Read by both dissectors.

Link type numbers are those of pcap files (LINKTYPE_*), with the DLT_* numbers that some systems write instead.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

import numpy as np


class Names(enum.Enum):
    """How a link layer says which network protocol it carries."""

    ETHERTYPE = enum.auto()
    """16 bits, big-endian."""
    FAMILY = enum.auto()
    """32 bits: an address family of the recording system, in its byte order."""
    VERSION = enum.auto()
    """Not at all: the first four bits of the packet are 4 or 6."""


class Link(NamedTuple):
    """``header`` bytes in front of the network packet; the protocol is named at ``protocol``."""

    name: str
    header: int
    names: Names
    protocol: int = 0


_RAW = Link("raw IP", 0, Names.VERSION)
_LOOPBACK = Link("BSD loopback", 4, Names.FAMILY)
LINKS: dict[int, Link] = {
    0: _LOOPBACK,
    1: Link("Ethernet", 14, Names.ETHERTYPE, 12),
    12: _RAW,
    14: _RAW,
    101: _RAW,
    108: _LOOPBACK,
    113: Link("Linux cooked v1", 16, Names.ETHERTYPE, 14),
    228: _RAW,
    229: _RAW,
    276: Link("Linux cooked v2", 20, Names.ETHERTYPE, 0),
}

IPV4, IPV6 = 0x0800, 0x86DD
VLAN_TAGS = frozenset({0x8100, 0x88A8, 0x9100, 0x9200})
VLAN_TAG_SIZE = 4
MAX_VLAN_TAGS = 8
CARRIER_ETHERTYPES = frozenset({0x6558, 0x8847, 0x8848, 0x8864, 0x88E7, 0x894F})
"""Bridged Ethernet, MPLS, PPPoE, backbone bridging, NSH: a migration may be inside, but only tshark looks there."""
FAMILIES = {2: IPV4, 10: IPV6, 24: IPV6, 28: IPV6, 30: IPV6}
"""AF_INET everywhere; AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, macOS."""

TCP, UDP = 6, 17
CARRIER_PROTOCOLS = frozenset({4, 41, 47, 94, 97, 115, 137})
"""IP in IP, IPv6 in IP, GRE, IPIP, EtherIP, L2TP, MPLS in IP."""
CARRIER_UDP_PORTS = frozenset({4789, 6081, 8472})
"""VXLAN, Geneve, VXLAN as Linux first had it."""
IPV6_FRAGMENT = 44
IPV6_AUTHENTICATION = 51
IPV6_EXTENSIONS = frozenset({0, 43, IPV6_FRAGMENT, IPV6_AUTHENTICATION, 60, 135, 139, 140})

FRAGMENT_OFFSET, MORE_FRAGMENTS = 0x1FFF, 0x2000
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
IPV4_MIN, IPV6_SIZE, TCP_MIN = 20, 40, 20
TCP_NEEDED = 14
"""Of the TCP header: up to and with the flags. Frames cut behind that can still be placed in their stream."""
TCP_USUAL = 16
"""With the window."""
UNKNOWN_WINDOW = 0xFFFF
"""Of a frame that is cut in front of its window."""
MAX_PAYLOAD = 1 << 24
"""Segmentation offload makes 512 KiB today (BIG TCP), but a frame recorded late may complete all the TLS records that
waited for it, see ``captures.wireshark.decrypt``. A frame that claims more is damaged."""


def _fields(size: int, **at: tuple[str, int]) -> np.dtype[np.void]:
    names, formats, offsets = list(at), [form for form, _ in at.values()], [offset for _, offset in at.values()]
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})


IPV4_HEADER = _fields(
    20,
    version=("u1", 0),
    total=(">u2", 2),
    fragment=(">u2", 6),
    protocol=("u1", 9),
    source=(">u4", 12),
    destination=(">u4", 16),
    addresses=(">u8", 12),
)
IPV6_HEADER = _fields(
    40,
    version=("u1", 0),
    length=(">u2", 4),
    next=("u1", 6),
    source_high=(">u8", 8),
    source_low=(">u8", 16),
    destination_high=(">u8", 24),
    destination_low=(">u8", 32),
)
TCP_HEADER = _fields(
    TCP_USUAL,
    ports=(">u4", 0),
    sequence=(">u4", 4),
    acknowledgement=(">u4", 8),
    offset=("u1", 12),
    flags=("u1", 13),
    window=(">u2", 14),
)
