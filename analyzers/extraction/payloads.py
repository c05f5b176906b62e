"""The page bytes of the packets of one channel, expanded in the order of the channel."""

from __future__ import annotations

from analyzers.extraction.order import PacketPages
from multifd_codec.compression import PageDecompressor, decompressor_of_flags
from multifd_codec.dialect.compression import STREAMED
from multifd_codec.errors import FormatError
from multifd_codec.source import Buffer, ByteSource, bytes_known
from multifd_codec.wire.payload import MAX_COMPRESSED_PAYLOAD


class Unexpanded(Exception):  # noqa: N818 - not an error of ours, a page that is not there
    """The pages of a packet cannot be had. ``first``: this says something that was not said before."""

    def __init__(self, reason: str, *, first: bool, malformed: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.first = first
        self.malformed = malformed
        """The bytes are there and are no such pages: a receiver ends here."""


class ChannelPayloads:
    """Follows one channel. ``lose_context`` when packets of it are missing."""

    def __init__(self, source: ByteSource) -> None:
        self.source = source
        self._streams: dict[int, PageDecompressor | None] = {}
        self._lost: str | None = None

    def lose_context(self, reason: str) -> None:
        """Bytes of the channel are missing: a compression context cannot be followed any further."""
        self._lost = self._lost or reason

    def expanded(self, packet: PacketPages) -> Buffer:
        """normal * page_size bytes of a compressed packet. Raises Unexpanded, MissingExtraError."""
        context = packet.compression & STREAMED
        if context and self._lost is not None:
            raise Unexpanded(self._lost, first=False)
        size = packet.payload_length
        if size > MAX_COMPRESSED_PAYLOAD:
            raise self._failed(packet, f"a payload of {size} bytes, larger than any receiver takes", malformed=True)
        if bytes_known(self.source, packet.payload) < size:
            raise self._failed(packet, "the payload is not in the recording")
        if packet.compression not in self._streams:
            self._streams[packet.compression] = decompressor_of_flags(packet.compression)
        stream = self._streams[packet.compression]
        if stream is None:
            raise self._failed(packet, f"compression id {packet.compression:#x}, there is none", malformed=True)
        try:
            pages, _ = stream.pages(self.source.read(packet.payload, size), packet.normal, packet.page_size)
        except FormatError as error:
            raise self._failed(packet, error.message, malformed=True) from None
        return pages

    def _failed(self, packet: PacketPages, reason: str, *, malformed: bool = False) -> Unexpanded:
        if packet.compression & STREAMED:
            self.lose_context(reason)
            reason += ": nothing compressed behind it on this channel can be read"
        return Unexpanded(reason, first=True, malformed=malformed)
