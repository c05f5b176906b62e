"""RAM records of the main channel: MFD508 to 514, 521, 522, 525."""

from __future__ import annotations

from typing import Any

from multifd_codec.draft.draft import Record
from multifd_codec.main import events as ev
from tests.analyzers.rule_cases.case import COMPLETES, FAILS, LOSES, Case, Near
from tests.main_records import BIOS, BLOCKS, PAGE, RAM, block_list, eos, section, zero_page
from tests.migrations import V72, V90, like, mapped_ram
from tests.streams import Stream

LEGACY = like(legacy_zero=True)
"""Zero pages as ZERO records on main."""
OLD = like(V90)


def two_mapped() -> Stream:
    return mapped_ram(RAM, BIOS)


def named(stream: Stream, number: int = 0) -> Record:
    """The first ZERO record of a RAM block."""
    return [r for r in stream.main if isinstance(r.event, ev.ZeroPage) and r.event.idstr is not None][number]


def in_part(stream: Stream, record: Record) -> Record:
    """Behind all other records of the PART section, in front of its FLUSH or EOS."""
    return stream.before(stream.on_main((ev.Flush, ev.EndOfRam), 2), record)


def another_part(stream: Stream) -> None:
    """A PART with nothing but EOS."""
    stream.before(stream.on_main(ev.SectionEnd), *section(ev.SectionPart, 2, eos()))


def blocks(stream: Stream, change: int = 0, **fields: Any) -> Record:
    """The block list again, with other fields in every entry or with another total."""
    entries = [ev.RamBlock(name, PAGE * pages)._replace(**fields) for name, pages in BLOCKS.items()]
    listed = stream.on_main(ev.BlockList)
    listed.event = block_list(entries).event
    return listed.set(total=listed.event.total + change)


def mapped(stream: Stream, **fields: int) -> Record:
    listed = stream.on_main(ev.BlockList)
    entry = listed.event.blocks[0]
    changed = entry._replace(mapped_ram=entry.mapped_ram._replace(**fields))
    return listed.set(blocks=(changed, *listed.event.blocks[1:]))


CASES = (
    Case("MFD508", "ZERO and PAGE at once", FAILS, near=Near(make=LEGACY)),
    Case(
        "MFD509",
        "CONTINUE without a block",
        FAILS,
        near=Near(lambda s: s.behind(named(s, 1), zero_page(3, None))),
        make=LEGACY,
    ),
    Case(
        "MFD510", "a block that is not listed", FAILS, near=Near(lambda s: in_part(s, zero_page(3, BIOS))), make=LEGACY
    ),
    Case("MFD510", "a page behind the last", FAILS, near=Near(lambda s: in_part(s, zero_page(255))), make=LEGACY),
    Case("MFD511", "another fill byte", FAILS, near=Near(lambda s: in_part(s, zero_page(3, BIOS))), make=LEGACY),
    Case(
        "MFD511",
        "another fill byte for 7.2",
        COMPLETES | LOSES,
        near=Near(lambda s: in_part(s, zero_page(3, BIOS))),
        edit=lambda s: named(s).set(fill=0x41),
        make=like(V72),
        name="fill",
    ),
    Case("MFD512", "a total of one page more", FAILS, near=Near(blocks)),
    Case("MFD512", "a total of one page less", FAILS, near=Near(blocks)),
    Case(
        "MFD512",
        "a page in front of the list",
        COMPLETES,
        near=Near(lambda s: s.behind(s.on_main(ev.BlockList), zero_page(5))),
        make=LEGACY,
    ),
    Case("MFD513", "no guest addresses", FAILS),
    Case("MFD513", "guest addresses", FAILS),
    Case("MFD514", "no EOS", FAILS, near=Near(another_part, make=OLD)),
    Case(
        "MFD514",
        "records behind EOS",
        FAILS,
        near=Near(lambda s: s.before(s.on_main(ev.EndOfRam, 1), zero_page(5))),
        make=LEGACY,
    ),
    Case(
        "MFD521",
        "a PAGE record in precopy",
        COMPLETES | LOSES,
        near=Near(lambda s: in_part(s, zero_page(5)), make=LEGACY),
    ),
    Case("MFD522", "COMPRESS_PAGE for 10.0", FAILS, near=Near(lambda s: in_part(s, zero_page(5)), make=LEGACY)),
    Case(
        "MFD522",
        "COMPRESS_PAGE for 9.0",
        FAILS,
        near=Near(lambda s: in_part(s, zero_page(5)), make=LEGACY, options={}),
        make=like(V90, legacy_zero=True),
    ),
    Case("MFD525", "version 2", FAILS, make=two_mapped),
    Case(
        "MFD525",
        "pages that are not aligned",
        FAILS,
        near=Near(lambda s: mapped(s, page_size=1 << 20)),
        make=two_mapped,
    ),
    Case("MFD525", "pages behind the end of the file", FAILS, make=two_mapped, also=frozenset({"MFD508"})),
    Case("MFD525", "pages in front of the bitmap", LOSES, near=Near(make=mapped_ram), make=two_mapped),
)
