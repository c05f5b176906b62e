"""Checks of rules on real destinations: their names, that they run, that a stopped run goes on."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from analyzers.cli.app import multifd
from analyzers.conform.checks import checks
from analyzers.conform.source import run_source_check, source_checks
from analyzers.fuzz.case import Habitat
from analyzers.rulebook.registry import RULES
from multifd_codec.dialect.destination import Destination
from multifd_codec.dialect.releases import RELEASES, Mode
from tests.helpers.qemus import installed

CODES = ("MFD301", "MFD309", "MFD408", "MFD412", "MFD907")
"""Two of device state, and one that has no stream."""


def conform(*words: object) -> Result:
    return CliRunner().invoke(multifd, ["conform", *map(str, words)])


@pytest.mark.parametrize("version", [(7, 2), (10, 0), (11, 1)])
def test_every_rule_is_checked_or_says_why_not(version: tuple[int, int]) -> None:
    row = RELEASES[version]
    mode = Mode.PER_ROUND if row.destination.flush_known else Mode.PER_SECTION
    listed = list(checks(Habitat(Destination(row.name, mode), stock=True)))
    assert {check.code for check in listed} == set(RULES)
    assert len({check.name for check in listed}) == len(listed)
    assert all((check.case is None) == bool(check.skipped) for check in listed)
    assert sum(check.case is not None for check in listed) > len(RULES)


@pytest.mark.qemu("10.0")
def test_a_real_destination_does_what_is_foreseen(tmp_path: Path) -> None:
    state, qemu = tmp_path / "state", " ".join(installed("10.0").command)
    options = ("--qemu", qemu, "--runs", 1, "--jobs", 1, "--state", state)
    first = conform(*options, "--format", "json", *CODES[:2])
    assert first.exit_code == 0, first.output
    # A stopped run: the last line is cut, one check is done again.
    lines = state.read_bytes().split(b"\n")
    state.write_bytes(b"\n".join(lines[:-2]) + b"\n" + lines[-2][:20])
    again = conform(*options, "--format", "junit", *CODES)
    assert again.exit_code == 0, again.output
    (suite,) = ET.fromstring(again.stdout)
    seen = {case.attrib["name"]: [child.tag for child in case] for case in suite}
    assert {name.split("/")[0] for name in seen} == set(CODES)
    assert seen["MFD907"] == ["skipped"] and seen["MFD412/no-switchover-start"] == ["system-out"]
    before = {check["name"]: check["foreseen"] for check in json.loads(first.stdout)["checks"]}
    assert set(before) < set(seen) and before["MFD309/device-state-behind-an-unpaired-sync"] == ["hangs"]
    other = conform(*options, "--mode", "per-section", "MFD301")
    assert other.exit_code == 2 and "another destination, mode or number of runs" in other.output


@pytest.mark.qemu("10.0")
@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="NO SOURCE IS RECORDED: tcpdump is missing")
def test_what_a_source_sends_is_as_foreseen() -> None:
    qemu = installed("10.0")
    listed = {check.name: check for check in source_checks(qemu)}
    assert len(listed) == 14 and sum(check.devices > 0 for check in listed.values()) == 4
    for name in ("SOURCE/per-section/zstd/2-channels", "SOURCE/per-round/none/2-channels/1-devices"):
        result = run_source_check(listed[name], qemu, qemu)
        assert (result.seen, result.foreseen) == (("completes",), ("completes",)), result
        assert "hangs" in result.words
