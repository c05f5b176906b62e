"""XBZRLE: a page as the difference to what it held before (xbzrle_decode_buffer, migration/xbzrle.c)."""

from __future__ import annotations

from multifd_codec.errors import FormatError

MORE = 0x80
"""A second byte of the run length follows."""


def decode_xbzrle(data: bytes, old: bytes) -> bytes:
    """The new page: runs of bytes left as in ``old`` and runs of new bytes, by turns. Raises FormatError."""
    page = bytearray(old)
    position, place = 0, 0
    while position < len(data):
        at_start = position == 0
        skip, position = _length(data, position)
        if not skip and not at_start:
            raise FormatError(f"run of 0 unchanged bytes at {position}", field="data")
        place += skip
        if position == len(data):
            raise FormatError("no new bytes behind the last unchanged ones", field="data")
        count, position = _length(data, position)
        if not count:
            raise FormatError(f"run of 0 new bytes at {position}", field="data")
        if position + count > len(data) or place + count > len(page):
            raise FormatError(f"run of {count} bytes beyond the end", field="data")
        page[place : place + count] = data[position : position + count]
        position, place = position + count, place + count
    return bytes(page)


def _length(data: bytes, position: int) -> tuple[int, int]:
    """(length, position behind it): seven bits, or fourteen, the lower ones first."""
    first = data[position]
    if not first & MORE:
        return first, position + 1
    if position + 1 == len(data):
        raise FormatError("run length cut", field="data")
    if data[position + 1] & MORE:
        raise FormatError("run length of three bytes", field="data")
    return (first & ~MORE) | data[position + 1] << 7, position + 2
