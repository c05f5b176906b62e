"""May this output be written: asked before any work is done. What may not, or not without ``force``, is an InputError
of one line."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from captures.names import is_named, own_channel_files
from multifd_codec.errors import InputError

CAPTURE_SUFFIX = ".pcap"
OTHER_CAPTURES = frozenset({".pcap", ".pcapng", ".cap", ".gz", ".zst", ".json"})
"""Endings of names that nobody gives a folder."""


def is_capture(path: Path) -> bool:
    """Whether output of that name is a capture rather than a folder."""
    return path.suffix == CAPTURE_SUFFIX


def check_target(path: Path, *, force: bool = False, inputs: Iterable[Path] = ()) -> None:
    """A capture (``*.pcap``), or a folder of channel files, which holds nothing yet; with ``force`` it may hold other
    channel files of ours, which will be replaced."""
    inputs = tuple(inputs)
    if is_capture(path):
        check_file(path, inputs, what="a capture")
        return
    _check_inputs(path, inputs)
    if path.name == "-" or any(suffix.lower() in OTHER_CAPTURES for suffix in path.suffixes[-2:]):
        raise InputError(f"{path}: a capture to write is called *{CAPTURE_SUFFIX}; this would be a folder")
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file; a capture is called *{CAPTURE_SUFFIX}, anything else is a folder")
    check_folder(path)
    if not path.is_dir():
        return
    ours = own_channel_files(path)
    if any(_same(file, source) for file in ours for source in inputs):
        raise InputError(f"{path}: holds an input; it would be overwritten")
    there = sorted(path.iterdir())
    if there and not force:
        raise InputError(f"{path}: is not empty ({there[0].name}); give another folder, or --force for channel files")
    if foreign := [item for item in there if is_named(item) and item not in ours]:
        raise InputError(f"{path}: {foreign[0].name} would be taken for a channel; give another folder")


def check_file(path: Path, inputs: Iterable[Path] = (), *, what: str = "a file") -> None:
    """One file, which is replaced if it is there."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder, not {what} to write")
    _check_parent(path)
    _check_inputs(path, inputs)


def check_folder(path: Path, *, empty: bool = False) -> None:
    """A folder, which is made if it is not there; with ``empty`` it must hold nothing."""
    _check_parent(path)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file, not a folder to write into")
    if empty and path.is_dir() and any(path.iterdir()):
        raise InputError(f"{path}: is not empty; give --force to replace files in it")


def check_space(path: Path, size: int) -> None:
    """Room for ``size`` bytes more where the output goes."""
    import shutil  # noqa: PLC0415 -- slow to import

    target = Path(os.path.realpath(path))
    folder = target if target.is_dir() else target.parent
    free = shutil.disk_usage(folder).free if folder.is_dir() else size
    if size > free:
        raise InputError(f"{path}: {size:,} bytes are to be written; {free:,} are free")


def _check_parent(path: Path) -> None:
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}")


def _check_inputs(path: Path, inputs: Iterable[Path]) -> None:
    for source in inputs:
        if _same(path, source):
            raise InputError(f"{path}: is also an input; it would be overwritten")
        if source.is_dir() and path.exists() and _same(path.parent, source):
            raise InputError(f"{path}: is part of the input {source}; it would be overwritten")


def _same(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)
