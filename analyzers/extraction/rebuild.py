"""Rebuilds guest RAM and device state of one migration, in memory or into a folder."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection
from dataclasses import dataclass

from analyzers.extraction.block import LEAST_WRITABLE, WRITABLE_PER_BYTE, Block
from analyzers.extraction.devices import Blob, Devices
from analyzers.extraction.hashing import Zeros, copied, file_hash, zeros_for
from analyzers.extraction.loader import Loader
from analyzers.extraction.order import MAIN, Ordered, PacketPages, channel_steps, in_order
from analyzers.extraction.output import Place
from analyzers.extraction.page_table import Room
from analyzers.extraction.provenance import write_provenance
from analyzers.extraction.reading import Reading, read_migration
from analyzers.extraction.results import Rebuilt, RebuiltBlock, RebuiltDevice
from analyzers.extraction.stores import FileStore, MemoryStore, TooLongError
from analyzers.extraction.targets import Files, Memory, Sink
from analyzers.survey.channel import Item, ItemKind
from captures.model import Migration, ProgressCallback
from multifd_codec.channel.events import ChannelEnd, DeviceStatePacket, Unreadable
from multifd_codec.dialect.releases import Mode
from multifd_codec.errors import ChannelName, InputError

LARGEST_GAP = 1 << 32
"""Bytes of pages never sent or unknown up to which a block is hashed: its length is only a claim of the stream."""
MOST_DEVICES = 2000
"""States of devices that are written: each is a file, and a section may have a few bytes."""
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


def rebuild(
    migration: Migration,
    options: RebuildOptions | None = None,
    *,
    folder: Place | None = None,
    progress: ProgressCallback | None = None,
) -> Rebuilt:
    """Load everything a destination like the sender loads, round by round.

    Without ``folder`` RAM and device state are in the result; with it they are files there. Raises InputError for a
    block that is asked for and not there, and when memory does not suffice; OSError, with the name of the file, when
    the disk does not.
    """
    options = options or RebuildOptions()
    reading = read_migration(migration, page_size=options.page_size, mode=options.mode, progress=progress)
    zeros = zeros_for(reading.recorded)
    target = Memory(zeros) if folder is None else Files(folder, zeros)
    loader = Loader(
        target.store,
        reading.page_size,
        [channel.captured.source for channel in reading.channels],
        [channel.name for channel in reading.channels],
        None if reading.main is None else reading.main.source,
        None if options.blocks is None else frozenset(options.blocks),
        options.provenance,
        room=Room(reading.recorded),
        writable=LEAST_WRITABLE + WRITABLE_PER_BYTE * reading.recorded,
    )
    short: str | None = None
    devices = Devices()
    run = _Run(reading, options, loader, devices, progress)
    try:
        run.load()
        _check_blocks(options, loader)
        blocks = [
            _finished(block, reading, target, loader, zeros, progress)
            for block in loader.blocks.values()
            if block.wanted
        ]
        loaders = None if options.apply_all else reading.starts_loaders
        loaded = itertools.islice(devices.blobs(loaders=loaders), MOST_DEVICES)
        rebuilt_devices = [_device(blob, target, loader) for blob in loaded]
        if folder is not None and options.provenance:
            short = write_provenance(blocks, reading, folder)
    finally:
        if isinstance(target, Files):
            target.store.close()
    incomplete = list(reading.incomplete)
    if loader.missing:
        incomplete.append(f"bytes of {loader.missing} packets or records are not in the recording")
    if any(block.table.overflowed for block in loader.blocks.values()):
        incomplete.append("pages lie too far apart to keep track of all: those not kept track of count as unknown")
    if devices.count > len(rebuilt_devices):
        incomplete.append(f"of the state of {devices.count} devices the first {len(rebuilt_devices)} are rebuilt")
    if options.blocks is None and len(blocks) < len(loader.blocks):
        incomplete.append(
            f"of {len(loader.blocks)} RAM blocks the first {len(blocks)} are rebuilt; name others to choose"
        )
    if short is not None:
        loader.remark(MAIN, None, short)
    return Rebuilt(
        mode=str(reading.destination.mode),
        page_size=reading.page_size,
        rounds=run.rounds,
        blocks=blocks,
        devices=rebuilt_devices,
        memory=target.store.blocks if isinstance(target, Memory) and isinstance(target.store, MemoryStore) else None,
        blobs=target.blobs if isinstance(target, Memory) else None,
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
        if not (reading.starts_loaders or everything):
            self.loader.remark(MAIN, None, "no SWITCHOVER_START: device state from channels is never loaded")
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
    block: Block,
    reading: Reading,
    target: Memory | Files,
    loader: Loader,
    zeros: Zeros,
    progress: ProgressCallback | None,
) -> RebuiltBlock:
    size = block.reach if block.size is None else block.size
    pages = -(-size // reading.page_size)
    if block.unnamed or reading.incomplete:
        block.table.doubt()
    counts = block.table.count(pages)
    result = RebuiltBlock(block.name, size, pages, counts, block.table, block.unnamed)
    hashed = (result.never_sent + result.unknown) * reading.page_size <= LARGEST_GAP
    digest = None
    try:
        if hashed and isinstance(target.store, FileStore):
            digest = copied(target.store, block.name, size, zeros, progress)
        target.store.finish(block.name, size)
    except TooLongError as error:
        loader.problem(MAIN, None, f"RAM block {block.name!r} of {size} bytes: {error}; its end is left out")
        hashed = False
    if isinstance(target, Files):
        result.file = target.file(block.name)
        if hashed:
            result.sha256 = digest or file_hash(target.place, result.file, size, zeros, progress)
    elif hashed:
        assert isinstance(target.store, MemoryStore)
        result.sha256 = hashlib.sha256(target.store.blocks[block.name]).hexdigest()
    return result


def _device(blob: Blob, target: Sink, loader: Loader) -> RebuiltDevice:
    device = blob.device
    name = f"{device.idstr}-{device.instance_id}"
    result = RebuiltDevice(device.idstr, device.instance_id, blob.kind, buffers=blob.buffers, missing=blob.missing)
    result.complete, result.not_loaded = blob.complete, blob.not_loaded
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
