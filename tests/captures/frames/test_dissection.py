"""The fast dissector and the slow one agree on any frame; the slow one is checked against what was built."""

from __future__ import annotations

import tempfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.formats.mapped import MappedFile
from captures.formats.pcapng import PcapngFile
from captures.frames.batch import dissect_batch
from captures.frames.columns import column_names
from captures.frames.flows import FlowTable
from captures.frames.frame import Segment, Skip, dissect
from tests.helpers import packets
from tests.helpers.packets import LINKS, Frame, Tcp

ADDRESSES = {4: ("10.1.2.3", "192.168.255.254"), 6: ("2001:db8::1:2", "fe80::ffff:0:9")}
NOPS = b"\x01\x01\x01\x01"


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("link", LINKS)
def test_every_link_type(link: str, version: int) -> None:
    tcp = Tcp(*ADDRESSES[version], 1, 65535, 2**32 - 1, 7, packets.PSH, b"payload", tcp_options=NOPS)
    frame = packets.frame(tcp, link)
    padded = frame.data + b"ethernet padding"
    start = len(frame.data) - len(tcp.payload)
    segment = dissect(memoryview(padded), len(padded), frame.link)
    assert isinstance(segment, Segment)
    assert segment[2:] == (1, 65535, 2**32 - 1, 7, packets.PSH, 65535, start, 7, 7, False)


V4 = Tcp(*ADDRESSES[4], 10, 20, 30, payload=b"12345678")
V6 = replace(V4, source=ADDRESSES[6][0], destination=ADDRESSES[6][1])
UDP_TO_VXLAN = b"\x12\x34\x12\xb5\x00\x10\x00\x00"
ODD = {
    "IP options": (replace(V4, ip_options=NOPS * 3), 8),
    "IPv6 hop-by-hop header": (replace(V6, ip_options=packets.hop_by_hop()), 8),
    "IPv6 fragment that is whole": (replace(V6, ip_options=bytes([6, 0, 0, 0, 1, 2, 3, 4, 44])), 8),
    "larger than the IP length can say": (replace(V4, payload=bytes(100_000), offloaded=True), 100_000),
    "the same in IPv6": (replace(V6, payload=bytes(100_000), offloaded=True), 100_000),
    "first fragment": (replace(V4, fragment=0x2000), 8),
    "later fragment": (replace(V4, fragment=0x0010), Skip.FRAGMENT),
    "later IPv6 fragment": (replace(V6, ip_options=bytes([6, 0, 0, 9, 1, 2, 3, 4, 44])), Skip.FRAGMENT),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_packets(name: str) -> None:
    tcp, expected = ODD[name]
    frame = packets.frame(tcp)
    segment = dissect(memoryview(frame.data), frame.length, frame.link)
    assert (segment.length if isinstance(segment, Segment) else segment) == expected
    assert isinstance(segment, Skip) or segment.fragment == (tcp.fragment > 0)


CARRIERS = [
    Frame(packets.ethernet(packets.ip_packet(*ADDRESSES[4], 47, bytes(40)), 4)),
    Frame(packets.ethernet(packets.ip_packet(*ADDRESSES[6], 4, bytes(40)), 6)),
    Frame(packets.ethernet(packets.ip_packet(*ADDRESSES[4], 17, UDP_TO_VXLAN + bytes(40)), 4)),
    Frame(packets.ethernet(packets.ip_packet(*ADDRESSES[6], 17, UDP_TO_VXLAN), 6)),
    Frame(bytes(12) + b"\x88\x64" + bytes(40)),
    Frame(packets.ethernet(bytes(40), 4, [0x8100, 0x8847])[:60]),
]


def test_carriers_are_told_apart() -> None:
    assert [dissect(memoryview(frame.data), frame.length, frame.link) for frame in CARRIERS] == [Skip.CARRIER] * 6


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    """Frames of all shapes, bent a little."""
    if draw(st.integers(0, 5)) == 0:
        frame = draw(st.sampled_from(CARRIERS))
    else:
        version = draw(st.sampled_from([4, 6]))
        link = draw(st.sampled_from(list(LINKS)))
        options = {4: [b"", NOPS, NOPS * 10], 6: [b"", packets.hop_by_hop()]}[version]
        frame = packets.frame(
            Tcp(
                *ADDRESSES[version],
                *draw(st.tuples(*[st.integers(0, 65535)] * 2, *[st.integers(0, 2**32 - 1)] * 2, st.integers(0, 255))),
                payload=draw(st.binary(max_size=30)),
                tcp_options=draw(st.sampled_from([b"", NOPS * 3, NOPS * 10])),
                ip_options=draw(st.sampled_from(options)),
                fragment=draw(st.sampled_from([0, 0, 0x4000, 0x2000, 0x2001])),
                offloaded=draw(st.integers(0, 9)) == 0,
            ),
            link,
        )
    data = bytearray(frame.data + draw(st.sampled_from([b"", bytes(9)])))
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        data[draw(st.integers(0, min(len(data), 90) - 1))] = draw(st.integers(0, 255))
    kept = draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))
    original = draw(st.sampled_from([len(data), len(data), len(data) + 70_000]))
    link_number = draw(st.sampled_from([frame.link] * 9 + [147, 12]))
    return Frame(bytes(data[:kept]), original, link=link_number)


@given(st.lists(frames(), min_size=1, max_size=12))
def test_fast_and_slow_dissection_agree(some: list[Frame]) -> None:
    with tempfile.TemporaryFile() as storage:
        storage.write(packets.pcapng(some))
        file = MappedFile(storage)
    results = []
    for fast in (True, False):
        flows = FlowTable()
        (batch,) = PcapngFile(file).batches()
        segments, skipped = dissect_batch(file, batch, flows, fast=fast)
        del skipped[Skip.UNRELATED]
        columns = {name: getattr(segments, name).tolist() for name in column_names(segments) if name != "flow"}
        results.append((columns, [flows.endpoints(flow) for flow in segments.flow.tolist()], +skipped))
    file.close()
    assert results[0] == results[1]


@given(st.lists(st.tuples(st.sampled_from([4, 6]), *[st.integers(0, 3)] * 4), min_size=1))
def test_flows_have_a_reverse(keys: list[tuple[int, int, int, int, int]]) -> None:
    flows, numbers = FlowTable(), []
    for version, source, destination, source_port, destination_port in keys:
        ports = np.array([source_port << 16 | destination_port], np.uint32)
        if version == 4:
            (number,) = flows.numbers4(np.array([source << 32 | destination], np.uint64), ports)
        else:
            words = [np.array([word], np.uint64) for word in (1 << 63, source, 1 << 63, destination)]
            (number,) = flows.numbers6((words[0], words[1]), (words[2], words[3]), ports)
        numbers.append(int(number))
    ends = {number: flows.endpoints(number) for number in numbers}
    assert len(ends) == len(flows) == len(set(ends.values())) == len(set(keys))
    back = {ends[number]: number for number in ends}
    assert flows.reverse().tolist() == [back.get(ends[number][::-1], -1) for number in sorted(ends)]
    for _, receiver in ends.values():
        assert flows.flows_to(receiver).tolist() == sorted(number for number in ends if ends[number][1] == receiver)
