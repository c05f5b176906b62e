"""A file's bytes in memory without copying them: mapped; compressed files are unpacked into an unlinked file first."""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from captures.formats.pipes import opened_binary, temporary_space
from captures.model import CaptureNote, NoteKind, ProgressCallback
from multifd_codec.errors import InputError

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
GZIP_CHUNK = 1 << 20
Unpacker = Callable[[BinaryIO], Iterator[bytes]]
ZSTD_CHUNK = 1 << 10
"""Compressed bytes at a time: four of them may stand for 128 KiB, and what one chunk unpacks to is in memory."""


TOUCH_FROM = 256 << 20
"""Files from this size on have their pages mapped by a second thread, ahead of the reader: in a capture of 64 KiB
segments page faults are half of the reading time."""
FAULT_AROUND = 1 << 16
"""Bytes the kernel maps around one page fault."""
MOST_STRETCHES = 1 << 16
STATUS_BLOCK = 512
"""Bytes that ``st_blocks`` counts in."""


UNPACKED_LEAST, UNPACKED_MOST = 256 << 20, 1024
"""A compressed file is read that unpacks to so many bytes and so many times its own: others are made to fill disks."""


def _touch(buffer: mmap.mmap | bytes) -> None:
    np.frombuffer(buffer, np.uint8)[::FAULT_AROUND].max()


def gather(buffer: Any, positions: NDArray[np.int64], form: np.dtype[Any]) -> np.ndarray:
    """One item of ``form`` (unaligned) from each of ``positions`` in a buffer, copied; all must lie inside it."""
    if not len(positions):
        return np.empty(0, form)
    # As void items: numpy copies structured ones field by field.
    void = np.dtype((np.void, form.itemsize))
    size = memoryview(buffer).nbytes
    every = np.ndarray((size - form.itemsize + 1,), void, buffer=buffer, strides=(1,))
    return np.asarray(every[positions].view(form))


def _data(file: BinaryIO | IO[bytes] | bytes) -> list[int]:
    """Where data begins and ends, in turn, in a file that is half holes or more; empty for others and where the file
    system does not say. What lies behind the MOST_STRETCHES first stretches counts as data."""
    if isinstance(file, bytes) or not hasattr(os, "SEEK_DATA"):
        return []
    number = file.fileno()
    status = os.fstat(number)
    if 2 * status.st_blocks * STATUS_BLOCK >= status.st_size:
        return []
    edges: list[int] = []
    with contextlib.suppress(OSError):  # no more data: ENXIO
        while len(edges) < 2 * MOST_STRETCHES:
            edges.append(os.lseek(number, edges[-1] if edges else 0, os.SEEK_DATA))
            edges.append(os.lseek(number, edges[-1], os.SEEK_HOLE))
        edges[-1] = status.st_size
    return edges


class MappedFile:
    """The bytes of one file: ``view`` for slices without copies, ``gather`` for many small records at once.

    ``close`` unmaps the file, or leaves that to the last slice of it still in use.
    """

    def __init__(self, file: BinaryIO | IO[bytes] | bytes) -> None:
        """Maps ``file`` from its beginning; the file may be closed afterwards. Bytes stay where they are. Raises
        OSError."""
        self.size = len(file) if isinstance(file, bytes) else file.seek(0, 2)
        self._buffer: mmap.mmap | bytes
        if isinstance(file, bytes):
            self._buffer = file
        else:
            self._buffer = mmap.mmap(file.fileno(), self.size, access=mmap.ACCESS_READ) if self.size else b""
        self.view = memoryview(self._buffer)
        self._toucher: threading.Thread | None = None
        self._edges = _data(file)
        if self.size >= TOUCH_FROM and not self._edges:
            self._toucher = threading.Thread(target=_touch, args=(self._buffer,), daemon=True)
            self._toucher.start()

    def array(self) -> NDArray[np.uint8]:
        """All bytes, in place. Not to be kept beyond the file's closing."""
        return np.frombuffer(self._buffer, np.uint8)

    def next_data(self, offset: int) -> int:
        """The first offset from this one on at which something else than zeros may stand; the size behind all."""
        if not self._edges:
            return offset
        index = bisect_right(self._edges, offset)
        if index % 2:
            return offset
        return self._edges[index] if index < len(self._edges) else max(offset, self.size)

    def gather(self, positions: NDArray[np.int64], dtype: DTypeLike) -> np.ndarray:
        """One item of ``dtype`` (unaligned) from each of ``positions``, copied; all must lie inside the file."""
        return gather(self._buffer, positions, np.dtype(dtype))

    def heads(self, positions: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
        """(n, size) bytes from each of ``positions`` in rising order, zeros behind the end of the file."""
        whole = int(positions.searchsorted(self.size - size, "right"))
        found = gather(self._buffer, positions[:whole], np.dtype((np.void, size))).view(np.uint8).reshape(-1, size)
        if whole == len(positions):
            return found
        rest = b"".join(bytes(self.view[at : at + size]).ljust(size, b"\0") for at in positions[whole:].tolist())
        return np.concatenate([found, np.frombuffer(rest, np.uint8).reshape(-1, size)])

    def windows(self, position: int, stride: int, count: int, width: int, dtype: DTypeLike) -> np.ndarray:
        """``count`` rows, ``stride`` bytes apart, of ``width`` items of ``dtype``, one at each byte; in place. All must
        lie inside the file. Not to be kept beyond the file's closing."""
        return np.ndarray((count, width), np.dtype(dtype), self._buffer, position, (stride, 1))

    def close(self) -> None:
        if self._toucher is not None:
            self._toucher.join()
        self.view.release()
        buffer, self._buffer = self._buffer, b""
        if isinstance(buffer, mmap.mmap):
            # Raised when someone still holds a slice; the mapping goes when the last slice does.
            with contextlib.suppress(BufferError):
                buffer.close()


class Opened(NamedTuple):
    """A file that is mapped, unpacked if it was compressed."""

    path: Path
    file: MappedFile
    notes: tuple[CaptureNote, ...] = ()
    """Whether a compressed file is cut short or damaged: what could be unpacked is there."""


FIRST_BYTES = 1 << 19
IN_MEMORY = Path("bytes")
"""What an input is called that is no file."""


def open_mapped(path: Path | bytes, progress: ProgressCallback | None = None) -> Opened:
    """Maps a file (of a pipe what comes through it, ``-`` is standard input) or takes its content; gzip and zstd, known
    by their magic, are unpacked on the way.

    Raises InputError when the file cannot be read at all.
    """
    if isinstance(path, bytes):
        packed = _compression(path[:4])
        if packed is not None:
            return _unpack(IN_MEMORY, io.BytesIO(path), packed, progress)
        return Opened(IN_MEMORY, MappedFile(path))
    try:
        with opened_binary(path, progress) as (file, notes):
            packed = _compression(file.read(4))
            if packed is None:
                return Opened(path, MappedFile(file), notes)
            opened = _unpack(path, file, packed, progress)
            return opened._replace(notes=(*notes, *opened.notes))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except ValueError:
        raise InputError(f"{str(path)!r}: not a file name") from None


def first_bytes(path: Path) -> bytes:
    """So many of a file's first bytes, unpacked, that the first record of a capture is among them. Raises OSError,
    ValueError, InputError."""
    with path.open("rb") as file:
        packed = _compression(file.read(4))
        file.seek(0)
        if packed is None:
            return file.read(FIRST_BYTES)
        found = bytearray()
        with contextlib.suppress(EOFError, _DamagedError):
            for piece in packed(file):
                found += piece
                if len(found) >= FIRST_BYTES:
                    break
        return bytes(found)


def _compression(magic: bytes) -> Unpacker | None:
    if magic.startswith(GZIP_MAGIC):
        return _gzip_pieces
    return _zstd_pieces if magic == ZSTD_MAGIC else None


def _unpack(path: Path, file: BinaryIO, pieces: Unpacker, progress: ProgressCallback | None) -> Opened:
    import tempfile  # noqa: PLC0415 -- slow to import

    notes = []
    total = file.seek(0, 2)
    file.seek(0)
    unpacked, most = 0, UNPACKED_LEAST + UNPACKED_MOST * total
    with tempfile.TemporaryFile() as plain:
        try:
            for piece in pieces(file):
                unpacked += len(piece)
                if unpacked > most:
                    text = f"{total} bytes unpack to more than {most}; unpack it yourself if it is to be read"
                    raise InputError(f"{path}: {text}")
                with temporary_space():
                    plain.write(piece)
                if progress is not None:
                    progress("decompressing", file.tell(), total)
        except EOFError:
            notes.append(CaptureNote(NoteKind.TRUNCATED_FILE, "the compressed file is cut short"))
        except _DamagedError:
            notes.append(CaptureNote(NoteKind.DAMAGED_FILE, "the compressed file is damaged"))
        with temporary_space():
            plain.flush()
        mapped = MappedFile(plain)
    if not mapped.size and notes:
        raise InputError(f"{path}: {notes[0].message}, nothing could be decompressed")
    return Opened(path, mapped, tuple(notes))


class _DamagedError(Exception):
    pass


def _gzip_pieces(file: BinaryIO) -> Iterator[bytes]:
    import gzip  # noqa: PLC0415 -- slow to import
    import zlib  # noqa: PLC0415

    try:
        with gzip.GzipFile(fileobj=file) as unpacked:
            while piece := unpacked.read1(GZIP_CHUNK):
                yield piece
    except (zlib.error, gzip.BadGzipFile):
        raise _DamagedError from None


def _zstd_pieces(file: BinaryIO) -> Iterator[bytes]:
    try:
        import zstandard  # noqa: PLC0415 -- rarely needed
    except ImportError:
        raise InputError("a .zst file needs zstandard: pip install zstandard") from None
    chunk = file.read(ZSTD_CHUNK)
    try:
        while chunk:
            frame = zstandard.ZstdDecompressor().decompressobj()
            while not frame.eof:
                if not chunk:
                    raise EOFError
                yield frame.decompress(chunk)
                chunk = frame.unused_data if frame.eof else file.read(ZSTD_CHUNK)
            chunk = chunk or file.read(ZSTD_CHUNK)
    except zstandard.ZstdError:
        raise _DamagedError from None
