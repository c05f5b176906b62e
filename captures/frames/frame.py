"""One frame, dissected field by field: slow, complete, and what ``captures.frames.batch`` must agree with.

Checksums are ignored: offloading leaves them wrong in most captures.
"""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

from captures.links import (
    CARRIER_ETHERTYPES,
    CARRIER_PROTOCOLS,
    CARRIER_UDP_PORTS,
    FAMILIES,
    FRAGMENT_OFFSET,
    IPV4,
    IPV4_MIN,
    IPV6,
    IPV6_AUTHENTICATION,
    IPV6_EXTENSIONS,
    IPV6_FRAGMENT,
    IPV6_SIZE,
    LINKS,
    MAX_PAYLOAD,
    MAX_VLAN_TAGS,
    MORE_FRAGMENTS,
    TCP,
    TCP_MIN,
    TCP_NEEDED,
    UDP,
    UNKNOWN_WINDOW,
    VLAN_TAG_SIZE,
    VLAN_TAGS,
    Names,
)


class Skip(enum.Enum):
    """Why a frame is no TCP segment."""

    UNRELATED = enum.auto()
    """Something else, or nonsense."""
    SHORT = enum.auto()
    """Cut by the snaplen before it said where its bytes belong."""
    CARRIER = enum.auto()
    """An encapsulation that only tshark looks into."""
    FRAGMENT = enum.auto()
    """A later IP fragment: these are not put together."""
    LINK = enum.auto()
    """A link type that is not in the table."""


class Segment(NamedTuple):
    """A TCP segment. ``start`` is where its payload starts in the frame; ``length`` bytes of payload were on the wire,
    ``captured`` of them are in the frame. Addresses are 4 or 16 bytes. ``fragment``: the first fragment of a packet
    that had more payload."""

    source: bytes
    destination: bytes
    source_port: int
    destination_port: int
    sequence: int
    acknowledgement: int
    flags: int
    window: int
    """As the header has it, not scaled; UNKNOWN_WINDOW when the frame is cut in front of it."""
    start: int
    length: int
    captured: int
    fragment: bool


_U16 = struct.Struct(">H")
_IPV4 = struct.Struct(">BxHxxHxBxx4s4s")
_IPV6 = struct.Struct(">IHBx16s16s")
_TCP = struct.Struct(">HHIIBB")


class _Packet(NamedTuple):
    """A network packet's payload: ``left`` bytes of it on the wire from ``position`` on."""

    protocol: int
    position: int
    left: int
    source: bytes
    destination: bytes
    fragment: bool


def dissect(frame: memoryview, original: int, link: int) -> Segment | Skip:
    """The TCP segment in ``frame`` (its captured bytes); ``original`` is the frame's length on the wire."""
    try:
        place = _network(frame, link)
        if isinstance(place, Skip):
            return place
        protocol, position = place
        packet = _ipv4(frame, position, original) if protocol == IPV4 else _ipv6(frame, position, original)
        return packet if isinstance(packet, Skip) else _tcp(frame, packet)
    except struct.error:
        return Skip.SHORT if len(frame) < original else Skip.UNRELATED


def _network(frame: memoryview, number: int) -> tuple[int, int] | Skip:
    """The network protocol (IPV4 or IPV6) and where its packet starts."""
    link = LINKS.get(number)
    if link is None:
        return Skip.LINK
    position = link.header
    if link.names is Names.VERSION:
        version = struct.unpack_from(">B", frame, position)[0] >> 4
        return (IPV4 if version == 4 else IPV6, position) if version in (4, 6) else Skip.UNRELATED
    if link.names is Names.FAMILY:
        little, big = struct.unpack_from("<I", frame)[0], struct.unpack_from(">I", frame)[0]
        family = FAMILIES.get(little) or FAMILIES.get(big)
        return (family, position) if family else Skip.UNRELATED
    if len(frame) < link.header:
        raise struct.error
    protocol = _U16.unpack_from(frame, link.protocol)[0]
    for _ in range(MAX_VLAN_TAGS):
        if protocol not in VLAN_TAGS:
            break
        protocol = _U16.unpack_from(frame, position + 2)[0]
        position += VLAN_TAG_SIZE
    if protocol in (IPV4, IPV6):
        return protocol, position
    return Skip.CARRIER if protocol in CARRIER_ETHERTYPES else Skip.UNRELATED


def _ipv4(frame: memoryview, position: int, original: int) -> _Packet | Skip:
    version, total, fragment, protocol, source, destination = _IPV4.unpack_from(frame, position)
    header = (version & 15) * 4
    if version >> 4 != 4 or header < IPV4_MIN:
        return Skip.UNRELATED
    if fragment & FRAGMENT_OFFSET:
        return Skip.FRAGMENT if protocol == TCP else Skip.UNRELATED
    # Segmentation offload leaves 0 in packets that are larger than the field can say.
    left = (total or original - position) - header
    return _Packet(protocol, position + header, left, source, destination, bool(fragment & MORE_FRAGMENTS))


def _ipv6(frame: memoryview, position: int, original: int) -> _Packet | Skip:
    first, length, protocol, source, destination = _IPV6.unpack_from(frame, position)
    if first >> 28 != 6:
        return Skip.UNRELATED
    position += IPV6_SIZE
    left = length or original - position
    is_fragment = False
    while protocol in IPV6_EXTENSIONS:
        following, size = struct.unpack_from(">BB", frame, position)
        size = (size + 2) * 4 if protocol == IPV6_AUTHENTICATION else (size + 1) * 8
        if protocol == IPV6_FRAGMENT:
            size = 8
            field = _U16.unpack_from(frame, position + 2)[0]
            if field >> 3:
                return Skip.FRAGMENT
            is_fragment = bool(field & 1)
        protocol = following
        position += size
        left -= size
    return _Packet(protocol, position, left, source, destination, is_fragment)


def _tcp(frame: memoryview, packet: _Packet) -> Segment | Skip:
    position = packet.position
    if packet.protocol == UDP and _U16.unpack_from(frame, position + 2)[0] in CARRIER_UDP_PORTS:
        return Skip.CARRIER
    if packet.protocol != TCP:
        return Skip.CARRIER if packet.protocol in CARRIER_PROTOCOLS else Skip.UNRELATED
    source_port, destination_port, sequence, acknowledgement, offset, flags = _TCP.unpack_from(frame, position)
    header = (offset >> 4) * 4
    length = packet.left - header
    if header < TCP_MIN or not 0 <= length <= MAX_PAYLOAD:
        return Skip.UNRELATED
    start = position + header
    captured = max(0, min(length, len(frame) - start))
    at = position + TCP_NEEDED
    window = _U16.unpack_from(frame, at)[0] if len(frame) >= at + _U16.size else UNKNOWN_WINDOW
    return Segment(
        packet.source,
        packet.destination,
        source_port,
        destination_port,
        sequence,
        acknowledgement,
        flags,
        window,
        start,
        length,
        captured,
        packet.fragment,
    )


assert _TCP.size == TCP_NEEDED
