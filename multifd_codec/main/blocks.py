"""The block list of the RAM section: entries without a count, with fields whose presence is not on the wire.

Which fields there are follows from capabilities (parse_ramblock, migration/ram.c, 10.0): a page size with postcopy-ram
where it is not the host's, a guest address with x-ignore-shared, a header with mapped-ram. A list that cannot be read
that way is tried in the other ways, and the difference reported.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from multifd_codec.layout import compile_struct, layout
from multifd_codec.main.events import BlockList, MappedRam, RamBlock
from multifd_codec.main.problems import Problem, ProblemKind, Problems
from multifd_codec.main.state import InHoleError, MainState, NeedBytesError, problem
from multifd_codec.names import is_printable, text
from multifd_codec.wire import ram as wire
from multifd_codec.wire.ram import MAPPED_RAM_VERSION, RamFlags, RamWord

WORD = compile_struct(RamWord)
MAPPED = layout(wire.MappedRamHeader)
MAX_BLOCKS = 1 << 16
"""Entries read of one list: memory must not grow with what a stream claims."""
SMALLEST_PAGE = 256
BEYOND_FLAGS = 2 * max(RamFlags)
KINDS = frozenset(RamFlags) - {RamFlags.CONTINUE}
LARGEST_PAGE = 1 << 34
"""Huge pages of 16 GiB (POWER) are the largest a block can have."""


class Form(NamedTuple):
    """Which optional fields the entries have."""

    guest_address: bool
    mapped_ram: bool


class _Parsed(NamedTuple):
    blocks: tuple[RamBlock, ...]
    end: int
    problems: Problems


def parse_block_list(state: MainState, offset: int, total: int, flags: int) -> BlockList:
    """The list whose word stands at ``offset``. Raises NeedBytesError or InHoleError when the list is cut."""
    expected = Form("x-ignore-shared" in state.capabilities, "mapped-ram" in state.capabilities)
    # A cut list in a stream that goes on could still turn out right; in one that does not, another form may fit.
    parsed: _Parsed | None = None
    try:
        parsed = _parse(state, offset, total, expected)
    except (NeedBytesError, InHoleError):
        if state.reader.waits:
            raise
        best = _other_form(state, offset, total, expected)
        if best is None:
            raise
        parsed = best
    else:
        wrong = bool(parsed.problems) and not _pages_cut(parsed)
        if wrong or not _continues(state, parsed):
            other = _other_form(state, offset, total, expected)
            if other is not None and (wrong or _continues(state, other)):
                parsed = other
    return BlockList(offset, parsed.end - offset, total, parsed.blocks, flags, parsed.problems)


def _continues(state: MainState, parsed: _Parsed) -> bool:
    """Whether a record stands behind the list, and its addresses are no flags of the record behind it: a list of one
    block adds up in whichever way it is read. Raises NeedBytesError."""
    if any((block.guest_address or 0) % BEYOND_FLAGS for block in parsed.blocks):
        return False
    head = bytes(state.reader.peek(parsed.end, WORD.size))
    if len(head) < WORD.size:
        if state.reader.waits and parsed.end + len(head) >= state.reader.end:
            raise NeedBytesError(parsed.end + WORD.size)
        return True
    kind = WORD.unpack(head)[0] & (state.page_size - 1) & ~RamFlags.CONTINUE
    return kind in KINDS


def _pages_cut(parsed: _Parsed) -> bool:
    """Whether all that is wrong is that pages lie behind the end of the file, as in a mapped-ram file cut short."""
    return all(p.kind is ProblemKind.MAPPED_RAM_HEADER and p.field == "pages_offset" for p in parsed.problems)


def _other_form(state: MainState, offset: int, total: int, expected: Form) -> _Parsed | None:
    for form in itertools.starmap(Form, itertools.product((False, True), repeat=2)):
        if form == expected:
            continue
        try:
            parsed = _parse(state, offset, total, form)
        except (NeedBytesError, InHoleError):
            if state.reader.waits:
                raise
            continue
        if not parsed.problems:
            names = [name for name, there in zip(("x-ignore-shared", "mapped-ram"), form, strict=True) if there]
            has = " and ".join(names) or "no capability"
            message = f"entries have the fields of {has}, which is not what the configuration says"
            return parsed._replace(problems=problem(ProblemKind.BLOCK_LIST_FIELDS, offset, "blocks", message))
    return None


def _parse(state: MainState, offset: int, total: int, form: Form) -> _Parsed:
    problems: list[Problem] = []
    blocks: list[RamBlock] = []
    position = offset + WORD.size
    rest = total
    while rest > 0:
        if len(blocks) == MAX_BLOCKS:
            message = f"more than {MAX_BLOCKS} blocks"
            problems += problem(ProblemKind.LIMIT, position, "blocks", message)
            break
        block = _entry(state, position, rest, form, problems)
        if block is None:
            message = f"{rest} of {total} bytes are not accounted for by the blocks listed"
            problems += problem(ProblemKind.BLOCK_LIST_SUM, position, "total", message)
            break
        blocks.append(block)
        rest -= block.used_length
        position += _entry_size(block) + block.behind
        if block.mapped_ram is not None and block.mapped_ram.pages_offset and not block.behind:
            break  # where the next entry stands is not known
        if rest < 0:
            message = f"the blocks listed have {-rest} bytes more than the total of {total}"
            problems += problem(ProblemKind.BLOCK_LIST_SUM, position, "total", message)
    return _Parsed(tuple(blocks), position, tuple(problems))


def _entry(state: MainState, position: int, rest: int, form: Form, problems: list[Problem]) -> RamBlock | None:
    """The entry at ``position``, or None when that is no entry."""
    reader = state.reader
    size = reader.take(position, 1)[0]
    if size == 0:
        return None
    name = bytes(reader.take(position + 1, size))
    behind = position + 1 + size
    (used,) = WORD.unpack(reader.take(behind, WORD.size))
    if not is_printable(name) and not (0 < used <= rest and used % SMALLEST_PAGE == 0):
        return None
    behind += WORD.size
    page_size = guest_address = mapped = None
    jump = 0
    if form == (False, False):
        page_size = _page_size(state, behind)
        if page_size is not None:
            behind += WORD.size
            if not state.advised_page_sizes and not state.lost:
                message = f"{text(name)}: page size {page_size} without POSTCOPY_ADVISE"
                problems += problem(ProblemKind.BLOCK_LIST_FIELDS, behind - WORD.size, "page_size", message)
    if form.guest_address:
        (guest_address,) = WORD.unpack(reader.take(behind, WORD.size))
        behind += WORD.size
    if form.mapped_ram:
        mapped = MappedRam(*MAPPED.struct.unpack(reader.take(behind, MAPPED.size)))
        jump = _jump(state, behind, used, name, mapped, problems)
    return RamBlock(name, used, page_size, guest_address, mapped, jump)


def _entry_size(block: RamBlock) -> int:
    optional = (block.page_size is not None) + (block.guest_address is not None)
    mapped = MAPPED.size if block.mapped_ram is not None else 0
    return 1 + len(block.idstr) + WORD.size + optional * WORD.size + mapped


def _page_size(state: MainState, offset: int) -> int | None:
    """The page size at ``offset`` if there is one.

    It cannot be mistaken: a name does not start with a zero byte, and a record has flags below the page size.
    """
    reader = state.reader
    head = bytes(reader.peek(offset, WORD.size))
    if head[:1] not in (b"", b"\0"):
        return None
    if len(head) < WORD.size:
        if reader.waits or state.advised_page_sizes:
            reader.take(offset, WORD.size)
        return None
    (value,) = WORD.unpack(head)
    if state.page_size <= value <= LARGEST_PAGE and value & (value - 1) == 0:
        return int(value)
    return None


def _jump(state: MainState, header: int, used: int, name: bytes, mapped: MappedRam, problems: list[Problem]) -> int:
    """Bytes from the end of a mapped-ram header to the next record."""
    behind = header + MAPPED.size
    found = []
    if mapped.version > MAPPED_RAM_VERSION:
        found.append(("version", f"version {mapped.version}, at most {MAPPED_RAM_VERSION} is known"))
    skipped = mapped.bitmap_offset == mapped.pages_offset == 0
    if not skipped:
        if mapped.page_size < SMALLEST_PAGE or mapped.page_size & (mapped.page_size - 1):
            found.append(("page_size", f"page size {mapped.page_size}"))
        elif mapped.pages_offset % mapped.page_size:
            found.append(("pages_offset", f"pages at {mapped.pages_offset}, not a multiple of {mapped.page_size}"))
        if mapped.bitmap_offset < behind:
            found.append(("bitmap_offset", f"bitmap at {mapped.bitmap_offset}, in front of the end of its header"))
        if mapped.pages_offset < max(behind, mapped.bitmap_offset):
            found.append(("pages_offset", f"pages at {mapped.pages_offset}, in front of the bitmap"))
    end = mapped.pages_offset + used
    if not skipped and end > state.reader.end:
        if state.reader.waits:
            raise NeedBytesError(end)
        found.append(("pages_offset", f"pages up to {end}, behind the end of the file"))
    for field, message in found:
        offset = header + MAPPED.span(field).offset
        problems += problem(ProblemKind.MAPPED_RAM_HEADER, offset, field, f"{text(name)}: {message}")
    return end - behind if not skipped and behind <= end <= state.reader.end else 0
