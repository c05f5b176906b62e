"""Nothing of an input reaches a terminal raw: every string of every input, through every command and format."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import struct
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from analyzers.linter.facts_file import SCHEMA
from analyzers.report.exit_codes import ExitCode
from captures.write.sent import write_draft
from multifd_codec.channel.events import DeviceStatePacket, RamPacket
from multifd_codec.draft import main_records as make
from multifd_codec.draft.draft import Draft, Record
from multifd_codec.main import events as ev
from multifd_codec.plan.file import plan_to_json
from multifd_codec.plan.page_content import Pattern
from multifd_codec.plan.plan import Block, Device, MigrationPlan, Pages, Round, Section
from multifd_codec.sender import draft
from tests.fuzz.commands import COMMANDS, run
from tests.fuzz.targets import shown

RAW = "\x1b]0;x\x07\x1b[2J\r\n\t\x9b31m\u202e\u2028[/b]\x7f\x00\ufeff"
"""Window title, bell, clear, line ends, a C1 sequence, right-to-left, a line separator, rich's markup, DEL, NUL."""
NAME = RAW.replace("\x00", "")
PAGE = 4096
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""All that a report may do to a terminal."""


def hostile() -> Draft:
    """A migration in which every name is hostile."""
    field = {"name": RAW + "\ud800", "type": RAW, "size": 4, "array_len": 2}
    inside = {"vmsd_name": NAME, "version": 1, "fields": [{"name": RAW, "type": "uint32", "size": 4, "index": 7}]}
    described = {
        "name": NAME,
        "instance_id": 0,
        "vmsd_name": RAW,
        "version": 1,
        "fields": [field],
        "subsections": [inside],
    }
    name = NAME.encode()
    body = bytes(8) + b"\x05" + bytes((len(name),)) + name + struct.pack(">II", 1, 5)
    plan = MigrationPlan(
        blocks=(Block(NAME, 2 * PAGE),),
        rounds=(Round((Pages(NAME, 0, 2, Pattern(1)),)),),
        devices=(Device(NAME, 300, 200),),
        sections=(Section(5, NAME, body),),
        machine=NAME,
        description={"page_size": PAGE, "devices": [described]},
    )
    made = draft(plan)
    made.main[1] = make.configuration(NAME, capabilities=(NAME, "return-path"))
    return made


def wrong() -> Draft:
    """The same, and what is said to be wrong in it is about those names."""
    made = hostile()
    for line in made.channels:
        for record in line:
            if isinstance(record.event, RamPacket) and not record.event.sync:
                record.set(ramblock=(NAME + "\x1b]1;other\x07").encode().ljust(256, b"\0"))
            if isinstance(record.event, DeviceStatePacket):
                record.set(idstr=(NAME + "\x1b]2;other\x07").encode().ljust(256, b"\0"))
    made.main.insert(3, Record(ev.ZeroPage(0, 0, 0, (NAME + "?").encode(), NAME + "?", 0, 0x02)))
    return made


def folder(place: Path, made: Draft) -> Path:
    """A folder of that name, with a facts file beside it."""
    path = place / NAME.replace("/", "|")
    write_draft(path, made)
    facts = {"schema": SCHEMA, "destination": {"version": RAW}, "mode": RAW, "compression": RAW, "uuid": RAW}
    Path(f"{path}.json").write_text(json.dumps(facts))
    return path


@pytest.mark.parametrize("made", [hostile, wrong])
def test_every_command_and_format(made: object, tmp_path: Path) -> None:
    path = folder(tmp_path, made())  # type: ignore[operator]
    seen = ""
    for number, command in enumerate(COMMANDS):
        if command.startswith("mutate") and number % 10:
            continue
        out = str(tmp_path / f"{number}\x1b]0;y\x07")
        words = [str(path) if word == "INPUT" else word.replace("OUT", out) for word in shlex.split(command)]
        answer = run(words)
        assert answer.code in list(ExitCode)
        assert "internal error" not in answer.err
        shown(answer.out.split("\n"))
        shown(answer.err.split("\n"))
        seen += answer.out
        if answer.out and re.search("json$|sarif$|json ", command):
            json.loads(answer.out)
        if "junit" in command:
            ElementTree.fromstring(answer.out.encode())
        shown([file.name for file in Path(out).glob("*")])
    assert r"\x1b]0;x\x07" in seen and r"\u202e" in seen


def on_terminal(command: list[str], encoding: str = "utf-8") -> tuple[int, str]:
    """Exit code, and all that a terminal gets, as characters."""
    mine, its = pty.openpty()
    environment = os.environ | {"PYTHONIOENCODING": encoding, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment) as child:
        os.close(its)
        pieces = []
        while select.select([mine], [], [], 60)[0]:
            try:
                piece = os.read(mine, 1 << 16)
            except OSError:  # as Linux says that the other end is closed
                break
            if not piece:
                break
            pieces.append(piece)
        os.close(mine)
    return child.returncode, b"".join(pieces).decode(encoding)


TERMINAL = (
    "lint --witness --what-if INPUT",
    "info --rounds INPUT",
    "decode --hex INPUT",
    "extract INPUT -o OUT --provenance",
    "mutate INPUT --rule MFD301 -o OUT.pcap",
    "lint INPUT/nothing",
    "generate --plan PLAN -o OUT",
)


@pytest.mark.parametrize("command", TERMINAL)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_terminal(command: str, encoding: str, tmp_path: Path) -> None:
    made = hostile() if command.startswith(("mutate", "extract")) else wrong()
    path = folder(tmp_path, made)
    plan = tmp_path / "plan"
    plan.write_text(plan_to_json(MigrationPlan((Block("ram", PAGE),), (), dialect=RAW)))
    words = {"INPUT": str(path), "OUT": str(tmp_path / "out\x1b]0;ä\x07"), "PLAN": str(plan)}
    arguments = [re.sub("INPUT|OUT|PLAN", lambda found: words[found[0]], word) for word in command.split()]
    code, text = on_terminal([sys.executable, "-m", "analyzers.cli", *arguments], encoding)
    assert code in list(ExitCode) and "internal error" not in text
    shown(COLOURS.sub("", text).replace("\r\n", "\n").split("\n"))


def test_what_a_bar_says() -> None:
    """The name of what is worked on comes from the input: it is no markup and no control."""
    code = (
        "import analyzers.cli.progress as p\n"
        "p.PATIENCE = 0\n"
        f"with p.ProgressBar() as bar: bar({NAME!r}, 1, 10)\n"
        f"with p.StatusLine() as line: line({NAME!r})\n"
    )
    ended, text = on_terminal([sys.executable, "-c", code])
    assert ended == 0 and "[/b]" in text
    assert not re.search("[\x07\x9b\u202e]|\x1b\\]", text)
