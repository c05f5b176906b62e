"""JSON lines are the same with the faster encoder and without it."""

from __future__ import annotations

import json
import sys

import pytest

from analyzers.report.decoding import json_lines


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
