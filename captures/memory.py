"""Migrations in memory as the analyzers see recorded ones: what drafts, fuzzing and tests judge without a file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from captures.identity import identify
from captures.model import CapturedChannel, CaptureNote, ChannelKind, InputForm, Migration, Recording
from captures.names import label
from multifd_codec.draft.draft import Draft
from multifd_codec.errors import ChannelName
from multifd_codec.source import BufferSource


class MemorySource(BufferSource):
    """A stream in memory (a StreamSource); ``frames`` lists (offset, frame) as a capture would have them."""

    frames: tuple[tuple[int, int], ...] = ()

    def frame_at(self, offset: int) -> int | None:
        return max((pair for pair in self.frames if pair[0] <= offset), default=(0, None))[1]

    def time_at(self, offset: int) -> float | None:
        return None


def captured(name: ChannelName, source: MemorySource, kind: ChannelKind | None = None) -> CapturedChannel:
    """The channel at that position; by default of the kind that position has."""
    own = ChannelKind.MAIN if name == "main" else ChannelKind.MULTIFD
    return CapturedChannel(kind or own, None if name == "main" else name, source, label(name))


def recording(channels: Iterable[CapturedChannel], notes: tuple[CaptureNote, ...] = ()) -> Recording:
    """One migration of these channels."""
    listed = tuple(channels)
    size = sum(channel.source.size for channel in listed)
    return Recording(Path("stream"), InputForm.FOLDER, size, 0, (Migration(listed, notes=notes),))


def recording_of(draft: Draft) -> Recording:
    """A draft as a perfect recording of it, channels recognised by content as readers do. Raises EncodeError when it
    cannot be encoded."""
    channels = []
    for name, _ in draft.lines():
        source = MemorySource(draft.encoded(name))
        identity = identify(source)
        channels.append(CapturedChannel(identity.kind, identity.channel_id, source, label(name)))
    return recording(channels)
