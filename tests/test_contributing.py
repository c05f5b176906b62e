"""docs/contributing.md is true: each thing is added to a copy of the packages with the files it says and no others.

(Rules, releases and compression methods have tests of their own.) And what the documents name is there."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from analyzers.cli.app import multifd

ROOT = Path(__file__).parent.parent
PACKAGES = ("multifd_codec", "captures", "analyzers")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

NEW_FILES = {
    "analyzers/cli/commands/greet.py": """
import click

@click.command("greet", short_help="Say hello.")
def command():
    click.echo("hello")
    return 0
""",
    "analyzers/report/codes.py": """
def render_codes(reports):
    return "".join(f"{report.outcome} {len(report.findings)}\\n" for report in reports)
""",
    "captures/formats/elsewhere.py": """
from captures.formats.pcap import VARIANTS, PcapFile
from captures.model import InputForm

VARIANTS[b"ELSE"] = VARIANTS[b"\\xd4\\xc3\\xb2\\xa1"]

class Elsewhere(PcapFile):
    kind = InputForm.ELSEWHERE
""",
    "captures/hexadecimal.py": """
def is_hexadecimal(file):
    return bytes(file.view[:4]) == b"HEX:"

def read_hexadecimal(opened, wish):
    from captures.recording import open_recording
    return open_recording(bytes.fromhex(bytes(opened.file.view[4:]).decode()))
""",
}
ROWS = {
    "analyzers/report/__init__.py": [("FORMATS = {\n", '    "codes": ("codes", "render_codes"),\n')],
    "captures/links.py": [
        ("LINKS: dict[int, Link] = {\n", '    147: Link("private", 14, Names.ETHERTYPE, 12),\n'),
    ],
    "captures/model.py": [('    PCAP = "pcap"\n', '    ELSEWHERE = "elsewhere"\n')],
    "captures/formats/magics.py": [
        ("import annotations\n", "from captures.formats.elsewhere import Elsewhere\n"),
        ("MAGIC: PcapngFile", ', b"ELSE": Elsewhere'),
    ],
    "captures/recording.py": [
        ("import annotations\n", "from captures.hexadecimal import is_hexadecimal, read_hexadecimal\n"),
        ("\nINPUT_KINDS = (\n", '    InputKind("hexadecimal", is_hexadecimal, read_hexadecimal),\n'),
    ],
}
"""File to what is added behind which text."""
DRIVER = """
import json, sys
from pathlib import Path
from click.testing import CliRunner
from analyzers.cli.app import multifd

def run(*words):
    done = CliRunner().invoke(multifd, words)
    if isinstance(done.exception, Exception):
        raise done.exception
    return done.output

NAMES = (sys.argv[1], "linked.pcap", "else.cap", "text.hex")
capture = Path(sys.argv[1]).read_bytes()
Path("linked.pcap").write_bytes(capture[:20] + (147).to_bytes(4, "little") + capture[24:])
Path("else.cap").write_bytes(b"ELSE" + capture[4:])
Path("text.hex").write_text("HEX:" + capture.hex())
print(json.dumps({
    "help": run("--help"),
    "greet": run("greet"),
    "codes": {name: run("lint", "--format", "codes", name) for name in NAMES},
    "kind": json.loads(run("lint", "--format", "json", "else.cap"))["reports"][0]["input"]["kind"],
}))
"""


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Any:
    where = tmp_path_factory.mktemp("added")
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "samples")
        shutil.copytree(ROOT / package, where / package, ignore=ignored)
    for name, text in NEW_FILES.items():
        (where / name).write_text(text)
    for name, rows in ROWS.items():
        text = (where / name).read_text()
        for before, row in rows:
            assert text.count(before) == 1, name
            text = text.replace(before, before + row)
        (where / name).write_text(text)
    command = [sys.executable, "-c", DRIVER, str(samples / "q11.1-none.pcap")]
    done = subprocess.run(
        command, cwd=where, env={"PYTHONPATH": str(where)}, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def test_a_command_is_a_file(added: Any) -> None:
    assert "Say hello." in added["help"]
    assert added["greet"] == "hello\n"


def test_formats_and_inputs_are_a_file_and_a_row(added: Any) -> None:
    """The same migration, whatever it came in."""
    assert added["kind"] == "elsewhere"
    assert len(added["codes"]) == 4
    (text,) = set(added["codes"].values())
    assert text.startswith("completes ")


PLACEHOLDER = re.compile(r"\b(FAMILY|NAME)\b")
PATH = re.compile(r"(?<![\w./-])(?:multifd_codec|captures|analyzers|tests|docs|benchmarks|\.ci)/[\w./*-]*[\w*/]")
MODULE = re.compile(r"(?<![\w./-])(?:multifd_codec|captures|analyzers)(?:\.[A-Za-z_]\w*)+")
LINK = re.compile(r"\]\(([^)#:]+)\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_documents_name_is_there(document: Path) -> None:
    text = document.read_text()
    missing = [name for name in PATH.findall(text) if not any(ROOT.glob(PLACEHOLDER.sub("*", name)))]
    missing += [name for name in LINK.findall(text) if not (document.parent / name).exists()]
    missing += [name for name in MODULE.findall(text) if not name.endswith((".py", ".md")) and not importable(name)]
    assert not missing


def importable(name: str) -> bool:
    """Whether that is a module, or a name in one."""
    parts = name.split(".")
    found: Any = importlib.import_module(parts[0])
    for end, part in enumerate(parts[1:], 2):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
    return True


def command_lines() -> list[str]:
    """Those of the README's examples, and of its table of commands."""
    text = (ROOT / "README.md").read_text()
    indented = re.findall(r"^    (?:\$ )?(multifd .+)$", text, flags=re.M)
    lines = [line for entry in indented for line in entry.split("#")[0].split("&&")]
    return [line.strip() for line in lines + re.findall(r"^\| `(multifd [^`]+)` \|", text, flags=re.M)]


@pytest.mark.parametrize("line", command_lines())
def test_command_lines_of_the_readme_parse(line: str) -> None:
    _, name, *arguments = shlex.split(re.split(r" [>|] ", line)[0])
    context = multifd.make_context("multifd", [name])
    command = multifd.get_command(context, name)
    assert command is not None
    command.make_context(name, arguments, parent=context)
