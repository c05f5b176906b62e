"""Streams that are kept for what they did, and what other fuzzers are given."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from analyzers.cli.app import multifd
from analyzers.conform.checks import checks
from analyzers.fuzz.against import trial
from analyzers.fuzz.case import Habitat
from analyzers.fuzz.keep import EACH, Keeper, keep
from multifd_codec.dialect.destination import Destination
from tests.helpers.qemus import installed


@pytest.mark.qemu("10.0")
def test_a_hang_and_a_crash_are_kept_by_cause(tmp_path: Path) -> None:
    qemu, habitat = installed("10.0"), Habitat(Destination("qemu-10.0"), stock=True)
    folder = Keeper(tmp_path, qemu)
    listed = {check.name: check.case for check in checks(habitat, ["MFD309", "MFD408"])}
    for name, outcome, frame in (
        ("MFD309/device-state-behind-an-unpaired-sync", "hangs", "qemu_loadvm_state"),
        ("MFD408/a-huge-index", "crashes", "vfio_multifd_load_state_buffer"),
    ):
        case = listed[name]
        assert case is not None
        result = trial(case, habitat, qemu)
        assert result is not None and result.observed == outcome, result
        kept = keep(result, habitat, qemu, stack=True)
        assert kept is not None
        own = folder.take(kept)
        assert own is not None
        facts = json.loads((own / "facts.json").read_text())
        assert own.parent.name.startswith(outcome) and not re.search(r"\d{2}", facts["cause"])
        assert (facts["outcome"], facts["monitor_alive"]) == (outcome, False) and facts["edits"]
        if shutil.which("gdb") is not None:
            assert frame in (own / "stack.txt").read_text()
        judged = CliRunner().invoke(multifd, ["lint", str(own / "stream.pcap"), "--format", "json"])
        assert outcome in json.loads(judged.stdout)["reports"][0]["possible_outcomes"]
        assert folder.take(kept) is None
        more = [folder.take(kept._replace(case=case._replace(seed=seed))) for seed in range(1, 2 * EACH)]
        assert sum(one is not None for one in more) == EACH - 1


def test_what_other_fuzzers_are_given(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    done = CliRunner().invoke(multifd, ["fuzz", "--corpus", str(corpus), "--streams", "3"])
    assert done.exit_code == 0, done.output
    assert {path.name for path in corpus.iterdir()} == {
        "main",
        "multifd",
        "multifd.dict",
        "afl.sh",
        "atheris_multifd.py",
    }
    words = (corpus / "multifd.dict").read_text().splitlines()
    assert all(re.fullmatch(r'[a-z0-9_]+="(\\x[0-9a-f]{2})+"', word) for word in words)
    assert len(words) == len(set(words))
    compile((corpus / "atheris_multifd.py").read_text(), "atheris_multifd.py", "exec")
    assert subprocess.run(["sh", "-n", corpus / "afl.sh"], check=False).returncode == 0
