"""What people call: one function a job, taking whatever holds a migration."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from analyzers.findings import Report
from captures.model import Reader, Recording
from multifd_codec.dialect.releases import Mode
from multifd_codec.draft.draft import Draft
from multifd_codec.errors import InputError
from multifd_codec.plan.plan import MigrationPlan
from multifd_codec.source import Buffer

if TYPE_CHECKING:
    from analyzers.extraction.results import Rebuilt
    from analyzers.produce.mutate import Mutated

FilePath = str | os.PathLike[str]
Input = FilePath | Buffer | Recording | Draft | MigrationPlan
"""A path; the bytes of a capture or of a channel; a recording that is open and stays so; a draft; a plan."""


@contextmanager
def opened(source: Input, *, reader: Reader = "auto", keylog: FilePath | None = None) -> Iterator[Recording]:
    """A recording of it, closed at the end if it was opened here. Raises InputError, EncodeError."""
    if isinstance(source, Recording):
        yield source
        return
    if isinstance(source, MigrationPlan):
        from multifd_codec.sender import draft  # noqa: PLC0415 -- sending is not always wanted

        source = draft(source)
    if isinstance(source, Draft):
        from captures.memory import recording_of  # noqa: PLC0415

        yield recording_of(source)
        return
    from captures.recording import open_recording  # noqa: PLC0415

    content = bytes(source) if isinstance(source, bytes | bytearray | memoryview) else source
    with open_recording(content, reader=reader, keylog=None if keylog is None else Path(keylog)) as recording:
        yield recording


def lint(
    source: Input,
    *,
    profile: str | None = None,
    mode: Mode | None = None,
    channels: int | None = None,
    page_size: int | None = None,
    machine: str | None = None,
    compression: str | None = None,
    postcopy: bool | None = None,
    switchover_ack: bool | None = None,
    device_transfer: bool | None = None,
    config_after_iter: bool | None = None,
    uuid: UUID | None = None,
    witness: bool = False,
    elsewhere: bool = True,
    reader: Reader = "auto",
    keylog: FilePath | None = None,
) -> list[Report]:
    """Judge every migration in ``source``; a report each, one that says so when there is none.

    The options are what a stream does not say of its destination, inferred when None (``LintOptions``). Raises
    InputError.
    """
    from analyzers.linter.judged import LintOptions  # noqa: PLC0415
    from analyzers.linter.linter import lint_recording  # noqa: PLC0415

    options = LintOptions(
        profile=profile,
        mode=mode,
        channels=channels,
        page_size=page_size,
        machine=machine,
        compression=compression,
        postcopy=postcopy,
        switchover_ack=switchover_ack,
        device_transfer=device_transfer,
        config_after_iter=config_after_iter,
        uuid=uuid,
        witness=witness,
        elsewhere=elsewhere,
    )
    with opened(source, reader=reader, keylog=keylog) as recording:
        return lint_recording(recording, options)


def extract(
    source: Input,
    folder: FilePath | None = None,
    *,
    migration: int | None = None,
    page_size: int | None = None,
    mode: Mode | None = None,
    apply_all: bool = False,
    blocks: Collection[str] | None = None,
    reader: Reader = "auto",
    keylog: FilePath | None = None,
) -> Rebuilt:
    """Guest RAM and device state of the only migration, or of number ``migration`` (from 1).

    They are in memory without ``folder``, else files in it, which must be empty or not there. The options are those of
    ``RebuildOptions``. Raises InputError.
    """
    from analyzers.extraction.output import Folder  # noqa: PLC0415
    from analyzers.extraction.rebuild import RebuildOptions, rebuild  # noqa: PLC0415

    options = RebuildOptions(page_size=page_size, mode=mode, apply_all=apply_all, blocks=blocks)
    with opened(source, reader=reader, keylog=keylog) as recording:
        chosen = recording.choose(migration)
        if folder is None:
            return rebuild(chosen, options)
        with Folder(Path(folder)) as files:
            return rebuild(chosen, options, folder=files.place())


def plan_of(
    source: Input,
    *,
    dialect: str | None = None,
    migration: int | None = None,
    reader: Reader = "auto",
    keylog: FilePath | None = None,
) -> MigrationPlan:
    """The plan of a recorded migration: what its source sent, to be sent again, by ``dialect`` if given. Raises
    InputError."""
    from analyzers.produce.plan_of_recording import plan_of  # noqa: PLC0415

    if isinstance(source, MigrationPlan):
        return source if dialect is None else replace(source, dialect=dialect)
    with opened(source, reader=reader, keylog=keylog) as recording:
        return plan_of(recording.choose(migration), dialect=dialect)


def generate(
    source: Input | None = None,
    *,
    blocks: Mapping[str, int | str] | None = None,
    rounds: int = 1,
    dirty: float = 0.1,
    zero: float = 0.0,
    devices: Mapping[str, int | str] | None = None,
    **options: Any,
) -> Draft:
    """A migration as a QEMU release would send it, in memory: of a plan, of a recording's plan, or of a few numbers.

    ``blocks``: RAM blocks, name to bytes (``4 << 20`` or ``"4M"``), by default ``ram`` with 4 MiB; ``dirty`` and
    ``zero`` are shares of the pages, ``devices`` idstr to bytes of state. ``options`` replace fields of the plan:
    ``dialect``, ``policy``, ``mode``, ``channels``, ``compression``, ``seed`` … Raises InputError.
    """
    from analyzers.produce.outline import Outline, outlined, with_options  # noqa: PLC0415
    from multifd_codec.plan.file import parse_size  # noqa: PLC0415
    from multifd_codec.plan.plan import Device  # noqa: PLC0415
    from multifd_codec.sender import draft  # noqa: PLC0415

    if devices is not None:
        options["devices"] = tuple(Device(idstr, parse_size(size)) for idstr, size in devices.items())
    unknown = options.keys() - {field.name for field in fields(MigrationPlan)}
    if unknown:
        raise InputError(f"a plan has no {', '.join(sorted(unknown))}")
    if source is None:
        sizes = tuple((name, parse_size(size)) for name, size in (blocks or {"ram": "4M"}).items())
        page_size, seed = options.get("page_size", 4096), options.get("seed", 0)
        plan = outlined(Outline(sizes, page_size, rounds, dirty, zero, seed))
    else:
        plan = plan_of(source)
    return draft(with_options(plan, options))


def mutate(
    source: Input,
    code: str,
    *,
    way: str | None = None,
    near: bool = False,
    seed: int = 0,
    migration: int | None = None,
) -> Mutated:
    """A healthy migration changed so that it breaks rule ``code`` and, of all rules, just that; with ``near`` it only
    nearly does. The result's ``draft`` is the migration, its ``options`` are those with which ``lint`` must judge it. A
    draft that is given is changed itself.

    Raises InputError, LacksError when the stream lacks what the rule is about, HoleError.
    """
    from analyzers.produce.draft_of_recording import draft_of_migration  # noqa: PLC0415
    from analyzers.produce.mutate import mutate  # noqa: PLC0415

    if isinstance(source, Draft):
        return mutate(source, code, way=way, near=near, seed=seed)
    with opened(source) as recording:
        draft = draft_of_migration(recording.choose(migration))
        return mutate(draft, code, way=way, near=near, seed=seed)
