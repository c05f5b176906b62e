"""What the bytes of one stream say it is."""

from __future__ import annotations

from typing import NamedTuple

from captures import tls
from captures.model import ChannelKind, StreamSource
from multifd_codec.channel.framing import HEADER, INIT, MARK
from multifd_codec.names import is_printable
from multifd_codec.source import ByteSource, pieces, read_known
from multifd_codec.wire.packet import KNOWN_FLAGS
from multifd_codec.wire.qemufile import FILE_MARK, RECOVERY_MARK

MAGIC_LENGTH = 4
LONGEST_REQUEST = len(RECOVERY_MARK) + 2 + 255
SEARCH_LENGTH = 1 << 20
"""How far into a stream without a start packets are searched for."""


class Identity(NamedTuple):
    """What the bytes of one stream say."""

    kind: ChannelKind
    channel_id: int | None = None
    """As in CapturedChannel."""
    at_start: bool = False
    """The bytes at offset 0 are those that a connection starts with."""


UNKNOWN = Identity(ChannelKind.UNKNOWN)


def identify(source: ByteSource, *, start_captured: bool = True) -> Identity:
    """What a stream is by its first bytes; a multifd channel without its start is also known by packets further on."""
    head = read_known(source, 0, INIT.size)
    if head.startswith(FILE_MARK):
        return Identity(ChannelKind.MAIN, at_start=True)
    if head.startswith(MARK[:MAGIC_LENGTH]) and (start_captured or _is_channel_init(head)):
        span = INIT.span("id")
        channel_id = head[span.offset] if len(head) > span.offset else None
        return Identity(ChannelKind.MULTIFD, channel_id, at_start=True)
    if tls.is_tls(head):
        return Identity(ChannelKind.TLS, at_start=tls.is_client_hello(head))
    if (not start_captured or not head) and _has_packets(source):
        return Identity(ChannelKind.MULTIFD)
    return UNKNOWN


def _is_channel_init(head: bytes) -> bool:
    """Tells a ChannelInit from a packet, which starts with the same eight bytes: a UUID where the flags would be, and
    nothing but zeros behind the id."""
    if len(head) < INIT.size or not head.startswith(MARK):
        return False
    flags = HEADER.span("flags")
    maybe_flags = int.from_bytes(head[flags.offset : flags.offset + flags.size], "big")
    return (not maybe_flags or maybe_flags > KNOWN_FLAGS) and not any(head[INIT.span("unused1").offset :])


def _has_packets(source: ByteSource) -> bool:
    first = pieces(source, 0, min(source.size, SEARCH_LENGTH), overlap=len(MARK) - 1)
    return any(MARK in piece for _, piece in first)


def resumes(source: StreamSource) -> bool:
    """Whether a stream starts as that over which a paused postcopy goes on: by asking for the bitmap of a RAM block
    (ram_dirty_bitmap_sync_all, migration/ram.c, since 3.0)."""
    head = read_known(source, 0, LONGEST_REQUEST)
    name = head[len(RECOVERY_MARK) + 2 :][: head[len(RECOVERY_MARK)] - 1] if len(head) > len(RECOVERY_MARK) + 1 else b""
    return (
        head.startswith(RECOVERY_MARK)
        and 0 < len(name) == head[len(RECOVERY_MARK)] - 1 == head[len(RECOVERY_MARK) + 1]
        and is_printable(name)
    )


def is_migration_hello(source: StreamSource) -> bool:
    head = read_known(source, 0, tls.LONGEST_HELLO)
    return tls.is_client_hello(head) and not tls.names_application(head)
