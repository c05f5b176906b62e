"""Page payloads back to pages: zlib and zstd contexts that live as long as their channel, qpl and uadk containers.

Sources: migration/multifd-zlib.c, multifd-zstd.c (5.0), multifd-qpl.c, multifd-uadk.c (9.1), multifd-qatzip.c (9.2).
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, Protocol

from multifd_codec.errors import FormatError, MultifdError
from multifd_codec.source import Buffer
from multifd_codec.wire.packet import PacketFlags

ZSTD_PIECE = 256
"""Bytes fed to zstd at a time: four of them can stand for 128 KiB, so a payload that lies about its size is noticed
before it fills memory."""


class MissingExtraError(MultifdError):
    """A library that is needed here is not installed."""


class PageDecompressor(Protocol):
    """Turns the payloads of one channel, in order, into pages."""

    def pages(self, payload: Buffer, normal_pages: int, page_size: int) -> tuple[bytes, int]:
        """(normal_pages * page_size bytes, number of payload bytes left over). Raises FormatError."""


class ZlibPages:
    """One zlib stream (RFC 1950) for the whole life of a channel, each payload ending in a sync flush."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj()

    def pages(self, payload: Buffer, normal_pages: int, page_size: int) -> tuple[bytes, int]:
        wanted = normal_pages * page_size
        try:
            data = self._stream.decompress(payload, wanted)
        except zlib.error as error:
            raise FormatError(f"zlib: {error}") from None
        if len(data) < wanted:
            raise FormatError(f"zlib: payload inflates to {len(data)} bytes, {wanted} expected")
        return data, len(self._stream.unconsumed_tail.removesuffix(b"\0\0\xff\xff"))


class ZstdPages:
    """One zstd frame for the whole life of a channel, flushed at the end of each payload."""

    def __init__(self) -> None:
        try:
            import zstandard  # noqa: PLC0415 - rarely needed
        except ImportError:
            raise MissingExtraError("reading zstd pages needs zstandard: pip install zstandard") from None
        self._stream: Any = zstandard.ZstdDecompressor().decompressobj()
        self._error: type[Exception] = zstandard.ZstdError

    def pages(self, payload: Buffer, normal_pages: int, page_size: int) -> tuple[bytes, int]:
        wanted = normal_pages * page_size
        data = bytearray()
        try:
            for start in range(0, len(payload), ZSTD_PIECE):
                data += self._stream.decompress(bytes(payload[start : start + ZSTD_PIECE]))
                if len(data) > wanted:
                    break
        except self._error as error:
            raise FormatError(f"zstd: {error}") from None
        if len(data) < wanted:
            raise FormatError(f"zstd: payload decompresses to {len(data)} bytes, {wanted} expected")
        return bytes(data[:wanted]), len(data) - wanted


def container_lengths(payload: Buffer, normal_pages: int) -> tuple[int, ...]:
    """The length table in front of a qpl or uadk payload: one be32 a page. Raises FormatError when it does not fit."""
    size = 4 * normal_pages
    if len(payload) < size:
        raise FormatError(f"length table of {size} bytes in a payload of {len(payload)}", field="next_packet_size")
    return struct.unpack_from(f">{normal_pages}I", payload)


def decompressor(compression: int) -> PageDecompressor | None:
    """A fresh decompressor for a compression id, None when there is none for it. Raises MissingExtraError."""
    if compression == PacketFlags.ZLIB:
        return ZlibPages()
    if compression == PacketFlags.ZSTD:
        return ZstdPages()
    return None
