"""Output files: what may be replaced, and how, so that they are complete or as they were before."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CHANNEL_NAME = re.compile(r"(main|channel-\d+|unknown|tls|return-path)(-\d+)?\.bin(\.gz|\.zst)?")
_numbers = itertools.count()


def channel_files(path: Path) -> list[Path]:
    """The files in a folder that bear names as channel files are given here, packed or not."""
    return [file for file in sorted(path.iterdir()) if CHANNEL_NAME.fullmatch(file.name) and not file.is_dir()]


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Where to write what ``path`` is to hold: a new file beside it, which takes its place in the end, and is gone if
    something is raised. A link is followed. What is no file, or stands in a folder where none can be made, is written
    to as it is. An OSError bears the name ``path``.
    """
    target = Path(os.path.realpath(path))  # a loop of links is no error yet
    direct = (target.exists() and not target.is_file()) or not os.access(target.parent, os.W_OK)
    part = target if direct else target.with_name(f".multifd-{os.getpid()}-{next(_numbers)}.part")
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
