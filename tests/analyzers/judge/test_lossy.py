"""What a recording lacks is never reported as a violation: frames dropped, cut, or missing at either end."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzers.findings import Outcome, Severity
from analyzers.linter.linter import lint_recording
from captures.recording import open_recording
from tests.conftest import SAMPLES

RECORD = struct.Struct("<4I")
NAMES = [
    "q7.2-none-known-ram.pcap.zst",
    "q10.0-none-known-ram.pcap.zst",
    "q10.0-none-known-ram-zlib.pcap",
    "q10.0-none-device-state.pcap",
    "q11.1-none.pcap",
]


@cache
def frames(name: str) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """File header, and (record header, frame) of each frame."""
    data = (SAMPLES / name).read_bytes()
    if name.endswith(".zst"):
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    found, position = [], 24
    while position < len(data):
        length = RECORD.unpack_from(data, position)[2]
        start = position + RECORD.size
        found.append((data[position:start], data[start : start + length]))
        position = start + length
    return data[:24], found


class Loss(NamedTuple):
    """What is taken from a recording; ``first`` and ``last`` in thousandths of its frames."""

    name: str
    first: int = 0
    last: int = 1000
    dropped: frozenset[int] = frozenset()
    snaplen: int | None = None


losses = st.builds(
    Loss,
    st.sampled_from(NAMES),
    st.one_of(st.just(0), st.integers(0, 1000)),
    st.one_of(st.just(1000), st.integers(0, 1000)),
    st.frozensets(st.integers(0, 150), max_size=5),
    st.one_of(st.none(), st.integers(60, 1500)),
)


def lossy(loss: Loss) -> bytes:
    header, kept = frames(loss.name)
    result = [header]
    for number in range(len(kept) * loss.first // 1000, len(kept) * loss.last // 1000):
        record, frame = kept[number]
        if number in loss.dropped:
            continue
        if loss.snaplen is not None and len(frame) > loss.snaplen:
            seconds, fraction, _, original = RECORD.unpack(record)
            record, frame = RECORD.pack(seconds, fraction, loss.snaplen, original), frame[: loss.snaplen]
        result += [record, frame]
    return b"".join(result)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(losses)
def test_a_lossy_recording_is_undecided_at_worst(tmp_path: Path, loss: Loss) -> None:
    path = tmp_path / "lossy.pcap"
    path.write_bytes(lossy(loss))
    with open_recording(path) as recording:
        reports = lint_recording(recording)
    assert reports
    for report in reports:
        assert set(report.possible_outcomes) <= {Outcome.COMPLETES, Outcome.UNDECIDED}
        assert [finding for finding in report.findings if finding.severity is Severity.ERROR] == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_dropped_is_nothing_lost(name: str, tmp_path: Path) -> None:
    path = tmp_path / "whole.pcap"
    path.write_bytes(lossy(Loss(name)))
    with open_recording(path) as recording:
        (report,) = lint_recording(recording)
    assert report.possible_outcomes == (Outcome.COMPLETES,)
