"""zlib and zstd: one compression context for the whole life of a channel, flushed at the last page of each packet."""

from __future__ import annotations

import struct
import zlib
from typing import Any

from multifd_codec.compression.pages import Codec, MissingExtraError, check_pages
from multifd_codec.errors import FormatError
from multifd_codec.source import Buffer
from multifd_codec.wire.payload import ZLIB_SYNC_FLUSH

STORED = 0xFFFF
"""Bytes that a stored block of deflate can hold."""
EMPTY_BLOCK = b"\0" + ZLIB_SYNC_FLUSH
"""A stored deflate block without content."""
ZLIB_HEADER = b"\x78\x01"
ZSTD_PIECE = 512
"""Bytes fed to zstd at a time: four of them can stand for 128 KiB, so a payload that lies about its size is noticed
before it fills memory (32 MiB at most)."""


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
        return data, len(self._stream.unconsumed_tail.removesuffix(ZLIB_SYNC_FLUSH))


class ZlibCompressor:
    """The same stream, written (multifd_zlib_send_prepare, migration/multifd-zlib.c). Never ended."""

    def __init__(self, level: int) -> None:
        self._stream = zlib.compressobj(level)

    def payload(self, pages: Buffer, normal_pages: int, page_size: int) -> bytes:
        check_pages(pages, normal_pages, page_size)
        if not normal_pages:
            return b""
        return self._stream.compress(pages) + self._stream.flush(zlib.Z_SYNC_FLUSH)


class ZstdPages:
    """One zstd frame for the whole life of a channel, flushed at the end of each payload."""

    def __init__(self) -> None:
        zstandard = _zstandard()
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


class ZstdCompressor:
    """The same frame, written (multifd_zstd_send_prepare, migration/multifd-zstd.c). Never ended."""

    def __init__(self, level: int) -> None:
        zstandard = _zstandard()
        self._stream: Any = zstandard.ZstdCompressor(level=level).compressobj()
        self._flush: int = zstandard.COMPRESSOBJ_FLUSH_BLOCK

    def payload(self, pages: Buffer, normal_pages: int, page_size: int) -> bytes:
        check_pages(pages, normal_pages, page_size)
        if not normal_pages:
            return b""
        return bytes(self._stream.compress(pages) + self._stream.flush(self._flush))


def _stored_zlib(pages: bytes, first: bool) -> bytes:
    parts = (pages[at : at + STORED] for at in range(0, len(pages), STORED))
    return (ZLIB_HEADER if first else b"") + b"".join(map(stored_block, parts)) + EMPTY_BLOCK


def _stored_zstd(pages: bytes, first: bool) -> bytes:
    if not first:
        return b"".join(raw_block(pages[at : at + STORED]) for at in range(0, len(pages), STORED))
    compressor = ZstdCompressor(1)
    return compressor.payload(pages, 1, len(pages))


def stored_block(content: bytes) -> bytes:
    """A deflate block that is not compressed (RFC 1951, 3.2.4), not the last one."""
    return b"\0" + struct.pack("<HH", len(content), len(content) ^ 0xFFFF) + content


def raw_block(content: bytes) -> bytes:
    """A zstd block that is not compressed (RFC 8878, 3.1.1.2), not the last one."""
    return (len(content) << 3).to_bytes(3, "little") + content


CODECS = {
    "zlib": Codec(ZlibPages, ZlibCompressor, _stored_zlib),
    "zstd": Codec(ZstdPages, ZstdCompressor, _stored_zstd),
}


def _zstandard() -> Any:
    try:
        import zstandard  # noqa: PLC0415 - rarely needed
    except ImportError:
        raise MissingExtraError("zstd pages need zstandard: pip install zstandard") from None
    return zstandard
