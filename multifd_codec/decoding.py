"""Bytes to events in one call, for whoever has a whole stream in hand."""

from __future__ import annotations

from collections.abc import Iterator

from multifd_codec.channel.decoder import ChannelDecoder
from multifd_codec.channel.events import ChannelEvent
from multifd_codec.main.decoder import MainDecoder
from multifd_codec.main.events import MainEvent
from multifd_codec.main.return_path import ReturnPathEnd, ReturnPathMessage
from multifd_codec.main.return_path import decode_return_path as decode_messages
from multifd_codec.source import Buffer, BufferSource, ByteSource


def _source(stream: Buffer | ByteSource) -> ByteSource:
    return BufferSource(stream) if isinstance(stream, bytes | bytearray | memoryview) else stream


def decode_channel(stream: Buffer | ByteSource, *, page_size: int | None = None) -> Iterator[ChannelEvent]:
    """The events of a whole multifd channel, ChannelInit first, ChannelEnd last.

    ``page_size``: target page size in bytes, inferred from the packets when None. Raises InputError for a page size
    there is none of, and nothing else: what cannot be read is an Unreadable.
    """
    return ChannelDecoder(_source(stream), page_size=page_size).events()


def decode_main(stream: Buffer | ByteSource, *, page_size: int | None = None) -> Iterator[MainEvent]:
    """The events of a whole main channel, file header first, MainEnd last; errors and page size as above."""
    return MainDecoder(_source(stream), page_size=page_size).events()


def decode_return_path(stream: Buffer | ByteSource) -> Iterator[ReturnPathMessage | ReturnPathEnd]:
    """The messages from destination to source, ReturnPathEnd last. Raises nothing."""
    return decode_messages(_source(stream))
