"""What the destination says on the return path, and when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from captures.conduct import Moment
from captures.model import StreamSource
from multifd_codec.errors import FormatError
from multifd_codec.main.return_path import ReturnPathMessage, decode_return_path
from multifd_codec.wire.return_path import ReturnPathType


class Said(NamedTuple):
    """One message. ``value``: of SHUT, PONG and RESUME_ACK."""

    type: int
    value: int | None
    moment: Moment | None
    """Of its last byte."""


MOST_MESSAGES = 1 << 20
"""Requests for pages of a long postcopy; what comes behind is not looked at."""
KNOWN = frozenset(int(kind) for kind in ReturnPathType)
WITH_VALUE = frozenset({int(ReturnPathType.SHUT), int(ReturnPathType.PONG), int(ReturnPathType.RESUME_ACK)})


def said(source: StreamSource | None) -> Iterator[Said]:
    """All messages, up to one that cannot be framed."""
    if source is None:
        return
    for number, message in enumerate(decode_return_path(source)):
        if not isinstance(message, ReturnPathMessage) or number >= MOST_MESSAGES:
            return
        if message.type not in KNOWN:
            return
        yield Said(message.type, _value(message) if message.type in WITH_VALUE else None, _moment(source, message))


def _value(message: ReturnPathMessage) -> int | None:
    try:
        value = message.arguments().get("value")
    except FormatError:
        return None
    return value if isinstance(value, int) else None


def _moment(source: StreamSource, message: ReturnPathMessage) -> Moment | None:
    last = message.offset + message.length - 1
    frame = source.frame_at(last)
    return None if frame is None else Moment(frame, source.time_at(last))
