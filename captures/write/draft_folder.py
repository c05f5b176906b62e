"""A draft as a folder of channel files: what each destination socket would receive."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from captures.files import RETURN_PATH
from captures.identify import MAIN_MAGIC
from captures.model import CHANNEL_SUFFIX, ChannelKind, StreamSource
from captures.write.replacing import channel_files
from multifd_codec.channel.events import ChannelInit
from multifd_codec.draft.draft import Draft, Line
from multifd_codec.errors import ChannelName

PIECE = 1 << 20


def write_draft_folder(path: Path, draft: Draft, return_path: StreamSource | None = None) -> tuple[Path, ...]:
    """Write ``main.bin``, ``channel-0.bin`` and so on into a folder, which is made if missing; the files, in order.

    A second channel of the same id becomes ``channel-0-2.bin``, one without a ChannelInit ``unknown.bin``. Channel
    files that are there already are replaced: what a folder holds is one migration. Raises EncodeError, OSError.
    """
    path.mkdir(parents=True, exist_ok=True)
    for old in channel_files(path):
        old.unlink()
    seen: Counter[str] = Counter()
    written = []
    for name, line in draft.lines():
        stem = _stem(name, line)
        seen[stem] += 1
        file = path / f"{stem}{f'-{seen[stem]}' if seen[stem] > 1 else ''}{CHANNEL_SUFFIX}"
        with file.open("wb", buffering=PIECE) as out:
            for record in line:
                for piece in record.pieces():
                    out.write(piece)
        written.append(file)
    if return_path is not None and return_path.next_hole(0) is None:
        with (path / RETURN_PATH).open("wb") as out:
            for start in range(0, return_path.size, PIECE):
                out.write(return_path.read(start, min(PIECE, return_path.size - start)))
    return tuple(written)


def _stem(name: ChannelName, line: Line) -> str:
    if name == "main":
        return "main"
    first = line[0].event if line else None
    if isinstance(first, ChannelInit):
        return f"channel-{first.id}"
    return "main" if line and line[0].encoded().startswith(MAIN_MAGIC) else ChannelKind.UNKNOWN.value
