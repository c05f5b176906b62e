"""Names of channel files: what they are called here, and how they are told from other files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from captures.model import ChannelKind
from multifd_codec.channel.events import ChannelInit
from multifd_codec.errors import ChannelName
from multifd_codec.wire.qemufile import FILE_MARK

if TYPE_CHECKING:
    from multifd_codec.draft.draft import Draft, Line

CHANNEL_SUFFIX = ".bin"
"""What names of channel files end in, perhaps with the suffix of a compression behind it."""
RETURN_PATH = f"return-path{CHANNEL_SUFFIX}"
_OURS = re.compile(r"(main|channel-\d+|unknown|tls|return-path)(-\d+)?\.bin(\.gz|\.zst)?")


def label(name: ChannelName) -> str:
    """The channel file of that name, and where a channel made in memory claims to come from."""
    return f"{_stem(name)}{CHANNEL_SUFFIX}"


def names_of(draft: Draft) -> Mapping[ChannelName, str]:
    """The file of each channel, by what it says it is: a second channel of the same id is ``channel-0-2.bin``, one
    without a ChannelInit ``unknown.bin``."""
    seen: Counter[str] = Counter()
    names = {}
    for name, line in draft.lines():
        stem = _stem("main") if name == "main" else _claimed(line)
        seen[stem] += 1
        names[name] = f"{stem}{f'-{seen[stem]}' if seen[stem] > 1 else ''}{CHANNEL_SUFFIX}"
    return names


def _stem(name: ChannelName) -> str:
    return name if name == "main" else f"channel-{name}"


def _claimed(line: Line) -> str:
    first = line[0].event if line else None
    if isinstance(first, ChannelInit):
        return _stem(first.id)
    return _stem("main") if line and line[0].encoded().startswith(FILE_MARK) else ChannelKind.UNKNOWN.value


def is_named(path: Path) -> bool:
    """Whether a file is called a channel file, whatever is in it and in front of the suffix."""
    return CHANNEL_SUFFIX in path.suffixes[-2:]


def own_channel_files(path: Path) -> list[Path]:
    """The files in a folder that bear names as channel files are given here, packed or not."""
    return [file for file in sorted(path.iterdir()) if _OURS.fullmatch(file.name) and not file.is_dir()]
