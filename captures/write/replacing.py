"""Output files that are complete or as they were before."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from captures.names import own_channel_files

_numbers = itertools.count()


def _part(folder: Path) -> Path:
    """A name in a folder that nobody else has."""
    return folder / f".multifd-{os.getpid()}-{next(_numbers)}.part"


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Where to write what ``path`` is to hold: a new file beside it, which takes its place in the end, and is gone if
    something is raised. A link is followed. What is no file, or stands in a folder where none can be made, is written
    to as it is. An OSError bears the name ``path``.
    """
    target = Path(os.path.realpath(path))  # a loop of links is no error yet
    direct = (target.exists() and not target.is_file()) or not os.access(target.parent, os.W_OK)
    part = target if direct else _part(target.parent)
    try:
        yield part
        if not direct:
            part.replace(target)
    except BaseException as error:
        if not direct:
            with suppress(OSError):
                part.unlink()
        if isinstance(error, OSError) and error.filename in (None, str(part)):
            error.filename = str(path)
        raise


def write_whole(path: Path, text: str) -> None:
    """A text file that is complete or as it was before. Raises OSError."""
    with replaced(path) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError raised here bears the name ``path``."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


@contextmanager
def added(folder: Path) -> Iterator[Path]:
    """Where to put files and folders that ``folder`` (made if missing) is to hold besides what it has: a new folder in
    it, from which they take their places in the end, and which is gone if something is raised. An OSError bears a name
    in ``folder``.
    """
    made = not folder.exists()
    part = _part(folder)
    try:
        folder.mkdir(exist_ok=True)
        part.mkdir()
        yield part
        _move(part, folder)
    except BaseException as error:
        import shutil  # noqa: PLC0415 -- slow to import

        shutil.rmtree(part, ignore_errors=True)
        if made:
            with suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            error.filename = str(error.filename or folder).replace(str(part), str(folder))
            error.filename2 = None
        raise


def _move(part: Path, folder: Path) -> list[Path]:
    """Everything in ``part`` into ``folder``, and ``part`` away; where it is now."""
    moved = []
    for file in sorted(part.iterdir()):
        place = folder / file.name
        if file.is_dir():
            place.mkdir(exist_ok=True)
            moved += _move(file, place)
        else:
            moved.append(file.replace(place))
    part.rmdir()
    return moved


@contextmanager
def refilled(folder: Path) -> Iterator[Path]:
    """Like ``added``, but what is there is replaced: other channel files in ``folder`` go away."""
    old: list[Path] = []
    if folder.is_dir():
        old = own_channel_files(folder)
    with added(folder) as part:
        yield part
        new = {file.name for file in part.iterdir()}
    for file in old:
        if file.name not in new:
            file.unlink()
