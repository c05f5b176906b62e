"""Every target over every input that is known: its seeds, and whatever broke one of them once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from analyzers.mutation.mutation import LacksError
from analyzers.produce.draft_of_recording import draft_of_migration
from analyzers.produce.mutate import apply
from analyzers.rulebook.mutation_registry import MUTATIONS
from captures.memory import recording_of
from multifd_codec.errors import EncodeError
from tests.fuzz.commands import COMMANDS, try_command
from tests.fuzz.seeds import SEEDS, folders, seeds
from tests.fuzz.targets import LOST, NEXT, TARGETS, folder
from tests.helpers.healthy import copied

FOUND = Path(__file__).parent / "found"
FOLDERS = ("lint", "decode", "extract", "produce")
"""Targets that read the same bytes: what broke one is tried on all."""


def found(target: str) -> Iterator[Path]:
    for name in ("folder", *FOLDERS) if target in FOLDERS else (target,):
        yield from sorted((FOUND / name).glob("*"))


def test_every_target_has_seeds() -> None:
    assert list(TARGETS) == list(SEEDS)
    assert all(seeds(target) for target in TARGETS)
    assert {path.name for path in FOUND.iterdir()} <= {*TARGETS, "folder"}


@pytest.mark.parametrize("target", TARGETS)
def test_seeds(target: str) -> None:
    every = seeds(target) if target != "command" else seeds(target)[::8]
    for seed in every:
        TARGETS[target](seed)


@pytest.mark.parametrize(
    ("target", "path"),
    [pytest.param(target, path, id=f"{target}-{path.name}") for target in TARGETS for path in found(target)],
)
def test_found(target: str, path: Path) -> None:
    TARGETS[target](path.read_bytes())


def hostile() -> list[bytes]:
    """Migrations that no source sends: cut, lacking a channel, in another order, and all that was found."""
    some = [seed.split(NEXT) for seed in folders()]
    made = [NEXT.join(part[: len(part) * 2 // 3] for part in parts) for parts in some[:3]]
    made += [NEXT.join(reversed(parts)) for parts in some[:3]]
    made += [NEXT.join((parts[0], b"", *parts[2:])) for parts in some[:3]]
    made += [NEXT.join(parts[:1] * 2) for parts in some[:2]]
    made += [b"", NEXT, LOST, b"QEVM\0\0\0\3", NEXT.join((b"QEVM\0\0\0\3\0", b"\x11\x22\x33\x44"))]
    return made + [path.read_bytes() for path in found("lint")]


def test_every_command_on_hostile_inputs() -> None:
    """Each on one of them, since all on all takes minutes, in which the fuzz target is better."""
    inputs = hostile()
    for number, command in enumerate(COMMANDS):
        try_command(command, inputs[number % len(inputs)])


SMALL = [path for path in found("lint") if path.stat().st_size < 30_000]


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.name)
def test_every_mutation_edits_or_refuses(path: Path) -> None:
    """Of a stream that is not healthy, each makes one that can be encoded, or says what is missing."""
    (migration,) = folder(path.read_bytes()).migrations
    whole = draft_of_migration(migration)
    edited = 0
    for ways in MUTATIONS.values():
        for mutation, near in itertools.product(ways, (False, True)):
            with suppress(LacksError, EncodeError):
                recording_of(apply(copied(whole), mutation, near=near).draft)
                edited += 1
    assert edited
