"""What commands write is there as a whole, or as it was before; names that are empty are no names."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from analyzers.cli.app import HELP_ORDER, multifd
from captures.write.replacing import added
from tests.helpers.writing import files_of_at_most

NAMES = {"Path", "file_path"}


def named_files() -> list[tuple[str, click.Parameter]]:
    context = click.Context(multifd)
    commands = ((name, multifd.get_command(context, name)) for name in HELP_ORDER)
    return [
        (name, parameter)
        for name, command in commands
        if command is not None
        for parameter in command.params
        if getattr(parameter.type, "name", "") in NAMES
    ]


def test_an_empty_name_is_not_the_current_folder() -> None:
    """As an unset variable leaves it. Each argument and option of each command that names a file."""
    found = named_files()
    assert len(found) > 20 and all(parameter.type.name == "file_path" for _, parameter in found)
    for name, parameter in found:
        given = [""] if isinstance(parameter, click.Argument) else [parameter.opts[0], ""]
        result = CliRunner().invoke(multifd, [name, *given])
        assert result.exit_code == 2 and "a name is needed" in result.stderr, (name, parameter.name)


@pytest.mark.parametrize(
    "arguments",
    [
        ["lint", "{input}", "--format", "json", "-o", "{out}"],
        ["generate", "--print-plan", "-o", "{out}"],
        ["generate", "--ram", "ram=64K", "--force", "-o", "{out}.pcap"],
        ["generate", "--ram", "ram=64K", "--force", "-o", "{out}"],
        ["mutate", "{input}", "--rule", "MFD301", "-o", "{out}.pcap"],
        ["mutate", "{input}", "--rule", "MFD301", "--force", "-o", "{out}"],
        ["extract", "{input}", "--force", "-o", "{out}"],
        ["fuzz", "--streams", "3", "--corpus", "{out}"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("before", [False, True], ids=["new", "again"])
def test_half_an_output_is_none(arguments: list[str], before: bool, samples: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for a disk that gets full."""
    out = tmp_path / "out"
    line = [part.format(input=samples / "q11.1-none.pcap", out=out) for part in arguments]
    if before:
        assert CliRunner().invoke(multifd, line).exit_code < 2
    there = {path: path.read_bytes() if path.is_file() else b"" for path in tmp_path.rglob("*")}
    assert bool(there) == before
    with files_of_at_most(200):
        result = CliRunner().invoke(multifd, line)
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1
    assert str(out) in result.stderr and ".multifd-" not in result.stderr
    assert {path: path.read_bytes() if path.is_file() else b"" for path in tmp_path.rglob("*")} == there


def test_a_folder_in_a_folder_takes_its_place(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "old").touch()
    with added(tmp_path) as part:
        (part / "inner").mkdir()
        (part / "inner" / "new").touch()
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")} == {
        "inner",
        "inner/old",
        "inner/new",
    }
