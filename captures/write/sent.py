"""Records in sending order -> a capture, or a folder of channel files."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from captures.model import ProgressCallback, StreamSource
from captures.names import RETURN_PATH, label, names_of
from captures.write.gathered import GatheredFile
from captures.write.pcap import PcapWriter
from captures.write.replacing import refilled, replaced
from captures.write.tap import Tap
from captures.write.target import is_capture
from multifd_codec.draft.draft import Draft, Record, Sent
from multifd_codec.errors import ChannelName
from multifd_codec.source import Buffer, StreamEnd

JOIN = 1 << 15
"""Records shorter than this go out with their neighbours, as QEMUFile buffers them (IO_BUF_SIZE)."""
JOIN_DRAFT = 1 << 20
"""The same for drafts, which come from recordings that had their records joined."""
ACKNOWLEDGED = 1 << 22
"""Bytes a server acknowledges at once, as one with a large window does; fewer frames to write and to read."""
ACKNOWLEDGED_DRAFT = 1 << 16


class Chunk(NamedTuple):
    """Bytes of one channel that are written at once."""

    channel: ChannelName
    data: Buffer
    alone: Record | None = None
    """The record, when it was to stand alone."""


def chunks(
    sent: Iterable[Sent], join: int = JOIN, alone: Container[int] = (), *, copies: bool = False
) -> Iterator[Chunk]:
    """Records as bytes; those that follow each other on a channel are joined when shorter than ``join``, but for those
    with an id() in ``alone``. Longer pieces go out as they are, or with ``copies`` joined, too. Raises EncodeError."""
    pending: list[Buffer] = []
    size, channel = 0, None
    for name, record in sent:
        special = id(record) in alone
        if name != channel or size >= join or special:
            if pending and channel is not None:
                yield Chunk(channel, _joined(pending))
            pending, size, channel = [], 0, name
        if special:
            yield Chunk(name, record.encoded(), record)
            continue
        for piece in record.pieces():
            if copies or len(piece) < join:
                pending.append(piece)
                size += len(piece)
                continue
            if pending:
                yield Chunk(name, _joined(pending))
                pending, size = [], 0
            yield Chunk(name, piece)
    if pending and channel is not None:
        yield Chunk(channel, _joined(pending))


def _joined(pieces: list[Buffer]) -> Buffer:
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class _Job(NamedTuple):
    """What is to be written, and how."""

    sent: Iterable[Sent]
    names: Mapping[ChannelName, str]
    """All channels, in the order in which they connect, and what their files are called."""
    tap: Tap = Tap()
    return_path: StreamSource | None = None
    like_recorded: bool = False
    """In segments and acknowledgements as small programs send them."""
    checksums: bool = True
    progress: ProgressCallback | None = None


def write_sent(
    path: Path, sent: Iterable[Sent], channels: int, progress: ProgressCallback | None = None, *, checksums: bool = True
) -> int:
    """Write what is sent as a capture (``*.pcap``) or a folder of channel files (``main.bin``, ``channel-0.bin`` and so
    on); the bytes of all streams together.

    Connections are opened main first. Capture and folder are complete or as they were before; a folder's own channel
    files are replaced, as what it holds is one migration. Memory used does not depend on sizes. Without ``checksums``
    those of TCP are 0, as if left to the card: a third of the time. Raises EncodeError, OSError.
    """
    everyone: tuple[ChannelName, ...] = ("main", *range(channels))
    names = {name: label(name) for name in everyone}
    return _write(path, _Job(sent, names, checksums=checksums, progress=progress))


def write_draft(path: Path, draft: Draft, tap: Tap | None = None, return_path: StreamSource | None = None) -> None:
    """Write a draft like that, its records in the order of ``Draft.sent``; the return path behind them.

    The tap is what saw the capture; a folder has none. A folder gets the return path only if it is whole, and files
    named by what the channels say they are (``names_of``). Raises EncodeError, OSError.
    """
    _write(path, _Job(draft.sent(), names_of(draft), tap or Tap(), return_path, like_recorded=True))


def _chunks(job: _Job, alone: Container[int] = ()) -> Iterator[Chunk]:
    return chunks(job.sent, JOIN_DRAFT if job.like_recorded else JOIN, alone, copies=job.like_recorded)


def _write(path: Path, job: _Job) -> int:
    return _write_capture(path, job) if is_capture(path) else _write_folder(path, job)


def _write_capture(path: Path, job: _Job) -> int:
    tap, done = job.tap, 0
    lost = {id(entry.record): entry for entry in tap.lost}
    again = {id(entry.record): entry for entry in tap.again}
    acknowledge = ACKNOWLEDGED_DRAFT if job.like_recorded else ACKNOWLEDGED
    with replaced(path) as part:
        with PcapWriter(part, acknowledge_bytes=acknowledge, checksums=job.checksums, snaplen=tap.snaplen) as writer:
            numbers = {name: writer.connect(opened=name not in tap.unopened) for name in job.names}
            for name, data, record in _chunks(job, lost.keys() | again.keys()):
                number, gap, repeated = numbers[name], lost.get(id(record)), again.get(id(record))
                if gap is None:
                    writer.send(number, data)
                else:
                    writer.send(number, data[: gap.start])
                    writer.skip(number, min(gap.end, len(data)) - gap.start)
                    writer.send(number, data[gap.end :])
                if repeated is not None:
                    writer.repeat(number, repeated.data)
                done += len(data)
                if job.progress is not None:
                    job.progress("writing", done, 0)
            if job.return_path is not None and "main" in numbers:
                for data in _known(job.return_path):
                    writer.reply(numbers["main"], data)
            for name, number in numbers.items():
                writer.finish(number, tap.ends.get(name, StreamEnd.CLOSED))
        if tap.short:
            os.truncate(part, max(0, part.stat().st_size - tap.short))
    return done


def _write_folder(path: Path, job: _Job) -> int:
    done = 0
    with refilled(path) as part, ExitStack() as stack:
        files = {name: stack.enter_context(GatheredFile(part / file)) for name, file in job.names.items()}
        for name, data, _ in _chunks(job):
            files[name].write(data)
            done += len(data)
            if job.progress is not None:
                job.progress("writing", done, 0)
        if job.return_path is not None and job.return_path.next_hole(0) is None:
            out = stack.enter_context(GatheredFile(part / RETURN_PATH))
            for data in _known(job.return_path):
                out.write(data)
    return done


def _known(source: StreamSource) -> Iterator[Buffer]:
    """The bytes up to the first hole."""
    hole = source.next_hole(0)
    end = source.size if hole is None else hole.start
    for start in range(0, end, JOIN_DRAFT):
        yield source.read(start, min(JOIN_DRAFT, end - start))
