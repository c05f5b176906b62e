"""Framing of channels: MFD101, 102, 129, 130."""

from __future__ import annotations

from multifd_codec.draft import Record, raw
from tests.analyzers.rule_cases.case import COMPLETES, FAILS, HANGS, Case, Near
from tests.channel_records import ram
from tests.main_records import PAGE, RAM
from tests.migrations import V72, V92, like
from tests.streams import Stream


def packet_as_page(**wrong: int) -> Near:
    """A guest page that holds such a packet is just content."""

    def edit(stream: Stream) -> None:
        record = stream.data(0)
        record.payload = ram(7, RAM, (1,)).set(**wrong).encoded().ljust(PAGE, b"\1")[:PAGE] + record.payload[PAGE:]

    return Near(edit)


def cut_last_sync(stream: Stream) -> Record:
    stream.cut[1] = 100
    return stream.sync(1)


def half_a_header(stream: Stream) -> Record:
    return stream.behind(stream.channels[0][-1], raw(b"\x11\x22\x33\x44\0"))


def drop_last_sync(stream: Stream) -> tuple[int, int]:
    last = stream.sync(0)
    place = stream.place(last)[1]
    stream.drop(last)
    stream.renumber()
    return 0, place


def no_packets(stream: Stream) -> tuple[int, int]:
    stream.channels[0] = stream.channels[0][:1]
    stream.renumber()
    return 0, 64


def idle_channel(stream: Stream) -> None:
    """Channel 1 carries all pages, channel 0 nothing but SYNCs."""
    for segment, records in ((1, stream.rams(0)[1:3]), (2, stream.rams(0)[4:6])):
        for record in records:
            stream.move(record, before=stream.sync(1, segment))
    stream.renumber()


CASES = (
    Case(
        "MFD101",
        "magic of a data packet",
        lambda s: s.data(0).set(magic=0x11223345),
        HANGS,
        packet_as_page(magic=0x11223345),
        name="magic",
    ),
    Case(
        "MFD101",
        "magic behind the last rendezvous",
        lambda s: s.behind(s.channels[0][-1], ram(14, flags=0, magic=0x11223345)),
        COMPLETES | FAILS,
        packet_as_page(magic=0),
        name="magic",
        also=frozenset({"MFD224"}),
    ),
    Case(
        "MFD102",
        "version of a SYNC",
        lambda s: s.sync(1, 1).set(version=2),
        HANGS,
        packet_as_page(version=2),
        name="version",
    ),
    Case("MFD129", "half a header behind the last SYNC", half_a_header, COMPLETES | FAILS, Near(make=like(devices=2))),
    Case(
        "MFD129",
        "half a header for 7.2",
        half_a_header,
        COMPLETES,
        Near(make=like(V72, merged_sync=True)),
        make=like(V72),
    ),
    Case(
        "MFD129",
        "a last SYNC that is cut",
        cut_last_sync,
        HANGS,
        Near(make=like(V92)),
        also=frozenset({"MFD301", "MFD302"}),
    ),
    Case("MFD130", "no last SYNC", drop_last_sync, HANGS, Near(idle_channel), also=frozenset({"MFD301", "MFD302"})),
    Case(
        "MFD130", "nothing behind the init", no_packets, HANGS, Near(idle_channel), also=frozenset({"MFD301", "MFD302"})
    ),
)
