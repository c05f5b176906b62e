"""Records of the main channel, and where they can be added without harm to those behind them."""

from __future__ import annotations

from analyzers.mutation.mutation import LacksError
from analyzers.mutation.shape import RAM_RECORDS, Section, Shape, is_command, need
from multifd_codec.draft.draft import Draft, Line, Record
from multifd_codec.draft.main_records import flush
from multifd_codec.main import events as ev
from multifd_codec.wire.qemufile import CommandId
from multifd_codec.wire.ram import RamFlags, ZeroRecord

BEHIND_ITERATION = (
    CommandId.SWITCHOVER_START,
    CommandId.POSTCOPY_RAM_DISCARD,
    CommandId.POSTCOPY_LISTEN,
    CommandId.PACKAGED,
)
PAGE_RECORDS = (ev.ZeroPage, ev.Page, ev.XbzrlePage, ev.CompressedPage)


def zero_page(addr: int, block: bytes | None, fill: int = 0) -> Record:
    """A ZERO record; without a block one with CONTINUE."""
    flags = RamFlags.ZERO if block is not None else RamFlags.ZERO | RamFlags.CONTINUE
    return Record(ev.ZeroPage(0, 0, addr, block, None, fill, int(flags)))


def part_section(shape: Shape, *body: Record) -> Line:
    """A PART section of RAM, with a footer if others have one."""
    has_footers = any(section.footer is not None for section in shape.sections)
    footer = [Record(ev.SectionFooter(0, 5, shape.ram_id))] if has_footers else []
    return [Record(ev.SectionPart(0, 5, shape.ram_id)), *body, *footer]


def last_iteration(shape: Shape) -> Section:
    """The last section of RAM in front of the switchover."""
    found = None
    end = next(
        (r for r in shape.draft.main if any(is_command(r, n) for n in BEHIND_ITERATION)),
        None,
    )
    headers = {id(section.header): section for section in shape.ram_sections(ev.SectionStart, ev.SectionPart)}
    for record in shape.draft.main:
        if record is end or isinstance(record.event, ev.SectionEnd):
            break
        found = headers.get(id(record), found)
    if found is None:
        raise LacksError("this stream lacks a RAM section in front of its END")
    return found


def in_ram_section(draft: Draft, shape: Shape, record: Record) -> Record:
    """A RAM record more in the last section of RAM in front of the switchover."""
    section = last_iteration(shape)
    body = [r for r in section.records if isinstance(r.event, RAM_RECORDS)]
    need(body, "records in its RAM sections")
    place = body[-1]
    if len(body) > 1 and isinstance(body[-2].event, ev.Flush):
        place = body[-2]
    return add_before(draft, place, record)


def add_before(draft: Draft, place: Record, *records: Record) -> Record:
    """RAM records in front of another; a later one with CONTINUE goes on with the RAM block that it had."""
    block = _block_at(draft, place)
    draft.before(place, *records)
    _name_again(draft, records[-1], block)
    return records[0]


def add_behind(draft: Draft, place: Record, *records: Record) -> Record:
    """The same behind another record, which is not one of a page."""
    block = _block_at(draft, place)
    draft.behind(place, *records)
    _name_again(draft, records[-1], block)
    return records[0]


def _block_at(draft: Draft, place: Record) -> bytes | None:
    """The RAM block that was named last in front of a record of main."""
    block = None
    for record in draft.main:
        if record is place:
            return block
        if isinstance(record.event, PAGE_RECORDS) and record.event.idstr is not None:
            block = record.event.idstr
    return block


def _name_again(draft: Draft, behind: Record, block: bytes | None) -> None:
    """If the next record of a page has CONTINUE, it names that block instead."""
    at = next(i for i, record in enumerate(draft.main) if record is behind) + 1
    place = next((r for r in draft.main[at:] if isinstance(r.event, (*PAGE_RECORDS, ev.ZeroPageRun))), None)
    if place is None or block is None:
        return
    event = place.event
    if isinstance(event, ev.ZeroPageRun):
        first, rest = zero_page(int(event.pages[0]), block), event.pages[1:]
        draft.before(place, first)
        size = ZeroRecord.sizeof()
        place.event = ev.ZeroPageRun(event.offset, size * len(rest), event.block, rest)
        if not len(rest):
            draft.drop(place)
    elif event.idstr is None:
        place.set(idstr=block, flags=event.flags & ~RamFlags.CONTINUE)


def add_flush(draft: Draft, shape: Shape) -> Record:
    """A FLUSH in front of an EOS of the last section of RAM before the switchover."""
    ends = [r for r in last_iteration(shape).records if isinstance(r.event, ev.EndOfRam)]
    need(ends, "an EOS in its RAM sections")
    return draft.before(ends[-1], flush())


def first(draft: Draft, kind: type, what: str) -> Record:
    found = [record for record in draft.main if isinstance(record.event, kind)]
    need(found, f"{what} on main")
    return found[0]


def configuration(draft: Draft) -> Record:
    return first(draft, ev.Configuration, "a configuration")


def eof(draft: Draft) -> Record:
    return first(draft, ev.EndOfStream, "an EOF byte")


def unlisted(shape: Shape) -> bytes:
    """A name that no RAM block has."""
    return next(name for name in (b"pc.rom", b"vga.vram", b"nowhere") if name not in shape.blocks)


def fulls(draft: Draft) -> list[Section]:
    """FULL sections in front of the EOF byte."""
    found = [s for s in Shape(draft).sections if isinstance(s.header.event, ev.SectionFull)]
    need(found, "FULL sections on main")
    return found
