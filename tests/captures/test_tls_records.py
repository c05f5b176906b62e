"""The TLS records of a stream, whatever its bytes and wherever it ends, without keys."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from captures.memory import MemorySource
from captures.tls import ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, RECORD_HEADER, Cut, read_records
from multifd_codec.source import Hole, HoleReason, StreamEnd

PER_FRAME = 100
RECORDS = st.lists(
    st.tuples(st.sampled_from([CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA]), st.binary(max_size=300)),
    max_size=8,
)


def _stream(data: bytes, end: StreamEnd = StreamEnd.CLOSED, holes: tuple[Hole, ...] = ()) -> MemorySource:
    source = MemorySource(data, end=end, holes=holes)
    source.frames = tuple((offset, 1 + offset // PER_FRAME) for offset in range(0, len(data), PER_FRAME))
    return source


def _frame(offset: int) -> int:
    return 1 + offset // PER_FRAME


@given(RECORDS, st.data())
def test_records_up_to_where_the_stream_ends(records: list[tuple[int, bytes]], data: st.DataObject) -> None:
    whole = [RECORD_HEADER.pack(kind, 0x0303, len(body)) + body for kind, body in records]
    ends = list(accumulate(map(len, whole)))
    stop = data.draw(st.integers(0, ends[-1] if ends else 0))
    found = read_records(_stream(b"".join(whole)[:stop]))

    complete = [end for end in ends if end <= stop]
    there = stop - (complete[-1] if complete else 0)
    assert not found.lost
    if there:
        of = len(whole[len(complete)]) if there >= RECORD_HEADER.size else None
        assert found.cut == Cut(there, of)
    else:
        assert found.cut is None
    assert (found.last and found.last.frame) == (_frame(complete[-1] - 1) if complete else None)
    kinds = [kind for kind, _ in records[: len(complete)]]
    encrypted = [kind == APPLICATION_DATA or CHANGE_CIPHER_SPEC in kinds[:at] for at, kind in enumerate(kinds)]
    protected = next((_frame(end - 1) for end, hidden in zip(complete, encrypted, strict=True) if hidden), None)
    assert (found.protected and found.protected.frame) == protected
    plain = [
        (_frame(end - 1), *body)
        for (kind, body), end, hidden in zip(records[: len(complete)], complete, encrypted, strict=True)
        if kind == ALERT and len(body) == 2 and not hidden
    ]
    assert [(alert.moment.frame, alert.level, alert.description) for alert in found.alerts] == plain


@given(st.binary(max_size=400), st.integers(0, 400), st.integers(1, 400))
def test_any_bytes_and_holes(data: bytes, start: int, length: int) -> None:
    hole = Hole(start, min(start + length, len(data)), HoleReason.LOST)
    found = read_records(_stream(data, holes=(hole,) if start < len(data) else ()))
    assert found.cut is None or 0 < found.cut.there < (found.cut.of or RECORD_HEADER.size)


def test_a_hole_in_a_body_hides_no_record_behind_it() -> None:
    body = RECORD_HEADER.pack(APPLICATION_DATA, 0x0303, 1000) + bytes(1000)
    hole = Hole(10, 900, HoleReason.LOST)
    found = read_records(_stream(body + body[:200], holes=(hole,)))
    assert (found.lost, found.cut) == (False, Cut(200, len(body)))
    assert read_records(_stream(body, holes=(Hole(3, 10, HoleReason.LOST),))).lost
