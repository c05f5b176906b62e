"""The main channel codec: recordings byte for byte, any chunking, truncation, damage, holes."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multifd_codec.draft import main_records as make
from multifd_codec.draft.main_records import MainRecord
from multifd_codec.main import events as ev
from multifd_codec.main.decoder import MainDecoder
from multifd_codec.main.encode import encode_main
from multifd_codec.source import BufferSource, StreamEnd
from tests.conftest import SAMPLES
from tests.helpers.main_channels import decode, main_items, placed_stream, recorded

RECORDED = sorted(path.name for path in SAMPLES.glob("*.pcap*") if "tls" not in path.name)
SMALL = "q10.0-none-known-ram-two-devices.pcap.zst"
LEGACY = "q7.2-none-known-ram.pcap.zst"
PC = "q10.0-pc-two-devices.pcap.zst"
PC_DEVICES = 30
"""Devices of machine pc that write a FULL section."""
TRUTH = "truth/q10.0-two-devices/"


def counts(events: list[ev.MainEvent]) -> dict[str, int]:
    """How many there are of what a linter counts."""
    kinds = (
        ev.SectionStart,
        ev.SectionPart,
        ev.SectionEnd,
        ev.SectionFull,
        ev.Flush,
        ev.EndOfRam,
        ev.ZeroPage,
        ev.VfioRecord,
        ev.DeviceBody,
    )
    found = Counter(type(event) for event in events)
    return {kind.__name__: found[kind] for kind in kinds}


def encoded(events: list[ev.MainEvent], data: bytes) -> bytes:
    return b"".join(encode_main(events, lambda offset, length: data[offset : offset + length]))


def covers(events: list[ev.MainEvent], data: bytes) -> bool:
    """Every byte belongs to one event, in order, and the last event is the only MainEnd."""
    joined = all(event.offset <= ev.end_of(event) == behind.offset for event, behind in pairwise(events[:-1]))
    last = events[-1]
    cut = not isinstance(last, ev.MainEnd) or last.offset + last.length != len(data)
    return joined and not cut and events[0].offset == 0 and sum(isinstance(e, ev.MainEnd) for e in events) == 1


@pytest.mark.parametrize("name", RECORDED)
def test_recordings_are_understood_and_encode_to_the_same_bytes(name: str) -> None:
    data = recorded(name)
    decoder = MainDecoder(BufferSource(data))
    events = list(decoder.events())
    assert encoded(events, data) == data
    assert encoded(list(MainDecoder(BufferSource(data)).walk()), data) == data  # type: ignore[arg-type]
    assert covers(events, data)
    assert not [problem for event in events for problem in event.problems]
    assert events[-1] == ev.MainEnd(len(data), 0, ev.MainPosition.COMPLETE, 0, StreamEnd.CLOSED)
    described = next(event for event in events if isinstance(event, ev.VmDescription)).devices
    fulls = [event for event in events if isinstance(event, ev.SectionFull)]
    assert [(full.device, full.instance_id) for full in fulls] == [(d.idstr, d.instance_id) for d in described]
    for body in (event for event in events if isinstance(event, ev.DeviceBody)):
        assert body.how is ev.BodyLength.VMDESCRIPTION
        assert sum(field.length for field in decoder.fields(body)) == body.length


FACTS = {
    LEGACY: (1, 1, 1, 2, 0, 3, 557, 0, 2),
    "q7.2-pc.pcap.zst": (1, 1, 1, PC_DEVICES, 0, 3, 303, 0, PC_DEVICES),
    "q11.1-none.pcap": (1, 1, 1, 2, 3, 3, 0, 0, 2),
    SMALL: (3, 1, 3, 4, 3, 3, 0, 8, 2),
    PC: (3, 1, 3, PC_DEVICES + 2, 4, 3, 0, 8, PC_DEVICES),
    TRUTH + "extra_flush.pcap.zst": (3, 1, 3, 4, 4, 3, 0, 8, 2),
    TRUTH + "main_truncated_in_ram.pcap.zst": (3, 1, 1, 0, 3, 2, 0, 4, 0),
}
"""Recording to counts in the order of ``counts``: from hex dumps of the streams, truth cases from their names."""


@pytest.mark.parametrize("name", FACTS)
def test_facts_of_recordings(name: str) -> None:
    assert tuple(counts(decode(recorded(name))).values()) == FACTS[name]


@pytest.mark.parametrize("name", RECORDED)
def test_rendezvous_records_are_as_many_as_sync_packets(name: str) -> None:
    """The channels are the judge: their SYNC packets were counted by an independent reader."""
    found = counts(decode(recorded(name)))
    manifest = json.loads((SAMPLES / "manifest.json").read_text())[name]
    syncs = {channel["sync"] for channel in manifest if channel["channel"] != "main"}
    assert syncs == {found["Flush"] or found["EndOfRam"]}


def test_what_a_recording_says() -> None:
    events = decode(recorded(SMALL))
    (configuration,) = [event for event in events if isinstance(event, ev.Configuration)]
    (blocks,) = [event for event in events if isinstance(event, ev.BlockList)]
    commands = [(event.name, event.payload) for event in events if isinstance(event, ev.Command)]
    assert configuration.machine == "none"
    assert [(block.block, block.used_length) for block in blocks.blocks] == [("ram0", 4 << 20)]
    assert commands == [("OPEN_RETURN_PATH", b""), ("PING", b"\0\0\0\1"), ("SWITCHOVER_START", b"")]
    data = recorded(SMALL)
    decoder = MainDecoder(BufferSource(data))
    globalstate = [event for event in decoder.events() if isinstance(event, ev.DeviceBody)][1]
    values = {field.path: field.value for field in decoder.fields(globalstate)}
    assert values["size"] == 8
    assert values["runstate"] == b"running".ljust(32, b"\0")


@given(main_items())
def test_round_trip(items: list[MainRecord]) -> None:
    events, data = placed_stream(items)
    decoded = decode(data)
    assert decoded[:-1] == events
    assert decoded[-1] == ev.MainEnd(len(data), 0, ev.MainPosition.COMPLETE, 0, StreamEnd.CLOSED)
    assert encoded(decoded, data) == data


@given(st.integers(0, 300), st.data())
def test_runs_of_zero_pages_are_the_records(count: int, data: st.DataObject) -> None:
    """Runs hold what the records say one by one, wherever an address outside, a fill byte or a name interrupts them."""
    odd = data.draw(st.dictionaries(st.integers(0, max(0, count - 1)), st.sampled_from(["out", "fill", "name"])))
    block, pages = ev.RamBlock(b"ram", 512 * 4096), []
    for number in range(count):
        what = odd.get(number)
        addr = (number + 512 * (what == "out")) * 4096
        pages.append(make.zero_page(addr, "ram", named=number == 0 or what == "name", fill=7 * (what == "fill")))
    items = [make.section_start(2, "ram"), make.block_list([block]), *pages, make.end_of_ram(), make.footer(2)]
    events, stream = placed_stream([make.file_header(), make.configuration("none"), *items, make.end_of_stream()])
    walked = list(MainDecoder(BufferSource(stream)).walk())
    expanded = [e for item in walked for e in (item.records() if isinstance(item, ev.ZeroPageRun) else [item])]
    assert expanded == decode(stream)
    assert [event._replace(problems=()) for event in expanded[:-1]] == events
    wrong = [event.offset for event in expanded if isinstance(event, ev.ZeroPage) and event.problems]
    bad = [number for number in sorted(odd) if number < count and odd[number] != "name"]
    assert [(offset, 1) for offset in wrong] == [(events[4 + number].offset, 1) for number in bad]
    if count > 60 and not odd:
        runs = [item for item in walked if isinstance(item, ev.ZeroPageRun)]
        assert np.concatenate([run.pages for run in runs]).tolist() == [4096 * n for n in range(1, count)]


@given(main_items(), st.data())
def test_any_chunking_gives_the_same_events(items: list[MainRecord], data: st.DataObject) -> None:
    stream = placed_stream(items)[1]
    if data.draw(st.booleans()):
        cut = data.draw(st.integers(0, len(stream)))
        stream = stream[:cut] + data.draw(st.binary(max_size=9)) + stream[cut + data.draw(st.integers(0, 9)) :]
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    assert _in_chunks(stream, cuts) == decode(stream)


@pytest.mark.parametrize("name", [SMALL, LEGACY, TRUTH + "main_truncated_in_ram.pcap.zst"])
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_recordings_in_chunks(name: str, step: int) -> None:
    data = recorded(name)
    assert _in_chunks(data, range(0, len(data), step)) == decode(data)


def _in_chunks(stream: bytes, cuts: Any) -> list[ev.MainEvent]:
    source = BufferSource(end=StreamEnd.OPEN)
    decoder = MainDecoder(source, growing=True)
    found: list[ev.MainEvent] = []
    for start, end in pairwise([0, *sorted(cuts), len(stream)]):
        source.feed(stream[start:end])
        found += decoder.events()
    source.close()
    return [*found, *decoder.events()]


@pytest.mark.parametrize("name", [SMALL, LEGACY])
@given(data=st.data())
def test_truncation_loses_only_what_is_cut(name: str, data: st.DataObject) -> None:
    """What lies in front of the cut is decoded as in the whole stream; only device bodies are found in another way."""
    stream = recorded(name)
    whole = [_as_found_by_search(event) for event in decode(stream)]
    ends = sorted({ev.end_of(event) for event in whole if not isinstance(event, ev.MainEnd)})
    near = st.builds(lambda end, by: min(end + by, len(stream)), st.sampled_from(ends), st.integers(-4, 4))
    size = data.draw(near | st.integers(0, len(stream)))
    events = decode(stream[:size])
    assert covers(events, stream[:size])
    there = [_as_found_by_search(event) for event in events[:-1]]
    assert there == whole[: len(there)]
    position = events[-1].position  # type: ignore[union-attr]
    eof = any(isinstance(event, ev.EndOfStream) for event in there)
    assert (position in (ev.MainPosition.COMPLETE, ev.MainPosition.VMDESCRIPTION)) == eof


def _as_found_by_search(event: ev.MainEvent) -> ev.MainEvent:
    if isinstance(event, ev.DeviceBody):
        return event._replace(how=ev.BodyLength.FOOTER_SEARCH)
    if isinstance(event, ev.VmDescription):
        return event._replace(payload_length=0, page_size=None, devices=(), problems=())
    return event


@given(st.sampled_from([SMALL, LEGACY, None]), st.data())
def test_damage_never_raises_and_covers_every_byte(name: str | None, data: st.DataObject) -> None:
    stream = bytearray(recorded(name) if name else placed_stream(data.draw(main_items()))[1])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(stream)))
        kind = data.draw(st.sampled_from(["flip", "insert", "delete", "copy"]))
        if kind == "flip" and at < len(stream):
            stream[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "insert":
            stream[at:at] = data.draw(st.binary(max_size=30))
        elif kind == "delete":
            del stream[at : at + data.draw(st.integers(1, 30))]
        elif kind == "copy":
            stream[at:at] = stream[max(0, at - 40) : at]
    damaged = bytes(stream)
    events = decode(damaged)
    assert covers(events, damaged)
    assert encoded(events, damaged) == damaged


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: b"QEVM\0\0\0\3" + tail))
def test_any_bytes_at_all(data: bytes) -> None:
    events = decode(data)
    assert covers(events, data)
    assert encoded(events, data) == data


@given(st.sampled_from([SMALL, LEGACY]), st.data())
def test_holes_never_raise_and_never_add_problems(name: str, data: st.DataObject) -> None:
    """What was not recorded is no fault of the stream."""
    stream = recorded(name)
    start = data.draw(st.integers(0, len(stream) - 1))
    end = data.draw(st.integers(start + 1, min(len(stream), start + 200)))
    events = decode(stream, (start, end))
    assert covers(events, stream)
    assert not [problem for event in events for problem in event.problems]


def test_hole_inside_a_body_is_not_noticed() -> None:
    """Neither in a page nor in device state does it matter, as long as headers and the vmdescription are there."""
    data = recorded(PC)
    whole = decode(data)
    bodies = [event for event in whole if isinstance(event, ev.DeviceBody) and event.length > 100]
    assert decode(data, *((body.offset + 10, body.offset + body.length - 10) for body in bodies)) == whole


def test_hole_over_headers_costs_only_its_neighbourhood() -> None:
    data = recorded(LEGACY)
    whole = decode(data)
    zero = [event for event in whole if isinstance(event, ev.ZeroPage)]
    begin, end = zero[200].offset + 3, zero[210].offset + 4  # eleven records, two of them in part
    events = decode(data, (begin, end))
    (skipped,) = [event for event in events if isinstance(event, ev.Skipped)]
    assert (skipped.offset, ev.end_of(skipped), skipped.hole) == (zero[200].offset, zero[211].offset, True)
    assert counts(events) | {"ZeroPage": 0} == counts(whole) | {"ZeroPage": 0}
    left = [event for event in events if isinstance(event, ev.ZeroPage)]
    assert [page.offset for page in left] == [page.offset for page in zero[:200] + zero[211:]]
    assert left[200].block is None  # which block CONTINUE means was lost
    (start,) = [event for event in whole if isinstance(event, ev.SectionStart)]
    late = decode(data, (0, ev.end_of(start)))
    assert counts(late)["EndOfRam"] == 2  # of three: the RAM setup section is lost, PART and END are found
    assert late[-1] == whole[-1]
