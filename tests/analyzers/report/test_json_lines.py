"""Records are the same from columns and from events, JSON lines with the faster encoder and without it."""

from __future__ import annotations

import json
import sys

import pytest

from analyzers.report.decoding import Filter, Located, LocatedPacket, decoded, json_lines
from captures.recording import open_recording
from tests.conftest import SAMPLES


class Recorded:
    """Stands for a located event."""

    def __init__(self, **record: object) -> None:
        self._record = record

    def record(self) -> dict[str, object]:
        return dict(self._record)


RECORDS = (
    {"offset": 1 << 70, "block": "pc.ram"},
    {"block": "\ud800", "time": 9e-06},
    {"block": "\x9b1mé\x7f", "zero": [0, 4096]},
)


def test_same_lines_with_the_extra_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = list(json_lines(Recorded(**record) for record in RECORDS))  # type: ignore[misc]
    monkeypatch.setitem(sys.modules, "orjson", None)
    slow = list(json_lines(Recorded(**record) for record in RECORDS))  # type: ignore[misc]
    assert [json.loads(line) for line in fast] == [json.loads(line) for line in slow] == list(RECORDS)
    assert all(line.isascii() for line in fast + slow)


@pytest.mark.parametrize(
    "name", ["q10.0-none-known-ram-zlib.pcap", "q10.0-none-device-state.pcap", "vfio/vfio-version-2"]
)
def test_packets_of_a_batch_are_recorded_as_by_themselves(name: str) -> None:
    packets = 0
    with open_recording(SAMPLES / name) as recording:
        for located in decoded(recording.migrations, Filter(), None):
            assert located.record() == Located(located.line, located.decoder, located.event).record()
            packets += isinstance(located, LocatedPacket)
    assert packets > 2
