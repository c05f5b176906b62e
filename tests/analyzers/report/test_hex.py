"""``decode --hex``: the fields of every record are its bytes, in order and none twice."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import pytest

from analyzers.report.header_bytes import MAX_OTHER
from captures.model import ChannelKind
from captures.recording import open_recording
from tests.analyzers.cli.test_cli import records, run
from tests.conftest import SAMPLES

NAMES = ["q7.2-none.pcap", "q10.0-none-device-state.pcap", "q10.0-pc-machine-8.0.pcap", "q11.1-pc-zstd.pcap"]


@cache
def main_channel(name: str) -> bytes:
    with open_recording(SAMPLES / name) as recording:
        (source,) = (c.source for c in recording.migrations[0].channels if c.kind is ChannelKind.MAIN)
        return bytes(source.read(0, source.size))


def shown(name: str) -> list[dict[str, Any]]:
    return records("--hex", "--channel", "main", SAMPLES / name)


@pytest.mark.parametrize("name", NAMES)
def test_main_records_are_tiled_by_their_fields(name: str) -> None:
    """Of long ones the first bytes are shown; of device bodies the fields that are described."""
    stream, found = main_channel(name), set[str]()
    for record in shown(name):
        begin, length = record["offset"], record["length"]
        fields = [(field["offset"], bytes.fromhex(field["hex"])) for field in record["fields"]]
        assert all(stream[at : at + len(data)] == data for at, data in fields), record
        if record["kind"] not in ("device-body", "end"):
            found.add(record["kind"])
            joined = b"".join(data for _, data in fields)
            assert joined == stream[begin : begin + min(length, MAX_OTHER)], record
            assert fields[0][0] == begin and record["fields"][0]["name"], record
        for before, behind in pairwise(fields):
            assert before[0] + len(before[1]) <= behind[0], record
    assert {"file-header", "configuration", "section-start", "block-list", "section-full", "vm-description"} <= found


VALUES = {
    ("file-header", "magic"): "1363498573 (0x5145564d)",
    ("section-start", "idstr"): '"ram"',
    ("block-list", "word"): "0x400000 MEM_SIZE",
    ("zero-page", "name"): '"ram"',
    ("zero-page", "fill"): "0",
    ("end-of-ram", "word"): "0x0 EOS",
    ("section-footer", "type"): "126 (0x7e)",
}


def test_values_beside_the_bytes() -> None:
    found = dict[tuple[str, str], str]()
    for record in shown("q7.2-none.pcap"):
        for field in record["fields"]:
            found.setdefault((record["kind"], field["name"]), field["value"])
    assert {key: found[key] for key in VALUES} == VALUES


def test_the_fields_of_devices_are_named_as_the_stream_describes_them() -> None:
    bodies = [record for record in shown("q11.1-pc-zstd.pcap") if record["kind"] == "device-body"]
    names = {field["name"] for body in bodies for field in body["fields"]}
    assert len(bodies) > 10 and len(names) > 50
    (timer,) = [body for body in bodies if body["device"] == "timer"]
    assert [(field["name"], field["value"]) for field in timer["fields"]][-1] == (
        "cpu_clock_offset",
        "1035156471 (int64)",
    )


def test_in_the_table_the_fields_stand_below_their_record() -> None:
    lines = run("decode", "--hex", "--channel", "main", SAMPLES / "q7.2-none.pcap").stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if " section-footer " in line)
    assert [line.split() for line in lines[at + 1 : at + 3]] == [
        ["62", "type", "7e", "126", "(0x7e)"],
        ["63", "section_id", "00", "00", "00", "02", "2"],
    ]
