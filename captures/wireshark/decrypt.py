"""A capture of raw IP with TLS in it, and a key log -> the same frames with the TLS sessions in plain text.

tshark decrypts; a frame then carries the plain text of the TLS records that end in it. So the frame number of a byte is
that of the frame that completed its record, at most 16 KiB of the connection later than the byte itself.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from captures.conduct import Alert, Moment
from captures.model import ProgressCallback
from captures.tls import HANDSHAKE, RECORD_HEADER
from captures.wireshark.raw_frames import FILE_HEADER, Segment, read_records, write_record
from captures.wireshark.tshark import TsharkEnd, rows
from captures.wireshark.unwrap import PROGRESS_FRAMES, Unwrapped, nanoseconds
from multifd_codec.errors import InputError

_FIELDS = (
    "frame.number", "frame.time_epoch", "tcp.stream", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst",
    "tcp.srcport", "tcp.dstport",
    "tcp.seq_raw", "tcp.flags", "tcp.len", "tls.record.content_type", "tls.record.length",
    "tls.handshake.type", "tls.alert_message.level", "tls.alert_message.desc", "data.data",
)  # fmt: skip
_APPLICATION_DATA = "23"
_FINISHED, _KEY_UPDATE = "20", "24"
_FIN, _SYN, _ACK = 0x01, 0x02, 0x10
_HALF = 1 << 31
_PLAIN = -1
_MOST_HANDSHAKES = 10_000
_LONGEST_KEY = 4096


@dataclass(slots=True)
class Direction:
    """One direction of one TLS connection, while it is decrypted."""

    stream: int
    """Number of the connection."""
    source: str
    destination: str
    source_port: int
    destination_port: int
    position: int | None = None
    """Sequence number of the next byte of cipher text, not wrapped; None before the first frame."""
    start: int = 0
    accounted: int = 0
    """Bytes of cipher text in the TLS records that tshark found."""
    decrypted: int = 0
    """Bytes of plain text."""
    closed: bool = False
    ends_at: int | None = None
    """The frame in which decryption ended before the stream did."""
    opened: bool = False
    """Its first record that only keys open was opened."""
    alerts: list[Alert] = field(default_factory=list)
    key_updates: list[Moment] = field(default_factory=list)

    @property
    def label(self) -> str:
        return f"{_endpoint(self.source, self.source_port)} > {_endpoint(self.destination, self.destination_port)}"

    @property
    def seen(self) -> int:
        """Bytes of cipher text from the first to the last one captured."""
        return (self.position or 0) - self.start

    @property
    def broken(self) -> bool:
        """Not all there was has been decrypted, so that the end of the plain text is not the end of the stream."""
        return self.ends_at is not None or (self.closed and self.accounted != self.seen)

    def advance(self, sequence: int, flags: int, length: int) -> None:
        """Take in the TCP header of the direction's next frame."""
        syn = flags & _SYN
        if self.position is None or (syn and not self.decrypted):
            self.position = self.start = sequence + bool(syn)
        self.closed = self.closed or bool(flags & _FIN)
        # The number of a frame without data proves nothing: behind a FIN it is one more than there are bytes.
        if length or flags & _FIN:
            offset = (sequence + bool(syn) + length - self.position + _HALF) % (1 << 32) - _HALF
            self.position += max(0, offset)


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@dataclass(slots=True)
class Decryption:
    """What tshark decrypted: the plain text in a file, and for each frame whose it is and how much."""

    plain: IO[bytes]
    directions: list[Direction] = field(default_factory=list)
    owner: array[int] = field(default_factory=lambda: array("i"))
    """For each frame the index in ``directions``, or -1."""
    lengths: array[int] = field(default_factory=lambda: array("L"))
    """For each frame the bytes of plain text that it completes."""
    handshakes: list[int] = field(default_factory=list)
    """Frames with handshake records, from 1."""
    end: TsharkEnd = field(default_factory=lambda: TsharkEnd(0, ""))

    def account_for(self, cut: Mapping[str, int]) -> None:
        """``cut``: bytes of the TLS record inside which a direction was closed, by label: nobody will decrypt them, but
        they are not lost."""
        for direction in self.directions:
            if direction.closed:
                direction.accounted += cut.get(direction.label, 0)

    def readable_streams(self) -> frozenset[int]:
        return frozenset(direction.stream for direction in self.directions if direction.decrypted)


def key_log_randoms(path: Path) -> Iterator[str]:
    """The client randoms of the sessions in a TLS key log, as lower-case hex. Raises OSError."""
    with path.open("rb") as file:
        while line := file.readline(_LONGEST_KEY):
            words = line.decode("ascii", "replace").split()
            if len(words) == 3 and not words[0].startswith("#"):
                yield words[1].lower()


def check_key_log(path: Path) -> None:
    """Raises InputError when ``path`` cannot be read or holds no line of a TLS key log."""
    try:
        if not path.is_file() or next(key_log_randoms(path), None) is None:
            raise InputError(f"{path}: no TLS key log: no line of a label, a client random and a secret")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None


def decrypt(
    path: Path, keylog: Path, unwrapped: Unwrapped, plain: IO[bytes], progress: ProgressCallback | None = None
) -> Decryption:
    """Have tshark decrypt the TLS connections in an unwrapped capture at ``path``; the plain text goes to ``plain``.

    Raises InputError, OSError from ``plain``.
    """
    options = ["-o", f"tls.keylog_file:{keylog.resolve()}", "-o", "tcp.reassemble_out_of_order:TRUE"]
    for port in sorted(unwrapped.tls_ports):
        # Without these, another dissector may take the cipher text or, worse, the plain text for its own.
        options += ["-d", f"tcp.port=={port},tls", "-d", f"tls.port=={port},data"]
    result = Decryption(plain)
    ports = frozenset(str(port) for port in unwrapped.tls_ports)
    known: dict[tuple[str, str, str], int] = {}
    table = rows(path, _FIELDS, options, occurrence="a")
    size = path.stat().st_size
    while True:
        try:
            row = next(table)
        except StopIteration as stop:
            result.end = stop.value
            return result
        _take(result, known, ports, row)
        frames = len(result.owner)
        if progress is not None and frames % PROGRESS_FRAMES == 0:
            progress("decrypting with tshark", size * frames // max(frames, unwrapped.frames), size)


def _take(result: Decryption, known: dict[tuple[str, str, str], int], ports: Collection[str], row: list[str]) -> None:
    frame, epoch, stream, ip_src, ip_dst, ip6_src, ip6_dst, sport, dport, sequence, flags, length, *records = row
    types, sizes, handshakes, levels, descriptions, data = records
    if sport not in ports and dport not in ports:
        result.owner.append(_PLAIN)
        result.lengths.append(0)
        return
    source = ip_src or ip6_src
    key = (stream, source, sport)
    index = known.get(key)
    if index is None:
        index = known[key] = len(result.directions)
        result.directions.append(Direction(int(stream), source, ip_dst or ip6_dst, int(sport), int(dport)))
    direction = result.directions[index]
    direction.advance(int(sequence), int(flags, 16), int(length or 0))
    kinds = types.split(",") if types else []
    if str(HANDSHAKE) in kinds and len(result.handshakes) < _MOST_HANDSHAKES:
        result.handshakes.append(int(frame))
    _take_signals(
        direction, Moment(int(frame), nanoseconds(epoch) / 1e9 or None), handshakes.split(","), levels, descriptions
    )
    direction.accounted += sum(RECORD_HEADER.size + int(size) for size in sizes.split(",")) if sizes else 0
    pieces = data.split(",") if data else []
    text = b""
    if direction.ends_at is None:
        text = bytes.fromhex("".join(pieces))
        if kinds.count(_APPLICATION_DATA) > len(pieces):
            direction.ends_at = int(frame)
            text = b""
    direction.decrypted += len(text)
    result.plain.write(text)
    result.owner.append(index)
    result.lengths.append(len(text))


def _take_signals(direction: Direction, moment: Moment, handshakes: list[str], levels: str, descriptions: str) -> None:
    """Alerts and handshake messages of one frame."""
    direction.opened = direction.opened or _FINISHED in handshakes
    direction.key_updates += [moment] * handshakes.count(_KEY_UPDATE)
    if levels and descriptions:
        pairs = zip(levels.split(","), descriptions.split(","), strict=False)
        direction.alerts += [Alert(moment, int(level), int(description)) for level, description in pairs]


def write_plain(path: Path, decryption: Decryption, out: IO[bytes]) -> None:
    """Write the frames of the capture of raw IP at ``path``, decrypted connections in plain text, to ``out``.

    Raises OSError.
    """
    out.write(FILE_HEADER)
    directions = decryption.directions
    readable = decryption.readable_streams()
    sent = [0] * len(directions)
    numbers = {(d.stream, d.source, d.source_port): index for index, d in enumerate(directions)}
    decryption.plain.seek(0)
    for record, index, length in zip(read_records(path), decryption.owner, decryption.lengths, strict=False):
        if index == _PLAIN or directions[index].stream not in readable:
            out.write(record.header + record.packet)
            continue
        direction = directions[index]
        flags = record.tcp_flags & (~_FIN if direction.broken else 0x0FFF)
        acknowledged = 0
        peer = numbers.get((direction.stream, direction.destination, direction.destination_port))
        if flags & _ACK and peer is not None:
            acknowledged = directions[peer].start + sent[peer]
        text = decryption.plain.read(length)
        segment = Segment(
            direction.source, direction.destination, direction.source_port, direction.destination_port,
            (direction.start - bool(flags & _SYN) + sent[index]) & 0xFFFF_FFFF, acknowledged & 0xFFFF_FFFF,
            flags, len(text), text,
        )  # fmt: skip
        sent[index] += len(text)
        write_record(out, record.time, segment)
