"""Containers of the page payload behind a RAM packet, by compression id.

none     ``normal_pages`` raw pages back to back.
zlib     a piece of one zlib stream a channel: a header only in the channel's first payload, no end ever; every payload
         ends with an empty stored block (``ZLIB_SYNC_FLUSH``). multifd-zlib.c, 5.0.
zstd     a piece of one zstd frame a channel, the magic in the first payload, no end ever. multifd-zstd.c, 5.0.
qpl      a table of lengths, then that many stand-alone deflate streams. multifd-qpl.c, 9.1.
uadk     the same container with stand-alone zlib streams. multifd-uadk.c, 9.1.
qatzip   one buffer of the QATzip library for all pages (gzip members with an extra field). multifd-qatzip.c, 9.2.

In qpl and uadk a page whose length equals the page size is stored raw.
"""

from __future__ import annotations

from construct import Bytes, Int8ub, Int16ul, Int32ub, Int32ul, Struct

ZLIB_SYNC_FLUSH = b"\x00\x00\xff\xff"
"""The last bytes of every zlib payload."""
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
"""The first bytes of a channel's first zstd payload."""
MAX_COMPRESSED_PAYLOAD = 1 << 20
"""Bytes of a destination's receive buffer for zlib, zstd and qatzip; only qatzip checks it."""

GZIP_MAGIC = b"\x1f\x8b"
GZIP_DEFLATE = 8
GZIP_EXTRA = 0x04
"""``flags``: an extra field follows, and nothing else."""
QATZIP_CHUNK = 64 * 1024
"""Input bytes of one gzip member: the library's default hardware buffer."""

GzipHeader = Struct(
    "magic" / Bytes(2),
    "method" / Int8ub,
    "flags" / Int8ub,
    "mtime" / Int32ul,
    "extra_flags" / Int8ub,
    "os" / Int8ub,
    "extra_length" / Int16ul,
    "extra_id" / Bytes(2),
    "extra_size" / Int16ul,
    "raw_size" / Int32ul,
    "compressed_size" / Int32ul,
)
"""Start of each gzip member of a QATzip buffer in the library's default format, QZ_DEFLATE_GZIP_EXT (extra field
``QZ``); little-endian, as gzip is. ``mtime`` and ``extra_flags`` are 0, ``os`` is 255. Deflate data follows, then
GzipTrailer. Read from the library's source (src/qatzip_gzip.c), not seen on a wire."""

GzipTrailer = Struct("crc32" / Int32ul, "raw_size" / Int32ul)
"""End of a gzip member: checksum and size of its content."""

PageLength = Int32ub
"""qpl and uadk: compressed bytes of a page. One for each stands in front of the pages themselves."""
