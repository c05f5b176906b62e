"""Records of RAM sections on the main channel, in runs where legacy zero-page detection sends millions.

Semantics: ram_load_precopy and ram_load_postcopy, migration/ram.c (10.0); what only some releases refuse (FLUSH,
COMPRESS_PAGE) is no problem here. Anything with a block name keeps its framing even when the name is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from multifd_codec.channel.framing import Fit
from multifd_codec.layout import compile_struct, layout
from multifd_codec.main import events as ev
from multifd_codec.main.blocks import MAX_BLOCKS, WORD, parse_block_list
from multifd_codec.main.problems import ProblemKind, Problems
from multifd_codec.main.search import footer_fit
from multifd_codec.main.state import Damage, InHoleError, MainState, NeedBytesError, Phase, problem
from multifd_codec.names import is_printable, text
from multifd_codec.wire import ram as wire
from multifd_codec.wire.qemufile import SectionType
from multifd_codec.wire.ram import NAMED, XBZRLE_ENCODING, RamFlags

ZERO = layout(wire.ZeroRecord)
FILL = compile_struct(wire.ZeroFill)
XBZRLE = compile_struct(wire.XbzrlePage)
_XBZRLE_LENGTH = layout(wire.XbzrlePage).span("length").offset
COMPRESSED = compile_struct(wire.CompressedPage)

CONTINUE = int(RamFlags.CONTINUE)
ZERO_CONTINUE = int(RamFlags.ZERO | RamFlags.CONTINUE)
FIRST_RUN, LARGEST_RUN = 16, 1 << 16
"""Records looked at together: few at first, more as long as all of them are zero pages. Bounds memory, too."""
SHORTEST_RUN, LONGEST_PAUSE = 4, 16
"""Behind a run shorter than this, so many records are taken one by one: a run costs more than they do."""
CHAIN = 4
"""Records that must follow each other for a place found by searching to count as RAM records."""

LARGEST_BLOCK = 1 << 52
"""Bytes; a larger RAM block is not believed where records are searched."""

_PLAIN: dict[int, Callable[..., ev.Flush | ev.EndOfRam | ev.Hook]] = {
    int(RamFlags.EOS): ev.EndOfRam,
    int(RamFlags.MULTIFD_FLUSH): ev.Flush,
    int(RamFlags.HOOK): ev.Hook,
}
_NAMED_KINDS = frozenset(int(flag) for flag in NAMED)
_KINDS = frozenset({*_PLAIN, *_NAMED_KINDS, int(RamFlags.MEM_SIZE)})
_MAPPED_RAM_KINDS = frozenset({int(RamFlags.EOS), int(RamFlags.MEM_SIZE)})


def ram_records(state: MainState) -> Iterator[ev.MainItem]:
    """Records from ``state.position`` on, up to the EOS that ends the section; the phase then is FOOTER.

    Behind a word with unknown flags it is RESUMPTION: what follows must be searched. Raises NeedBytesError and
    InHoleError.
    """
    ahead = pause = 0
    while state.phase is Phase.RAM:
        if ahead and not pause:
            run = _zero_run(state, ahead)
            if run is not None:
                full = len(run.pages) == ahead
                ahead = min(4 * ahead, LARGEST_RUN) if full else FIRST_RUN
                pause = LONGEST_PAUSE if len(run.pages) < SHORTEST_RUN else 0
                state.position = ev.end_of(run)
                yield run
                continue
        record = _record(state)
        state.position = ev.end_of(record)
        ahead, pause = FIRST_RUN if isinstance(record, ev.ZeroPage) else 0, max(0, pause - 1)
        if isinstance(record, ev.EndOfRam | ev.Missing):
            state.phase = Phase.FOOTER
        if isinstance(record, ev.UnknownRamRecord):
            state.damaged(Damage(state.position, "unknown combination of RAM flags", in_ram=True))
        yield record


def ram_fit(state: MainState, offset: int) -> Fit:
    """Whether RAM records stand at ``offset``: several in a row, or an EOS with a footer behind it."""
    for _ in range(CHAIN):
        try:
            end = _plausible_record(state, offset)
        except (NeedBytesError, InHoleError):
            return Fit.UNKNOWN
        if end is None:
            return Fit.NO
        if end < 0:
            return footer_fit(state, -end, None if state.current is None else state.current.section_id)
        offset = end
    return Fit.YES


def find_ram_record(state: MainState, begin: int) -> int | None:
    """Where RAM records go on, at most a page behind ``begin``; None when they do not."""
    reader = state.reader
    wanted = state.page_size + WORD.size
    known = min(reader.known(begin), wanted)
    if known < wanted and reader.waits:
        raise NeedBytesError(begin + wanted)
    if known < WORD.size:
        return None
    data = np.frombuffer(reader.source.read(begin, known), np.uint8)
    words = np.lib.stride_tricks.sliding_window_view(data, WORD.size).copy().view(">u8").astype(np.uint64)[:, 0]
    kinds = words & np.uint64((state.page_size - 1) & ~CONTINUE)
    largest = max((block.used_length for block in state.blocks.values()), default=LARGEST_BLOCK)
    low = words < np.uint64(min(largest, LARGEST_BLOCK) + state.page_size)
    for index in np.flatnonzero(np.isin(kinds, [*_KINDS]) & low).tolist():
        fit = ram_fit(state, begin + index)
        if fit is Fit.UNKNOWN and reader.waits:
            raise NeedBytesError(reader.end + 1)
        if fit is Fit.YES:
            return int(begin + index)
    return None


def _plausible_record(state: MainState, offset: int) -> int | None:
    """End of the record at ``offset``, negative for an EOS, None when no healthy stream has such a record."""
    reader = state.reader
    (word,) = WORD.unpack(reader.take(offset, WORD.size))
    flags = word & (state.page_size - 1)
    addr, kind = word - flags, flags & ~CONTINUE
    behind = offset + WORD.size
    if kind in _PLAIN:
        return None if addr else -behind if kind == RamFlags.EOS else behind
    if kind not in _NAMED_KINDS:
        return None
    if not flags & CONTINUE:
        size = reader.take(behind, 1)[0]
        name = bytes(reader.take(behind + 1, size))
        behind += 1 + size
        block = state.blocks.get(name)
        if not name or not is_printable(name) or (state.listed and block is None):
            return None
        if block is not None and addr >= block.used_length:
            return None
    match kind:
        case RamFlags.ZERO:
            return None if reader.take(behind, FILL.size)[0] else behind + FILL.size
        case RamFlags.PAGE:
            return behind + state.page_size
        case RamFlags.XBZRLE:
            encoding, size = XBZRLE.unpack(reader.take(behind, XBZRLE.size))
            return behind + XBZRLE.size + size if encoding == XBZRLE_ENCODING and size <= state.page_size else None
    (size,) = COMPRESSED.unpack(reader.take(behind, COMPRESSED.size))
    return behind + COMPRESSED.size + size if size <= _compress_bound(state.page_size) else None


def _zero_run(state: MainState, count: int) -> ev.ZeroPageRun | None:
    """Up to ``count`` records of ZERO|CONTINUE from the position on; None when there is none or the way is barred."""
    reader, offset = state.reader, state.position
    count = min(count, reader.known(offset) // ZERO.size)
    if count == 0 or "mapped-ram" in state.capabilities:
        return None
    rows = np.frombuffer(reader.source.read(offset, count * ZERO.size), dtype=ZERO.dtype, count=count)
    words = rows["word"].astype(np.uint64)
    flags = np.uint64(state.page_size - 1)
    fits = ((words & flags) == np.uint64(ZERO_CONTINUE)) & (rows["fill"] == 0)
    if not fits.all():
        count = int(fits.argmin())
        if count == 0:
            return None
    pages = words[:count] & ~flags
    problems: Problems = ()
    block = None if state.block is None else state.blocks.get(state.block)
    if block is not None:
        outside = pages >= np.uint64(block.used_length)
        if outside.any():
            differs = outside != outside[0]
            if differs.any():
                pages = pages[: int(differs.argmax())]
            if outside[0]:
                problems = _outside(offset, block.used_length, text(block.idstr))
    elif state.block is None and not state.block_lost:
        problems = _no_block(offset)
    name = None if state.block is None else text(state.block)
    return ev.ZeroPageRun(offset, len(pages) * ZERO.size, name, pages, problems)


def _record(state: MainState) -> ev.MainEvent:
    """The record at the position. Only the block it names is remembered."""
    reader, offset = state.reader, state.position
    if reader.take(offset, 1)[0] == SectionType.FOOTER and state.current is not None and state.footers is not False:
        fit = footer_fit(state, offset, state.current.section_id)
        if fit is Fit.UNKNOWN and reader.waits:
            raise NeedBytesError(reader.end + 1)
        if fit is not Fit.NO:
            message = "the section's footer stands where a RAM record or EOS must be"
            return ev.Missing(offset, 0, problem(ProblemKind.EOS_MISSING, offset, "flags", message))
    (word,) = WORD.unpack(reader.take(offset, WORD.size))
    flags = word & (state.page_size - 1)
    addr, kind = word - flags, flags & ~CONTINUE
    problems: Problems = ()
    if kind not in _KINDS:
        message = f"flags {flags:#x}"
        return ev.UnknownRamRecord(
            offset, WORD.size, addr, flags, problem(ProblemKind.RAM_FLAGS, offset, "flags", message)
        )
    if "mapped-ram" in state.capabilities and kind not in _MAPPED_RAM_KINDS:
        problems = problem(ProblemKind.RAM_FLAGS, offset, "flags", f"flags {flags:#x} in a mapped-ram file")
    if kind in _PLAIN:
        return _PLAIN[kind](offset, WORD.size, addr, flags, problems)
    if kind == RamFlags.MEM_SIZE:
        listed = parse_block_list(state, offset, addr, flags)
        if len(state.blocks) < MAX_BLOCKS:
            state.blocks.update((block.idstr, block) for block in listed.blocks)
        state.listed = True
        return listed
    return _page_record(state, addr, flags, problems)


def _page_record(state: MainState, addr: int, flags: int, problems: Problems) -> ev.MainEvent:
    reader, offset = state.reader, state.position
    behind = offset + WORD.size
    name: bytes | None = None
    if not flags & CONTINUE:
        size = reader.take(behind, 1)[0]
        name = bytes(reader.take(behind + 1, size))
        behind += 1 + size
    page = state.block if name is None else name
    block = None if page is None else text(page)
    problems += _block_problems(state, offset, addr, name)
    match flags & ~CONTINUE:
        case RamFlags.ZERO:
            fill = reader.take(behind, FILL.size)[0]
            if fill:
                problems += problem(ProblemKind.ZERO_FILL, behind, "fill", f"fill byte {fill:#04x}, must be 0")
            record: ev.MainEvent = ev.ZeroPage(offset, behind + 1 - offset, addr, name, block, fill, flags, problems)
        case RamFlags.PAGE:
            size = state.page_size
            record = ev.Page(offset, behind - offset, addr, name, block, behind, size, flags, problems)
        case RamFlags.XBZRLE:
            encoding, size = XBZRLE.unpack(reader.take(behind, XBZRLE.size))
            if encoding != XBZRLE_ENCODING:
                problems += problem(ProblemKind.XBZRLE_FORM, behind, "encoding", f"encoding {encoding}, must be 1")
            if size > state.page_size:
                message = f"{size} bytes of encoded page, a page has {state.page_size}"
                problems += problem(ProblemKind.XBZRLE_FORM, behind + _XBZRLE_LENGTH, "length", message)
            behind += XBZRLE.size
            record = ev.XbzrlePage(offset, behind - offset, addr, name, block, encoding, behind, size, flags, problems)
        case _:
            (size,) = COMPRESSED.unpack(reader.take(behind, COMPRESSED.size))
            bound = _compress_bound(state.page_size)
            if size > bound:
                message = f"{size} bytes of compressed page, at most {bound} are possible"
                problems += problem(ProblemKind.COMPRESSED_LENGTH, behind, "length", message)
            behind += COMPRESSED.size
            record = ev.CompressedPage(offset, behind - offset, addr, name, block, behind, size, flags, problems)
    if name is not None:
        state.block, state.block_lost = name, False
    return record


def _block_problems(state: MainState, offset: int, addr: int, name: bytes | None) -> Problems:
    """What is wrong with the block a page record names or continues, and with its offset in there."""
    page = state.block if name is None else name
    if page is None:
        return () if state.block_lost else _no_block(offset)
    block = state.blocks.get(page)
    if block is not None:
        outside = addr >= block.used_length
        return _outside(offset, block.used_length, text(page)) if outside else ()
    if name is None or state.lost:
        return ()
    field = offset + WORD.size
    if not state.listed:
        return problem(
            ProblemKind.PAGE_BEFORE_BLOCK_LIST, field, "idstr", f"page of {text(page)}, no block is listed yet"
        )
    return problem(ProblemKind.BLOCK_UNKNOWN, field, "idstr", f"RAM block {text(page)!r} is not in the block list")


def _no_block(offset: int) -> Problems:
    message = "CONTINUE, but no page record named a block before"
    return problem(ProblemKind.CONTINUE_WITHOUT_BLOCK, offset, "flags", message)


def _outside(offset: int, used_length: int, block: str) -> Problems:
    # The same words for a record alone and in a run: which of both it is depends on how bytes arrive.
    message = f"page beyond the {used_length:#x} bytes of RAM block {block!r}"
    return problem(ProblemKind.PAGE_OUTSIDE_BLOCK, offset, "addr", message)


def _compress_bound(page_size: int) -> int:
    """zlib's bound for the compressed size of one page, which the receiver checks against."""
    return page_size + (page_size >> 12) + (page_size >> 14) + (page_size >> 25) + 13
