"""One table: compression methods (``multifd-compression``), their ids on the wire and what destinations do with them.

Above the wire a method is called by its name; ids are for those who read and write flags. A further method is a row
here, a flag in ``wire.packet`` and its code in ``multifd_codec.compression``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from multifd_codec.dialect.version import Version
from multifd_codec.errors import InputError
from multifd_codec.wire.packet import PacketFlags
from multifd_codec.wire.payload import MAX_COMPRESSED_PAYLOAD


class Payload(Enum):
    """How the pages of a packet stand in its payload (``multifd_codec.wire.payload``)."""

    PLAIN = "pages as they are"
    STREAM = "a piece of one stream a channel: whatever is missing spoils everything behind it"
    LENGTHS = "a table of lengths, then each page on its own"
    MEMBERS = "one buffer of gzip members for all pages"


_FIRST: Version = (4, 0)
_NEVER: Version = (1000, 0)


class Compression(NamedTuple):
    """One method."""

    name: str
    flag: int
    """Its id, a bit of ``flags``; 0 for none."""
    since: Version
    payload: Payload
    mask: int = 0
    """MULTIFD_FLAG_COMPRESSION_MASK since then. That of 5.0 is one bit too wide: 5.0 to 9.0 see a qpl id that is none
    of theirs."""
    stock: bool = True
    """QEMUs of distributions have it; the others need the library of an accelerator."""
    receive_buffer: int | None = None
    """Bytes of payload that a destination has room for; None: as many as the pages need."""
    marks_pages: Version = _FIRST
    """First release that marks its normal pages as received. Before, a zero page that follows keeps old content."""


_ROWS = (
    Compression("none", 0, _FIRST, Payload.PLAIN),
    Compression("zlib", int(PacketFlags.ZLIB), (5, 0), Payload.STREAM, 0x0E, True, MAX_COMPRESSED_PAYLOAD),
    Compression("zstd", int(PacketFlags.ZSTD), (5, 0), Payload.STREAM, 0x0E, True, MAX_COMPRESSED_PAYLOAD),
    Compression("qpl", int(PacketFlags.QPL), (9, 1), Payload.LENGTHS, 0x1E, False, None, (10, 0)),
    Compression("uadk", int(PacketFlags.UADK), (9, 1), Payload.LENGTHS, 0x1E, False, None, _NEVER),
    Compression(
        "qatzip", int(PacketFlags.QATZIP), (9, 2), Payload.MEMBERS, 0x3E, False, MAX_COMPRESSED_PAYLOAD, (10, 0)
    ),
)
COMPRESSIONS: dict[str, Compression] = {row.name: row for row in _ROWS}
"""By name, in the order in which they came."""


def named(name: str) -> Compression:
    """The method of that name. Raises InputError."""
    if name not in COMPRESSIONS:
        raise InputError(f"there is no compression {name!r}; there are {', '.join(COMPRESSIONS)}")
    return COMPRESSIONS[name]


def of_flags(flags: int) -> Compression | None:
    """The method of the compression bits of ``flags`` (0: none); None when there is no such id."""
    return next((row for row in _ROWS if row.flag == flags), None)


def usual(packets: Mapping[int, int]) -> Compression:
    """The method of a stream, from how many packets with pages carry each id: that of most. What is no method's id
    cannot be configured and does not count."""
    return max(_ROWS, key=lambda row: packets.get(row.flag, 0))


def flags_of(payload: Payload) -> int:
    """The ids of all methods with such payloads, together."""
    return sum(row.flag for row in _ROWS if row.payload is payload)


def names_of(payload: Payload) -> str:
    """Those methods in words: ``zlib or zstd``."""
    return either([row.name for row in _ROWS if row.payload is payload])


def either(names: list[str]) -> str:
    """``none, zlib or zstd``."""
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


STREAMED = flags_of(Payload.STREAM)
"""Ids of methods with one context a channel."""


def mask_of(version: Version) -> int:
    """The compression bits that a destination of this release looks at."""
    return max(row.mask for row in _ROWS if row.since <= version)


def unmarked_by(version: Version) -> int:
    """Ids whose normal pages a destination of this release does not mark as received."""
    return sum(row.flag for row in _ROWS if version < row.marks_pages)


def known(mask: int, flags: int) -> bool:
    """Whether a destination with this mask has all methods in these compression bits (none: always)."""
    return all(mask | row.mask == mask for row in _ROWS if row.flag & flags)
