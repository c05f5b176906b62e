"""Compressed payloads are checked as a receiver would read them; plain pages are never touched."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analyzers.rulebook.capture.rules import PAYLOAD_NOT_CHECKED
from analyzers.rulebook.conditions import PacketCondition
from analyzers.rulebook.payloads.rules import DAMAGED, LEFT_OVER, PAGE_LENGTHS
from multifd_codec.channel.columns import Columns
from multifd_codec.compression import MissingExtraError, PageDecompressor, container_lengths, decompressor_of_flags
from multifd_codec.dialect.compression import STREAMED, Payload, flags_of
from multifd_codec.errors import FormatError
from multifd_codec.source import ByteSource, bytes_known
from multifd_codec.wire.payload import MAX_COMPRESSED_PAYLOAD

CONTAINERS = flags_of(Payload.LENGTHS)


class PayloadChecker:
    """Follows the compression context of one channel.

    It ends at the first payload that cannot be read, at the first packet of another compression id, and at the first
    with more pages than a packet can have: a receiver would have ended there, and later payloads depend on it.
    """

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._streams: dict[int, PageDecompressor | None] = {}
        self._method: int | None = None
        self._broken = False

    def lose_context(self) -> None:
        """Packets are missing: later payloads cannot be read."""
        self._broken = True

    def check(self, columns: Columns) -> Iterator[tuple[int, PacketCondition, str]]:
        """(packet's position in the batch, condition, message) of each payload that is not what its packet says."""
        if self._broken:
            return
        if self._method == 0 and columns.alike and not columns.compression[0]:
            return
        impossible = np.flatnonzero(~columns.possible)
        with_pages = np.flatnonzero(columns.has_pages & columns.possible)
        if len(impossible):
            with_pages = with_pages[with_pages < impossible[0]]
        if not len(with_pages):
            self._broken = bool(len(impossible))
            return
        methods = columns.compression[with_pages]
        if self._method is None:
            self._method = int(methods[0])
        others = np.flatnonzero(methods != self._method)
        candidates = with_pages[: others[0]] if len(others) else with_pages
        for index in candidates.tolist() if self._method else ():
            if columns.normal[index] == 0:
                continue
            yield from self._packet(columns, index)
            if self._broken:
                return
        self._broken = bool(len(others) or len(impossible))

    def _packet(self, columns: Columns, index: int) -> Iterator[tuple[int, PacketCondition, str]]:
        offset = int(columns.batch.offset[index]) + columns.batch.header_length
        compression, normal = int(columns.compression[index]), int(columns.normal[index])
        size, page_size = int(columns.size[index]), columns.batch.page_size
        if size > MAX_COMPRESSED_PAYLOAD or bytes_known(self._source, offset) < size:
            self._broken = True  # cut off, in a hole, or no receiver reads it
            return
        payload = self._source.read(offset, size)
        if compression & CONTAINERS:
            message = _container(bytes(payload), normal, page_size)
            if message:
                yield index, PAGE_LENGTHS, message
            return
        if not compression & STREAMED:  # else a receiver's error there is MFD222
            return
        try:
            if compression not in self._streams:
                self._streams[compression] = decompressor_of_flags(compression)
            stream = self._streams[compression]
            if stream is None:
                return
            _, left = stream.pages(payload, normal, page_size)
        except MissingExtraError as error:
            self._broken = True
            yield index, PAYLOAD_NOT_CHECKED, error.message
            return
        except FormatError as error:
            self._broken = True
            yield index, DAMAGED, error.message
            return
        if left:
            yield index, LEFT_OVER, f"{left} bytes are left behind the last page"


def _container(payload: bytes, normal: int, page_size: int) -> str:
    try:
        lengths = container_lengths(payload, normal)
    except FormatError as error:
        return error.message
    if max(lengths) > page_size:
        return f"a page of {max(lengths)} bytes, larger than {page_size}"
    if 4 * normal + sum(lengths) != len(payload):
        return f"length table adds up to {4 * normal + sum(lengths)} bytes, next_packet_size is {len(payload)}"
    return ""
