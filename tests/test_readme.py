"""What the README shows is what its commands print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import zstandard
from click.testing import CliRunner

from analyzers.cli.app import multifd

ROOT = Path(__file__).parent.parent
UNPACKED = re.compile(r"^    \$ zstd -d (\S+) -o (\S+)$", re.MULTILINE)
LINTED = re.compile(r"^    \$ multifd (lint \S+)\n((?:(?:    .*)?\n)+)", re.MULTILINE)


def test_examples(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Line by line and in order; where ``...`` stands, lines are left out."""
    text = (ROOT / "README.md").read_text()
    (tmp_path / "captures").symlink_to(ROOT / "captures")
    monkeypatch.chdir(tmp_path)
    for packed, name in UNPACKED.findall(text):
        Path(name).write_bytes(zstandard.ZstdDecompressor().decompress(Path(packed).read_bytes()))
    examples = LINTED.findall(text)
    assert len(examples) == 2
    for command, block in examples:
        shown = [line.removeprefix("    ") for line in block.strip("\n").split("\n")]
        printed = CliRunner().invoke(multifd, command.split()).output.strip("\n").split("\n")
        if "..." in shown:
            shown = [line for line in shown if line != "..."]
            printed = [line for line in printed if line in shown]
        assert printed == shown
