"""Opening inputs, and the options that all commands with an INPUT share."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from analyzers.cli.shrinking import tell_of_shrinking
from multifd_codec.errors import InputError

if TYPE_CHECKING:
    from captures.model import Migration, ProgressCallback, Reader, Recording


READERS: tuple[Reader, ...] = ("auto", "native", "wireshark")
Function = TypeVar("Function", bound=Callable[..., Any])


def file_path(text: str) -> Path:
    """The type of arguments and options that name a file or folder; an empty name, as an unset variable leaves it, is
    not the current folder."""
    if not text:
        raise click.BadParameter("a name is needed; it is empty")
    return Path(text)


_KINDS = (
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISSOCK, "a socket"),
)


def check_input(path: Path) -> None:
    """Raises InputError for what cannot be opened."""
    from captures.formats.pipes import STANDARD_INPUT  # noqa: PLC0415

    if path == STANDARD_INPUT:
        return
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    for is_kind, name in _KINDS:
        if is_kind(mode):
            raise InputError(f"{path}: is {name}; give a file, a pipe or a folder")


def open_input(
    path: Path | tuple[Path, ...], reader: Reader, keylog: Path | None, progress: ProgressCallback | None
) -> Recording:
    """The recording in ``path``, or in several together. Raises InputError, its message naming a path."""
    from captures.recording import open_recording, open_together  # noqa: PLC0415

    tell_of_shrinking()
    paths = path if isinstance(path, tuple) else (path,)
    for one in paths if keylog is None else (*paths, keylog):
        check_input(one)
    try:
        if len(paths) > 1:
            return open_together(paths, reader=reader, keylog=keylog, progress=progress)
        recording = open_recording(paths[0], reader=reader, keylog=keylog, progress=progress)
    except InputError as error:
        raise _naming(paths, error) from None
    recording.path = paths[0]  # as the user gave it, whichever reader it was
    return recording


def open_inputs(
    paths: tuple[Path, ...],
    together: bool | None,
    reader: Reader,
    keylog: Path | None,
    progress: ProgressCallback | None,
) -> Iterator[tuple[Path, Recording | InputError]]:
    """The recordings in these files, each with its first path, or why there is none. ``together``: whether all of them
    are one; None: those that go on in each other."""
    from captures.recording import open_recordings  # noqa: PLC0415

    tell_of_shrinking()
    if together is None and len(paths) > 1:
        readable = []
        for path in paths:
            try:
                check_input(path)
                readable.append(path)
            except InputError as error:
                yield path, error
        for chain, found in open_recordings(readable, reader=reader, keylog=keylog, progress=progress):
            yield chain[0], _naming(chain, found) if isinstance(found, InputError) else found
        return
    for chain in [paths] if together else [(path,) for path in paths]:
        try:
            yield chain[0], open_input(chain, reader, keylog, progress)
        except InputError as error:
            yield chain[0], error


def _naming(paths: tuple[Path, ...], error: InputError) -> InputError:
    return InputError(str(error) if any(str(path) in str(error) for path in paths) else f"{paths[0]}: {error}")


def require_migration(recording: Recording) -> None:
    """Raises InputError when there is nothing to show; lint makes a report of that instead."""
    if not recording.migrations:
        reasons = "; ".join(note.message for note in recording.notes)
        raise InputError(f"{recording.path}: no migration found" + (f" ({reasons})" if reasons else ""))


def choose_migration(recording: Recording, number: int | None) -> Migration:
    """The one that ``--migration`` means. Raises InputError when it is not there or not said."""
    count = len(recording.migrations)
    if number is None and count > 1:
        raise InputError(f"{recording.path}: there are {count} migrations, give --migration N")
    if number is not None and number > count:
        raise InputError(f"{recording.path}: there is no migration {number}, only {count}")
    return recording.migrations[(number or 1) - 1]


def reading_options(function: Function) -> Function:
    """``--page-size``, ``--keylog`` and ``--reader``."""
    options = (
        click.option(
            "--page-size",
            callback=page_size_option,
            metavar="BYTES",
            help="Target page size, as 4096 or 64k. Default: what frames the packets.",
        ),
        click.option(
            "--keylog",
            type=file_path,
            metavar="FILE",
            help="TLS key log (SSLKEYLOGFILE format) to decrypt the capture with; needs tshark.",
        ),
        click.option(
            "--reader",
            type=click.Choice(READERS),
            default="auto",
            show_default=True,
            help="Capture reader: the built-in one is fast, Wireshark's knows more encapsulations and TLS.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def page_size_option(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """A power of two from 1 KiB to 64 KiB, with an optional ``k``."""
    from multifd_codec.channel.framing import PAGE_SIZES  # noqa: PLC0415 -- slow to import

    if value is None:
        return None
    text = value.lower().removesuffix("ib")
    digits, factor = (text[:-1], 1024) if text.endswith("k") else (text, 1)
    size = int(digits) * factor if digits.isascii() and digits.isdigit() and len(digits) < 8 else 0
    if size not in PAGE_SIZES:
        raise click.BadParameter(f"{value!r} is not a target page size (a power of two from 1024 to 65536)", ctx, param)
    return size
