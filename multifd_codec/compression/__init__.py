"""Page payloads both ways: pages to the payload behind a RAM packet, and back.

``compressor`` and ``decompressor`` give one object for each channel, to be used for its whole life and in the order of
its packets: zlib and zstd have one context a channel. Packets without normal pages have no payload and are left out.

Sources: migration/multifd-nocomp.c, multifd-zlib.c, multifd-zstd.c (5.0), multifd-qpl.c, multifd-uadk.c (9.1),
multifd-qatzip.c (9.2).
"""

from __future__ import annotations

from collections.abc import Callable

from multifd_codec.compression.containers import QatzipPages, QplPages, UadkPages, container_lengths
from multifd_codec.compression.pages import MissingExtraError, PageCompressor, PageDecompressor, PlainPages
from multifd_codec.compression.streams import ZlibCompressor, ZlibPages, ZstdCompressor, ZstdPages
from multifd_codec.errors import EncodeError
from multifd_codec.wire.packet import PacketFlags

__all__ = [
    "DEFAULT_LEVEL",
    "MissingExtraError",
    "PageCompressor",
    "PageDecompressor",
    "compressor",
    "container_lengths",
    "decompressor",
]

DEFAULT_LEVEL = 1
"""multifd-zlib-level, multifd-zstd-level and multifd-qatzip-level; qpl and uadk have no parameter (qapi/migration.json,
9.2)."""

_DECOMPRESSORS: dict[int, Callable[[], PageDecompressor]] = {
    0: PlainPages,
    PacketFlags.ZLIB: ZlibPages,
    PacketFlags.ZSTD: ZstdPages,
    PacketFlags.QPL: QplPages,
    PacketFlags.UADK: UadkPages,
    PacketFlags.QATZIP: QatzipPages,
}
_COMPRESSORS: dict[int, Callable[[int], PageCompressor]] = {
    0: PlainPages,
    PacketFlags.ZLIB: ZlibCompressor,
    PacketFlags.ZSTD: ZstdCompressor,
    PacketFlags.QPL: QplPages,
    PacketFlags.UADK: UadkPages,
    PacketFlags.QATZIP: QatzipPages,
}


def decompressor(compression: int) -> PageDecompressor | None:
    """A fresh decompressor for a compression id (0: plain), None for an unknown id. Raises MissingExtraError."""
    make = _DECOMPRESSORS.get(compression)
    return None if make is None else make()


def compressor(compression: int, level: int | None = None) -> PageCompressor:
    """A fresh compressor for a compression id (0: plain); ``level`` is QEMU's default when None.

    Raises EncodeError for an id or level there is none of, MissingExtraError.
    """
    make = _COMPRESSORS.get(compression)
    if make is None:
        raise EncodeError(f"compression id {compression:#x}, there is none", field="flags")
    try:
        return make(DEFAULT_LEVEL if level is None else level)
    except ValueError as error:
        raise EncodeError(f"compression level {level}: {error}") from None
