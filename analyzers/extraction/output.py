"""The folder that files are written into. Names come from the stream, so none of them is used as it is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

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


class Folder:
    """A folder of our own: every file in it is new, whatever a stream calls it.

    It is made if need be, and must be empty unless ``overwrite``: then files of the same name are replaced, but for
    those in ``keep`` (of a folder: the files in it). Raises InputError.
    """

    def __init__(self, path: Path, *, overwrite: bool = False, keep: Iterable[Path] = ()) -> None:
        try:
            check_folder(path, empty=not overwrite)
            path.mkdir(exist_ok=True)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
        self.path = path
        self._keep = {_identity(file) for one in keep for file in (one.iterdir() if one.is_dir() else (one,))}
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
        """File descriptor of a new, empty file; a link of that name is replaced, not followed."""
        path = self.path / name
        if path.is_symlink() or path.exists():
            if _identity(path) in self._keep:
                raise InputError(f"{path}: is also an input; it would be overwritten")
            path.unlink()
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)

    def reopen(self, name: str) -> int:
        """File descriptor of a file ``create`` made."""
        return os.open(self.path / name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
