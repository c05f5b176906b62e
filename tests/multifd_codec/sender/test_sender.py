"""The reference sender: each release's grammar, numbers, left-overs, and what a destination makes of it."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multifd_codec.channel.events import DeviceStatePacket, RamPacket
from multifd_codec.dialect.releases import RELEASES, RFC_V3, release
from multifd_codec.dialect.sync_policy import POLICIES
from multifd_codec.draft.draft import Draft
from multifd_codec.errors import InputError
from multifd_codec.main import events as ev
from multifd_codec.plan.page_content import Pattern, Zero
from multifd_codec.plan.plan import Block, Device, MigrationPlan, Pages, Round, check, habits, memory
from multifd_codec.sender import draft, send
from multifd_codec.source import BufferSource
from multifd_codec.strategies import DIALECTS, plans
from multifd_codec.wire.packet import pages_per_packet
from multifd_codec.wire.qemufile import CommandId
from tests.multifd_codec.grammar import L, M, Row, channel_letters, main_letters, rebuilt, rows

EVERY_ROW = pytest.mark.parametrize(("name", "row"), [pytest.param(n, r, id=f"{n}-{r.mode}") for n, r in rows()])


def test_every_dialect_has_its_rows() -> None:
    """Per section all of them, per round those from 8.1 on."""
    found = [name for name, _ in rows()]
    assert {name: found.count(name) for name in DIALECTS} == {
        name: 1 + (release(name).version >= (8, 1)) for name in DIALECTS
    }


@EVERY_ROW
@given(data=st.data())
def test_grammar(name: str, row: Row, data: st.DataObject) -> None:
    plan = data.draw(plans(dialects=[name], modes=[row.mode]))
    made = draft(plan)
    main = main_letters(BufferSource(made.encoded("main")))
    flush = "F" if row.mode is M else ""
    body = "(p*F)*p*E" if row.mode is M else "p*E"
    switchover = "X" if release(name).sender.device_state else ""
    device = len(plan.devices)
    expected = (
        rf"{'OP' * plan.return_path}START\[B{flush}E\](start\[tt\]){{{device}}}(PART\[{body}\])+"
        rf"{switchover}END\[{row.end}\](end\[t\]){{{device}}}FULL\[\](FULL\[t\]){{{device}}}FULL\[\]\.J"
    )
    assert re.fullmatch(expected, main)
    rendezvous = main.count("F" if row.mode is M else "E]") - (row.mode is M) * main.count("FULL")
    channel = row.device_state if plan.devices and row.device_state else row.channel
    for number in range(plan.channels):
        letters = channel_letters(BufferSource(made.encoded(number)), plan.page_size)
        assert re.fullmatch(f"IS{channel}", letters), letters
        assert letters.count("S") + letters.count("M") == rendezvous + row.unmatched
        assert "M" not in letters or plan.merge_sync


PLAN = MigrationPlan(
    blocks=(Block("ram", 3 * 4096),),
    rounds=(
        Round((Pages("ram", 0, 1, Pattern(1)), Pages("ram", 1, 1, Zero()), Pages("ram", 2, 1, Pattern(1)))),
        Round((Pages("ram", 0, 1, Pattern(2)),)),
    ),
    final=(Round((Pages("ram", 1, 1, Pattern(3)),)),),
    channel_order=(0, 1),
)
"""Three pages, of which one is zero; two rounds of one packet each, one packet when the guest has stopped."""
STOCK = "FULL[]FULL[].J"


@pytest.mark.parametrize(
    ("dialect", "changes", "expected"),
    [
        ("qemu-7.2", {}, (f"START[BE]PART[pE]PART[E]END[E]{STOCK}", "ISDSSDS", "ISSDSS")),
        ("qemu-7.2", {"merge_sync": 1.0}, (f"START[BE]PART[pE]PART[E]END[E]{STOCK}", "ISM0SM0", "ISSM0S")),
        ("qemu-8.2", {}, (f"START[BFE]PART[pFE]PART[FE]END[FFE]{STOCK}", "ISDSSDSS", "ISSDSSS")),
        ("qemu-9.0", {}, (f"START[BFE]PART[FE]PART[FE]END[FFE]{STOCK}", "ISDSSDSS", "ISSDSSS")),
        ("qemu-9.2", {}, (f"START[BFE]PART[FE]PART[FE]END[FE]{STOCK}", "ISDSSDSS", "ISSDSSS")),
        ("qemu-10.0", {}, (f"START[BFE]PART[FE]PART[FE]XEND[FE]{STOCK}", "ISDSSDS", "ISSDSS")),
        ("qemu-10.0", {"machine": "pc-q35-8.0"}, (f"START[BE]PART[pE]PART[E]END[E]{STOCK}", "ISDSSDS", "ISSDSS")),
        (
            "qemu-10.0",
            {"devices": (Device("v", 300, 100),)},
            (
                "START[BFE]start[tt]PART[FE]PART[FE]XEND[FE]end[t]FULL[]FULL[t]FULL[].J",
                "ISDSSDSVV",
                "ISSDSVSV",
            ),
        ),
        (
            RFC_V3,
            {"devices": (Device("v", 300, 100),)},
            (
                "START[BFE]start[tt]PART[FE]PART[FE]XEND[FE]end[t]FULL[]FULL[t]FULL[].J",
                "ISDSSDSVVS",
                "ISSDSVSVS",
            ),
        ),
    ],
)
def test_a_small_migration_letter_by_letter(
    dialect: str, changes: dict[str, object], expected: tuple[str, ...]
) -> None:
    made = draft(replace(PLAN, dialect=dialect, **changes))  # type: ignore[arg-type]
    found = [channel_letters(BufferSource(made.encoded(number)), 4096) for number in range(2)]
    assert (main_letters(BufferSource(made.encoded("main"))), *found) == expected


@given(plans(compression=["none", "zlib", "zstd", "qpl", "uadk"], policies=[None, *POLICIES]))
def test_a_destination_gets_the_memory_of_the_plan(plan: MigrationPlan) -> None:
    """Twice the same bytes, in an order in which they can be sent, and the plan's memory when decoded."""
    sent = list(send(plan))
    made = draft(plan)
    streams = {name: made.encoded(name) for name, _ in made.lines()}
    for name, data in streams.items():
        assert b"".join(record.encoded() for on, record in sent if on == name) == data
    mode = check(plan).mode
    assert rebuilt(streams.pop("main"), streams.values(), plan.page_size, mode) == memory(plan)


@given(plans())
def test_what_is_sent_before_what(plan: MigrationPlan) -> None:
    """SYNCs of every channel before their rendezvous record; device state between switchover and the FULL sections."""
    mode = habits(plan).mode
    kind = ev.Flush if mode is M else ev.EndOfRam
    syncs, passed = [0] * plan.channels, 0
    switched = full = False
    for name, record in draft(plan).sent():
        event = record.event
        if isinstance(event, kind):
            passed += 1
            deferred = plan.dialect == RFC_V3 and plan.devices and mode is L and switched
            assert min(syncs) >= passed - bool(deferred)
        elif isinstance(event, ev.Command):
            switched = switched or event.command == CommandId.SWITCHOVER_START
        elif isinstance(event, ev.SectionFull):
            full = True
        elif isinstance(event, DeviceStatePacket):
            assert switched and not full
        elif isinstance(event, RamPacket) and event.sync:
            assert name != "main"
            syncs[name] += 1


@given(plans())
def test_packet_numbers(plan: MigrationPlan) -> None:
    """Dense from 9.0 on; before, a merged SYNC takes the number of its data with it (B.5, B.6)."""
    made = draft(plan)
    numbers = [[record.event.packet_num for record in made.rams(channel)] for channel in range(plan.channels)]
    flat = sorted(number for channel in numbers for number in channel)
    if not plan.merge_sync:
        assert flat == list(range(len(flat)))
        assert all(before < after for channel in numbers for before, after in pairwise(channel))
        return
    assert all(before <= after for channel in numbers for before, after in pairwise(channel))
    for channel in range(plan.channels):
        for before, after in pairwise(record.event for record in made.rams(channel)):
            owed = not after.sync and not after.normal_pages
            assert (before.packet_num == after.packet_num) == owed == (before.sync and before.normal_pages > 0)


def test_compressed_packets_of_zero_pages_are_lost_from_9_0_to_9_2() -> None:
    """They took a number (C.6)."""
    for version, row in RELEASES.items():
        if version < (9, 0):
            continue
        plan = replace(
            PLAN, dialect=row.name, compression="zlib", final=(Round((Pages("ram", 0, 2, Zero()),)),), channels=1,
            channel_order=(),
        )  # fmt: skip
        events = [record.event for record in draft(plan).rams(0)]
        lost = version < (10, 0)
        assert any(event.zero_pages == 2 for event in events) != lost
        numbers = [event.packet_num for event in events]
        assert set(range(max(numbers))) - set(numbers) == ({5} if lost else set())


LEFT_OVER = (
    # releases, next_packet_size of a SYNC behind data of 4096 bytes, its pages_alloc (NP: as many as a packet can
    # hold), whether it repeats block and offsets: protocol reference, B.1, B.4, B.5
    ((4, 0), (4, 2), 0, "NP", True),
    ((5, 0), (8, 1), 4096, "NP", True),
    ((8, 2), (9, 1), 0, "NP", True),
    ((9, 2), (11, 1), 0, "0", False),
)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("page_size", [4096, 65536])
def test_what_a_sync_packet_has_left_over(dialect: str, page_size: int) -> None:
    version = release(dialect).version
    (row,) = [entry for entry in LEFT_OVER if entry[0] <= version <= entry[1]]
    pages = (Pages("ram", 2, 1, Pattern(1)), Pages("bios", 0, 2, Pattern(1)), Pages("bios", 3, 1, Pattern(1)))
    plan = MigrationPlan(
        (Block("ram", 4 * page_size), Block("bios", 4 * page_size)),
        (Round(pages), Round(pages[:1])),
        dialect=dialect,
        channels=1,
        page_size=page_size,
    )
    setup, first, second, after, third, last = [record.event for record in draft(plan).rams(0)][:6]
    capacity = pages_per_packet(page_size)
    assert [event.sync for event in (setup, first, second, after, third, last)] == [1, 0, 0, 1, 0, 1]
    assert [(event.block, event.normal_pages) for event in (first, second, third)] == [
        ("ram", 1), ("bios", 3), ("ram", 1)
    ]  # fmt: skip
    assert {event.pages_alloc for event in (first, second, third)} == {capacity}
    assert {event.pages_alloc for event in (setup, after, last)} == {capacity if row[3] == "NP" else 0}
    assert (setup.block, setup.next_packet_size, setup.pages) == ("", 0, (0,) * capacity)
    size = row[2] // 4096 * page_size
    assert (after.next_packet_size, last.next_packet_size) == (3 * size, size)
    assert (after.block, last.block) == (("bios", "ram") if row[4] else ("", ""))
    padding = (0,) * (capacity - 3)
    offsets = (0, page_size, 3 * page_size)
    assert after.pages == ((*offsets, *padding) if row[4] else (0,) * capacity)
    assert third.pages == (2 * page_size, *(offsets[1:] if row[4] else (0, 0)), *padding)
    assert {event.flags for event in (setup, after, last)} == {1}


def test_pages_that_wait_for_a_sync_are_sent_when_none_comes() -> None:
    plan = replace(PLAN, dialect="qemu-7.2", merge_sync=1.0, policy="threads-only")
    found = [channel_letters(BufferSource(draft(plan).encoded(number)), 4096) for number in range(2)]
    assert found == ["ISM0SD", "ISSM0"]


def test_a_batch_ends_when_full_and_where_a_block_ends() -> None:
    plan = MigrationPlan(
        (Block("ram", 300 * 4096), Block("bios", 4096)),
        (Round((Pages("ram", 0, 300, Pattern(1, 0.5)), Pages("bios", 0, 1, Zero()))),),
        channels=1,
        dialect="qemu-9.0",
    )
    counts = [(e.block, e.normal_pages + e.zero_pages) for e in (r.event for r in draft(plan).rams(0)) if not e.sync]
    assert counts == [("ram", 128), ("ram", 128), ("ram", 44), ("bios", 1)]
    content = bytes(memory(plan)["ram"])
    empty = sum(not any(content[at : at + 4096]) for at in range(0, len(content), 4096))
    for detection, on_main, in_packets in (("none", 0, 0), ("legacy", empty + 1, 0), ("multifd", 0, empty + 1)):
        made = draft(replace(plan, zero_page_detection=detection))
        assert main_letters(BufferSource(made.encoded("main"))).count("p") == on_main
        assert sum(record.event.zero_pages for record in made.rams(0)) == in_packets
        assert 100 < empty < 200 and sum(record.event.normal_pages for record in made.rams(0)) == 301 - (
            on_main + in_packets
        )


def test_sections_share_the_pages_of_a_round() -> None:
    plan = replace(PLAN, rounds=(Round(PLAN.rounds[0].pages, sections=3),), channels=1, channel_order=())
    for mode, main, channel in (
        (M, "START[BFE]PART[E]PART[E]PART[FE]XEND[FE]", "ISDSDS"),
        (L, "START[BE]PART[E]PART[E]PART[E]XEND[E]", "ISDSDSDSDS"),
    ):
        made = draft(replace(plan, mode=mode))
        assert main_letters(BufferSource(made.encoded("main"))) == main + STOCK
        assert channel_letters(BufferSource(made.encoded(0)), 4096) == channel


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dialect": "qemu-7.2", "mode": M}, "cannot send per round"),
        ({"dialect": "qemu-3.1"}, "not supported"),
        ({"dialect": "qemu-8.2", "compression": "qpl"}, "no compression qpl"),
        ({"dialect": "qemu-8.2", "zero_page_detection": "multifd"}, "on main only"),
        ({"dialect": "qemu-9.2", "devices": (Device("v", 1),)}, "no device state"),
        ({"compression": "zlib", "devices": (Device("v", 1),)}, "needs compression none"),
        ({"dialect": "qemu-9.2", "switchover_start": True}, "no SWITCHOVER_START"),
        ({"merge_sync": 0.5}, "never merges"),
        ({"policy": "later"}, "no sync policy"),
        ({"channels": 0}, "1 to 255"),
        ({"page_size": 5000}, "no target page size"),
        ({"channel_order": (0, 2)}, "channel 2"),
        ({"blocks": (Block("ram", 4097),)}, "not a number of pages"),
        ({"blocks": ()}, "needs a RAM block"),
        ({"blocks": 2 * PLAN.blocks}, "twice in the plan"),
        ({"rounds": ()}, "needs a round"),
        ({"rounds": (Round((Pages("ram", 2, 2, Zero()),)),)}, "ram has 3"),
        ({"rounds": (Round((Pages("rom", 0, 1, Zero()),)),)}, "not in the plan"),
        ({"rounds": (Round((Pages("ram", 0, 2, Zero()), Pages("ram", 1, 1, Zero()))),)}, "page 1 of RAM block ram"),
        ({"mode": L, "final": 2 * PLAN.final}, "page 1 of RAM block ram"),
        ({"final": (Round((), 2),)}, "one END section"),
        ({"devices": 2 * (Device("v", 1),)}, "twice in the plan"),
        ({"devices": (Device("v", 1, 0),)}, "buffers hold"),
        ({"devices": (Device("", 1),)}, "1 to 255 bytes"),
    ],
)
def test_what_no_source_could_send(changes: dict[str, object], words: str) -> None:
    plan = replace(PLAN, **changes)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=re.escape(words)) as raised:
        next(iter(send(plan)))
    assert "\n" not in str(raised.value)


def streams(made: Draft) -> dict[object, bytes]:
    return {name: made.encoded(name) for name, _ in made.lines()}


def test_the_seed_picks_channels_and_device_state_only() -> None:
    plan = replace(PLAN, devices=(Device("v", 300, 100),), channel_order=(), channels=4)
    assert streams(draft(plan)) == streams(draft(plan)) != streams(draft(replace(plan, seed=1)))
    assert draft(plan).encoded("main") == draft(replace(plan, seed=1)).encoded("main")
