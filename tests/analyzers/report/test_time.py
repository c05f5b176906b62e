"""When records were recorded, and what a migration's rounds carried."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyzers import lint
from analyzers.survey.migration import survey_migration
from analyzers.survey.pages import runs_of
from analyzers.survey.repeats import SentPage, sent_pages
from captures.recording import open_recording
from tests.analyzers.cli.test_cli import fails, records, run
from tests.conftest import SAMPLES

EVIDENCE = SAMPLES / "evidence"
ROUNDS = EVIDENCE / "rounds.pcap.zst"
PER_SECTION = SAMPLES / "q7.2-pc.pcap.zst"
RECORDINGS = sorted(path for path in SAMPLES.glob("q*.pcap*") if "tls" not in path.name)


def info(path: Path) -> dict[str, Any]:
    result = run("info", "--rounds", "--format", "json", path)
    document = json.loads(result.stdout)
    assert document["schema"] == "multifd-info/1"
    (migration,) = document["migrations"]
    return dict(migration)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
def test_records_have_times_and_merge_by_them(path: Path) -> None:
    plain, merged = records(path), records("--by", "time", path)
    frames = [record["frame"] for record in merged if record["frame"] is not None]
    assert frames == sorted(frames)
    assert all(record["seconds"] >= 0 for record in plain if record["frame"] is not None)
    beginnings = {round(r["time"] - r["seconds"], 4) for r in plain if r["frame"] is not None}
    assert max(beginnings) - min(beginnings) < 0.001
    for channel in {record["channel"] for record in plain}:
        assert [r for r in plain if r["channel"] == channel] == [r for r in merged if r["channel"] == channel]
    assert records("--by", "time", "--limit", 3, path) == merged[:3]


def test_what_has_no_times_is_as_before(tmp_path: Path) -> None:
    folder = tmp_path / "channels"
    assert run("generate", "--ram", "1M", "-o", folder).exit_code == 0
    assert all("seconds" not in record and "time" not in record for record in records(folder))
    assert run("decode", folder).stdout.splitlines()[0].split()[3:] == ["frame", "kind", "fields"]
    fails(run("decode", "--by", "time", folder), "no frames")
    assert info(folder)["seconds"] is None and info(folder)["downtime"] is None


@pytest.mark.parametrize("path", [*RECORDINGS, EVIDENCE / "good.pcap.zst"], ids=lambda path: path.name)
def test_rounds_add_up_to_the_report(path: Path) -> None:
    (report,) = lint(path)
    found = info(path)
    rounds = found["rounds"]
    assert report.main is not None
    assert sum(one["main_bytes"] for one in rounds) == report.main.bytes
    assert sum(one["channel_bytes"] for one in rounds) == sum(channel.bytes for channel in report.channels)
    assert sum(one["ram_packets"] for one in rounds) == sum(channel.ram for channel in report.channels)
    for name in ("normal_pages", "zero_pages"):
        assert sum(one[name] for one in rounds) == sum(getattr(channel, name) for channel in report.channels)
    on_main = sum(one["main_pages"] for one in rounds)
    sent = sum(channel.normal_pages + channel.zero_pages for channel in report.channels)
    assert found["pages"]["sent"] == sent + on_main and found["pages"]["distinct"] <= found["pages"]["sent"]
    begins = [one["begin"] for one in rounds]
    assert begins == sorted(begins)
    assert found["facts"]["duration"] == f"{found['seconds']:.3f} s"


def test_ten_rounds() -> None:
    found = info(ROUNDS)
    numbered = [one for one in found["rounds"] if one["number"]]
    assert [one["normal_pages"] for one in numbered] == [20595, *[20480] * 2, 20225, *[20480] * 5, 9729]
    assert [one["zero_pages"] for one in numbered] == [12303, *[0] * 9]
    assert found["downtime"] == {
        "seconds": 0.148978,
        "begin": {"frame": 15858, "seconds": 8.99754},
        "end": {"frame": 17693, "seconds": 9.146518},
    }
    pages = found["pages"]
    assert (pages["sent"], pages["distinct"]) == (206212, 32898)
    assert pages["most"] == [{"block": "pc.ram", "offset": (16 << 20) + (n << 12), "times": 10} for n in range(10)]


def test_text_has_the_same_and_connections_that_failed() -> None:
    text = run("info", "--rounds", ROUNDS).stdout
    for words in ("84,718,656", "0 (setup)", "downtime: 0.148978 s", "206,212 sent, 32,898 different", "0x1000000"):
        assert words in text
    refused = info(EVIDENCE / "nvidia-2024-all-channels-refused-q10.0.pcap.zst")["connections"]
    assert [one["end"] for one in refused] == ["silent", "reset", "reset"]
    assert [one["opened"] for one in refused] == [0.0, 0.000407, 0.011008]


def test_silence_is_a_part_of_the_duration() -> None:
    found = info(EVIDENCE / "stopdst.pcap.zst")
    last_byte = max(one["last_byte"] for one in found["connections"] if one["last_byte"] is not None)
    assert found["seconds"] > last_byte + 1
    assert found["facts"]["duration"] == f"{found['seconds']:.3f} s"


def test_pages_are_counted_by_stretches() -> None:
    parts = [[4, 5, 6, 9], [5, 6], [0, 6], [9]]
    pages = {n: {"ram": [runs_of(np.array(part))]} for n, part in enumerate(parts)}
    found = sent_pages(pages, 4096, 9)
    assert (found.total, found.distinct) == (9, 5)
    assert found.most == tuple(SentPage("ram", page * 4096, n) for page, n in ((6, 3), (5, 2), (9, 2)))


def test_times_of_a_stream_are_those_of_its_pieces() -> None:
    """What is asked for in any order is what is asked for alone."""
    with open_recording(SAMPLES / "q7.2-none.pcap") as recording:
        survey = survey_migration(recording.migrations[0])
        source = survey.mains[0].source
        offsets = list(range(0, source.size + 64, 61))
        forth = [(source.frame_at(offset), source.time_at(offset)) for offset in offsets]
        back = [(source.frame_at(offset), source.time_at(offset)) for offset in reversed(offsets)]
        assert forth == back[::-1] and forth[-1] == (None, None)
