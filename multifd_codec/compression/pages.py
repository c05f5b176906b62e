"""What all page compressors and decompressors have in common, and the plain one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from multifd_codec.errors import EncodeError, FormatError, MultifdError
from multifd_codec.source import Buffer


class MissingExtraError(MultifdError):
    """A library that is needed here is not installed."""


class PageDecompressor(Protocol):
    """Turns the payloads of one channel, in order, into pages."""

    def pages(self, payload: Buffer, normal_pages: int, page_size: int) -> tuple[bytes, int]:
        """(normal_pages * page_size bytes, number of payload bytes left over). Raises FormatError.

        Whatever the payload claims, not much more than those bytes are ever in memory. After an error a context is
        lost: there is no reading on.
        """


class PageCompressor(Protocol):
    """Turns the normal pages of each packet of one channel, in order, into its payload."""

    def payload(self, pages: Buffer, normal_pages: int, page_size: int) -> bytes:
        """The payload of one packet: ``pages`` is normal_pages * page_size bytes, back to back. Empty without pages.

        Raises EncodeError when ``pages`` has another length.
        """


class Codec(NamedTuple):
    """The code of one method."""

    decompressor: Callable[[], PageDecompressor]
    compressor: Callable[[int], PageCompressor]
    """Takes the level."""
    stored: Callable[[bytes, bool], bytes] | None = None
    """Of a stream: a payload of pages that are not compressed, whatever the context; True: it is the first."""


class PlainPages:
    """Pages as they are (multifd-nocomp.c); ``level`` means nothing."""

    def __init__(self, level: int = 0) -> None:
        del level

    def pages(self, payload: Buffer, normal_pages: int, page_size: int) -> tuple[bytes, int]:
        wanted = normal_pages * page_size
        if len(payload) < wanted:
            raise FormatError(f"payload of {len(payload)} bytes, {wanted} expected")
        return bytes(payload[:wanted]), len(payload) - wanted

    def payload(self, pages: Buffer, normal_pages: int, page_size: int) -> bytes:
        check_pages(pages, normal_pages, page_size)
        return bytes(pages)


def check_pages(pages: Buffer, normal_pages: int, page_size: int) -> None:
    """Raises EncodeError when ``pages`` is not that many pages."""
    if len(pages) != normal_pages * page_size:
        raise EncodeError(f"{len(pages)} bytes are not {normal_pages} pages of {page_size}", field="normal_pages")
