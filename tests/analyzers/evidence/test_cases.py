"""Recordings of real failures, each with what really happened; see captures/samples/README.md."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from analyzers import lint
from analyzers.cli.app import multifd
from analyzers.findings import Outcome, Severity
from analyzers.report.exit_codes import ExitCode, report_exit_code
from multifd_codec import RELEASES
from tests.conftest import SAMPLES

FOLDER = SAMPLES / "evidence"
CASES: list[dict[str, Any]] = json.loads((FOLDER / "cases.json").read_text())["cases"]


def _parameters() -> list[Any]:
    marked = []
    for case in CASES:
        marks = [pytest.mark.tshark] if "keylog" in case else []
        marked.append(pytest.param(case, id=case["file"].split(".pcap")[0], marks=marks))
    return marked


@pytest.mark.parametrize("case", _parameters())
def test_what_happened(case: dict[str, Any]) -> None:
    keylog = FOLDER / case["keylog"] if "keylog" in case else None
    for report in lint(FOLDER / case["file"], keylog=keylog):
        seen = report.recorded
        if "ended" in case:
            assert seen.ended in case["ended"]
        if "gave_up_first" in case:
            assert seen.gave_up_first in case["gave_up_first"]
        stalls = {str(stall.channel): stall.by for stall in seen.stalled}
        assert {channel: stalls.get(channel) for channel in case.get("stalled", {})} == case.get("stalled", {})
        if seen.ended in ("failed", "hung"):
            assert report_exit_code(report) is ExitCode.FINDINGS
            assert report.reasons


@pytest.mark.parametrize("name", ["good", "rounds", "postcopy-pause-recover-q11.1"])
def test_healthy_ones_are_not_blamed(name: str) -> None:
    (report,) = lint(FOLDER / f"{name}.pcap.zst")
    assert report.recorded.ended == "completed" and report.recorded.gave_up_first is None
    assert not report.explained_by
    assert [finding for finding in report.findings if finding.severity is not Severity.INFO] == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "blackhole",
            "1,444,162 bytes in flight, sent again 7 times",
        ),
        ("gl1672-channels-8-vs-2-q10.0", "takes 2 of 8 multifd channels"),
        ("gl1672-channels-8-vs-2-q11.1-deadlock", "is connected and carries no byte for 18.8 s"),
        ("destination-killed-q10.0", "within 21 µs"),
        (
            "nutanix-2022-multifd-accepted-before-main-q7.2",
            "before 8.0 takes its first connection for main",
        ),
        ("mismatch", "a qemu-10.0 destination per-section with 2 channels, compression none hangs here"),
        ("gl2704-unknown-section-q10.0", "SHUT, value 1"),
        ("bras-2022-multifd-postcopy-abort-q7.2", "behind its SHUT the destination's process ends"),
        ("postcopy-pause-recover-q11.1", "goes on over 127.0.0.1:50102 > 127.0.0.1:35279: a second main connection"),
        (
            "kubevirt-proxy-both-legs-any",
            "109,792 bytes of channel 1 came to the proxy, from offset 60000 (frame 39) on, and did not go on to",
        ),
        (
            "src-per-section-dst-per-round-q10.0",
            "a qemu-10.0 destination per-round with 2 channels, compression none hangs",
        ),
        ("dst-tls-src-not-q7.2", "main too: it expects TLS"),
        ("proxy-resets-1-of-4-channels-q7.2", "a QEMU closes all together, so something on the way did it"),
        ("source-killed-q7.2", "the source closes all its connections at once"),
        ("dst-multifd-src-not-q7.2", "as while multifd is on there alone"),
        ("channels-3-vs-4-q7.2", "more than the 3 multifd channels that the source opens"),
        ("none-vs-zlib-q7.2", "as it does when multifd-compression differs"),
        ("ram-size-differs-q10.0", "its load failed on main"),
        ("main-refused-q10.0", "is refused"),
        ("h3c-2024-network-cut-2-of-8-channels-snap1500", "nothing of channel 3 comes behind offset 900,000"),
    ],
)
def test_the_reasons_say_why(name: str, says: str) -> None:
    (report,) = lint(FOLDER / f"{name}.pcap.zst")
    assert any(says in text for text in report.explanation), report.explanation


def test_the_facts_beside_a_capture_describe_its_destination(tmp_path: Path) -> None:
    capture = tmp_path / "mismatch.pcap.zst"
    shutil.copy(FOLDER / capture.name, capture)
    facts = {"schema": "multifd-recording/1", "destination": {"version": "10.0.2 (Debian)"}, "mode": "per-section"}
    Path(f"{capture}.json").write_text(json.dumps(facts))
    result = CliRunner().invoke(multifd, ["lint", "--format", "json", str(capture)])
    (report,) = json.loads(result.stdout)["reports"]
    assert report["profile"]["mode"] == "per-section" and report["possible_outcomes"] == ["hangs"]
    assert not report["explained_by"]  # it is foreseen


def test_what_becomes_of_a_stream_elsewhere() -> None:
    (report,) = lint(FOLDER / "gl2720-merged-sync-q7.2-to-9.2.pcap.zst")
    hangs = {(one.profile, one.mode) for one in report.elsewhere if Outcome.HANGS in one.possible_outcomes}
    assert ("qemu-9.2", "per-section") in hangs and ("qemu-10.0", "per-section") not in hangs
    assert len({one.profile for one in report.elsewhere}) == len(RELEASES)


@pytest.mark.tshark
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gl1937-tls13-keyupdate", "the source changes its key on channel 0 (TLS 1.3 KeyUpdate, once)"),
        ("lp1902470-tls-second-handshake-silent-q10.0", "no ClientHello comes for 17.0 s"),
        ("tls-channel-cut-inside-tls-record", "FIN closes channel 1 inside a TLS record, 25 bytes into it"),
        ("tls-no-close-notify-q7.2-to-10.0", "multifd-clean-tls-termination=on fails"),
    ],
)
def test_what_tls_shows(name: str, says: str) -> None:
    """Nothing in front of such an end is called lost."""
    (report,) = lint(FOLDER / f"{name}.pcap.zst", keylog=FOLDER / f"{name}.keys")
    assert any(says in text for text in report.explanation)
    assert not any("lost" in finding.message for finding in report.findings)
