"""Where a sender's records go: a capture, a folder of channel files, or pieces of bytes in sending order."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from captures.model import CHANNEL_SUFFIX, label
from captures.write.gathered import GatheredFile
from captures.write.replacing import channel_files, replaced
from captures.write.writer import PcapWriter
from multifd_codec.draft.draft import Sent
from multifd_codec.errors import ChannelName, InputError
from multifd_codec.source import Buffer

CAPTURE_SUFFIX = ".pcap"
JOIN = 1 << 15
"""Records shorter than this go out with their neighbours, as QEMUFile buffers them (IO_BUF_SIZE)."""

ACKNOWLEDGED = 1 << 22
"""Bytes a server acknowledges at once, as one with a large window does; fewer frames to write and to read."""

Progress = Callable[[int], None]
"""Called now and then with the bytes written so far."""


class Chunk(NamedTuple):
    """Bytes of one channel that are written at once."""

    channel: ChannelName
    data: Buffer


def chunks(sent: Iterable[Sent]) -> Iterator[Chunk]:
    """Records as bytes, short ones that follow each other on a channel joined. Raises EncodeError."""
    pending: list[Buffer] = []
    size, channel = 0, None
    for name, record in sent:
        if name != channel or size >= JOIN:
            if pending and channel is not None:
                yield Chunk(channel, b"".join(pending))
            pending, size, channel = [], 0, name
        for piece in record.pieces():
            if len(piece) < JOIN:
                pending.append(piece)
                size += len(piece)
                continue
            if pending:
                yield Chunk(name, b"".join(pending))
                pending, size = [], 0
            yield Chunk(name, piece)
    if pending and channel is not None:
        yield Chunk(channel, b"".join(pending))


OTHER_CAPTURES = frozenset({".pcap", ".pcapng", ".cap", ".gz", ".zst", ".json"})
"""Endings of names that nobody gives a folder."""


def is_capture(path: Path) -> bool:
    """Whether output of that name is a capture rather than a folder."""
    return path.suffix == CAPTURE_SUFFIX


def check_target(path: Path, *, force: bool = False) -> None:
    """Raises InputError for what cannot, or without ``force`` should not, be written to."""
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}")
    if is_capture(path):
        if path.is_dir():
            raise InputError(f"{path}: is a folder, not a capture to write")
        return
    if path.name == "-" or any(suffix.lower() in OTHER_CAPTURES for suffix in path.suffixes[-2:]):
        raise InputError(f"{path}: a capture to write is called *{CAPTURE_SUFFIX}; this would be a folder")
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file; a capture is called *{CAPTURE_SUFFIX}, anything else is a folder")
    if not path.is_dir():
        return
    others = sorted(item for item in path.iterdir() if CHANNEL_SUFFIX in item.suffixes[-2:])
    if others and not force:
        raise InputError(f"{path}: holds channel files already ({others[0].name}); give another folder or --force")
    ours = channel_files(path)
    if foreign := [item for item in others if item not in ours]:
        raise InputError(f"{path}: {foreign[0].name} would be taken for a channel; give another folder")
    for item in ours:
        item.unlink()


def check_space(path: Path, size: int) -> None:
    """Raises InputError when ``size`` bytes more do not fit where the output goes."""
    target = Path(os.path.realpath(path))
    folder = target if target.is_dir() else target.parent
    free = shutil.disk_usage(folder).free if folder.is_dir() else size
    if size > free:
        raise InputError(f"{path}: {size:,} bytes are to be written; {free:,} are free".replace(",", " "))


def write_sent(
    path: Path, sent: Iterable[Sent], channels: int, progress: Progress | None = None, *, checksums: bool = True
) -> int:
    """Write what is sent as a capture (``*.pcap``) or a folder of channel files; the bytes of all streams together.

    Connections are opened main first. A capture is complete or as it was before. Memory used does not depend on sizes.
    Without ``checksums`` those of TCP are 0, as if left to the card: a third of the time. Raises EncodeError, OSError.
    """
    if is_capture(path):
        return _write_pcap(path, sent, channels, progress, checksums)
    return _write_folder(path, sent, channels, progress)


def _write_pcap(path: Path, sent: Iterable[Sent], channels: int, progress: Progress | None, checksums: bool) -> int:
    done = 0
    with (
        replaced(path) as part,
        PcapWriter(part, acknowledge_bytes=ACKNOWLEDGED, checksums=checksums) as writer,
    ):
        numbers: dict[ChannelName, int] = {"main": writer.connect()}
        numbers |= {channel: writer.connect() for channel in range(channels)}
        for name, data in chunks(sent):
            writer.send(numbers[name], data)
            done += len(data)
            if progress is not None:
                progress(done)
        for number in numbers.values():
            writer.finish(number)
    return done


def _write_folder(path: Path, sent: Iterable[Sent], channels: int, progress: Progress | None) -> int:
    path.mkdir(exist_ok=True)
    done = 0
    with ExitStack() as stack:
        files: dict[ChannelName, GatheredFile] = {
            name: stack.enter_context(GatheredFile(path / label(name))) for name in ("main", *range(channels))
        }
        for name, data in chunks(sent):
            files[name].write(data)
            done += len(data)
            if progress is not None:
                progress(done)
    return done
