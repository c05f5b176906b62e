"""Releases, methods and machine types are told apart by rows of ``multifd_codec.dialect`` and nowhere else."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from multifd_codec.dialect.machine import machine_defaults
from multifd_codec.dialect.releases import RELEASES, Mode, release_at
from multifd_codec.dialect.words import Habit, since, until, which
from tests.multifd_codec.grammar import missing

ROOT = Path(__file__).parents[2]
PACKAGES = ("multifd_codec", "captures", "analyzers")
ELSEWHERE = {
    "captures/formats/pcapng.py": "offsets in a block",
}
"""Pairs of numbers that look like releases and are none."""
SAID = re.compile(r"\b(before|since|up to|until|from|releases) \d+\.\d\b|\b\d+\.\d( |-)(and|or|to) (later|\d)")


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith("multifd_codec/dialect/"):
            yield name, ast.parse(path.read_text())


def looks_like_a_release(node: ast.AST) -> bool:
    if not isinstance(node, ast.Tuple) or len(node.elts) != 2:
        return False
    pair = [one.value for one in node.elts if isinstance(one, ast.Constant) and type(one.value) is int]
    return len(pair) == 2 and 3 <= pair[0] <= 12 and pair[1] <= 2


def test_no_release_is_told_by_its_number_elsewhere() -> None:
    found = {name for name, module in modules() for node in ast.walk(module) if looks_like_a_release(node)}
    assert found == set(ELSEWHERE)
    stated = [one for _, module in modules() for one in ast.walk(module) if isinstance(one, ast.Assign | ast.AnnAssign)]
    assert not [text for one in stated if "_SINCE =" in (text := ast.unparse(one)) and "_SINCE = since(" not in text]


def test_no_message_says_a_release_that_is_not_looked_up() -> None:
    """But for the rulebook, whose texts tell of releases that no table has."""
    found = []
    for name, module in modules():
        prose = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
        texts = [n for n in ast.walk(module) if isinstance(n, ast.Constant) and id(n) not in prose]
        if not name.startswith("analyzers/rulebook/"):
            found += [(name, text.value) for text in texts if isinstance(text.value, str) and SAID.search(text.value)]
    assert not found


@pytest.mark.parametrize(
    ("habit", "words"),
    [
        (lambda r: r.sender.zero_pages, "9.0 and later"),
        (lambda r: r.sender.sync_carries_pages, "up to 8.2"),
        (lambda r: r.sender.sync_size_stale, "5.0 to 8.1"),
        (lambda r: r.sender.unpaired_sync_at_complete, "9.1 and 9.2"),
        (lambda r: r.destination.drops_pages_of_sync, "9.2"),
        (lambda r: not r.destination.drops_pages_of_sync, "up to 9.1, 10.0 and later"),
        (lambda r: True, "all"),
        (lambda r: False, "none"),
    ],
)
def test_words(habit: Habit, words: str) -> None:
    assert which(habit) == words


def test_first_and_last() -> None:
    assert (since(lambda r: r.sender.per_round), until(lambda r: r.destination.hook_fails)) == ("8.1", "8.1")
    assert [release_at(version).name for version in ((3, 0), (8, 9), (99, 0))] == ["qemu-4.0", "qemu-8.2", "qemu-11.1"]


def test_machine_types() -> None:
    """Those of the release before each change and of that release; without version the newest."""
    modes = [machine_defaults(version).mode for version in ((2, 3), (8, 0), (8, 1), None)]
    assert modes == [Mode.PER_SECTION, Mode.PER_SECTION, Mode.PER_ROUND, Mode.PER_ROUND]
    assert [machine_defaults(v).zero_page_detection for v in ((8, 2), (9, 0))] == ["legacy", "multifd"]
    assert [machine_defaults(v).switchover_start for v in ((9, 2), (10, 0))] == [False, True]


def test_every_release_has_a_grammar() -> None:
    assert not missing(RELEASES)


ROW = '    (11, 2): ({"sync_pages_alloc_zero": False}, {"device_state": False}),\n'
METHOD = '    Compression("lzo", int(PacketFlags.LZO), (11, 2), Payload.LENGTHS, 0xBE),\n'
EDITS = {
    "multifd_codec/dialect/releases.py": ("    (11, 1): ", lambda line: line + ROW),
    "multifd_codec/wire/packet.py": ("    QATZIP = 0x20\n", lambda line: "    LZO = 0x80\n" + line),
    "multifd_codec/dialect/compression.py": ('    Compression("uadk"', lambda line: line + METHOD),
    "multifd_codec/compression/containers.py": (
        '    "uadk": ',
        lambda line: line + '    "lzo": Codec(UadkPages, UadkPages),\n',
    ),
}
"""A release with two habits changed: one line. A method: its flag, its row, its code."""
DRIVER = """
import json
from pathlib import Path
from click.testing import CliRunner
from analyzers.cli.app import multifd
from multifd_codec.dialect.releases import RELEASES
from tests.multifd_codec.grammar import missing

def run(*words):
    done = CliRunner().invoke(multifd, words)
    if isinstance(done.exception, Exception):
        raise done.exception
    return " ".join(done.output.split())

def lint(name, *words):
    (report,) = json.loads(run("lint", "--format", "json", *words, name))["reports"]
    return report

run("generate", "--dialect", "qemu-11.2", "--mode", "per-round", "--ram", "64K", "-o", "new.pcap")
run("generate", "--dialect", "qemu-11.1", "--device", "0000:00:05.0/vfio=1K", "--ram", "64K", "-o", "state.pcap")
run("generate", "--dialect", "qemu-11.2", "--compression", "lzo", "--ram", "64K", "-o", "lzo.pcap")
run("generate", "--dialect", "qemu-11.2", "--ram", "64K", "-o", "plain.pcap")
for name in ("lzo", "plain"):
    run("extract", name + ".pcap", "-o", name)
lzo, plain = (sorted(p.read_bytes() for p in Path(name).iterdir() if p.suffix != ".json") for name in ("lzo", "plain"))
print(json.dumps({
    "missing": missing(RELEASES),
    "help": run("generate", "--help"),
    "unknown": run("generate", "--dialect", "qemu-12.0", "--ram", "64K", "-o", "none.pcap"),
    "new": lint("new.pcap"),
    "state": lint("state.pcap", "--profile", "qemu-11.2"),
    "pages": lzo == plain,
    "lzo": lint("lzo.pcap"),
    "old": lint("lzo.pcap", "--profile", "qemu-11.1"),
}))
"""


@pytest.fixture(scope="module")
def next_release(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the tools say when the tables have a release and a method more and nothing else is edited."""
    where = tmp_path_factory.mktemp("next")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, where / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, (start, edit) in EDITS.items():
        lines = (where / name).read_text().splitlines(keepends=True)
        assert sum(line.startswith(start) for line in lines) == 1, name
        (where / name).write_text("".join(edit(line) if line.startswith(start) else line for line in lines))
    path = f"{where}:{ROOT}"
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], cwd=where, env={"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def test_a_release_is_one_row(next_release: Any) -> None:
    """And a row in the grammar, whose lack is noticed."""
    assert next_release["missing"] == [["qemu-11.2", "per-section"], ["qemu-11.2", "per-round"]]
    assert "qemu-4.0 to qemu-11.2" in next_release["help"]
    assert next_release["unknown"].endswith("the newest is qemu-11.2")
    new, state = next_release["new"], next_release["state"]
    assert new["outcome"] == "completes"
    assert "pages_alloc in SYNC packets: up to 9.1, 11.2 or later" in new["profile"]["evidence"]
    assert (state["profile"]["name"], state["outcome"]) == ("qemu-11.2", "fails")
    (finding,) = state["findings"]
    assert finding["message"] == "qemu-11.2 reads device-state packets as RAM packets"


def test_a_method_is_a_row_a_flag_and_its_code(next_release: Any) -> None:
    new, old = next_release["lzo"], next_release["old"]
    assert "none, zlib, zstd, qpl, uadk, lzo or qatzip" in next_release["help"]
    assert (new["outcome"], new["facts"]["compression"], new["findings"]) == ("completes", "lzo", [])
    assert "lzo: 11.2 or later" in new["profile"]["evidence"]
    assert next_release["pages"]
    assert "compression id 0x80 does not exist in qemu-11.1" in [finding["message"] for finding in old["findings"]]
