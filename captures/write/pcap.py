"""Bytes of connections -> a capture file.

It is what a perfect tap would have recorded: every connection opened, its bytes in order, acknowledged and
closed. Wireshark opens it without a warning. The same input gives the same bytes, always.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

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
from multifd_codec.source import Buffer, StreamEnd

SERVER_PORT = 49152
"""The first of the ports that libvirt gives to migrations; no dissector of Wireshark claims it."""
FIRST_CLIENT_PORT = 40000
START_TIME = 1_700_000_000
"""Seconds since the epoch of the first frame."""
_BYTES_PER_MICROSECOND = 1250  # 10 Gbit/s


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
    A context manager. Raises EncodeError for arguments that cannot be, OSError from the file.
    """

    def __init__(
        self,
        path: Path,
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
        self._file = GatheredFile(path)
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
        """Write what is left. Connections not finished stay open in the capture."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.__exit__(kind, error, trace)

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
