"""Channel files: each holds the bytes of one channel, as a destination would receive them; and mapped-ram files."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from captures.formats.images import snapshots, stream_at
from captures.formats.mapped import MappedFile, Opened, open_mapped
from captures.identify import CHANNEL_ORDER
from captures.identity import Identity, identify
from captures.model import (
    CapturedChannel,
    CaptureNote,
    ChannelKind,
    InputForm,
    Migration,
    Recording,
    StreamSource,
)
from captures.names import RETURN_PATH, is_named
from captures.tcp.streams import FileSource
from multifd_codec.channel.framing import MARK
from multifd_codec.errors import InputError
from multifd_codec.source import ByteSource
from multifd_codec.wire.qemufile import FILE_MARK

CONFIGURATION = b"\x1aconfiguration/capabilities"
"""Name of the subsection that lists capabilities (vmstate_configuration, migration/savevm.c, 2.11 to 11.1)."""
MAPPED_RAM = b"\x0amapped-ram"
"""The capability as it stands in that list, since 9.0."""
CONFIGURATION_REACH = 4096
MAX_CHANNEL_FILES = 512


def is_mapped_ram(source: ByteSource) -> bool:
    """Whether a main channel's configuration section names the capability mapped-ram."""
    head = bytes(source.read(0, CONFIGURATION_REACH))
    listed = head.find(CONFIGURATION)
    return head.startswith(FILE_MARK) and listed >= 0 and MAPPED_RAM in head[listed:]


def is_channel_file(file: MappedFile) -> bool:
    """Whether a file holds a main channel (a mapped-ram file's, too) or a multifd channel."""
    return identify(FileSource(file.view)).kind in (ChannelKind.MAIN, ChannelKind.MULTIFD)


def read_channel_file(opened: Opened) -> Recording:
    """A single channel file or a mapped-ram file, mapped already."""
    path, file, notes = opened
    source = FileSource(file.view, file.next_data)
    kind = InputForm.MAPPED_RAM if is_mapped_ram(source) else InputForm.CHANNEL_FILE
    migration = Migration((_channel(path.name, source, identify(source)),))
    return Recording(path, kind, file.size, 0, (migration,), notes, [file.close])


def read_offset(opened: Opened) -> Recording:
    """A main channel that starts inside a file (``stream_at``)."""
    path, file, notes = opened
    source = FileSource(file.view[stream_at(file) or 0 :])
    if is_mapped_ram(source):
        raise InputError(f"{path}: a mapped-ram stream that does not start at the file's beginning is not read")
    migration = Migration((_channel(path.name, source, identify(source)),))
    return Recording(path, InputForm.CHANNEL_FILE, file.size, 0, (migration,), notes, [file.close])


def read_snapshots(opened: Opened) -> Recording:
    """The internal snapshots of a qcow2 image, each a migration."""
    path, file, notes = opened
    sources = [(name, FileSource(state)) for name, state in snapshots(file)]
    migrations = tuple(Migration((_channel(name, source, identify(source)),)) for name, source in sources)
    return Recording(path, InputForm.CHANNEL_FILE, file.size, 0, migrations, notes, [file.close])


def read_folder(path: Path) -> Recording:
    """A folder of channel files, known by what is in them, whatever their names.

    Files named ``*.bin`` of which that cannot be said are channels of unknown kind; ``return-path.bin`` is the return
    path; all others are ignored. Each may be compressed if it is named ``*.bin.gz`` or ``*.bin.zst``. Raises
    InputError when there is no channel.
    """
    channels: list[CapturedChannel] = []
    notes: list[CaptureNote] = []
    return_path: StreamSource | None = None
    total = 0
    with ExitStack() as files:
        for name in _channel_files(path):
            _, file, file_notes = open_mapped(path / name)
            files.callback(file.close)
            source = FileSource(file.view, file.next_data)
            notes += [note._replace(label=name) for note in file_notes]
            total += source.size
            if name.startswith(RETURN_PATH):
                return_path = source
            else:
                channels.append(_channel(name, source, identify(source)))
        if all(channel.kind is ChannelKind.UNKNOWN for channel in channels):
            raise InputError(f"{path}: no channel file in this folder")
        migration = Migration(tuple(sorted(channels, key=_place)), return_path, tuple(notes))
        return Recording(path, InputForm.FOLDER, total, 0, (migration,), (), [files.pop_all().close])
    raise AssertionError("an ExitStack of closed files hides no exception")


def _channel_files(path: Path) -> list[str]:
    """Names of the regular files that are, or are called, channel files."""
    names = []
    try:
        for item in sorted(path.iterdir()):
            if not item.is_file():
                continue
            named = is_named(item)
            if not named:
                with item.open("rb") as file:
                    named = file.read(len(MARK)).startswith(MARK)
            if named:
                names.append(item.name)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    if len(names) > MAX_CHANNEL_FILES:
        raise InputError(f"{path}: {len(names)} channel files, more than one migration can have")
    return names


def _channel(name: str, source: StreamSource, identity: Identity) -> CapturedChannel:
    return CapturedChannel(identity.kind, identity.channel_id, source, name)


def _place(channel: CapturedChannel) -> tuple[int, int]:
    return CHANNEL_ORDER.index(channel.kind), 256 if channel.channel_id is None else channel.channel_id
