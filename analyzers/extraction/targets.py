"""Where everything that is rebuilt goes: into memory, or into the files of a folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import NamedTuple, Protocol

from analyzers.extraction.devices import Stretch, pieces
from analyzers.extraction.hashing import Zeros
from analyzers.extraction.output import Place
from analyzers.extraction.stores import MAX_IN_MEMORY, ZEROS, FileStore, MemoryStore, Store
from multifd_codec.errors import InputError
from multifd_codec.source import Buffer

MAX_GAP = 64 << 20
"""Bytes of device state that were not recorded and are still hashed, as zeros."""
MAX_STATE = 1 << 43
"""Bytes of one device's state: file systems take no larger files, and only gaps can be so long."""


class Sink(Protocol):
    """Where bytes go that are not RAM."""

    def blob(self, name: str, suffix: str, stretches: list[Stretch]) -> tuple[str, str | None, int, int]:
        """Keep the bytes; file name, SHA-256 (None: too much of it was not recorded), length, bytes not recorded."""


class Poured(NamedTuple):
    """What became of stretches: SHA-256 (None: too much was not recorded), bytes, bytes of them not recorded."""

    sha256: str | None
    bytes: int
    lost: int


class Memory:
    """Everything stays in memory."""

    def __init__(self, zeros: Zeros) -> None:
        self._zeros = zeros
        self.store: Store = MemoryStore()
        self.blobs: dict[str, bytes] = {}

    def blob(self, name: str, suffix: str, stretches: list[Stretch]) -> tuple[str, str | None, int, int]:
        full, data = name + suffix, bytearray()
        while full in self.blobs:
            full = "~" + full

        def skip(length: int) -> None:
            if length > MAX_IN_MEMORY:
                raise InputError(f"device state {name!r}: {length} bytes are too many to rebuild in memory")
            data.extend(bytes(length))

        poured = _poured(stretches, self._zeros, data.extend, skip)
        self.blobs[full] = bytes(data)
        return full, *poured


class Files:
    """Everything goes into a folder."""

    def __init__(self, place: Place, zeros: Zeros) -> None:
        self._zeros = zeros
        self.place = place
        self.names: dict[str, str] = {}
        self.store = FileStore(
            lambda block: place.create(self.file(block)),
            lambda block: place.reopen(self.file(block)),
            lambda block: str(place.path / self.file(block)),
        )

    def file(self, block: str) -> str:
        if block not in self.names:
            self.names[block] = self.place.name(block, ".bin")
        return self.names[block]

    def blob(self, name: str, suffix: str, stretches: list[Stretch]) -> tuple[str, str | None, int, int]:
        file = self.place.name(name, suffix)
        with self.place.naming(file), os.fdopen(self.place.create(file), "wb") as opened:
            poured = _poured(stretches, self._zeros, opened.write, lambda length: opened.seek(length, os.SEEK_CUR))
            opened.truncate(poured.bytes)
        return file, *poured


def _poured(
    stretches: list[Stretch], zeros: Zeros, write: Callable[[Buffer], object], skip: Callable[[int], object]
) -> Poured:
    """Write what was recorded, skip what was not: a length is only what a stream claims, so no zeros are made for it.
    A long gap at the end, as a cut or a made-up record leaves it, is left out."""
    digest: hashlib._Hash | None = hashlib.sha256()
    size = lost = gap = 0

    def pass_over() -> None:
        nonlocal digest, size, gap
        skip(gap)
        if gap > MAX_GAP or not zeros.take(gap):
            digest = None
        for start in range(0, gap if digest is not None else 0, len(ZEROS)):
            assert digest is not None
            digest.update(memoryview(ZEROS)[: gap - start])
        size, gap = size + gap, 0

    for length, data in pieces(stretches):
        if data is None:
            gap, lost = gap + length, lost + length
            continue
        if size + gap > MAX_STATE:
            lost += length
            continue
        pass_over()
        write(data)
        size += length
        if digest is not None:
            digest.update(data)
    if gap <= MAX_GAP:
        pass_over()
    else:
        digest = None
    return Poured(None if digest is None else digest.hexdigest(), size, lost)
