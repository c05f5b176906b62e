"""Names on the wire: bytes, in fixed fields up to a NUL, and what people read of them."""

from __future__ import annotations

LONGEST_BLOCK_NAME = 255
"""Bytes: a receiver puts a NUL into the last of the 256 before it looks (multifd_ram_unfill_packet)."""


def until_nul(field: bytes) -> bytes:
    """The name in a field; the whole field when there is no NUL."""
    return field.split(b"\0", 1)[0]


def block_name(ramblock: bytes) -> bytes:
    """The RAM block that a receiver takes the ``ramblock`` of a packet for."""
    return until_nul(ramblock[:LONGEST_BLOCK_NAME])


def is_printable(name: bytes) -> bool:
    """Whether a name is ASCII without control characters, as all of QEMU's are."""
    return name.isascii() and name.decode("ascii").isprintable()


def text(name: bytes) -> str:
    """A name for people: undecodable bytes escaped."""
    return name.decode("utf-8", "backslashreplace")
