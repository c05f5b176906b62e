"""Header fields of packets: MFD203 to 216, 224 to 228."""

from __future__ import annotations

from analyzers.findings import Severity
from multifd_codec.draft.draft import Record
from multifd_codec.wire.packet import PacketFlags
from tests.analyzers.rule_cases.case import COMPLETES, HANGS, LOSES, Case, Near
from tests.channel_records import CAPACITY, page
from tests.main_records import PAGE, RAM
from tests.migrations import V72, V90, like
from tests.streams import Stream

ZLIB = like(compression=int(PacketFlags.ZLIB))
QPL = like(V90, compression=int(PacketFlags.QPL))


def set_pages(record: Record, normal: tuple[int, ...] = (), zero: tuple[int, ...] = ()) -> Record:
    """Replace what the packet lists, in pages; the payload stays."""
    entries = tuple(PAGE * entry for entry in (*normal, *zero))
    pages = entries + (0,) * (CAPACITY - len(entries))
    return record.set(normal_pages=len(normal), zero_pages=len(zero), pages=pages[:CAPACITY])


def byte_offset(record: Record, entry: int, value: int) -> Record:
    """Replace one entry of the offset array, in bytes."""
    pages = list(record.event.pages)
    pages[entry] = value
    return record.set(pages=tuple(pages))


def swapped(record: Record, first: int, second: int) -> Record:
    pages = list(record.event.pages)
    pages[first], pages[second] = pages[second], pages[first]
    return record.set(pages=tuple(pages))


def full_packet(stream: Stream) -> Record:
    """All pages of the first half of pc.ram as normal pages of one packet."""
    first, second = stream.data(0), stream.zeros(0)
    first.payload = b"".join(page(number) for number in range(CAPACITY))
    stream.drop(second)
    set_pages(first, tuple(range(CAPACITY))).set(next_packet_size=len(first.payload))
    stream.renumber()
    return first


def normal_then_zero(stream: Stream) -> Record:
    """Page 0 has content in the first round and is zero in the second."""
    again = stream.data(0, 2)
    again.payload = again.payload[PAGE:]
    return set_pages(again, (1,), (0,)).set(next_packet_size=PAGE)


def same_in_next_round(stream: Stream) -> None:
    """Page 3 was on channel 0 in the first round; channel 1 sends it in the second."""
    record = stream.data(1, 3)
    record.payload += page(3, 1)
    set_pages(record, (128, 3)).set(next_packet_size=2 * PAGE)


def gap(stream: Stream) -> None:
    for channel in (0, 1):
        stream.sync(channel).set(packet_num=stream.sync(channel).event.packet_num + 1)


CASES = (
    Case("MFD203", "an undefined bit", COMPLETES, near=Near(make=like(devices=2))),
    Case(
        "MFD204",
        "zlib and zstd at once",
        HANGS,
        near=Near(make=like(compression=int(PacketFlags.ZSTD))),
        make=ZLIB,
        also=frozenset({"MFD205"}),
    ),
    Case(
        "MFD205",
        "one packet of another method",
        HANGS,
        near=Near(lambda s: s.sync(0, 1).set(flags=int(PacketFlags.SYNC))),
        make=ZLIB,
    ),
    Case(
        "MFD206",
        "qpl for a destination without it",
        HANGS,
        near=Near(options={"profile": "qemu-9.1"}),
        make=QPL,
        severity=Severity.ERROR,
    ),
    Case(
        "MFD206",
        "uadk taken for plain pages",
        HANGS,
        near=Near(options={"profile": "qemu-9.2"}),
        make=like(V90, compression=int(PacketFlags.UADK)),
        severity=Severity.ERROR,
    ),
    Case("MFD207", "one page more than a packet has", HANGS, near=Near(full_packet)),
    Case("MFD208", "a smaller pages_alloc", COMPLETES, near=Near(make=like(V90))),
    Case("MFD209", "more pages than the array has", HANGS, near=Near(full_packet)),
    Case(
        "MFD210",
        "one zero page too many",
        HANGS,
        near=Near(lambda s: set_pages(s.data(0), tuple(range(4)), tuple(range(4, CAPACITY)))),
    ),
    Case("MFD211", "zero pages for a destination that ignores them", COMPLETES, near=Near(options={}), make=like(V90)),
    Case(
        "MFD211",
        "a page with content then zero for such a destination",
        LOSES,
        near=Near(normal_then_zero, options={}),
        make=like(V90),
        severity=Severity.ERROR,
    ),
    Case(
        "MFD212",
        "a block that is not listed",
        HANGS,
        near=Near(lambda s: s.data(0).set(ramblock=RAM.ljust(255, b"\0") + b"x")),
    ),
    Case("MFD213", "a page behind the last", HANGS, near=Near(lambda s: swapped(s.data(1, 1), 0, 15))),
    Case("MFD214", "a normal page not aligned", COMPLETES, near=Near(lambda s: swapped(s.data(0), 1, 5))),
    Case(
        "MFD214",
        "a zero page not aligned in fresh memory",
        COMPLETES,
        near=Near(lambda s: swapped(s.zeros(0), 1, 5)),
        edit=lambda s: byte_offset(s.zeros(0), 3, 103 * PAGE + 0x10),
        name="offset",
    ),
    Case(
        "MFD214",
        "a zero page not aligned over content",
        LOSES,
        near=Near(normal_then_zero),
        edit=lambda s: byte_offset(normal_then_zero(s), 1, 0x10),
        name="offset",
    ),
    Case("MFD215", "a page twice in one packet", COMPLETES, near=Near(same_in_next_round)),
    Case("MFD216", "a page on two channels in one round", COMPLETES | LOSES, near=Near(same_in_next_round)),
    Case("MFD216", "the same content on two channels", COMPLETES, near=Near(same_in_next_round)),
    Case(
        "MFD224",
        "an empty packet from a new sender",
        COMPLETES,
        near=Near(make=like(V72, merged_sync=True)),
        severity=Severity.WARNING,
    ),
    Case("MFD225", "SYNC on a packet with zero pages", COMPLETES, near=Near(make=like(V72))),
    Case(
        "MFD225",
        "SYNC on a packet with content for 9.2",
        HANGS,
        near=Near(options={"profile": "qemu-10.0", "mode": "per-section"}),
        make=like(V72, merged_sync=True),
        severity=Severity.ERROR,
        also=frozenset({"MFD224"}),
        options={"profile": "qemu-9.2", "mode": "per-section"},
    ),
    Case(
        "MFD226",
        "zlib on a SYNC",
        COMPLETES,
        near=Near(make=like(V72, merged_sync=True, compression=int(PacketFlags.ZLIB))),
        make=ZLIB,
    ),
    Case("MFD227", "a reserved word", COMPLETES, near=Near(make=like(V90))),
    Case("MFD227", "an unused offset", COMPLETES, near=Near(full_packet)),
    Case("MFD227", "a block name on a SYNC", COMPLETES, near=Near(make=like(V72))),
    Case("MFD228", "a gap", COMPLETES, near=Near(Stream.renumber)),
    Case("MFD228", "a number twice", COMPLETES, near=Near(make=like(V72, merged_sync=True))),
    Case("MFD228", "numbers going back", COMPLETES, near=Near(Stream.renumber)),
)
