"""SHA-256 of what was rebuilt, where its zeros are only claimed by a stream and may be too many to be hashed."""

from __future__ import annotations

import errno
import hashlib
import os
from collections import deque
from dataclasses import dataclass

from analyzers.extraction.output import Place
from analyzers.extraction.stores import ZEROS, FileStore, pieces_of
from captures.model import ProgressCallback
from multifd_codec.source import Buffer

HASH_PIECE = 1 << 20
LEAST_COPIED = 8 << 20
"""Bytes from which on it is worth a thread to hash and write at the same time."""
COPIED_AHEAD = 8
"""Pieces that may still be written while the next one is hashed."""
LEAST_ZEROS = 1 << 30
"""Bytes of all blocks that were never written and are hashed as zeros, however small the recording is."""
ZEROS_PER_BYTE = 1 << 10
"""A recorded byte makes for these many more: a zero page of 4 KiB takes 8 in a packet, a bit in a mapped-ram file."""


@dataclass(slots=True)
class Zeros:
    """Bytes never written that may still be hashed."""

    left: int

    def take(self, size: int) -> bool:
        """Whether so many may be."""
        if size > self.left:
            return False
        self.left -= size
        return True


def zeros_for(recorded: int) -> Zeros:
    """As many as go with a recording of so many bytes."""
    return Zeros(LEAST_ZEROS + ZEROS_PER_BYTE * recorded)


def copied(store: FileStore, block: str, size: int, zeros: Zeros, progress: ProgressCallback | None) -> str | None:
    """Write what was put off of a block that holds nothing else, and hash it meanwhile; None when it holds something,
    or too much that was never written. ``zeros`` pay for the gaps."""
    late = store.untouched(block)
    if late is None:
        return None
    written = sum(one.length for one in late)
    if written < LEAST_COPIED or not zeros.take(size - written):
        for offset, data in pieces_of(late):
            store.put(block, offset, data)
        return None
    from concurrent.futures import Future, ThreadPoolExecutor  # noqa: PLC0415 -- slow to import

    digest, done, writing = hashlib.sha256(), 0, deque[Future[None]]()
    with ThreadPoolExecutor(1) as pool:
        for offset, data in pieces_of(late):
            writing.append(pool.submit(store.put, block, offset, data))
            if len(writing) > COPIED_AHEAD:
                writing.popleft().result()
            done += _hash_zeros(digest, offset - done)
            done += _hashed(digest, data, progress, block, done, size)
        for one in writing:
            one.result()
    _hash_zeros(digest, size - done)
    return digest.hexdigest()


def _hash_zeros(digest: hashlib._Hash, count: int) -> int:
    for start in range(0, count, len(ZEROS)):
        digest.update(memoryview(ZEROS)[: count - start])
    return count


def file_hash(place: Place, name: str, size: int, zeros: Zeros, progress: ProgressCallback | None) -> str | None:
    """What was never written to the sparse file is not read, only counted as zeros; None when that is too much."""
    file = place.reopen(name)
    try:
        with place.naming(name):
            unwritten = max(0, size - os.fstat(file).st_blocks * 512)
            return _hash_of(file, name, size, progress) if zeros.take(unwritten) else None
    finally:
        os.close(file)


def _hash_of(file: int, name: str, size: int, progress: ProgressCallback | None) -> str:
    digest, done = hashlib.sha256(), 0
    while done < size:
        data = _seek(file, done, os.SEEK_DATA, size)
        while done < data:
            done += _hashed(digest, memoryview(ZEROS)[: data - done], progress, name, done, size)
        hole = _seek(file, done, os.SEEK_HOLE, size)
        while done < hole:
            piece = os.pread(file, min(HASH_PIECE, hole - done), done)
            done += _hashed(digest, piece, progress, name, done, size)
    return digest.hexdigest()


def _seek(file: int, offset: int, what: int, size: int) -> int:
    """The next data, or the next hole, from ``offset`` on; ``size`` when there is none."""
    try:
        return min(size, os.lseek(file, offset, what))
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return size


def _hashed(
    digest: hashlib._Hash, piece: Buffer, progress: ProgressCallback | None, name: str, done: int, size: int
) -> int:
    digest.update(piece)
    if progress is not None:
        progress(f"hashing {name}", done, size)
    return len(piece)
