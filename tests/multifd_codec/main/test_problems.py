"""Each thing that can be wrong on the main channel: found, at its place, and decoding goes on behind it."""

from __future__ import annotations

import pytest

from multifd_codec.draft import main_records as make
from multifd_codec.draft.draft import Record
from multifd_codec.draft.main_records import MainRecord
from multifd_codec.main import events as ev
from multifd_codec.main.problems import ProblemKind as Kind
from multifd_codec.source import StreamEnd
from multifd_codec.wire.qemufile import CommandId
from multifd_codec.wire.vfio import VfioTagId
from tests.helpers.main_channels import PAGE, decode, package, placed_stream, trailing

BLOCK = ev.RamBlock(b"ram", 16 * PAGE)
OTHER = ev.RamBlock(b"rom", 4 * PAGE)
TIMER = b"\x11" * 24
STATE = b"\x22" * 9
DEVICES = [make.buffer_device("timer", len(TIMER)), make.buffer_device("globalstate", len(STATE))]

HEALTHY: list[tuple[str, list[MainRecord]]] = [
    ("header", [make.file_header()]),
    ("configuration", [make.configuration("none")]),
    ("return path", [make.command(CommandId.OPEN_RETURN_PATH), make.ping(1)]),
    ("start", [make.section_start(2, "ram")]),
    ("blocks", [make.block_list([BLOCK, OTHER])]),
    ("start records", [make.flush(), make.end_of_ram()]),
    ("start footer", [make.footer(2)]),
    ("part", [make.section_part(2, "ram")]),
    ("pages", [make.zero_page(PAGE, "ram"), make.zero_page(2 * PAGE, "ram", named=False)]),
    ("part records", [make.flush(), make.end_of_ram()]),
    ("part footer", [make.footer(2)]),
    ("switchover", [make.command(CommandId.SWITCHOVER_START)]),
    ("end", [make.section_end(2, "ram")]),
    ("end records", [make.flush(), make.end_of_ram()]),
    ("end footer", [make.footer(2)]),
    ("timer", make.device(0, "timer", TIMER, version_id=2)),
    ("globalstate", make.device(5, "globalstate", STATE)),
    ("eof", [make.end_of_stream()]),
    ("vmdescription", [make.vmdescription({"page_size": PAGE, "devices": DEVICES})]),
]
"""A whole migration, in named pieces that a case replaces, or puts something in front of."""

Change = dict[str, list[MainRecord]]


def build(change: Change) -> bytes:
    """``{"eof": [...]}`` replaces a piece, ``{"+eof": [...]}`` adds in front of it."""
    assert {name.removeprefix("+") for name in change} <= {name for name, _ in HEALTHY}
    items = [item for name, piece in HEALTHY for item in (*change.get("+" + name, ()), *change.get(name, piece))]
    return placed_stream(items)[1]


PACKAGE = [make.command(CommandId.POSTCOPY_LISTEN), *make.device(7, "cpu", b"12345"), make.ping(3)]
RUN = make.command(CommandId.POSTCOPY_RUN)
ADVISE = make.command(CommandId.POSTCOPY_ADVISE)
LONG = make.vmdescription({"page_size": PAGE, "devices": DEVICES})
XBZRLE = Record(ev.XbzrlePage(0, 0, PAGE, b"ram", "ram", 2, 0, 3), b"abc")
COMPRESSED = Record(ev.CompressedPage(0, 0, PAGE, b"ram", "ram", 0, 5000), b"z" * 5000)
DISCARD = b"\0\3ram\0" + bytes(16)

CASES: dict[str, tuple[Change, list[tuple[Kind, str]]]] = {
    "healthy": ({}, []),
    "magic": ({"header": [make.file_header(magic=0x11223344)]}, [(Kind.FILE_MAGIC, "magic")]),
    "version": ({"header": [make.file_header(version=2)]}, [(Kind.FILE_VERSION, "version")]),
    "page bits": ({"configuration": [make.configuration("none", page_bits=40)]}, [(Kind.CONFIGURATION_FORM, "bits")]),
    "second footer": ({"+part": [make.footer(2)]}, [(Kind.SECTION_TYPE, "type")]),
    "garbage between sections": ({"+timer": [trailing(b"\x33garbage")]}, [(Kind.SECTION_TYPE, "type")]),
    "empty name": (
        {"timer": make.device(0, "", TIMER)},
        [
            (Kind.SECTION_IDSTR, "idstr"),
            (Kind.DEVICE_NOT_DESCRIBED, "body"),
            (Kind.DEVICE_NOT_SENT, "devices"),
        ],
    ),
    "unknown id": (
        {"end": [make.section_end(9)], "end footer": [make.footer(9)]},
        [(Kind.SECTION_UNKNOWN, "section_id"), (Kind.END_MISSING, "type")],
    ),
    "footer missing": ({"part footer": []}, [(Kind.FOOTER_MISSING, "type")]),
    "first footer missing": ({"start footer": []}, [(Kind.FOOTER_MISSING, "type")]),
    "footer id": ({"part footer": [make.footer(3)]}, [(Kind.FOOTER_ID, "section_id")]),
    "id for two devices": (
        {"globalstate": make.device(2, "globalstate", STATE)},
        [(Kind.SECTION_ID_REUSED, "section_id")],
    ),
    "PART behind END": (
        {"+timer": [make.section_part(2, "ram"), make.end_of_ram(), make.footer(2)]},
        [(Kind.PART_AFTER_END, "section_id"), (Kind.SWITCHOVER_START_ORDER, "type")],
    ),
    "no END": ({"end": [], "end records": [], "end footer": []}, [(Kind.END_MISSING, "type")]),
    "RAM version": ({"start": [make.section_start(2, "ram", 0, 3)]}, [(Kind.SECTION_VERSION, "version_id")]),
    "two RAM flags": ({"+part records": [Record(ev.UnknownRamRecord(0, 0, PAGE, 0x0A))]}, [(Kind.RAM_FLAGS, "flags")]),
    "CONTINUE first": (
        {"pages": [make.zero_page(PAGE, "ram", named=False), make.zero_page(PAGE, "ram")]},
        [(Kind.CONTINUE_WITHOUT_BLOCK, "flags")],
    ),
    "unknown block": ({"+pages": [make.zero_page(PAGE, "rim")]}, [(Kind.BLOCK_UNKNOWN, "idstr")]),
    "outside": ({"+pages": [make.zero_page(16 * PAGE, "ram")]}, [(Kind.PAGE_OUTSIDE_BLOCK, "addr")]),
    "fill": ({"+pages": [make.zero_page(PAGE, "ram", fill=0x41)]}, [(Kind.ZERO_FILL, "fill")]),
    "total too large": ({"blocks": [make.block_list([BLOCK], 32 * PAGE)]}, [(Kind.BLOCK_LIST_SUM, "total")]),
    "total too small": ({"blocks": [make.block_list([BLOCK], 15 * PAGE)]}, [(Kind.BLOCK_LIST_SUM, "total")]),
    "no block list": ({"blocks": []}, [(Kind.PAGE_BEFORE_BLOCK_LIST, "idstr")]),
    "fields without capability": (
        {"blocks": [make.block_list([BLOCK._replace(guest_address=0), OTHER._replace(guest_address=1 << 32)])]},
        [(Kind.BLOCK_LIST_FIELDS, "blocks")],
    ),
    "capability without fields": (
        {"configuration": [make.configuration("none", capabilities=["x-ignore-shared"])]},
        [(Kind.BLOCK_LIST_FIELDS, "blocks")],
    ),
    "page size without postcopy": (
        {"blocks": [make.block_list([BLOCK, OTHER._replace(page_size=1 << 21)])]},
        [(Kind.BLOCK_LIST_FIELDS, "page_size")],
    ),
    "no EOS": ({"part records": [make.flush()]}, [(Kind.EOS_MISSING, "flags")]),
    "records behind EOS": (
        {"+part footer": [make.zero_page(PAGE, "rom"), make.end_of_ram()]},
        [(Kind.RECORD_AFTER_EOS, "flags")],
    ),
    "XBZRLE": ({"pages": [XBZRLE]}, [(Kind.XBZRLE_FORM, "encoding")]),
    "compressed": ({"pages": [COMPRESSED]}, [(Kind.COMPRESSED_LENGTH, "length")]),
    "unknown command": ({"+part": [make.command(77, b"what")]}, [(Kind.COMMAND_UNKNOWN, "command")]),
    "long command": ({"+part": [make.command(CommandId.ENABLE_COLO, b"?")]}, [(Kind.COMMAND_LENGTH, "length")]),
    "length too large": (
        {"switchover": [make.command(CommandId.SWITCHOVER_START).set(declared_length=1)]},
        [(Kind.COMMAND_LENGTH, "length")],
    ),
    "discard": (
        {"+part": [ADVISE, make.command(CommandId.POSTCOPY_RAM_DISCARD, DISCARD + b"?")]},
        [(Kind.COMMAND_PAYLOAD, "ranges")],
    ),
    "discard first": (
        {"+part": [make.command(CommandId.POSTCOPY_RAM_DISCARD, DISCARD)]},
        [(Kind.COMMAND_ORDER, "command")],
    ),
    "switchover twice": (
        {"+switchover": [make.command(CommandId.SWITCHOVER_START)]},
        [(Kind.SWITCHOVER_START_REPEATED, "command")],
    ),
    "switchover late": (
        {"switchover": [], "+timer": [make.command(CommandId.SWITCHOVER_START)]},
        [(Kind.SWITCHOVER_START_ORDER, "command")],
    ),
    "ping without return path": ({"return path": [make.ping(1)]}, [(Kind.RETURN_PATH_CLOSED, "command")]),
    "package": ({"+timer": [ADVISE, *package([*PACKAGE, RUN])]}, [(Kind.DEVICE_NOT_SENT, "devices")]),
    "package without RUN": (
        {"+timer": [ADVISE, *package(PACKAGE)]},
        [(Kind.PACKAGE_WITHOUT_RUN, "command"), (Kind.DEVICE_NOT_SENT, "devices")],
    ),
    "no vmdescription": ({"vmdescription": [trailing(b"\0\0")]}, [(Kind.DESCRIPTION_MISSING, "type")]),
    "vmdescription cut": (
        {"vmdescription": [Record(LONG.event, LONG.payload[:-9])]},
        [(Kind.DESCRIPTION_FORM, "length")],
    ),
    "vmdescription no JSON": (
        {"vmdescription": [Record(ev.VmDescription(0, 0, 4, 0, 4), b"{oh}")]},
        [(Kind.DESCRIPTION_FORM, "json")],
    ),
    "device larger than described": (
        {"timer": make.device(0, "timer", TIMER + b"?", version_id=2)},
        [(Kind.DEVICE_SIZE, "body")],
    ),
    "device not sent": ({"timer": []}, [(Kind.DEVICE_NOT_SENT, "devices")]),
    "VFIO tag": (
        {
            "+switchover": [
                *(make.section_start(8, "vfio", version_id=1), make.vfio(VfioTagId.DEV_SETUP_STATE)),
                *(trailing(b"\xff\xff\xff\xff\xef\x10\0\x77"), make.footer(8)),
                *(make.section_end(8, "vfio"), make.vfio(VfioTagId.END_OF_STATE), make.footer(8)),
            ],
        },
        [(Kind.VFIO_TAG, "tag"), (Kind.SWITCHOVER_START_ORDER, "command")],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_problem(case: str) -> None:
    change, expected = CASES[case]
    data = build(change)
    events = decode(data)
    assert [(p.kind, p.field) for event in events for p in event.problems] == expected
    assert events[-1] == ev.MainEnd(len(data), 0, ev.MainPosition.COMPLETE, 0, StreamEnd.CLOSED)
    assert sum(isinstance(event, ev.Flush) for event in events) == (2 if case == "no END" else 3)


def test_problem_says_where() -> None:
    data = build({"part footer": [make.footer(3)]})
    (problem,) = [problem for event in decode(data) for problem in event.problems]
    assert data[problem.offset - 1 : problem.offset + 4] == b"\x7e\0\0\0\3"


def test_body_of_unknown_length_is_found_by_its_footer() -> None:
    """Without vmdescription, and with something that looks like a footer inside."""
    body = b"\x7e\0\0\0\0" + TIMER + b"\x7e\0\0\0\5\x02\0\0\0\2"
    data = build({"timer": make.device(0, "timer", body, version_id=2), "vmdescription": []})
    bodies = [(event.length, event.how) for event in decode(data) if isinstance(event, ev.DeviceBody)]
    assert bodies == [(len(body), ev.BodyLength.FOOTER_SEARCH), (len(STATE), ev.BodyLength.FOOTER_SEARCH)]


@pytest.mark.parametrize("page_size", [PAGE, 65536])
def test_mapped_ram_file(page_size: int) -> None:
    """The stream goes on behind the pages of each block; a header that leads outside the file ends the list."""
    first = ev.RamBlock(b"ram", 16 * page_size, mapped_ram=ev.MappedRam(1, page_size, 0x100, 1 << 20))
    second = ev.RamBlock(b"rom", 4 * page_size, mapped_ram=ev.MappedRam(1, page_size, 0x300000, 4 << 20))
    head: list[MainRecord] = [make.file_header(), make.configuration("none", capabilities=["mapped-ram"])]
    begin = len(placed_stream([*head, make.section_start(2, "ram"), make.block_list([])])[1])
    gaps = []
    for block in (first, second):
        assert block.mapped_ram is not None
        entry = len(placed_stream([make.block_list([block], 0)])[1]) - 8
        end = block.mapped_ram.pages_offset + block.used_length
        gaps.append(end - begin - entry)
        begin = end
    blocks = tuple(block._replace(behind=gap) for block, gap in zip((first, second), gaps, strict=True))
    listed = Record(make.block_list(blocks).event, bytes(sum(gaps)))
    end = [make.end_of_ram(), make.footer(2)]
    tail: list[MainRecord] = [*end, make.section_end(2, "ram"), *end]
    events, data = placed_stream([*head, make.section_start(2, "ram"), listed, *tail, make.end_of_stream()])
    assert decode(data)[:-1] == events
    problems = [problem for event in decode(data[: 4 << 20]) for problem in event.problems]
    assert (problems[0].kind, problems[0].field) == (Kind.MAPPED_RAM_HEADER, "pages_offset")


def test_nothing_is_allocated_or_repeated_by_a_length_alone() -> None:
    """Lengths and counts far beyond what is there: cut, in no time, with nothing kept."""
    huge = b"\xff\xff\xff\xff"
    start = b"QEVM\0\0\0\3"
    ram = start + b"\x07\0\0\0\4none" + placed_stream([make.section_start(2, "ram")])[1]
    capabilities = b"\x05\x1aconfiguration/capabilities\0\0\0\1"
    streams = {
        "machine name": start + b"\x07" + huge,
        "capabilities": start + b"\x07\0\0\0\4none" + capabilities + huge + bytes(64),
        "block list": ram + b"\xff" * 6 + b"\xf0\4" + b"\1a" + bytes(8),
        "block length": ram + b"\xff" * 6 + b"\xf0\4" + b"\1a" + huge * 2 + b"\0" * 7 + b"\x0b" + bytes(5000),
        "package": start + b"\x08\0\7\0\4" + huge + b"\x08\0\x0b\0\0",
        "vmdescription": start + b"\0\6" + huge + b'{"devices": []}',
        "vfio data": start + b"\1\0\0\0\3\4vfio" + bytes(8) + b"\xff\xff\xff\xff\xef\x10\0\4" + huge * 2,
    }
    for name, data in streams.items():
        events = decode(data)
        assert isinstance(events[-1], ev.MainEnd), name
        assert len(events) < 12, name


def test_packages_nest_only_so_deep() -> None:
    nested: list[MainRecord] = [RUN]
    for _ in range(20):
        nested = package(nested)
    events = decode(placed_stream([make.file_header(), make.configuration("none"), *nested, make.end_of_stream()])[1])
    assert [event.problems[0].kind for event in events if isinstance(event, ev.Skipped)] == [Kind.LIMIT]
    assert events[-1].position is ev.MainPosition.COMPLETE  # type: ignore[union-attr]


def test_capabilities_and_names_of_any_bytes_survive() -> None:
    odd = ev.Configuration(0, 0, b"\xff\0pc", (ev.CapabilityList(0, 0, 1, (b"", b"\x80x")),))
    events, data = placed_stream([make.file_header(), Record(odd), *make.device(1, "a", b"")[:1]])
    decoded = decode(data)
    assert decoded[1] == events[1]
    assert decoded[1].machine == "\\xff\x00pc"  # type: ignore[union-attr]
