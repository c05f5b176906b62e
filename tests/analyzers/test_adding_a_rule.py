"""A new rule with mutation and near miss is two rows in two files: nothing else has to know of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from captures.write.sent import write_draft
from tests.helpers.healthy import healthy

ROOT = Path(__file__).parents[2]
RULE = """
    Rule(
        code="MFD231",
        title="Bit 30 of flags is clear",
        severity=Severity.WARNING,
        why="It has no meaning yet.",
        destination="Ignored. Outcome: completes.",
        reference="multifd_recv_thread, migration/multifd.c",
        since=MULTIFD,
        example="channel 0: I S D S   with D.flags = 0x40000000",
        conditions=(
            HeaderCondition(
                field="flags",
                when=lambda c: (c.flags & 1 << 30) != 0,
                says=lambda c, i: f"flags {c.flags[i]:#x}: bit 30 is set",
            ),
        ),
    ),
"""
MUTATION = """
    Mutation("MFD231", "bit 30 of flags", COMPLETES, sets(A_DATA_PACKET, flags=lambda e, s, r: e.flags | 1 << 30), FULL,
        "flags", also=frozenset({"MFD203"})),
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``multifd`` of the copy in that folder."""
    program = [sys.executable, "-c", "from analyzers.cli import run; run()", *arguments]
    path = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        program, cwd=folder, env=os.environ | {"PYTHONPATH": path}, text=True, capture_output=True, check=False
    )


def test_two_files(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "analyzers", tmp_path / "analyzers", ignore=shutil.ignore_patterns("__pycache__"))
    family = tmp_path / "analyzers" / "rulebook" / "packets"
    for name, table, row in (("rules.py", "RULES = (\n", RULE), ("mutations.py", "MUTATIONS = (\n", MUTATION)):
        text = (family / name).read_text()
        assert text.count(table) == 1
        (family / name).write_text(text.replace(table, table + row))
    write_draft(tmp_path / "healthy.pcap", healthy("10.0"))
    assert "Bit 30 of flags is clear" in run(tmp_path, "explain", "MFD231").stdout
    for near, output in (([], "wrong.pcap"), (["--near"], "near.pcap")):
        arguments = ["mutate", "healthy.pcap", "--rule", "MFD231", *near, "--check", "-o", output]
        made = run(tmp_path, *arguments)
        assert made.returncode == 0, made.stderr
    document = json.loads(run(tmp_path, "lint", "wrong.pcap", "--format", "json").stdout)
    assert {finding["rule"] for finding in document["reports"][0]["findings"]} == {"MFD203", "MFD231"}
