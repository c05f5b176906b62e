"""What a real destination did with a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from captures.model import ChannelKind, Migration
from multifd_codec.errors import HoleError, InputError
from multifd_codec.source import Buffer, StreamEnd

COMPLETES, FAILS, HANGS, CRASHES, LOSES_DATA = "completes", "fails", "hangs", "crashes", "loses-data"
"""The outcomes of the report contract, as far as a process can show them."""


class Stream(NamedTuple):
    """The bytes of one connection. Connections are opened in the order given."""

    data: Buffer
    closes: bool = True
    """It is closed behind its last byte."""


class Observation(NamedTuple):
    """How one run ended."""

    outcome: str
    status: str | None
    """Of query-migrate, when it last answered."""
    words: str
    """Its error messages, in one line."""
    exit_code: int | None
    """Negative: the signal that ended it. None: it had to be ended."""
    monitor_alive: bool
    """Whether it still answered when it was given up."""
    seconds: float
    page: tuple[str, int] | None = None
    """The first page that is not as expected: RAM block and byte offset."""
    memory: Buffer | None = None
    """Guest RAM at the end, when it was asked for."""

    def line(self) -> str:
        """In one line, for people."""
        detail = {
            HANGS: "monitor alive" if self.monitor_alive else "monitor dead",
            CRASHES: f"signal {-self.exit_code}" if self.exit_code is not None and self.exit_code < 0 else "",
            FAILS: f"exit code {self.exit_code}" if self.exit_code is not None else f"status {self.status}",
            LOSES_DATA: f"{self.page[0]} differs at {self.page[1]:#x}" if self.page else "",
        }.get(self.outcome, "")
        text = f"{self.outcome} ({detail})" if detail else self.outcome
        return f"{text}: {self.words}" if self.words else text


def streams_of(migration: Migration) -> list[Stream]:
    """The connections of a recorded migration, main first. Raises InputError when they are not whole."""
    result = []
    for channel in sorted(migration.channels, key=lambda channel: channel.kind is not ChannelKind.MAIN):
        if channel.kind is ChannelKind.TLS:
            raise InputError(f"{channel.label}: is encrypted; it cannot be sent without its keys")
        source = channel.source
        if source.holes() or not channel.start_captured:
            raise InputError(f"{channel.label}: bytes are missing in the recording; it cannot be sent")
        try:
            data = source.read(0, source.size)
        except HoleError as error:
            raise InputError(f"{channel.label}: {error}") from None
        result.append(Stream(data, source.end is not StreamEnd.OPEN))
    return result


def first_difference(expected: Sequence[tuple[str, Buffer]], actual: Buffer, page_size: int) -> tuple[str, int] | None:
    """The first page of the first block that is not as expected."""
    for name, content in expected:
        size = len(content)
        if bytes(actual[:size]) == bytes(content):
            continue
        for offset in range(0, size, page_size):
            if bytes(actual[offset : offset + page_size]) != bytes(content[offset : offset + page_size]):
                return name, offset
    return None
