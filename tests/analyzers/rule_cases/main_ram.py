"""RAM records of the main channel: MFD508 to 514, 521, 522, 525."""

from __future__ import annotations

import zlib
from typing import Any

from multifd_codec import main_events as ev
from multifd_codec.draft import Record
from multifd_codec.wire.ram import RamFlags
from tests.analyzers.rule_cases.case import COMPLETES, FAILS, LOSES, Case, Near
from tests.channel_records import page
from tests.main_records import BIOS, BLOCKS, PAGE, RAM, block_list, eos, normal_page, section, zero_page
from tests.migrations import V72, V90, like, mapped_ram
from tests.streams import Stream

LEGACY = like(legacy_zero=True)
"""Zero pages as ZERO records on main."""
OLD = like(V90)
SHARED = ev.CapabilityList(0, 0, 1, (b"x-ignore-shared",))


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


def ignore_shared(stream: Stream) -> Record:
    stream.on_main(ev.Configuration).set(subsections=(SHARED,))
    return stream.on_main(ev.BlockList)


def with_addresses(stream: Stream) -> Record:
    ignore_shared(stream)
    return blocks(stream, guest_address=0)


def mapped(stream: Stream, **fields: int) -> Record:
    listed = stream.on_main(ev.BlockList)
    entry = listed.event.blocks[0]
    changed = entry._replace(mapped_ram=entry.mapped_ram._replace(**fields))
    return listed.set(blocks=(changed, *listed.event.blocks[1:]))


def compressed_page(number: int) -> Record:
    data = zlib.compress(page(number))
    return Record(ev.CompressedPage(0, 0, PAGE * number, RAM, None, 0, len(data)), data)


CASES = (
    Case(
        "MFD508",
        "ZERO and PAGE at once",
        lambda s: in_part(s, Record(ev.UnknownRamRecord(0, 8, PAGE, int(RamFlags.ZERO | RamFlags.PAGE)))),
        FAILS,
        Near(make=LEGACY),
        name="flags",
    ),
    Case(
        "MFD509",
        "CONTINUE without a block",
        lambda s: s.before(named(s), zero_page(7, None)),
        FAILS,
        Near(lambda s: s.behind(named(s, 1), zero_page(3, None))),
        make=LEGACY,
        name="flags",
    ),
    Case(
        "MFD510",
        "a block that is not listed",
        lambda s: in_part(s, zero_page(1, b"pc.rom")),
        FAILS,
        Near(lambda s: in_part(s, zero_page(3, BIOS))),
        make=LEGACY,
        name="idstr",
    ),
    Case(
        "MFD510",
        "a page behind the last",
        lambda s: in_part(s, zero_page(256)),
        FAILS,
        Near(lambda s: in_part(s, zero_page(255))),
        make=LEGACY,
        name="addr",
    ),
    Case(
        "MFD511",
        "another fill byte",
        lambda s: named(s).set(fill=0x41),
        FAILS,
        Near(lambda s: in_part(s, zero_page(3, BIOS))),
        make=LEGACY,
        name="fill",
    ),
    Case(
        "MFD511",
        "another fill byte for 7.2",
        lambda s: named(s).set(fill=0x41),
        COMPLETES | LOSES,
        Near(lambda s: in_part(s, zero_page(3, BIOS))),
        make=like(V72),
        name="fill",
    ),
    Case("MFD512", "a total of one page more", lambda s: blocks(s, PAGE), FAILS, Near(blocks), name="total"),
    Case("MFD512", "a total of one page less", lambda s: blocks(s, -PAGE), FAILS, Near(blocks), name="total"),
    Case(
        "MFD512",
        "a page in front of the list",
        lambda s: s.before(s.on_main(ev.BlockList), zero_page(5)),
        COMPLETES,
        Near(lambda s: s.behind(s.on_main(ev.BlockList), zero_page(5))),
        make=LEGACY,
        name="idstr",
    ),
    Case("MFD513", "no guest addresses", ignore_shared, FAILS, Near(with_addresses), name="blocks"),
    Case("MFD513", "guest addresses", lambda s: blocks(s, guest_address=0), FAILS, Near(with_addresses), name="blocks"),
    Case(
        "MFD514",
        "no EOS",
        lambda s: (s.drop(s.on_main(ev.EndOfRam, 1)), s.on_main(ev.SectionFooter, 1))[1],
        FAILS,
        Near(another_part, make=OLD),
        name="flags",
    ),
    Case(
        "MFD514",
        "records behind EOS",
        lambda s: s.behind(s.on_main(ev.EndOfRam, 1), zero_page(5), eos()),
        FAILS,
        Near(lambda s: s.before(s.on_main(ev.EndOfRam, 1), zero_page(5))),
        make=LEGACY,
        name="flags",
    ),
    Case(
        "MFD521",
        "a PAGE record in precopy",
        lambda s: in_part(s, normal_page(5, page(5))),
        COMPLETES | LOSES,
        Near(lambda s: in_part(s, zero_page(5)), make=LEGACY),
        name="flags",
    ),
    Case(
        "MFD522",
        "COMPRESS_PAGE for 10.0",
        lambda s: in_part(s, compressed_page(5)),
        FAILS,
        Near(lambda s: in_part(s, zero_page(5)), make=LEGACY),
        name="flags",
    ),
    Case(
        "MFD522",
        "COMPRESS_PAGE for 9.0",
        lambda s: in_part(s, compressed_page(5)),
        FAILS,
        Near(lambda s: in_part(s, zero_page(5)), make=LEGACY, options={}),
        make=like(V90, legacy_zero=True),
        name="flags",
        options={"profile": "qemu-9.0"},
    ),
    Case("MFD525", "version 2", lambda s: mapped(s, version=2), FAILS, Near(), make=two_mapped, name="version"),
    Case(
        "MFD525",
        "pages that are not aligned",
        lambda s: mapped(s, page_size=1 << 21),
        FAILS,
        Near(lambda s: mapped(s, page_size=1 << 20)),
        make=two_mapped,
        name="pages_offset",
    ),
    Case(
        "MFD525",
        "pages behind the end of the file",
        lambda s: mapped(s, pages_offset=1 << 40),
        FAILS,
        Near(),
        make=two_mapped,
        name="pages_offset",
        also=frozenset({"MFD508"}),
    ),
    Case(
        "MFD525",
        "pages in front of the bitmap",
        lambda s: mapped(s, bitmap_offset=(1 << 20) + 8),
        LOSES,
        Near(make=mapped_ram),
        make=two_mapped,
        name="pages_offset",
    ),
)
