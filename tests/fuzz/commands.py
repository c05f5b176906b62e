"""Command lines to try on any input, and how one is tried: in this process, on files in a folder of its own."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

from analyzers.cli import main
from analyzers.report import FORMATS
from analyzers.report.exit_codes import ExitCode
from analyzers.rulebook.mutation_registry import MUTATIONS
from captures.names import RETURN_PATH, label
from multifd_codec.dialect.releases import RELEASES
from tests.fuzz.targets import BACK, LOST, MOST_CHANNELS, NEXT, place, shown

INPUT, OUT = "INPUT", "OUT"
PROFILES = tuple(release.name for release in RELEASES.values())
LINT = (
    *(f"--format {form}" for form in FORMATS),
    *(f"--profile {profile}" for profile in (*PROFILES, "rfc-v3")),
    *(f"--channels {count}" for count in (0, 1, 3, 255)),
    *(f"--compression {method}" for method in ("none", "zlib", "zstd", "qpl")),
    *(f"--page-size {size}" for size in ("1k", "64k")),
    "--mode per-section",
    "--mode per-round --what-if",
    "--postcopy --witness",
    "--no-postcopy",
    "--machine pc-q35-2.10",
    "--uuid 00000000-0000-0000-0000-000000000001",
    "--select MFD5 --ignore MFD501",
)
DECODE = (
    "--hex",
    "--format jsonl --hex",
    "--by time",
    "--channel 0",
    "--channel main --page-size 1k",
    "--kind sync,flush,end",
    "--range 0x10:0x9999999999999999",
    "--range 9223372036854775808:",
    "--limit 0",
    "--limit 18446744073709551616",
)
EXTRACT = ("", "--all --provenance", "--mode per-section --provenance", "--page-size 64k", "--format json --blocks ram")
GENERATE = (
    "--print-plan",
    "-o OUT",
    "-o OUT.pcap",
    *(f"--dialect {name} -o OUT" for name in PROFILES),
    *(f"--compression {method} -o OUT" for method in ("zlib", "zstd", "qpl")),
    "--channels 255 -o OUT",
    "--mode per-section --policy rfc-v3 --print-plan",
    "--page-size 64k --print-plan",
)
PLACES = (
    "main record 0",
    "main record -1",
    "main command 0",
    "channel 0 packet 0",
    "channel 0 sync -1",
    "channel 1 @0",
)
EDIT = (
    *(f"--drop '{place}'" for place in PLACES),
    *(f"--repeat '{place}'" for place in PLACES),
    "--move 'channel 0 packet 0 behind channel 1 packet -1'",
    "--move 'main record -1 before main record 0'",
    *(f"--set 'channel 0 packet 0 {field}={value}'" for field in ("flags", "packet_num") for value in (0, 1 << 63, -1)),
    "--set 'channel 0 init 0 id=256'",
    "--set 'main section-start 0 idstr=hex:ff1b00'",
    "--set 'channel 0 packet 0 block=ram'",
)
COMMANDS = (
    *(f"lint INPUT {options}" for options in LINT),
    *(f"decode INPUT {options}" for options in DECODE),
    *(f"info INPUT {options}" for options in ("", "--rounds", "--rounds --format json")),
    *(f"extract INPUT -o OUT {options}" for options in EXTRACT),
    *(f"generate --from INPUT {options}" for options in GENERATE),
    *(f"edit INPUT -o OUT {options}" for options in EDIT),
    *(f"minimize INPUT -o OUT --until {outcome}" for outcome in ("crashes", "hangs", "fails", "loses-data")),
    *(f"mutate INPUT --rule {code} -o OUT.pcap --check" for code in MUTATIONS),
    *(f"mutate INPUT --rule {code} -o OUT --near" for code in MUTATIONS),
)


class Answer(NamedTuple):
    """What a command gave."""

    code: int
    out: str
    err: str


def run(arguments: list[str]) -> Answer:
    """A command in this process."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    return Answer(code, out.buffer.getvalue().decode(), err.buffer.getvalue().decode())  # type: ignore[attr-defined]


def written(data: bytes, folder: Path) -> Path:
    """The input in ``data``: channel files, or one file where there is no NEXT in it."""
    if NEXT not in data:
        path = folder / "input"
        path.write_bytes(data)
        return path
    path = folder / "channels"
    path.mkdir()
    for number, part in enumerate(data.split(NEXT)[:MOST_CHANNELS]):
        name = label("main" if number == 0 else number - 1)
        content = part.removeprefix(BACK).replace(LOST, b"")
        (path / (RETURN_PATH if part.startswith(BACK) else name)).write_bytes(content)
    return path


def try_command(command: str, data: bytes) -> Answer:
    """Run one line of COMMANDS: its exit code is a documented one, and what it says can be shown."""
    with place() as folder:
        path = str(written(data, folder))
        words = [path if word == INPUT else word.replace(OUT, str(folder / "out")) for word in shlex.split(command)]
        answer = run(words)
        assert answer.code in list(ExitCode), answer
        assert "internal error" not in answer.err, answer.err
        if answer.code == ExitCode.FAILED:
            assert answer.err.startswith("multifd: ") and answer.err.count("\n") == 1, answer
            if words[0] in ("edit", "minimize", "mutate", "generate"):  # all or nothing
                assert sorted(file.name for file in folder.iterdir()) == [Path(path).name]
        shown(answer.err.split("\n"))
        shown(answer.out.split("\n"))
        if "--format json" in f"{command} " and answer.out and "jsonl" not in command:
            json.loads(answer.out)
        for line in answer.out.splitlines() if "--format jsonl" in command else ():
            json.loads(line)
        return answer
