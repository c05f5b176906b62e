"""Page payloads both ways: pages to the payload behind a RAM packet, and back.

``compressor`` and ``decompressor`` give one object for each channel, to be used for its whole life and in the order of
its packets: zlib and zstd have one context a channel. Packets without normal pages have no payload and are left out.

Sources: migration/multifd-nocomp.c, multifd-zlib.c, multifd-zstd.c (5.0), multifd-qpl.c, multifd-uadk.c (9.1),
multifd-qatzip.c (9.2).
"""

from __future__ import annotations

from multifd_codec.compression import containers, streams
from multifd_codec.compression.containers import container_lengths
from multifd_codec.compression.pages import Codec, MissingExtraError, PageCompressor, PageDecompressor, PlainPages
from multifd_codec.dialect.compression import named, of_flags
from multifd_codec.errors import EncodeError

__all__ = [
    "DEFAULT_LEVEL",
    "MissingExtraError",
    "PageCompressor",
    "PageDecompressor",
    "compressor",
    "container_lengths",
    "decompressor",
    "decompressor_of_flags",
]

DEFAULT_LEVEL = 1
"""multifd-zlib-level, multifd-zstd-level and multifd-qatzip-level; qpl and uadk have no parameter (qapi/migration.json,
9.2)."""

CODECS: dict[str, Codec] = {"none": Codec(PlainPages, PlainPages), **streams.CODECS, **containers.CODECS}


def decompressor(compression: str) -> PageDecompressor:
    """A fresh decompressor of a method. Raises InputError for a name there is none of, MissingExtraError."""
    return CODECS[named(compression).name].decompressor()


def decompressor_of_flags(flags: int) -> PageDecompressor | None:
    """A fresh decompressor for the compression bits of ``flags``, None for an unknown id. Raises MissingExtraError."""
    method = of_flags(flags)
    return None if method is None else decompressor(method.name)


def compressor(compression: str, level: int | None = None) -> PageCompressor:
    """A fresh compressor of a method; ``level`` is QEMU's default when None.

    Raises InputError for a name and EncodeError for a level there is none of, MissingExtraError.
    """
    make = CODECS[named(compression).name].compressor
    try:
        return make(DEFAULT_LEVEL if level is None else level)
    except ValueError as error:
        raise EncodeError(f"compression level {level}: {error}") from None
