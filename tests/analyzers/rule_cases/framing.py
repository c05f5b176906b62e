"""Framing of channels: MFD101, 102, 129, 130."""

from __future__ import annotations

from multifd_codec.draft.draft import Record, raw
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


def half_a_header(stream: Stream) -> Record:
    return stream.behind(stream.channels[0][-1], raw(b"\x11\x22\x33\x44\0"))


CASES = (
    Case("MFD101", "magic of a data packet", HANGS, near=packet_as_page(magic=0x11223345)),
    Case(
        "MFD101",
        "magic behind the last rendezvous",
        COMPLETES | FAILS,
        near=packet_as_page(magic=0),
        also=frozenset({"MFD224"}),
    ),
    Case("MFD102", "version of a SYNC", HANGS, near=packet_as_page(version=2)),
    Case("MFD129", "half a header behind the last SYNC", COMPLETES | FAILS, near=Near(make=like(devices=2))),
    Case(
        "MFD129",
        "half a header for 7.2",
        COMPLETES,
        near=Near(make=like(V72, merged_sync=True)),
        edit=half_a_header,
        make=like(V72),
    ),
    Case("MFD129", "a last SYNC that is cut", HANGS, near=Near(make=like(V92)), also=frozenset({"MFD301", "MFD302"})),
    Case("MFD130", "no last SYNC", HANGS, also=frozenset({"MFD301", "MFD302"})),
    Case("MFD130", "nothing behind the init", HANGS, also=frozenset({"MFD301", "MFD302"}), seed=3),
)
