"""Header fields of packets: MFD203 to 216, 224 to 228."""

from __future__ import annotations

from analyzers.findings import Severity
from multifd_codec.draft import Record
from multifd_codec.wire.packet import PacketFlags
from tests.analyzers.rule_cases.case import COMPLETES, HANGS, LOSES, Case, Near
from tests.channel_records import CAPACITY, page, ram
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


def too_many_zero_pages(stream: Stream) -> Record:
    return stream.data(0).set(zero_pages=CAPACITY - 3)


def normal_then_zero(stream: Stream) -> Record:
    """Page 0 has content in the first round and is zero in the second."""
    again = stream.data(0, 2)
    again.payload = again.payload[PAGE:]
    return set_pages(again, (1,), (0,)).set(next_packet_size=PAGE)


def page_twice(stream: Stream) -> Record:
    record = stream.data(0, 2)
    record.payload += page(77)
    return set_pages(record, (0, 1, 1)).set(next_packet_size=3 * PAGE)


def on_both_channels(stream: Stream, content: bytes = page(99)) -> Record:
    """Page 128 is dirty: channel 1 sends it, channel 0 as well."""
    record = stream.data(0, 2)
    record.payload += content
    return set_pages(record, (0, 1, 128)).set(next_packet_size=3 * PAGE)


def same_in_next_round(stream: Stream) -> None:
    """Page 3 was on channel 0 in the first round; channel 1 sends it in the second."""
    record = stream.data(1, 3)
    record.payload += page(3, 1)
    set_pages(record, (128, 3)).set(next_packet_size=2 * PAGE)


def empty_packet(stream: Stream) -> Record:
    added = stream.behind(stream.data(0), ram(0, flags=0))
    stream.renumber()
    return added


def merged(stream: Stream) -> Record:
    """The second SYNC of channel 0 becomes a flag of the packet in front of it."""
    stream.drop(stream.sync(0, 1))
    record = stream.zeros(0)
    record.set(flags=int(PacketFlags.SYNC))
    stream.renumber()
    return record


def merged_normal(stream: Stream) -> Record:
    stream.drop(stream.sync(0))
    record = stream.data(0, 3)
    record.set(flags=int(PacketFlags.SYNC))
    stream.renumber()
    return record


def gap(stream: Stream) -> None:
    for channel in (0, 1):
        stream.sync(channel).set(packet_num=stream.sync(channel).event.packet_num + 1)


def number_twice(stream: Stream) -> Record:
    """The last packet of channel 1 gets the number of the last of channel 0."""
    return stream.sync(1).set(packet_num=stream.sync(0).event.packet_num)


def going_back(stream: Stream) -> Record:
    first, second = stream.data(0), stream.zeros(0)
    numbers = first.event.packet_num, second.event.packet_num
    first.set(packet_num=numbers[1])
    return second.set(packet_num=numbers[0])


CASES = (
    Case(
        "MFD203",
        "an undefined bit",
        lambda s: s.data(0).set(flags=0x80),
        COMPLETES,
        Near(make=like(devices=2)),
        name="flags",
    ),
    Case(
        "MFD204",
        "zlib and zstd at once",
        lambda s: s.data(0).set(flags=int(PacketFlags.ZLIB | PacketFlags.ZSTD)),
        HANGS,
        Near(make=like(compression=int(PacketFlags.ZSTD))),
        make=ZLIB,
        name="flags",
        also=frozenset({"MFD205"}),
    ),
    Case(
        "MFD205",
        "one packet of another method",
        lambda s: s.data(0, 2).set(flags=int(PacketFlags.ZSTD)),
        HANGS,
        Near(lambda s: s.sync(0, 1).set(flags=int(PacketFlags.SYNC))),
        make=ZLIB,
        name="flags",
    ),
    Case(
        "MFD206",
        "qpl for a destination without it",
        lambda s: s.data(0),
        HANGS,
        Near(options={"profile": "qemu-9.1"}),
        make=QPL,
        name="flags",
        severity=Severity.ERROR,
        options={"profile": "qemu-9.0"},
    ),
    Case(
        "MFD206",
        "uadk taken for plain pages",
        lambda s: s.data(0),
        HANGS,
        Near(options={"profile": "qemu-9.2"}),
        make=like(V90, compression=int(PacketFlags.UADK)),
        name="flags",
        severity=Severity.ERROR,
        options={"profile": "qemu-9.0"},
    ),
    Case(
        "MFD207",
        "one page more than a packet has",
        lambda s: s.data(0).set(pages_alloc=CAPACITY + 1),
        HANGS,
        Near(full_packet),
        name="pages_alloc",
    ),
    Case(
        "MFD208",
        "a smaller pages_alloc",
        lambda s: s.data(0).set(pages_alloc=CAPACITY - 1),
        COMPLETES,
        Near(make=like(V90)),
        name="pages_alloc",
    ),
    Case(
        "MFD209",
        "more pages than the array has",
        lambda s: s.data(0).set(normal_pages=CAPACITY + 1),
        HANGS,
        Near(full_packet),
        name="normal_pages",
    ),
    Case(
        "MFD210",
        "one zero page too many",
        too_many_zero_pages,
        HANGS,
        Near(lambda s: set_pages(s.data(0), tuple(range(4)), tuple(range(4, CAPACITY)))),
        name="zero_pages",
    ),
    Case(
        "MFD211",
        "zero pages for a destination that ignores them",
        lambda s: s.data(0),
        COMPLETES,
        Near(options={}),
        make=like(V90),
        name="zero_pages",
        options={"profile": "qemu-8.2"},
    ),
    Case(
        "MFD211",
        "a page with content then zero for such a destination",
        normal_then_zero,
        LOSES,
        Near(normal_then_zero, options={}),
        make=like(V90),
        name="zero_pages",
        severity=Severity.ERROR,
        options={"profile": "qemu-8.2"},
    ),
    Case(
        "MFD212",
        "a block that is not listed",
        lambda s: s.data(0).set(ramblock=b"pc.rom".ljust(256, b"\0")),
        HANGS,
        Near(lambda s: s.data(0).set(ramblock=RAM.ljust(255, b"\0") + b"x")),
        name="ramblock",
    ),
    Case(
        "MFD213",
        "a page behind the last",
        lambda s: byte_offset(s.data(1), 1, 256 * PAGE),
        HANGS,
        Near(lambda s: swapped(s.data(1, 1), 0, 15)),
        name="offset",
    ),
    Case(
        "MFD214",
        "a normal page not aligned",
        lambda s: byte_offset(s.data(0), 1, PAGE + 0x123),
        LOSES,
        Near(lambda s: swapped(s.data(0), 1, 5)),
        name="offset",
    ),
    Case(
        "MFD214",
        "a zero page not aligned in fresh memory",
        lambda s: byte_offset(s.zeros(0), 3, 103 * PAGE + 0x10),
        COMPLETES,
        Near(lambda s: swapped(s.zeros(0), 1, 5)),
        name="offset",
    ),
    Case(
        "MFD214",
        "a zero page not aligned over content",
        lambda s: byte_offset(normal_then_zero(s), 1, 0x10),
        LOSES,
        Near(normal_then_zero),
        name="offset",
    ),
    Case(
        "MFD215",
        "a page twice in one packet",
        page_twice,
        COMPLETES,
        Near(same_in_next_round),
        name="offset",
    ),
    Case(
        "MFD216",
        "a page on two channels in one round",
        on_both_channels,
        COMPLETES | LOSES,
        Near(same_in_next_round),
        name="offset",
    ),
    Case(
        "MFD216",
        "the same content on two channels",
        lambda s: on_both_channels(s, page(128, 1)),
        COMPLETES,
        Near(same_in_next_round),
        name="offset",
    ),
    Case(
        "MFD224",
        "an empty packet from a new sender",
        empty_packet,
        COMPLETES,
        Near(make=like(V72, merged_sync=True)),
        name="flags",
        severity=Severity.WARNING,
    ),
    Case("MFD225", "SYNC on a packet with zero pages", merged, COMPLETES, Near(make=like(V72)), name="flags"),
    Case(
        "MFD225",
        "SYNC on a packet with content for 9.2",
        lambda s: s.data(0),
        HANGS,
        Near(options={"profile": "qemu-10.0", "mode": "per-section"}),
        make=like(V72, merged_sync=True),
        name="flags",
        severity=Severity.ERROR,
        also=frozenset({"MFD224"}),
        options={"profile": "qemu-9.2", "mode": "per-section"},
    ),
    Case(
        "MFD226",
        "zlib on a SYNC",
        lambda s: s.sync(0, 1).set(flags=int(PacketFlags.SYNC | PacketFlags.ZLIB)),
        COMPLETES,
        Near(make=like(V72, merged_sync=True, compression=int(PacketFlags.ZLIB))),
        make=ZLIB,
        name="flags",
    ),
    Case(
        "MFD227",
        "a reserved word",
        lambda s: s.data(0).set(unused64=(0, 1, 0)),
        COMPLETES,
        Near(make=like(V90)),
        name="unused64",
    ),
    Case(
        "MFD227",
        "an unused offset",
        lambda s: byte_offset(s.data(0), CAPACITY - 1, PAGE),
        COMPLETES,
        Near(full_packet),
        name="offset",
    ),
    Case(
        "MFD227",
        "a block name on a SYNC",
        lambda s: s.sync(0, 1).set(ramblock=RAM.ljust(256, b"\0")),
        COMPLETES,
        Near(make=like(V72)),
        name="ramblock",
    ),
    Case("MFD228", "a gap", gap, COMPLETES, Near(Stream.renumber), name="packet_num"),
    Case(
        "MFD228", "a number twice", number_twice, COMPLETES, Near(make=like(V72, merged_sync=True)), name="packet_num"
    ),
    Case("MFD228", "numbers going back", going_back, COMPLETES, Near(Stream.renumber), name="packet_num"),
)
