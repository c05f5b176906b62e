"""RAM records of the main channel: MFD508 to 514, 521, 522, 525."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from random import Random

from analyzers.mutation.edits import drops, sets
from analyzers.mutation.legal import another_part, more_syncs, never_normal
from analyzers.mutation.main_edits import add_behind, configuration, in_ram_section, unlisted, zero_page
from analyzers.mutation.mutation import COMPLETES, CRASHES, FAILS, LOSES, Edit, Mutation, Place, same, untouched
from analyzers.mutation.shape import Shape, avoid, need, pick
from multifd_codec.draft.draft import Draft, Record
from multifd_codec.draft.main_records import end_of_ram
from multifd_codec.main import events as ev
from multifd_codec.wire.ram import RamFlags

SHARED = ev.CapabilityList(0, 0, 1, (b"x-ignore-shared",))
FILL = 0x41
ZERO_AND_PAGE = int(RamFlags.ZERO | RamFlags.PAGE)


def a_page(shape: Shape, random: Random) -> tuple[bytes, int]:
    """(block, offset) of a page that packets do not carry with content; of any page without multifd."""
    if shape.draft.channels:
        return never_normal(shape, random)
    need(shape.blocks, "a block list on main")
    block = random.choice(list(shape.blocks))
    return block, random.randrange(max(1, shape.blocks[block] // shape.page_size)) * shape.page_size


def added(make: Callable[[Shape, bytes, int, Random], Record]) -> Edit:
    """A record more in a RAM section; ``make`` gets shape, block, offset and random."""

    def edit(draft: Draft, random: Random) -> Place:
        shape = Shape(draft)
        avoid(shape.mapped_ram, "the capability mapped-ram")
        block, offset = a_page(shape, random)
        return in_ram_section(draft, shape, make(shape, block, offset, random))

    return edit


def page_record(shape: Shape, block: bytes, offset: int, random: Random) -> Record:
    content = random.randbytes(shape.page_size)
    return Record(ev.Page(0, 0, offset, block, None, 0, len(content)), content)


def compressed_record(shape: Shape, block: bytes, offset: int, random: Random) -> Record:
    data = zlib.compress(random.randbytes(shape.page_size))
    return Record(ev.CompressedPage(0, 0, offset, block, None, 0, len(data)), data)


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
    avoid(shape.capabilities, "capabilities that it lists already")
    listed, record = configuration(draft), shape.block_list
    listed.set(subsections=(*listed.event.subsections, SHARED))
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


def behind_eos(draft: Draft, random: Random) -> Place:
    """A record behind EOS and an EOS once more; where that is a rendezvous, a SYNC for it."""
    shape = Shape(draft)
    block, offset = a_page(shape, random)
    end = ends(draft, random, counted=True)
    if not shape.per_round and draft.channels:
        avoid(shape.states, "device state: it would stand behind another SYNC")
        more_syncs(draft, 1)
    return add_behind(draft, end, zero_page(offset, block), end_of_ram())


SHARED_NEAR = same(both)


def mapped_ram(draft: Draft, random: Random) -> Record:
    """The block list of a file, whose RAM blocks have headers."""
    shape = Shape(draft)
    need(shape.mapped_ram, "the capability mapped-ram")
    listed = shape.block_list
    need(listed.event.blocks[0].mapped_ram is not None, "mapped-ram headers")
    return listed


def mapped(**fields: int | Callable[[ev.MappedRam], int]) -> Edit:
    """Change the header of the first RAM block; a value that is a function gets the header."""

    def changed(event: ev.BlockList, shape: Shape, random: Random) -> object:
        entry, *others = event.blocks
        assert entry.mapped_ram is not None
        values = {name: value(entry.mapped_ram) if callable(value) else value for name, value in fields.items()}
        return (entry._replace(mapped_ram=entry.mapped_ram._replace(**values)), *others)

    return sets(mapped_ram, blocks=changed)


TWO_KINDS = added(lambda s, block, offset, r: Record(ev.UnknownRamRecord(0, 8, offset, ZERO_AND_PAGE)))
NO_SUCH_BLOCK = added(lambda s, block, offset, r: zero_page(offset, unlisted(s)))
BEHIND_THE_LAST = added(lambda s, block, offset, r: zero_page(s.blocks[block], block))
ANOTHER_FILL = added(lambda s, block, offset, r: zero_page(offset, block, fill=FILL))
PAGE_MORE = added(page_record)
COMPRESSED_MORE = added(compressed_record)
ZERO_MORE, PART = added(lambda s, block, offset, r: zero_page(offset, block)), same(another_part)
NO_EOS = drops(lambda draft, random: ends(draft, random, counted=False))
PAGES_IN_FRONT = mapped(bitmap_offset=lambda header: header.pages_offset + 8)
"""The bitmap stands behind the start of the pages."""

MUTATIONS = (
    Mutation("MFD508", "ZERO and PAGE at once", FAILS, TWO_KINDS, ZERO_MORE, "flags"),
    Mutation("MFD509", "CONTINUE without a block", FAILS, continue_first, same(continue_behind), "flags"),
    Mutation("MFD510", "a block that is not listed", FAILS, NO_SUCH_BLOCK, ZERO_MORE, "idstr"),
    Mutation("MFD510", "a page behind the last", FAILS, BEHIND_THE_LAST, ZERO_MORE, "addr"),
    Mutation("MFD511", "another fill byte", FAILS, ANOTHER_FILL, ZERO_MORE, "fill"),
    Mutation("MFD512", "a total of one page more", FAILS, blocks(1), untouched, "total",
        also=frozenset({"MFD510", "MFD508"})),
    Mutation("MFD512", "a total of one page less", FAILS, blocks(-1), untouched, "total"),
    Mutation("MFD512", "a page in front of the list", COMPLETES, page_in_front, same(page_behind), "idstr"),
    Mutation("MFD513", "no guest addresses", FAILS, ignore_shared, SHARED_NEAR, "blocks"),
    Mutation("MFD513", "guest addresses", FAILS, addresses, SHARED_NEAR, "blocks"),
    Mutation("MFD514", "records behind EOS", FAILS, behind_eos, ZERO_MORE, "flags"),
    Mutation("MFD514", "no EOS", FAILS, NO_EOS, PART, "flags"),
    Mutation("MFD521", "a PAGE record in precopy", COMPLETES | LOSES, PAGE_MORE, ZERO_MORE, "flags"),
    Mutation("MFD522", "COMPRESS_PAGE for 10.0", FAILS, COMPRESSED_MORE, ZERO_MORE, "flags"),
    Mutation("MFD522", "COMPRESS_PAGE for 9.0", FAILS, COMPRESSED_MORE, ZERO_MORE, "flags", {"profile": "qemu-9.0"}, {},
        also=frozenset({"MFD206", "MFD417", "MFD515"})),
    Mutation("MFD525", "version 2", FAILS, mapped(version=2), untouched, "version"),
    Mutation("MFD525", "pages that are not aligned", FAILS, mapped(page_size=1 << 21), same(mapped(page_size=1 << 20)),
        "pages_offset"),
    Mutation("MFD525", "pages behind the end of the file", FAILS | CRASHES, mapped(pages_offset=1 << 40), untouched,
        "pages_offset", also=frozenset({"MFD508"})),
    Mutation("MFD525", "pages in front of the bitmap", LOSES, PAGES_IN_FRONT, untouched, "pages_offset"),
)  # fmt: skip
