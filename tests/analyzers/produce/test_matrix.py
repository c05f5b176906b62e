"""Sync policies against destinations: the answers, and that the README shows what the tool says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from analyzers.cli.app import multifd
from analyzers.cli.commands.matrix import markdown
from analyzers.produce.matrix import COLUMNS, cells, verify
from captures.qemu import find_qemus
from multifd_codec.dialect.sync_policy import POLICIES
from tests.conftest import ROOT

README = ROOT / "README.md"

OLD = ("fails",) * 4
"""7.2 to 9.2 do not know SWITCHOVER_START, which device state needs."""
C, H, F = "completes", "hangs", "fails"
EXPECTED = {
    # 7.2 per section, 8.1, 9.0, 9.2, 10.0 per round, 10.0 per section, 11.1
    ("ram-complete", False): (C, C, C, C, C, C, C),
    ("rfc-v3", False): (C, C, C, C, C, C, C),
    ("defer-always", False): (C, C, C, C, C, C, C),
    ("threads-only", False): (H, C, C, C, C, H, C),
    ("upstream", False): (C, C, C, C, C, C, C),
    ("ram-complete", True): (*OLD, H, C, H),
    ("rfc-v3", True): (*OLD, C, C, C),
    ("defer-always", True): (*OLD, C, C, C),
    ("threads-only", True): (*OLD, C, H, C),
    ("upstream", True): (*OLD, C, C, C),
}


def test_the_answers() -> None:
    found: dict[tuple[str, bool], list[str]] = {}
    for cell in cells():
        found.setdefault((cell.policy.name, cell.device_state), []).append("/".join(map(str, cell.outcomes)))
    assert {key: tuple(row) for key, row in found.items()} == EXPECTED
    assert list(POLICIES) == [name for name, state in EXPECTED if not state]


def test_json() -> None:
    done = CliRunner().invoke(multifd, ["matrix", "--format", "json"])
    assert done.exit_code == 0
    listed = json.loads(done.stdout)
    assert len(listed) == len(POLICIES) * len(COLUMNS) * 2
    keys = {"policy", "destination", "mode", "device_state", "possible_outcomes", "why"}
    assert all(cell.keys() == keys and cell["why"] and "\n" not in cell["why"] for cell in listed)
    chosen = next(c for c in listed if (c["policy"], c["destination"], c["device_state"]) == ("rfc-v3", "qemu-9.2", 1))
    assert chosen["mode"] == "per-round" and "SWITCHOVER_START" in chosen["why"]


@pytest.mark.qemu("7.2", "10.0")
def test_real_destinations_do_what_is_foreseen() -> None:
    seen = [cell for cell in verify(cells(), find_qemus()) if cell.observed]
    assert {cell.destination.release.version for cell in seen} >= {(7, 2), (10, 0)}
    assert len(seen) >= 2 * 3 * len(POLICIES)
    assert [cell for cell in seen if not cell.agrees] == []


def test_the_readme_shows_it() -> None:
    shown = re.sub(r" [+]", "", README.read_text())
    assert markdown(cells()) in shown


def test_own_policies(tmp_path: Path) -> None:
    """The release's own answer, written down by hand, is the release's; what is not said with device state is as
    without."""
    file = tmp_path / "mine.toml"
    file.write_text('[mine]\nper-section = "at RAM complete"\nper-round = "none"\n')
    done = CliRunner().invoke(multifd, ["matrix", "--policy-file", str(file), "--format", "json"])
    assert done.exit_code == 0, done.output
    outcomes = [cell["possible_outcomes"] for cell in json.loads(done.stdout)]
    assert outcomes == [[str(o) for o in cell.outcomes] for cell in cells([POLICIES["upstream"]])]
    for text, words in (
        ("[mine", "not TOML"),
        ("", "there is no policy"),
        ("mine = 1", "is no table"),
        ('[mine]\nper-round = "never"', "per-section is missing"),
        ('[mine]\nper-section = "never"', "cannot be 'never'"),
        ('[mine]\nround = "none"', "there is no key 'round'"),
    ):
        file.write_text(text)
        done = CliRunner().invoke(multifd, ["matrix", "--policy-file", str(file)])
        assert done.exit_code == 2 and words in done.output and done.output.count("\n") == 1
