"""Rebuilds guest RAM and device state of one migration, in memory or into a folder."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from analyzers.extraction.devices import Blob, Devices, Stretch, pieces
from analyzers.extraction.loader import Block, Loader
from analyzers.extraction.order import MAIN, Ordered, PacketPages, channel_steps, in_order
from analyzers.extraction.output import Folder
from analyzers.extraction.provenance import write_provenance
from analyzers.extraction.reading import Reading, read_migration
from analyzers.extraction.results import Rebuilt, RebuiltBlock, RebuiltDevice
from analyzers.extraction.stores import MAX_IN_MEMORY, ZEROS, FileStore, MemoryStore, Store
from analyzers.survey.channel import Item, ItemKind
from captures.model import Migration, ProgressCallback
from multifd_codec.channel.events import ChannelEnd, DeviceStatePacket, Unreadable
from multifd_codec.dialect.releases import Mode
from multifd_codec.errors import ChannelName, InputError
from multifd_codec.source import Buffer

HASH_PIECE = 1 << 20
MAX_GAP = 64 << 20
"""Bytes of device state that were not recorded and are still hashed, as zeros."""
LARGEST_GAP = 1 << 32
"""Bytes of pages never sent or unknown up to which a block is hashed: its length is only a claim of the stream."""
REPORT_EVERY = 256
"""Packets between two calls of the progress callback."""


@dataclass(frozen=True, slots=True)
class RebuildOptions:
    """What may be asked for."""

    page_size: int | None = None
    """Target page size in bytes, inferred when None."""
    mode: Mode | None = None
    """The destination's mode, inferred when None."""
    apply_all: bool = False
    """Load what a destination never reads, too: behind a SYNC that is not released, or behind an error."""
    zero_pages: bool = True
    """False: as destinations before 9.0, which do not read that field of a packet."""
    blocks: Collection[str] | None = None
    """RAM blocks to rebuild, None for all."""
    provenance: bool = False
    """Keep packet offset and number of every page."""


class Sink(Protocol):
    """Where bytes go that are not RAM."""

    def blob(self, name: str, suffix: str, stretches: list[Stretch]) -> tuple[str, str | None, int, int]:
        """Keep the bytes; file name, SHA-256 (None: too much of it was not recorded), length, bytes not recorded."""


class Poured(NamedTuple):
    """What became of stretches: SHA-256 (None: too much was not recorded), bytes, bytes of them not recorded."""

    sha256: str | None
    bytes: int
    lost: int


class _Memory:
    """Everything stays in memory."""

    def __init__(self) -> None:
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

        poured = _poured(stretches, data.extend, skip)
        self.blobs[full] = bytes(data)
        return full, *poured


class _Files:
    """Everything goes into a folder."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.names: dict[str, str] = {}
        self.store = FileStore(
            lambda block: folder.create(self.file(block)), lambda block: folder.reopen(self.file(block))
        )

    def file(self, block: str) -> str:
        if block not in self.names:
            self.names[block] = self.folder.name(block, ".bin")
        return self.names[block]

    def blob(self, name: str, suffix: str, stretches: list[Stretch]) -> tuple[str, str | None, int, int]:
        file = self.folder.name(name, suffix)
        with os.fdopen(self.folder.create(file), "wb") as opened:
            poured = _poured(stretches, opened.write, lambda length: opened.seek(length, os.SEEK_CUR))
            opened.truncate(poured.bytes)
        return file, *poured


def rebuild(
    migration: Migration,
    options: RebuildOptions | None = None,
    *,
    folder: Folder | None = None,
    progress: ProgressCallback | None = None,
) -> Rebuilt:
    """Load everything a destination like the sender loads, round by round.

    Without ``folder`` RAM and device state are in the result; with it they are files there. Raises InputError for a
    block that is asked for and not there, and when memory or disk do not suffice.
    """
    options = options or RebuildOptions()
    reading = read_migration(migration, page_size=options.page_size, mode=options.mode, progress=progress)
    target = _Memory() if folder is None else _Files(folder)
    loader = Loader(
        target.store,
        reading.page_size,
        [channel.captured.source for channel in reading.channels],
        [channel.name for channel in reading.channels],
        None if reading.main is None else reading.main.source,
        None if options.blocks is None else frozenset(options.blocks),
        options.provenance,
    )
    devices = Devices()
    run = _Run(reading, options, loader, devices, progress)
    try:
        run.load()
        _check_blocks(options, loader)
        blocks = [
            _finished(block, reading, target, loader, progress)
            for block in loader.blocks.values()
            if options.blocks is None or block.name in options.blocks
        ]
        rebuilt_devices = [_device(blob, target, loader) for blob in devices.blobs()]
        if folder is not None and options.provenance:
            write_provenance(blocks, reading, folder)
    except OSError as error:
        raise InputError(f"{folder.path if folder else 'memory'}: {error.strerror or error}") from None
    finally:
        if isinstance(target, _Files):
            target.store.close()
    incomplete = list(reading.incomplete)
    if loader.missing:
        incomplete.append(f"bytes of {loader.missing} packets or records are not in the recording")
    return Rebuilt(
        mode=str(reading.destination.mode),
        page_size=reading.page_size,
        rounds=run.rounds,
        blocks=blocks,
        devices=rebuilt_devices,
        memory=target.store.blocks if isinstance(target, _Memory) and isinstance(target.store, MemoryStore) else None,
        blobs=target.blobs if isinstance(target, _Memory) else None,
        problems=loader.problems,
        incomplete=incomplete,
        refused=loader.refused,
        conflicts=loader.final_conflicts(),
        not_loaded={} if options.apply_all else run.not_loaded(),
    )


class _Run:
    """One pass over everything that is loaded."""

    def __init__(
        self,
        reading: Reading,
        options: RebuildOptions,
        loader: Loader,
        devices: Devices,
        progress: ProgressCallback | None,
    ) -> None:
        self.reading, self.options, self.progress = reading, options, progress
        self.loader, self.devices = loader, devices
        self.rounds = 0
        self._behind = [0] * len(reading.channels)
        """Offset behind the last record of each channel that was loaded."""
        self._racing: dict[int, int] = {}
        """Offset of each channel's first packet behind the last rendezvous."""

    def load(self) -> None:
        reading, everything = self.reading, self.options.apply_all
        steps = [
            channel_steps(
                channel.items(reading.page_size),
                None if everything else channel.stop,
                zero_pages=self.options.zero_pages,
            )
            for channel in reading.channels
        ]
        for position, channel in enumerate(reading.channels):
            if channel.survey.starts_late:
                self.loader.payloads[position].lose_context("the start of the stream is not in the recording")
            if channel.stop is not None and not everything:
                message = f"{channel.reason}: a destination reads this channel no further"
                self.loader.problem(position, channel.stop, message)
        stop = None if everything else reading.main_stop
        if stop is not None:
            self.loader.problem(MAIN, stop, f"loading main ends: {reading.main_reason}")
        last = None if everything else reading.reached
        for count, ordered in enumerate(in_order(reading.main_items(stop), steps, reading.rendezvous(), last)):
            self._one(ordered)
            if self.progress is not None and not count % REPORT_EVERY:
                self._report()
        for position, offset in self._racing.items():
            self.loader.remark(position, offset, "pages behind the last rendezvous: a destination may end before it")

    def _one(self, ordered: Ordered) -> None:
        item, position = ordered.item, ordered.position
        self.rounds = max(self.rounds, ordered.round)
        if position == MAIN:
            self.loader.record(ordered)
            assert self.reading.main is not None
            self.devices.record(item, self.reading.main.source)  # type: ignore[arg-type]
            return
        if isinstance(item, PacketPages):
            self.loader.packet(ordered, item)
            if ordered.round == self.reading.racing:
                self._racing.setdefault(position, item.offset)
            self._behind[position] = item.payload + item.payload_length
        elif isinstance(item, DeviceStatePacket):
            if position not in self.loader.ended:
                problem = self.devices.packet(item, self.reading.channels[position].captured.source)
                if problem is not None:
                    self.loader.problem(position, item.offset, problem, missing="recording" in problem)
            self._behind[position] = item.payload_offset + item.payload_length
        elif isinstance(item, Unreadable):
            self.loader.payloads[position].lose_context("packets of this channel are missing")
        else:
            assert isinstance(item, ChannelEnd)

    def _report(self) -> None:
        assert self.progress is not None
        total = sum(channel.captured.source.size for channel in self.reading.channels)
        self.progress("rebuilding memory", min(total, sum(self._behind)), total)

    def not_loaded(self) -> dict[ChannelName, int]:
        """Bytes of packets with pages or device state behind the last one loaded, for each channel."""
        found: dict[ChannelName, int] = {}
        for position, channel in enumerate(self.reading.channels):
            behind = self._behind[position] if channel.stop is None else channel.stop
            carriers = (item for item in channel.survey.items if _carries(item))
            left = sum(item.end - max(item.offset, behind) for item in carriers if item.end > behind)
            if left:
                found[channel.name] = left
        return found


def _carries(item: Item) -> bool:
    return item.kind is ItemKind.DEVICE_STATE or (item.kind is ItemKind.DATA and item.touches)


def _check_blocks(options: RebuildOptions, loader: Loader) -> None:
    for name in options.blocks or ():
        if name not in loader.blocks:
            there = ", ".join(map(repr, sorted(loader.blocks))) or "none"
            raise InputError(f"there is no RAM block {name!r}, only {there}")


def _finished(
    block: Block, reading: Reading, target: _Memory | _Files, loader: Loader, progress: ProgressCallback | None
) -> RebuiltBlock:
    size = block.reach if block.size is None else block.size
    pages = -(-size // reading.page_size)
    if block.unnamed or reading.incomplete:
        block.table.doubt()
    counts = block.table.count(pages)
    result = RebuiltBlock(block.name, size, pages, counts, block.table, block.unnamed)
    try:
        target.store.finish(block.name, size)
    except OSError as error:
        if size == block.reach:
            raise
        loader.problem(MAIN, None, f"RAM block {block.name!r} of {size} bytes: {error.strerror}; its end is left out")
        size = block.reach
        target.store.finish(block.name, size)
    if (result.never_sent + result.unknown) * reading.page_size > LARGEST_GAP:
        pass
    elif isinstance(target, _Files):
        result.sha256 = _file_hash(target.folder, target.file(block.name), size, progress)
    else:
        assert isinstance(target.store, MemoryStore)
        result.sha256 = hashlib.sha256(target.store.blocks[block.name]).hexdigest()
    if isinstance(target, _Files):
        result.file = target.file(block.name)
    return result


def _file_hash(folder: Folder, name: str, size: int, progress: ProgressCallback | None) -> str:
    """What was never written to the sparse file is not read, only counted as zeros."""
    digest = hashlib.sha256()
    file = folder.reopen(name)
    try:
        done = 0
        while done < size:
            data = _seek(file, done, os.SEEK_DATA, size)
            while done < data:
                done += _hashed(digest, memoryview(ZEROS)[: data - done], progress, name, done, size)
            hole = _seek(file, done, os.SEEK_HOLE, size)
            while done < hole:
                piece = os.pread(file, min(HASH_PIECE, hole - done), done)
                done += _hashed(digest, piece, progress, name, done, size)
    finally:
        os.close(file)
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


def _device(blob: Blob, target: Sink, loader: Loader) -> RebuiltDevice:
    device = blob.device
    name = f"{device.idstr}-{device.instance_id}"
    result = RebuiltDevice(device.idstr, device.instance_id, blob.kind, buffers=blob.buffers, missing=blob.missing)
    result.complete = blob.complete
    data = target.blob(name, ".bin", blob.data)
    result.file, result.sha256, result.bytes, lost = data
    if blob.config is not None:
        result.config_file, result.config_sha256, result.config_bytes, more = target.blob(
            name, ".config.bin", blob.config
        )
        lost += more
    if lost:
        result.complete = False
        loader.missing += 1
    return result


def _poured(stretches: list[Stretch], write: Callable[[Buffer], object], skip: Callable[[int], object]) -> Poured:
    """Write what was recorded, skip what was not: a length is only what a stream claims, so no zeros are made for it.
    A long gap at the end, as a cut or a made-up record leaves it, is left out."""
    digest: hashlib._Hash | None = hashlib.sha256()
    size = lost = gap = 0

    def pass_over() -> None:
        nonlocal digest, size, gap
        skip(gap)
        if gap > MAX_GAP:
            digest = None
        for start in range(0, gap if digest is not None else 0, len(ZEROS)):
            assert digest is not None
            digest.update(memoryview(ZEROS)[: gap - start])
        size, gap = size + gap, 0

    for length, data in pieces(stretches):
        if data is None:
            gap, lost = gap + length, lost + length
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
