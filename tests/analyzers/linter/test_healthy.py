"""Migrations of every kind that completed and are not blamed; see captures/samples/README.md."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from analyzers import lint
from analyzers.findings import Outcome, Report, Severity
from analyzers.report.exit_codes import ExitCode, report_exit_code
from captures import open_recording
from multifd_codec.dialect.releases import Mode
from tests.conftest import SAMPLES

FOLDER = SAMPLES / "healthy"
CASES: dict[str, dict[str, Any]] = json.loads((FOLDER / "cases.json").read_text())
WORDS = {"--profile": ("profile", str), "--channels": ("channels", int), "--mode": ("mode", Mode)}


def _options(words: list[str]) -> dict[str, Any]:
    pairs = zip(words[::2], words[1::2], strict=True)
    return {name: kind(value) for option, value in pairs for name, kind in [WORDS[option]]}


@pytest.mark.parametrize("name", CASES)
def test_judged_as_what_it_is(name: str) -> None:
    case = CASES[name]
    (report,) = lint(FOLDER / name, **_options(case.get("options", [])))
    assert report.outcome in case.get("outcome", [report.outcome])
    assert report_exit_code(report) in case.get("exit", [report_exit_code(report)])
    assert report.recorded.ended in case.get("ended", [report.recorded.ended])
    assert case.get("contains", report.outcome) in report.possible_outcomes
    if case.get("quiet"):
        assert [finding for finding in report.findings if finding.severity is not Severity.INFO] == []
        assert report.recorded.ended in ("completed", "unknown")
    _agrees(report)


def _agrees(report: Report) -> None:
    """An outcome that is an error has a finding that is one."""
    assert report.outcome.is_error <= (report_exit_code(report) is ExitCode.FINDINGS)


def _main_stream() -> bytes:
    with open_recording(FOLDER / "file-offset-10.0.mig.zst") as recording:
        source = recording.migrations[0].channels[0].source
        return bytes(source.read(0, source.size))


def test_a_save_image_of_virsh(tmp_path: Path) -> None:
    image = tmp_path / "guest.save"
    head = b"LibvirtQemudSave" + struct.pack("<IIII", 2, 100, 1, 0)
    image.write_bytes(head.ljust(92, b"\0") + b"<domain/>".ljust(100, b"\0") + _main_stream())
    (report,) = lint(image)
    assert report.possible_outcomes == (Outcome.COMPLETES,) and report.findings == ()


def test_an_internal_snapshot_of_qcow2(tmp_path: Path) -> None:
    """Its clusters stand in another order than the state has them, and one that is all zeros is not there."""
    state, bits = _main_stream(), 16
    size = 1 << bits
    clusters = [state[begin : begin + size].ljust(size, b"\0") for begin in range(0, len(state), size)]
    places = {number: (3 + len(clusters) - number) * size for number, data in enumerate(clusters) if any(data)}
    snapshot = struct.pack(">QIHHIIQII", size, 2, 1, 4, 0, 0, 0, 0, 16) + struct.pack(">QQ", len(state), size)
    file = bytearray((4 + len(clusters)) * size)
    file[:72] = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, bits, size, 0, 0, 0, 0, 0, 1, 512)
    file[512 : 512 + len(snapshot) + 5] = snapshot + b"1snap"
    file[size : size + 16] = struct.pack(">QQ", 0, 2 * size | 1 << 63)
    for number, place in places.items():
        file[2 * size + 8 * number : 2 * size + 8 * number + 8] = struct.pack(">Q", place | 1 << 63)
        file[place : place + size] = clusters[number]
    image = tmp_path / "disk.qcow2"
    image.write_bytes(file)
    (report,) = lint(image)
    assert report.possible_outcomes == (Outcome.COMPLETES,) and report.findings == ()
    assert report.main is not None and report.main.bytes == len(state)
