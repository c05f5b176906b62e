"""As much of TLS as it takes to tell a migration from a web browser, and what its records show without keys (RFC 8446,
sections 4.1.2, 5.1 and 6)."""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING, NamedTuple

from captures.conduct import Alert, Moment
from multifd_codec.errors import HoleError

if TYPE_CHECKING:
    from captures.model import StreamSource

RECORD_HEADER = struct.Struct(">BHH")
CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA, HEARTBEAT = range(20, 25)
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


class AlertDescription(enum.IntEnum):
    """RFC 8446, appendix B.2, and what earlier versions had."""

    CLOSE_NOTIFY = 0
    UNEXPECTED_MESSAGE = 10
    BAD_RECORD_MAC = 20
    RECORD_OVERFLOW = 22
    HANDSHAKE_FAILURE = 40
    NO_CERTIFICATE = 41
    BAD_CERTIFICATE = 42
    UNSUPPORTED_CERTIFICATE = 43
    CERTIFICATE_REVOKED = 44
    CERTIFICATE_EXPIRED = 45
    CERTIFICATE_UNKNOWN = 46
    ILLEGAL_PARAMETER = 47
    UNKNOWN_CA = 48
    ACCESS_DENIED = 49
    DECODE_ERROR = 50
    DECRYPT_ERROR = 51
    PROTOCOL_VERSION = 70
    INSUFFICIENT_SECURITY = 71
    INTERNAL_ERROR = 80
    INAPPROPRIATE_FALLBACK = 86
    USER_CANCELED = 90
    NO_RENEGOTIATION = 100
    MISSING_EXTENSION = 109
    UNSUPPORTED_EXTENSION = 110
    UNRECOGNIZED_NAME = 112
    BAD_CERTIFICATE_STATUS_RESPONSE = 113
    UNKNOWN_PSK_IDENTITY = 115
    CERTIFICATE_REQUIRED = 116
    NO_APPLICATION_PROTOCOL = 120


FATAL = 2
PLAIN_ALERT = 2
"""Bytes of an alert in the clear."""
LONGEST_ALERT = 64
"""Bytes of a record, all that is encrypted, that may be an alert: two, the content type, what a cipher adds."""


class Cut(NamedTuple):
    """A record in which a stream ends: ``there`` of its bytes ``of``, header included (None: not even the header)."""

    there: int
    of: int | None


class Records(NamedTuple):
    """The TLS records of one direction, from its first byte on."""

    hello: Moment | None
    """Its first handshake message is there."""
    protected: Moment | None
    """The first record that is encrypted: all the handshake that goes in the clear is done."""
    last: Moment | None
    """The end of the last whole record."""
    last_length: int
    """Bytes of that without its header."""
    alerts: tuple[Alert, ...]
    """Those in the clear."""
    cut: Cut | None
    """The record in which the stream ends."""
    lost: bool
    """What comes behind these is not known: bytes are missing, or are no TLS record."""

    @property
    def may_end_with_alert(self) -> bool:
        """Without keys: whether the last record is short enough to be a close_notify."""
        return self.lost or self.last_length <= LONGEST_ALERT


def read_records(source: StreamSource) -> Records:
    """The records of a stream that TLS begins. Bodies may be missing, headers may not."""
    hello = protected = None
    alerts: list[Alert] = []
    at, size, length, last = 0, source.size, 0, None
    changed = lost = False
    cut: Cut | None = None
    while at < size and cut is None:
        try:
            head = bytes(source.read(at, RECORD_HEADER.size))
        except HoleError:
            lost = True
            break
        if not CHANGE_CIPHER_SPEC <= head[0] <= HEARTBEAT or head[1:2] not in (b"\x03", b""):
            lost = True
            break
        if len(head) < RECORD_HEADER.size:
            cut = Cut(len(head), None)
            break
        kind, _, body = RECORD_HEADER.unpack(head)
        end = at + RECORD_HEADER.size + body
        if end > size:
            cut = Cut(size - at, end - at)
            break
        encrypted = kind == APPLICATION_DATA or changed
        if encrypted and protected is None:
            protected = _moment(source, end - 1) or _moment(source, at)
        elif hello is None and kind == HANDSHAKE:
            hello = _moment(source, end - 1) or _moment(source, at)
        elif kind == ALERT and body == PLAIN_ALERT and not encrypted:
            alerts += _alert(source, end)
        changed = changed or kind == CHANGE_CIPHER_SPEC
        at, length, last = end, body, end - 1
    return Records(hello, protected, None if last is None else _moment(source, last), length, tuple(alerts), cut, lost)


def _moment(source: StreamSource, offset: int) -> Moment | None:
    frame = source.frame_at(offset)
    return None if frame is None else Moment(frame, source.time_at(offset))


def _alert(source: StreamSource, end: int) -> list[Alert]:
    moment = _moment(source, end - 1)
    try:
        level, description = bytes(source.read(end - PLAIN_ALERT, PLAIN_ALERT))
    except HoleError:
        return []
    return [] if moment is None else [Alert(moment, level, description)]
