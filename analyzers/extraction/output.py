"""The folder that files are written into. Names come from the stream, so none of them is used as it is."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

from captures.write.replacing import added, naming
from captures.write.target import check_folder
from multifd_codec.errors import InputError

UNSAFE = re.compile(r"[^A-Za-z0-9._:@+=,-]")
LONGEST = 180
"""Characters of a name that are kept; file systems take 255 bytes."""


def safe_name(name: str) -> str:
    """A file name without path separators, blanks and anything a shell would look at; never empty or hidden."""
    safe = UNSAFE.sub("_", name)[:LONGEST]
    if safe.startswith("."):
        safe = "_" + safe[1:]
    return safe or "_"


def _identity(path: Path) -> tuple[int, int]:
    """The same for two names of one file."""
    status = path.stat() if path.exists() else path.lstat()
    return status.st_dev, status.st_ino


class Place:
    """Where the files of one migration go: every one is new, whatever a stream calls it."""

    def __init__(self, path: Path, part: Path, keep: Container[tuple[int, int]]) -> None:
        """``part``: the folder where they are until all of them are whole, ``path`` the one where they will be."""
        self.path = path
        self._part = part
        self._keep = keep
        self._taken: set[str] = {"manifest.json"}
        self._numbers: dict[str, int] = {}

    def name(self, wanted: str, suffix: str) -> str:
        """A file name nobody has yet, like ``wanted``."""
        base = safe_name(wanted)
        name, number = base + suffix, self._numbers.get((base + suffix).lower(), 1)
        while name.lower() in self._taken:
            number += 1
            name = f"{base}~{number}{suffix}"
        self._taken.add(name.lower())
        self._numbers[(base + suffix).lower()] = number
        return name

    def create(self, name: str) -> int:
        """File descriptor of a new, empty file. Raises OSError, InputError."""
        path = self.path / name
        if path.is_symlink() or path.exists():
            if _identity(path) in self._keep:
                raise InputError(f"{path}: is also an input; it would be overwritten")
            if path.is_dir() and not path.is_symlink():
                raise InputError(f"{path}: is a folder, a file is to be there")
        return self._opened(name, os.O_CREAT | os.O_EXCL)

    def reopen(self, name: str) -> int:
        """File descriptor of a file ``create`` made. Raises OSError."""
        return self._opened(name, 0)

    def _opened(self, name: str, flags: int) -> int:
        with self.naming(name):
            return os.open(self._part / name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o666)

    def naming(self, name: str) -> AbstractContextManager[None]:
        """An OSError raised there bears the name that the file will have."""
        return naming(self.path / name)


class Folder:
    """A folder that gets all of its files at once, or none if something is raised. A context manager.

    It is made if need be, and must be empty unless ``overwrite``: then files of the same name are replaced (links, too:
    they are not followed), but for those in ``keep`` (of a folder: the files in it). Raises InputError, OSError.
    """

    def __init__(self, path: Path, *, overwrite: bool = False, keep: Iterable[Path] = ()) -> None:
        try:
            check_folder(path, empty=not overwrite)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
        self.path = path
        self._keep = {_identity(file) for one in keep for file in (one.iterdir() if one.is_dir() else (one,))}
        self._filling = added(path)

    def __enter__(self) -> Self:
        self._part = self._filling.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._filling.__exit__(kind, error, trace)

    def place(self, name: str | None = None) -> Place:
        """Where files go: the folder itself, or one of that name in it."""
        if name is None:
            return Place(self.path, self._part, self._keep)
        path = self.path / name
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise InputError(f"{path}: is no folder, but a link or a file; a folder of that name is to be there")
        part = self._part / name
        with naming(path):
            part.mkdir()
        return Place(path, part, self._keep)
