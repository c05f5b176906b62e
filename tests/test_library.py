"""The library's face: the examples of docs/library.md run, every name is there, and importing it costs nothing."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import analyzers
import captures
import multifd_codec
from analyzers import extract, lint
from captures import open_recording

ROOT = Path(__file__).parent.parent


def test_the_examples_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    failed, tried = doctest.testfile("docs/library.md", module_relative=False)
    assert tried > 20
    assert not failed


@pytest.mark.parametrize("package", [multifd_codec, captures, analyzers])
def test_every_name_is_there_and_only_those(package: object) -> None:
    names = package.__all__  # type: ignore[attr-defined]
    assert names == sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name))
    for name in names:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        package.no_such_name  # type: ignore[attr-defined]  # noqa: B018


def test_importing_it_imports_nothing() -> None:
    code = (
        "import sys, analyzers, captures, multifd_codec\n"
        "print(*({'numpy', 'construct', 'click', 'rich'} & set(sys.modules)))"
    )
    assert not subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_paths_bytes_and_recordings_are_all_taken(samples: Path) -> None:
    path = samples / "q10.0-none-known-ram-two-devices.pcap.zst"
    by_path, by_bytes = lint(path), lint(path.read_bytes())
    with open_recording(path) as recording:
        opened = lint(recording)
        assert recording.migrations[0].channels[0].source.size  # still open
    assert by_path[0].findings == by_bytes[0].findings == opened[0].findings
    first, second = extract(path), extract(path.read_bytes())
    assert [block.sha256 for block in first.blocks] == [block.sha256 for block in second.blocks]
