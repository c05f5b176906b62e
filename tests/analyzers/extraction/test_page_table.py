"""The table of a block's pages against one that keeps every page; blocks in memory against blocks in files."""

from __future__ import annotations

import os
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers.extraction import page_table
from analyzers.extraction.page_table import Marked, PageKind, PageTable, Run, Stamp
from analyzers.extraction.stores import MAX_OPEN, FileStore, MemoryStore
from multifd_codec.errors import InputError

STEP = 9
"""Bytes of a ZERO record."""
SHIFT = 4
CHUNK = 1 << SHIFT
"""Small chunks, of which a few pages need several."""
NEAR = [0, CHUNK, 3 * CHUNK]
"""Where chunks end; a chunk between them is never touched."""
NEVER = Stamp(PageKind.NEVER_SENT, -1, -1, -1)

page_numbers = st.builds(lambda edge, by: max(0, edge + by), st.sampled_from(NEAR), st.integers(-4, 40))
kinds = st.sampled_from([kind for kind in PageKind if kind is not PageKind.NEVER_SENT])
packet_numbers = st.integers(0, 2) | st.sampled_from([(1 << 63) - 1, 1 << 63, (1 << 64) - 1])
main_records = st.builds(Stamp, kinds, st.integers(0, 2), st.just(-1), st.integers(0, 99), st.just(-1))
stamps = main_records | st.builds(
    Stamp, kinds, st.integers(0, 2), st.integers(0, 1), st.integers(0, 99), packet_numbers
)


@st.composite
def markings(draw: st.DrawFn) -> tuple[list[int], bool, Stamp]:
    """Pages, whether they are given as a range, and where they come from: of some each has a record of its own."""
    stamp = draw(stamps)
    if draw(st.booleans()):
        first = draw(page_numbers)
        return list(range(first, first + draw(st.integers(0, 40)))), True, stamp
    pages = draw(st.lists(page_numbers, unique=True, max_size=9))
    if stamp.kind is PageKind.ZERO_RECORD:
        stamp = stamp._replace(offset=STEP * np.arange(len(pages)) + draw(st.integers(0, 99)))
    return pages, False, stamp


def of_page(stamp: Stamp, index: int) -> Stamp:
    return stamp if isinstance(stamp.offset, int) else stamp._replace(offset=int(stamp.offset[index]))


@given(st.lists(markings(), max_size=8), st.booleans(), page_numbers)
def test_it_knows_of_each_page_what_was_said_last(
    said: list[tuple[list[int], bool, Stamp]], doubt: bool, total: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_table, "CHUNK_SHIFT", SHIFT)
        patch.setattr(page_table, "CHUNK", CHUNK)
        compare(said, total, doubt=doubt)


def compare(said: list[tuple[list[int], bool, Stamp]], total: int, *, doubt: bool) -> None:
    table, truth = PageTable(provenance=True, steps={PageKind.ZERO_RECORD: STEP}), dict[int, Stamp]()
    for pages, as_range, stamp in said:
        before = [truth.get(page, NEVER) for page in pages]
        given_pages = range(pages[0], pages[-1] + 1) if as_range and pages else np.array(pages, np.int64)
        marked = table.mark(given_pages, stamp)
        again = [
            page
            for page, old in zip(pages, before, strict=True)
            if old.round == stamp.round and old.position != stamp.position
        ]
        held = [page for page, old in zip(pages, before, strict=True) if old.kind >= PageKind.UNKNOWN]
        assert sorted(held) == ([] if marked.held is None else sorted(marked.held.tolist()))
        assert sorted(again) == ([] if marked.again is None else sorted(marked.again.tolist()))
        truth |= {page: of_page(stamp, index) for index, page in enumerate(pages)}
    nothing = NEVER
    if doubt:
        table.doubt()
        nothing = NEVER._replace(kind=PageKind.UNKNOWN)
    every = [truth.get(page, nothing) for page in range(total)]
    assert table.count(total) == {kind: sum(one.kind is kind for one in every) for kind in PageKind}
    for kind in PageKind:
        assert list(table.stretches(kind, total)) == stretches([one.kind is kind for one in every])
    asked = sorted({*truth, *NEAR, 2 * CHUNK})
    assert table.rounds(np.array(asked, np.int64)).tolist() == [truth.get(page, NEVER).round for page in asked]
    for page in truth:
        assert table.known(page) == (truth[page].kind is not PageKind.UNKNOWN)
    runs = list(table.runs(total))
    assert [run.behind for run in runs[:-1]] == [run.first for run in runs[1:]]
    assert folded([stamp for run in runs for stamp in pages_of(run)]) == folded(every)
    assert all(every[run.first].offset == run.offset for run in runs)


def stretches(those: list[bool]) -> list[tuple[int, int]]:
    found, position = [], 0
    for value, group in groupby(those):
        behind = position + sum(1 for _ in group)
        if value:
            found.append((position, behind))
        position = behind
    return found


def folded(every: list[Stamp]) -> list[Stamp]:
    """Without the offsets of ZERO records, which differ inside a run."""
    return [one._replace(offset=0) if one.kind is PageKind.ZERO_RECORD else one for one in every]


def pages_of(run: Run) -> list[Stamp]:
    return [Stamp(run.kind, run.round, run.position, run.offset, run.number)] * (run.behind - run.first)


def test_nothing_marked_is_nothing_found() -> None:
    assert PageTable().mark(range(0), Stamp(PageKind.ZERO, 0, 0, 0)) == Marked(None, None)


WRITES = st.tuples(
    st.integers(0, MAX_OPEN + 5), st.sampled_from(["write", "zero"]), st.integers(0, 9000), st.integers(0, 3000)
)


@given(st.lists(WRITES, max_size=12), st.lists(st.none() | st.integers(0, 20_000), min_size=2, max_size=2), st.data())
def test_memory_and_files_hold_the_same(
    writes: list[tuple[int, str, int, int]], sizes: list[int | None], data: st.DataObject
) -> None:
    """Of more blocks than may be open at a time, some of a length that is not known."""
    memory, names = MemoryStore(), [f"block{number}" for number in range(MAX_OPEN + 6)]
    with TemporaryDirectory() as folder:
        files = FileStore(
            lambda name: os.open(Path(folder, name), os.O_RDWR | os.O_CREAT | os.O_EXCL),
            lambda name: os.open(Path(folder, name), os.O_RDWR),
        )
        ends = dict.fromkeys(names, 0)
        for number, name in enumerate(names):
            size = sizes[number % 2]
            for store in (memory, files):
                store.add(name, size)
                store.write(name, 0, b"first")
            ends[name] = max(size or 0, 5)
        for number, how, offset, length in writes:
            name = names[number]
            for store in (memory, files):
                if how == "zero":
                    store.zero(name, offset, length)
                else:
                    store.write(name, offset, bytes([number + 1]) * length)
            ends[name] = max(ends[name], offset + length)
            at = data.draw(st.integers(0, 12_000))
            assert memory.read(name, at, 100) == files.read(name, at, 100)
        for name in names:
            for store in (memory, files):
                store.finish(name, ends[name])
            assert Path(folder, name).read_bytes() == bytes(memory.blocks[name])
        files.close()


def test_memory_is_refused_before_it_is_taken() -> None:
    store = MemoryStore(limit=10_000)
    store.add("ram", 9_000)
    store.add("grows", None)
    store.write("grows", 0, bytes(1000))
    for offset in (1000, 1 << 62):
        with pytest.raises(InputError, match="too many to rebuild in memory"):
            store.write("grows", offset, b"x")
    with pytest.raises(InputError, match="too many"):
        store.add("other", 1)
