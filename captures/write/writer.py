"""Channels of bytes -> a capture file, or a folder of channel files; the way back from what the readers make.

The capture is what a perfect tap would have recorded: every connection opened, its bytes in order, acknowledged and
closed. Wireshark opens it without a warning. The same input gives the same bytes, always.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from captures.model import CapturedChannel, ChannelKind, Migration
from captures.write.gathered import GatheredFile
from captures.write.tcp_frames import (
    ACK,
    FIN,
    MAX_SEGMENT,
    PCAP_FILE_HEADER,
    PSH,
    RST,
    SYN,
    Side,
    connect_sides,
    cut_record,
    record_header,
)
from multifd_codec.errors import EncodeError
from multifd_codec.source import Buffer, BufferSource, ByteSource, StreamEnd

SERVER_PORT = 49152
"""The first of the ports that libvirt gives to migrations; no dissector of Wireshark claims it."""
FIRST_CLIENT_PORT = 40000
START_TIME = 1_700_000_000
"""Seconds since the epoch of the first frame."""
_BUFFER_SIZE = 1 << 20
_BYTES_PER_MICROSECOND = 1250  # 10 Gbit/s

Stream = ByteSource | Buffer
Piece = tuple[int, int, int]
"""Which stream, and from which of its bytes (inclusive) to which (exclusive)."""


@dataclass(slots=True)
class _Connection:
    client: Side
    server: Side
    unacknowledged: int = 0


class PcapWriter:
    """Writes the connections of one migration as a classic pcap, as their bytes come; keeps none of them.

    ``segment_size``: payload of a full TCP segment, at most ``MAX_SEGMENT``. ``acknowledge_bytes``: the server
    acknowledges after so many. ``checksums``: compute TCP checksums (IPv4's always are); without, they are 0.
    ``snaplen``: bytes of each frame that are kept, all by default.
    A context manager; the target is closed only when it was given as a path. Raises EncodeError for arguments that
    cannot be, OSError from the file.
    """

    def __init__(
        self,
        target: Path | BinaryIO,
        *,
        segment_size: int = MAX_SEGMENT,
        acknowledge_bytes: int = 1 << 16,
        checksums: bool = True,
        server_port: int = SERVER_PORT,
        snaplen: int | None = None,
    ) -> None:
        if not 0 < segment_size <= MAX_SEGMENT:
            raise EncodeError(f"segment size {segment_size} is not within 1 and {MAX_SEGMENT}")
        self._segment_size = segment_size
        self._acknowledge_bytes = acknowledge_bytes
        self._checksums = checksums
        self._server_port = server_port
        self._snaplen = snaplen
        self._connections: list[_Connection] = []
        self._clock = START_TIME * 1_000_000
        self._files = ExitStack()
        self._file: GatheredFile | BinaryIO = (
            self._files.enter_context(GatheredFile(target)) if isinstance(target, Path) else target
        )
        self._file.write(PCAP_FILE_HEADER)

    def connect(self, initial_sequence: int | None = None, *, opened: bool = True) -> int:
        """Open the next connection (SYN, SYN-ACK, ACK) and return its number, from 0.

        Its first byte gets the TCP sequence number ``initial_sequence + 1``; by default one made from the number.
        Without ``opened`` the capture begins when the connection exists already: the handshake is not recorded.
        """
        number = len(self._connections)
        if number >= 0x10000 - FIRST_CLIENT_PORT:
            raise EncodeError(f"no more than {number} connections fit into one capture")
        sequence = (1_000_000 * (number + 1) if initial_sequence is None else initial_sequence) & 0xFFFF_FFFF
        client, server = connect_sides(FIRST_CLIENT_PORT + number, self._server_port, sequence)
        self._connections.append(_Connection(client, server))
        if not opened:
            client.sequence = (client.sequence + 1) & 0xFFFF_FFFF
            server.sequence = (server.sequence + 1) & 0xFFFF_FFFF
            return number
        self._frame(client, server, SYN)
        self._frame(server, client, SYN | ACK)
        self._frame(client, server, ACK)
        return number

    def send(self, number: int, data: Buffer) -> None:
        """Bytes of connection ``number`` from client to server, cut into segments."""
        connection = self._connections[number]
        client, server = connection.client, connection.server
        view, size = memoryview(data), self._segment_size
        for start in range(0, len(view), size):
            payload = view[start : start + size]
            last = start + size >= len(view)
            self._frame(client, server, ACK | PSH if last else ACK, payload)
            connection.unacknowledged += len(payload)
            if connection.unacknowledged >= self._acknowledge_bytes:
                self._acknowledge(connection)

    def reply(self, number: int, data: Buffer) -> None:
        """Bytes of connection ``number`` from server to client: the return path."""
        connection = self._connections[number]
        view = memoryview(data)
        connection.unacknowledged = 0
        for start in range(0, len(view), self._segment_size):
            payload = view[start : start + self._segment_size]
            self._frame(connection.server, connection.client, ACK | PSH, payload)
            self._frame(connection.client, connection.server, ACK)

    def skip(self, number: int, length: int) -> None:
        """Leave ``length`` bytes out of the capture, as a tap that loses packets does: a reader sees a hole."""
        connection = self._connections[number]
        self._acknowledge(connection)
        connection.client.sequence = (connection.client.sequence + length) & 0xFFFF_FFFF

    def repeat(self, number: int, data: Buffer) -> None:
        """``data`` once more as the last bytes that were sent: a retransmission, be its content the same or not."""
        side = self._connections[number].client
        side.sequence = (side.sequence - len(data)) & 0xFFFF_FFFF
        self.send(number, data)

    def finish(self, number: int, end: StreamEnd = StreamEnd.CLOSED) -> None:
        """End connection ``number``: both sides close it, the client resets it, or (OPEN) nothing more is recorded."""
        connection = self._connections[number]
        client, server = connection.client, connection.server
        self._acknowledge(connection)
        if end is StreamEnd.RESET:
            self._frame(client, server, RST | ACK)
        elif end is StreamEnd.CLOSED:
            self._frame(client, server, FIN | ACK)
            self._frame(server, client, FIN | ACK)
            self._frame(client, server, ACK)

    def close(self) -> None:
        """Close the target if this writer opened it. Connections not finished stay open in the capture."""
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _acknowledge(self, connection: _Connection) -> None:
        if connection.unacknowledged:
            connection.unacknowledged = 0
            self._frame(connection.server, connection.client, ACK)

    def _frame(self, sender: Side, receiver: Side, flags: int, payload: Buffer = b"") -> None:
        if flags & ACK:
            sender.acknowledged = receiver.sequence
        size = len(payload)
        header = record_header(sender, flags, payload, self._clock, checksum=self._checksums)
        if self._snaplen is not None:
            header, payload = cut_record(header, payload, self._snaplen)
        self._file.write(header)
        if payload:
            self._file.write(payload)
        self._clock += 1 + size // _BYTES_PER_MICROSECOND


def round_robin(sizes: Sequence[int], chunk: int) -> Iterator[Piece]:
    """A global send order: ``chunk`` bytes of each stream in turn, until all are sent."""
    for start in range(0, max(sizes, default=0), chunk):
        for number, size in enumerate(sizes):
            if start < size:
                yield number, start, min(start + chunk, size)


def write_pcap(
    target: Path | BinaryIO,
    streams: Migration | Sequence[Stream],
    *,
    order: Iterable[Piece] | None = None,
    replies: Mapping[int, Stream] | None = None,
    segment_size: int = MAX_SEGMENT,
    acknowledge_bytes: int = 1 << 16,
    checksums: bool = True,
    initial_sequences: Sequence[int] | None = None,
) -> None:
    """Write streams, or a migration with its return path, as one classic pcap; each stream is one connection.

    ``order`` says what is sent when, across the connections: pieces of one stream must follow each other from byte 0,
    bytes no piece names are not sent. Default: one full segment of each stream in turn. ``replies`` maps the number of
    a stream to the bytes of the other direction, sent when all else has been, up to the first hole. Holes of a stream
    become lost segments, its ``end`` becomes FIN, RST or nothing. Memory used does not depend on sizes. Raises
    EncodeError when the order leaps; OSError from the target.
    """
    if isinstance(streams, Migration):
        if replies is None and streams.return_path is not None:
            mains = [at for at, channel in enumerate(streams.channels) if channel.kind is ChannelKind.MAIN]
            replies = {mains[0]: streams.return_path} if mains else None
        streams = [channel.source for channel in streams.channels]
    sources = [_as_source(stream) for stream in streams]
    sent = [0] * len(sources)
    with PcapWriter(
        target, segment_size=segment_size, acknowledge_bytes=acknowledge_bytes, checksums=checksums
    ) as writer:
        chunk = max(1, _BUFFER_SIZE // segment_size) * segment_size
        for number in range(len(sources)):
            writer.connect(initial_sequences[number] if initial_sequences else None)
        for number, start, end in order or round_robin([source.size for source in sources], segment_size):
            if start != sent[number] or not start <= end <= sources[number].size:
                raise EncodeError(f"bytes {start} to {end} do not follow the {sent[number]} sent", channel=number)
            sent[number] = end
            for data in _known_parts(sources[number], start, end, chunk):
                if isinstance(data, int):
                    writer.skip(number, data)
                else:
                    writer.send(number, data)
        for number, reply in (replies or {}).items():
            source = _as_source(reply)
            for data in _known_parts(source, 0, source.size, chunk):
                if isinstance(data, int):
                    break
                writer.reply(number, data)
        for number, source in enumerate(sources):
            writer.finish(number, source.end)


def _as_source(stream: Stream) -> ByteSource:
    return stream if isinstance(stream, ByteSource) else BufferSource(stream)


def _known_parts(source: ByteSource, start: int, end: int, chunk: int) -> Iterator[Buffer | int]:
    """What is known of bytes ``start`` to ``end``, at most ``chunk`` at once; an int is the length of a hole."""
    while start < end:
        hole = source.next_hole(start)
        if hole is not None and hole.start <= start:
            stop = min(hole.end, end)
            yield stop - start
        else:
            stop = min(end, start + chunk, hole.start if hole is not None else end)
            yield source.read(start, stop - start)
        start = stop


class WrittenFile(NamedTuple):
    """One file of a folder. ``missing`` bytes of its stream, from the first hole to the end, could not be written."""

    path: Path
    size: int
    missing: int


def write_folder(path: Path, migration: Migration) -> tuple[WrittenFile, ...]:
    """Write ``main.bin``, ``channel-0.bin`` and so on, and ``return-path.bin`` if there is one, into a folder.

    The folder is made if missing. A second channel of the same id becomes ``channel-0-2.bin``, one without an id
    ``unknown.bin`` or ``tls.bin``. A file has no way to say *hole*: a stream with one ends in front of it. Raises
    OSError.
    """
    path.mkdir(parents=True, exist_ok=True)
    streams = [(_file_stem(channel), channel.source) for channel in migration.channels]
    if migration.return_path is not None:
        streams.append(("return-path", migration.return_path))
    written: list[WrittenFile] = []
    seen: dict[str, int] = {}
    for stem, source in streams:
        seen[stem] = count = seen.get(stem, 0) + 1
        file = path / f"{stem}{f'-{count}' if count > 1 else ''}.bin"
        hole = source.next_hole(0)
        size = hole.start if hole is not None else source.size
        with file.open("wb") as out:
            for start in range(0, size, _BUFFER_SIZE):
                out.write(source.read(start, min(_BUFFER_SIZE, size - start)))
        written.append(WrittenFile(file, size, source.size - size))
    return tuple(written)


def _file_stem(channel: CapturedChannel) -> str:
    return f"channel-{channel.channel_id}" if channel.channel_id is not None else channel.kind.value
