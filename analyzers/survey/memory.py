"""Guest pages named in a batch: range, alignment, repetition, and the set of pages of each round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analyzers.rulebook.conditions import PacketCondition
from analyzers.rulebook.packets.page_rules import (
    MISALIGNED,
    MISALIGNED_ZERO_PAGE,
    OUTSIDE_BLOCK,
    REPEATED_NORMAL_PAGE,
    REPEATED_PAGE,
    UNKNOWN_BLOCK,
    UNKNOWN_BLOCK_OF_ZERO_PAGES,
    ZERO_PAGE_OUTSIDE_BLOCK,
)
from analyzers.survey.pages import PageSet, Runs, runs_of
from multifd_codec import names
from multifd_codec.arrays import distinct
from multifd_codec.channel.batch import PacketBatch
from multifd_codec.channel.columns import Columns, Mask
from multifd_codec.layout import layout
from multifd_codec.wire.packet import ram_packet

Blocks = Mapping[str, int]
"""RAM block name to used length in bytes, from the block list on main."""


@dataclass(frozen=True, slots=True)
class PageProblem:
    """Packets of a batch that name pages they should not: ``index`` is the packet's position in the batch."""

    condition: PacketCondition
    index: int
    message: str


def block_names(batch: PacketBatch) -> list[tuple[str, NDArray[np.int64]]]:
    """RAM block name and the packets that carry it."""
    fields = batch.rows["ramblock"]
    raw = np.ascontiguousarray(fields).view(np.uint64).reshape(len(batch), -1)
    if (raw == raw[0]).all():
        return [(names.text(names.block_name(fields[0].tobytes())), np.arange(len(batch), dtype=np.int64))]
    _, first, which = np.unique(raw, axis=0, return_index=True, return_inverse=True)
    which = which.reshape(-1)
    merged: dict[str, list[NDArray[np.int64]]] = {}
    for number, index in enumerate(first):
        merged.setdefault(names.text(names.block_name(fields[index].tobytes())), []).append(
            np.flatnonzero(which == number)
        )
    return [(name, np.sort(np.concatenate(parts))) for name, parts in merged.items()]


def block_name(batch: PacketBatch, index: int) -> str:
    """RAM block name in one packet."""
    return names.text(names.block_name(batch.rows["ramblock"][index].tobytes()))


def check_pages(
    columns: Columns, segments: NDArray[np.int64], blocks: Blocks | None, sets: Mapping[tuple[int, str, bool], PageSet]
) -> Iterator[PageProblem]:
    """Check the offset arrays of all packets with pages and add the pages to ``sets`` by (segment, block, zero).

    Rows with impossible counts are left out. Pages behind the recorded part of a header are not known and left out.
    """
    batch = columns.batch
    eligible: Mask = (columns.normal + columns.zero_known > 0) & (columns.normal <= columns.capacity)
    if not eligible.any():
        return
    selected = np.flatnonzero(eligible)
    every = selected.size == len(batch)
    pages = batch.rows["offset"] if every else batch.rows["offset"][selected]
    offsets: NDArray[np.int64] = pages.astype(np.int64)
    part = (
        batch
        if every
        else PacketBatch(
            batch.page_size,
            batch.offset[selected],
            batch.rows[selected],
            batch.payload[selected],
            batch.known[selected],
        )
    )
    span = layout(ram_packet(batch.page_size)).span("offset")
    recorded = (part.known - span.offset) // (span.size // columns.capacity)
    normal = columns.normal[selected]
    used = np.minimum(normal + columns.zero_known[selected], recorded)
    names = [(block_name(part, 0), np.arange(len(part)))] if columns.alike else block_names(part)
    for name, members in names:
        length = None if blocks is None else blocks.get(name)
        if blocks is not None and length is None:
            for index in members:
                condition = UNKNOWN_BLOCK if normal[index] else UNKNOWN_BLOCK_OF_ZERO_PAGES
                message = f"RAM block {name!r} is not in the block list"
                yield PageProblem(condition, int(selected[index]), message)
            continue
        whole = members.size == selected.size
        group = _Group(
            batch.page_size,
            offsets if whole else offsets[members],
            normal if whole else normal[members],
            used if whole else used[members],
            length,
        )
        where = selected if whole else selected[members]
        for condition, row, message in group.problems():
            yield PageProblem(condition, int(where[row]), f"{message} of RAM block {name!r}")
        for segment, zero, runs in group.runs(segments[where]):
            sets[segment, name, zero].add(runs)


class _Group:
    """Offset arrays of packets that name one RAM block."""

    def __init__(
        self,
        page_size: int,
        offsets: NDArray[np.int64],
        normal: NDArray[np.int64],
        used: NDArray[np.int64],
        block_length: int | None,
    ) -> None:
        self.page_size = page_size
        self.normal = np.minimum(normal, used)
        self.used = used
        self.block_length = block_length
        self.offsets = offsets
        full = used == offsets.shape[1]
        self.one_run: Mask = _consecutive(offsets, page_size) & full
        """Packets full of consecutive pages: most of a migration, and cheap to check."""
        self.uniform = bool(self.one_run.all())
        self.rest = np.empty(0, np.intp) if self.uniform else np.flatnonzero(~self.one_run & (used > 0))
        self.unused_as_first = offsets[self.rest]
        """Offset arrays of the other packets, the unused entries replaced by the first."""
        if len(self.rest) and not full[self.rest].all():
            valid = np.arange(offsets.shape[1]) < used[self.rest, None]
            self.unused_as_first = np.where(valid, self.unused_as_first, self.unused_as_first[:, :1])

    def problems(self) -> Iterator[tuple[PacketCondition, int, str]]:
        """(condition, row, message) of packets with an offset out of range, misaligned or repeated."""
        if self.uniform and not self._broken_run():
            return
        low, high, crooked = self.offsets[:, 0].copy(), self.offsets[:, -1].copy(), self.offsets[:, 0].copy()
        if len(self.rest):
            low[self.rest] = self.unused_as_first.min(axis=1)
            high[self.rest] = self.unused_as_first.max(axis=1)
            crooked[self.rest] = np.bitwise_or.reduce(self.unused_as_first, axis=1)
        known = self.used > 0
        if self.block_length is not None:
            limit = self.block_length - self.page_size
            for row in np.flatnonzero(known & ((high > limit) | (low < 0))):  # 2**63 and more turn negative
                values = self.offsets[row][: self.used[row]]
                first = int(np.flatnonzero((values > limit) | (values < 0))[0])
                condition = OUTSIDE_BLOCK if first < self.normal[row] else ZERO_PAGE_OUTSIDE_BLOCK
                value = int(values[first]) % (1 << 64)
                yield condition, int(row), f"offset {value:#x} lies beyond the last page ({limit:#x})"
        for row in np.flatnonzero(known & (crooked & (self.page_size - 1) != 0)):
            values = self.offsets[row][: self.used[row]]
            first = int(np.flatnonzero(values & (self.page_size - 1))[0])
            condition = MISALIGNED if first < self.normal[row] else MISALIGNED_ZERO_PAGE
            yield condition, int(row), f"offset {int(values[first]):#x} is no multiple of {self.page_size}"
        several = np.flatnonzero(~self.one_run & (self.used > 1))
        if len(several):
            entries = np.arange(self.offsets.shape[1])
            values = np.where(entries < self.used[several, None], self.offsets[several], -1 - entries)
            values.sort(axis=1)
            same = (values[:, 1:] == values[:, :-1]) & (values[:, 1:] >= 0)
            for row in np.flatnonzero(same.any(axis=1)):
                value = int(values[row, 1:][same[row]][0])
                yield REPEATED_PAGE, int(several[row]), f"offset {value:#x} stands twice in one packet"
                normal = self.offsets[several[row]][: self.normal[several[row]]]
                if (normal == value).sum() > 1:
                    yield REPEATED_NORMAL_PAGE, int(several[row]), f"offset {value:#x} stands twice, with content"

    def _broken_run(self) -> bool:
        """Whether any of the runs of consecutive pages leaves its block or is not aligned."""
        first, last = self.offsets[:, 0], self.offsets[:, -1]
        beyond = self.block_length is not None and int(last.max()) > self.block_length - self.page_size
        return beyond or int(first.min()) < 0 or bool((first & (self.page_size - 1)).any())

    def runs(self, segments: NDArray[np.int64]) -> Iterator[tuple[int, bool, Runs]]:
        """(segment, zero pages, runs) of the pages named, each set of runs merged."""
        zero_only, normal_only = not self.normal.any(), bool((self.normal == self.used).all())
        if self.uniform and segments[0] == segments[-1] and (zero_only or normal_only):
            first = self.offsets[:, 0] // self.page_size
            yield int(segments[0]), zero_only, _joined(first, self.offsets.shape[1])
            return
        for segment in distinct(segments):
            rows = segments == segment
            uniform_zero = rows & self.one_run & (self.normal == 0)
            uniform_normal = rows & self.one_run & (self.normal == self.used)
            for zero, uniform in ((True, uniform_zero), (False, uniform_normal)):
                if uniform.any():
                    first = self.offsets[uniform, 0] // self.page_size
                    yield int(segment), zero, _joined(first, self.offsets.shape[1])
            mixed = np.flatnonzero(rows & ~uniform_zero & ~uniform_normal)
            if len(mixed):
                entries = np.arange(self.offsets.shape[1])
                is_normal = entries < self.normal[mixed, None]
                is_used = entries < self.used[mixed, None]
                for zero, mask in ((False, is_normal), (True, is_used & ~is_normal)):
                    chosen = distinct(self.offsets[mixed][mask] // self.page_size)
                    if len(chosen):
                        yield int(segment), zero, runs_of(chosen)


def _consecutive(offsets: NDArray[np.int64], page_size: int) -> Mask:
    """Rows in which every offset is one page behind the one before it."""
    flat = offsets.reshape(-1)
    steps = np.ones(flat.shape, np.bool_)
    np.equal(flat[1:] - flat[:-1], page_size, out=steps[:-1])
    rows = steps.reshape(offsets.shape)
    rows[:, -1] = True
    if steps.all():
        return np.ones(len(rows), np.bool_)
    return np.asarray(rows.all(axis=1), np.bool_)


def _joined(first: NDArray[np.int64], count: int) -> Runs:
    """Runs of ``count`` pages each, consecutive ones joined (order kept; the page set merges the rest)."""
    starts = np.concatenate(([True], first[1:] != first[:-1] + count))
    heads = np.flatnonzero(starts)
    tails = np.concatenate((heads[1:] - 1, [len(first) - 1]))
    return np.stack((first[heads], first[tails] + count), axis=1)
