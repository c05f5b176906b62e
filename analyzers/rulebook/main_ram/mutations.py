"""RAM records of the main channel: MFD508 to 514, 521, 522, 525."""

from __future__ import annotations

import zlib
from random import Random
from typing import Any

from analyzers.mutation.legal import another_part, more_syncs, never_normal
from analyzers.mutation.main_edits import add_behind, eos, in_ram_section, zero_page
from analyzers.mutation.mutation import Edit, Mutation, Place, same, untouched
from analyzers.mutation.shape import Shape, avoid, need, pick
from multifd_codec.draft.draft import Draft, Record
from multifd_codec.main import events as ev
from multifd_codec.wire.ram import RamFlags

SHARED = ev.CapabilityList(0, 0, 1, (b"x-ignore-shared",))
FILL = 0x41


def a_page(shape: Shape, random: Random) -> tuple[bytes, int]:
    """(block, offset) of a page that packets do not carry with content; of any page without multifd."""
    if shape.draft.channels:
        return never_normal(shape, random)
    need(shape.blocks, "a block list on main")
    block = random.choice(list(shape.blocks))
    return block, random.randrange(max(1, shape.blocks[block] // shape.page_size)) * shape.page_size


def added(make: Any) -> Edit:
    """A record more in a RAM section; ``make`` gets shape, block, offset and random."""

    def edit(draft: Draft, random: Random) -> Place:
        shape = Shape(draft)
        avoid(shape.mapped_ram, "the capability mapped-ram")
        block, offset = a_page(shape, random)
        return in_ram_section(draft, shape, make(shape, block, offset, random))

    return edit


def two_kinds(shape: Shape, block: bytes, offset: int, random: Random) -> Record:
    return Record(ev.UnknownRamRecord(0, 8, offset, int(RamFlags.ZERO | RamFlags.PAGE)))


def no_such_block(shape: Shape, block: bytes, offset: int, random: Random) -> Record:
    wrong = next(name for name in (b"pc.rom", b"vga.vram", b"nowhere") if name not in shape.blocks)
    return zero_page(offset, wrong)


def behind_the_last(shape: Shape, block: bytes, offset: int, random: Random) -> Record:
    return zero_page(shape.blocks[block], block)


def another_fill(shape: Shape, block: bytes, offset: int, random: Random) -> Record:
    return zero_page(offset, block, fill=FILL)


def page_record(shape: Shape, block: bytes, offset: int, random: Random) -> Record:
    content = random.randbytes(shape.page_size)
    return Record(ev.Page(0, 0, offset, block, None, 0, len(content)), content)


def compressed_record(shape: Shape, block: bytes, offset: int, random: Random) -> Record:
    data = zlib.compress(random.randbytes(shape.page_size))
    return Record(ev.CompressedPage(0, 0, offset, block, None, 0, len(data)), data)


def zero_record(shape: Shape, block: bytes, offset: int, random: Random) -> Record:
    return zero_page(offset, block)


def continue_first(draft: Draft, random: Random) -> Place:
    """A record with CONTINUE in front of all that name a block."""
    shape = Shape(draft)
    avoid(shape.mapped_ram, "the capability mapped-ram")
    _, offset = a_page(shape, random)
    return draft.behind(shape.block_list, zero_page(offset, None))


def continue_behind(draft: Draft, random: Random) -> None:
    """The same record behind one that names the block."""
    shape = Shape(draft)
    block, offset = a_page(shape, random)
    add_behind(draft, shape.block_list, zero_page(offset, block), zero_page(offset, None))


def blocks(change: int) -> Edit:
    """The total of the block list is some pages off."""

    def edit(draft: Draft, random: Random) -> Place:
        shape = Shape(draft)
        avoid(shape.mapped_ram, "the capability mapped-ram")
        record = shape.block_list
        last = record.event.blocks[-1].used_length
        avoid(last + change * shape.page_size <= 0, "a last RAM block of one page: it would be none")
        return record.set(total=record.event.total + change * shape.page_size)

    return edit


def page_in_front(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    avoid(shape.mapped_ram, "the capability mapped-ram")
    block, offset = a_page(shape, random)
    return draft.before(shape.block_list, zero_page(offset, block))


def page_behind(draft: Draft, random: Random) -> None:
    shape = Shape(draft)
    block, offset = a_page(shape, random)
    add_behind(draft, shape.block_list, zero_page(offset, block))


def ignore_shared(draft: Draft, random: Random) -> Place:
    """The configuration lists x-ignore-shared."""
    shape = Shape(draft)
    found = [record for record in draft.main if isinstance(record.event, ev.Configuration)]
    avoid(shape.capabilities, "capabilities that it lists already")
    need(found, "a configuration on main")
    record = shape.block_list
    found[0].set(subsections=(*found[0].event.subsections, SHARED))
    return record


def addresses(draft: Draft, random: Random) -> Place:
    """The entries of the block list have guest addresses."""
    shape = Shape(draft)
    record = shape.block_list
    avoid(shape.capabilities, "capabilities that it lists already")
    return record.set(blocks=tuple(block._replace(guest_address=0) for block in record.event.blocks))


def both(draft: Draft, random: Random) -> None:
    addresses(draft, random)
    ignore_shared(draft, random)


def ends(draft: Draft, random: Random, *, counted: bool) -> Record:
    """An EOS of a section of RAM; ``counted``: it may be a rendezvous."""
    shape = Shape(draft)
    avoid(not counted and not shape.per_round and draft.channels, "a per-section stream: every EOS is a rendezvous")
    found = [
        record
        for section in shape.ram_sections(ev.SectionStart, ev.SectionPart)[-1:]
        for record in section.records
        if isinstance(record.event, ev.EndOfRam)
    ]
    return pick(random, found[-1:], "an EOS in its RAM sections")


def no_eos(draft: Draft, random: Random) -> Place:
    end = ends(draft, random, counted=False)
    at = next(i for i, record in enumerate(draft.main) if record is end)
    behind = draft.main[at + 1]
    draft.drop(end)
    return behind


def behind_eos(draft: Draft, random: Random) -> Place:
    """A record behind EOS and an EOS once more; where that is a rendezvous, a SYNC for it."""
    shape = Shape(draft)
    block, offset = a_page(shape, random)
    end = ends(draft, random, counted=True)
    if not shape.per_round and draft.channels:
        avoid(shape.states, "device state: it would stand behind another SYNC")
        more_syncs(draft, 1)
    return add_behind(draft, end, zero_page(offset, block), eos())


def mapped(draft: Draft, **fields: int) -> Record:
    """Change the header of the first RAM block."""
    shape = Shape(draft)
    need(shape.mapped_ram, "the capability mapped-ram")
    listed = shape.block_list
    entry = listed.event.blocks[0]
    need(entry.mapped_ram is not None, "mapped-ram headers")
    changed = entry._replace(mapped_ram=entry.mapped_ram._replace(**fields))
    return listed.set(blocks=(changed, *listed.event.blocks[1:]))


def header_version(draft: Draft, random: Random) -> Place:
    return mapped(draft, version=2)


def not_aligned(draft: Draft, random: Random) -> Place:
    return mapped(draft, page_size=1 << 21)


def aligned(draft: Draft, random: Random) -> None:
    mapped(draft, page_size=1 << 20)


def behind_the_file(draft: Draft, random: Random) -> Place:
    return mapped(draft, pages_offset=1 << 40)


def in_front_of_bitmap(draft: Draft, random: Random) -> Place:
    """The bitmap stands behind the start of the pages."""
    shape = Shape(draft)
    need(shape.mapped_ram, "the capability mapped-ram")
    entry = shape.block_list.event.blocks[0]
    need(entry.mapped_ram is not None, "mapped-ram headers")
    return mapped(draft, bitmap_offset=entry.mapped_ram.pages_offset + 8)


ZERO_MORE, PART = added(zero_record), same(another_part)
SHARED_NEAR = same(both)

MUTATIONS = (
    Mutation("MFD508", "ZERO and PAGE at once", added(two_kinds), ZERO_MORE, "flags"),
    Mutation("MFD509", "CONTINUE without a block", continue_first, same(continue_behind), "flags"),
    Mutation("MFD510", "a block that is not listed", added(no_such_block), ZERO_MORE, "idstr"),
    Mutation("MFD510", "a page behind the last", added(behind_the_last), ZERO_MORE, "addr"),
    Mutation("MFD511", "another fill byte", added(another_fill), ZERO_MORE, "fill"),
    Mutation("MFD512", "a total of one page more", blocks(1), untouched, "total", also=frozenset({"MFD510", "MFD508"})),
    Mutation("MFD512", "a total of one page less", blocks(-1), untouched, "total"),
    Mutation("MFD512", "a page in front of the list", page_in_front, same(page_behind), "idstr"),
    Mutation("MFD513", "no guest addresses", ignore_shared, SHARED_NEAR, "blocks"),
    Mutation("MFD513", "guest addresses", addresses, SHARED_NEAR, "blocks"),
    Mutation("MFD514", "records behind EOS", behind_eos, ZERO_MORE, "flags"),
    Mutation("MFD514", "no EOS", no_eos, PART, "flags"),
    Mutation("MFD521", "a PAGE record in precopy", added(page_record), ZERO_MORE, "flags"),
    Mutation("MFD522", "COMPRESS_PAGE for 10.0", added(compressed_record), ZERO_MORE, "flags"),
    Mutation(
        "MFD522",
        "COMPRESS_PAGE for 9.0",
        added(compressed_record),
        ZERO_MORE,
        "flags",
        {"profile": "qemu-9.0"},
        {},
        also=frozenset({"MFD206", "MFD417", "MFD515"}),
    ),
    Mutation("MFD525", "version 2", header_version, untouched, "version"),
    Mutation("MFD525", "pages that are not aligned", not_aligned, same(aligned), "pages_offset"),
    Mutation(
        "MFD525", "pages behind the end of the file", behind_the_file, untouched, "pages_offset",
        also=frozenset({"MFD508"}),
    ),
    Mutation("MFD525", "pages in front of the bitmap", in_front_of_bitmap, untouched, "pages_offset"),
)  # fmt: skip
