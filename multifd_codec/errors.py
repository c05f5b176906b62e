"""The one error family of the toolkit. Every error says where: channel, byte offset, field."""

from __future__ import annotations

from typing import Literal

ChannelName = Literal["main"] | int
"""The main channel, or a multifd channel by its id (where there may be none, by its position)."""


class MultifdError(Exception):
    """Base of all errors raised on purpose.

    ``channel`` is ``"main"`` or a multifd channel id, ``offset`` counts bytes from the start of that channel's stream,
    ``field`` is the wire field's name. Each is None where it makes no sense.
    """

    def __init__(
        self, message: str, *, channel: str | int | None = None, offset: int | None = None, field: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.channel = channel
        self.offset = offset
        self.field = field

    def __str__(self) -> str:
        where = []
        if self.channel is not None:
            where.append(f"channel {self.channel}" if isinstance(self.channel, int) else f"{self.channel} channel")
        if self.offset is not None:
            where.append(f"offset {self.offset}")
        if self.field is not None:
            where.append(f"field {self.field}")
        return f"{', '.join(where)}: {self.message}" if where else self.message


class FormatError(MultifdError):
    """The bytes do not have the form the wire format prescribes."""


class TruncatedError(FormatError):
    """The bytes end before the record does: it wants ``needed`` bytes, of which ``available`` are there."""

    def __init__(
        self,
        message: str,
        *,
        needed: int,
        available: int,
        channel: str | int | None = None,
        offset: int | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(message, channel=channel, offset=offset, field=field)
        self.needed = needed
        self.available = available


class HoleError(MultifdError):
    """Bytes that were asked for are not in the recording (lost, cut by snaplen, not captured)."""


class EncodeError(MultifdError):
    """A value cannot be put on the wire."""


class InputError(MultifdError):
    """The tool cannot read its input at all (no such file, not a capture, unsupported); ends in exit code 2."""
