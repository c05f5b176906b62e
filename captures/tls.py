"""As much of TLS as it takes to tell a migration from a web browser (RFC 8446, sections 4.1.2 and 5.1)."""

from __future__ import annotations

import struct

RECORD_HEADER = struct.Struct(">BHH")
HANDSHAKE = 22
TLS_MAJOR = 3
CLIENT_HELLO = 1
ALPN = 16
LONGEST_HELLO = 1 << 14


def is_tls(head: bytes) -> bool:
    """Whether a stream starts with a TLS handshake record."""
    return len(head) >= 3 and head[0] == HANDSHAKE and head[1] == TLS_MAJOR and head[2] <= 4


def is_client_hello(head: bytes) -> bool:
    return is_tls(head) and len(head) >= 6 and head[5] == CLIENT_HELLO


def names_application(hello: bytes) -> bool:
    """Whether a ClientHello carries ALPN, as browsers do and QEMU never does. ``hello`` is the stream's first bytes."""
    try:
        position = RECORD_HEADER.size + 4 + 2 + 32
        position += 1 + hello[position]
        position += 2 + int.from_bytes(hello[position : position + 2], "big")
        position += 1 + hello[position]
        position += 2
        while position + 4 <= len(hello):
            extension, length = struct.unpack_from(">HH", hello, position)
            if extension == ALPN:
                return True
            position += 4 + length
    except IndexError:
        pass
    return False
