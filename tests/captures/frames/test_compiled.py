"""The compiled loops see in any file what numpy sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures import compiled
from captures.formats.joined import Part
from captures.formats.mapped import MappedFile, Opened
from captures.frames.batch import dissect_batch
from captures.frames.flows import FlowTable
from captures.native import capture_format
from captures.tcp.collect import SegmentCollector
from tests.captures.frames.test_dissection import frames
from tests.helpers import packets

pytest.importorskip("numba", reason="the extra `fast` is not installed")


@contextmanager
def paying_from(frames_left: int) -> Iterator[None]:
    before, compiled.PAYS_FROM = compiled.PAYS_FROM, frames_left
    try:
        yield
    finally:
        compiled.PAYS_FROM = before


def seen(content: bytes, frames_left: int) -> tuple[list[Any], list[Any]]:
    """All that is known of a capture when the loops are for so many frames and more: first what depends on how
    frames are cut into batches."""
    batches: list[Any] = []
    with paying_from(frames_left):
        opened = Opened(Path("x"), MappedFile(content))
        capture = capture_format(opened.file)
        part, flows, collector = Part(opened, capture, 1000), FlowTable(), SegmentCollector()
        for batch in capture.batches():
            segments, skipped = dissect_batch(opened.file, batch, flows)
            collector.add(part, batch, segments)
            batches += [capture.position, skipped, batch.first_frame]
            batches += [column.tolist() for column in (*batch[1:-1], *segments)]
        data, data_bounds, control, control_bounds, marked = collector.finish(len(flows))
        batches += [column.tolist() for column in (*control, control_bounds)]
        whole = [column.tolist() for column in (*data, data_bounds, marked)]
        ends = [flows.endpoints(flow) for flow in range(len(flows))]
        opened.file.close()
    return batches, [*whole, ends, capture.notes, capture.frames]


@st.composite
def captures(draw: st.DrawFn) -> bytes:
    """Captures of either format and byte order, most of them damaged."""
    some = draw(st.lists(frames(), min_size=1, max_size=12))
    order = draw(st.sampled_from("<>"))
    if draw(st.booleans()):
        content = bytearray(packets.pcap(some, order))
    else:
        content = bytearray(packets.pcapng(some, order, kind=draw(st.sampled_from([2, 3, 6]))))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(4, len(content) - 1))
        content[at : at + 1] = draw(st.binary(max_size=3))
    return bytes(content[: draw(st.one_of(st.just(len(content)), st.integers(4, len(content))))])


@given(captures())
def test_loops_and_numpy_agree(content: bytes) -> None:
    assert seen(content, 0) == seen(content, 1 << 62)


def test_loops_and_numpy_agree_over_batches() -> None:
    """Windows that shut and open, segments of other flows and kinds between, in more frames than a batch has."""
    talk, other = packets.Conversation(), packets.Conversation(client="192.0.2.9")
    some = [packets.frame(one.to_server(0, flags=packets.SYN)) for one in (talk, other)]
    for number in range(9000):
        one = (talk, other)[number % 5 == 0]
        some.append(packets.frame(one.to_server(4 * number, b"\x11\x22\x33\x44" * 2 if number % 99 == 0 else b"data")))
        if number % 2 == 0:
            answer = packets.frame(one.to_client(0, acknowledged=4 * number))
            window = len(answer.data) - 6
            shut = answer.data[:window] + bytes(2) + answer.data[window + 2 :]
            some.append(replace(answer, data=shut) if number // 500 % 2 else answer)
    assert seen(packets.pcapng(some), 0) == seen(packets.pcapng(some), 1 << 62)
    # Without the loops batches of this format are of any size.
    assert seen(packets.pcap(some), 0)[1] == seen(packets.pcap(some), 1 << 62)[1]
