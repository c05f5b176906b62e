"""qpl, uadk and qatzip: every packet is compressed on its own, nothing depends on the packets before it."""

from __future__ import annotations

import zlib

from multifd_codec.compression.pages import Codec, check_pages
from multifd_codec.errors import EncodeError, FormatError
from multifd_codec.layout import build_declared, compile_struct
from multifd_codec.source import Buffer
from multifd_codec.wire.payload import (
    GZIP_DEFLATE,
    GZIP_EXTRA,
    GZIP_MAGIC,
    QATZIP_CHUNK,
    GzipHeader,
    GzipTrailer,
    PageLength,
)

RAW_DEFLATE, ZLIB, GZIP = -zlib.MAX_WBITS, zlib.MAX_WBITS, 16 + zlib.MAX_WBITS
"""How zlib is told the framing of a stream."""
LENGTH = compile_struct(PageLength)
LEVELS = range(-1, 10)
"""Levels zlib takes."""


def container_lengths(payload: Buffer, normal_pages: int) -> tuple[int, ...]:
    """The length table in front of a qpl or uadk payload: one be32 a page. Raises FormatError when it does not fit."""
    size = LENGTH.size * normal_pages
    if len(payload) < size:
        raise FormatError(f"length table of {size} bytes in a payload of {len(payload)}", field="next_packet_size")
    return tuple(length for (length,) in LENGTH.iter_unpack(payload[:size]))


class _PagesWithLengths:
    """A table of lengths, then each page as a stream of its own, or raw where that is not smaller."""

    name: str
    framing: int

    def __init__(self, level: int = 1) -> None:
        self._level = _checked(level)

    def pages(self, payload: Buffer, normal_pages: int, page_size: int) -> tuple[bytes, int]:
        lengths = container_lengths(payload, normal_pages)
        position = LENGTH.size * normal_pages
        if position + sum(lengths) != len(payload):
            raise FormatError(
                f"{self.name}: lengths add up to {position + sum(lengths)} bytes, the payload has {len(payload)}",
                field="next_packet_size",
            )
        pages = []
        for number, length in enumerate(lengths):
            pages.append(self._page(payload[position : position + length], number, page_size))
            position += length
        return b"".join(pages), 0

    def _page(self, data: Buffer, number: int, page_size: int) -> Buffer:
        if len(data) == page_size:
            return data
        if len(data) > page_size:
            raise FormatError(f"{self.name}: page {number} of {len(data)} bytes, larger than {page_size}")
        try:
            page = zlib.decompressobj(self.framing).decompress(data, page_size + 1)
        except zlib.error as error:
            raise FormatError(f"{self.name}: page {number}: {error}") from None
        if len(page) != page_size:
            size = "more than a page" if len(page) > page_size else f"{len(page)} bytes"
            raise FormatError(f"{self.name}: page {number} inflates to {size}, {page_size} bytes expected")
        return page

    def payload(self, pages: Buffer, normal_pages: int, page_size: int) -> bytes:
        check_pages(pages, normal_pages, page_size)
        bodies: list[Buffer] = []
        for start in range(0, len(pages), page_size):
            page = pages[start : start + page_size]
            stream = zlib.compressobj(self._level, zlib.DEFLATED, self.framing)
            data = stream.compress(page) + stream.flush()
            bodies.append(data if len(data) < page_size else page)
        return b"".join([*map(LENGTH.pack, map(len, bodies)), *bodies])


class QplPages(_PagesWithLengths):
    """Pages as stand-alone deflate streams without header (multifd-qpl.c). QEMU's bytes come from Intel's library and
    differ; any deflate reader takes both."""

    name, framing = "qpl", RAW_DEFLATE


class UadkPages(_PagesWithLengths):
    """Pages as stand-alone zlib streams (multifd-uadk.c)."""

    name, framing = "uadk", ZLIB


class QatzipPages:
    """All pages of a packet as gzip members of at most 64 KiB of input each (multifd-qatzip.c; QATzip's default data
    format). Reading takes any sequence of gzip members."""

    def __init__(self, level: int = 1) -> None:
        self._level = _checked(level)

    def pages(self, payload: Buffer, normal_pages: int, page_size: int) -> tuple[bytes, int]:
        wanted = normal_pages * page_size
        rest, data = bytes(payload), bytearray()
        while rest.startswith(GZIP_MAGIC) or len(data) < wanted:
            member = zlib.decompressobj(GZIP)
            try:
                data += member.decompress(rest, wanted - len(data) + 1)
            except zlib.error as error:
                raise FormatError(f"qatzip: {error}") from None
            if len(data) > wanted:
                raise FormatError(f"qatzip: payload expands to more than {wanted} bytes")
            if not member.eof:
                raise FormatError(f"qatzip: payload ends inside a gzip member, after {len(data)} of {wanted} bytes")
            rest = member.unused_data
        return bytes(data), len(rest)

    def payload(self, pages: Buffer, normal_pages: int, page_size: int) -> bytes:
        check_pages(pages, normal_pages, page_size)
        return b"".join(self._member(pages[at : at + QATZIP_CHUNK]) for at in range(0, len(pages), QATZIP_CHUNK))

    def _member(self, content: Buffer) -> bytes:
        stream = zlib.compressobj(self._level, zlib.DEFLATED, RAW_DEFLATE)
        data = stream.compress(content) + stream.flush()
        header = {
            "magic": GZIP_MAGIC,
            "method": GZIP_DEFLATE,
            "flags": GZIP_EXTRA,
            "mtime": 0,
            "extra_flags": 0,
            "os": 255,
            "extra_length": 12,
            "extra_id": b"QZ",
            "extra_size": 8,
            "raw_size": len(content),
            "compressed_size": len(data),
        }
        trailer = {"crc32": zlib.crc32(content), "raw_size": len(content)}
        return build_declared(GzipHeader, header) + data + build_declared(GzipTrailer, trailer)


CODECS = {
    "qpl": Codec(QplPages, QplPages),
    "uadk": Codec(UadkPages, UadkPages),
    "qatzip": Codec(QatzipPages, QatzipPages),
}


def _checked(level: int) -> int:
    if level not in LEVELS:
        raise EncodeError(f"compression level {level}, there are {LEVELS.start} to {LEVELS.stop - 1}")
    return level
