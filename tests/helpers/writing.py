"""Streams of tests and benchmarks as captures and folders: with holes, any order between them, any segments."""

from __future__ import annotations

import resource
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from captures.model import ChannelKind, Migration
from captures.names import RETURN_PATH, label
from captures.write.pcap import PcapWriter
from captures.write.tcp_frames import MAX_SEGMENT
from multifd_codec.source import Buffer, BufferSource, ByteSource

ETHERNET_SEGMENT = 1448
"""Payload of a full segment on an Ethernet of 1500 bytes."""
TURN = 1 << 20
Stream = ByteSource | Buffer
Piece = tuple[int, int, int]
"""Which stream, and from which of its bytes (inclusive) to which (exclusive)."""


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file becomes longer (``ulimit -f``): like a full disk, which a test cannot make."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def round_robin(sizes: Sequence[int], chunk: int) -> Iterator[Piece]:
    """A global send order: ``chunk`` bytes of each stream in turn, until all are sent."""
    for start in range(0, max(sizes, default=0), chunk):
        for number, size in enumerate(sizes):
            if start < size:
                yield number, start, min(start + chunk, size)


def write_pcap(
    path: Path,
    streams: Migration | Sequence[Stream],
    *,
    order: Iterable[Piece] | None = None,
    segment_size: int = MAX_SEGMENT,
    checksums: bool = True,
    initial_sequences: Sequence[int] | None = None,
) -> None:
    """Each stream as one connection, holes as lost segments; of a migration the return path comes last.

    ``order`` says what is sent when; pieces of one stream follow each other. Default: one full segment each in turn.
    """
    back = None
    if isinstance(streams, Migration):
        back = streams.return_path
        main = next((at for at, channel in enumerate(streams.channels) if channel.kind is ChannelKind.MAIN), 0)
        streams = [channel.source for channel in streams.channels]
    sources = [stream if isinstance(stream, ByteSource) else BufferSource(stream) for stream in streams]
    with PcapWriter(path, segment_size=segment_size, checksums=checksums) as writer:
        for number in range(len(sources)):
            writer.connect(initial_sequences[number] if initial_sequences else None)
        turn = TURN // segment_size * segment_size
        for number, start, end in order or round_robin([source.size for source in sources], segment_size):
            for data in _known_parts(sources[number], start, end, turn):
                if isinstance(data, int):
                    writer.skip(number, data)
                else:
                    writer.send(number, data)
        if back is not None:
            writer.reply(main, back.read(0, back.size))
        for number, source in enumerate(sources):
            writer.finish(number, source.end)


def _known_parts(source: ByteSource, start: int, end: int, turn: int) -> Iterator[Buffer | int]:
    """What is known of bytes ``start`` to ``end``, at most ``turn`` at once; an int is the length of a hole."""
    while start < end:
        hole = source.next_hole(start)
        if hole is not None and hole.start <= start:
            stop = min(hole.end, end)
            yield stop - start
        else:
            stop = min(end, start + turn, hole.start if hole is not None else end)
            yield source.read(start, stop - start)
        start = stop


def write_folder(path: Path, migration: Migration) -> None:
    """A file for each channel, up to its first hole, and one for the return path."""
    path.mkdir(exist_ok=True)
    streams = [
        ("main" if channel.kind is ChannelKind.MAIN else channel.channel_id, channel.source)
        for channel in migration.channels
    ]
    named = [(label(name) if name is not None else "unknown.bin", source) for name, source in streams]
    if migration.return_path is not None:
        named.append((RETURN_PATH, migration.return_path))
    for name, source in named:
        hole = source.next_hole(0)
        (path / name).write_bytes(source.read(0, source.size if hole is None else hole.start))
