"""Drafts as they are recorded and judged; ``tests.helpers.healthy`` has healthy ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from analyzers.findings import Report
from analyzers.linter.judged import LintOptions
from analyzers.linter.linter import lint_recording
from captures.memory import MemorySource, captured, recording
from captures.model import CapturedChannel, CaptureNote, ChannelKind, Recording
from multifd_codec.draft.draft import Draft
from multifd_codec.errors import ChannelName
from multifd_codec.source import Hole, StreamEnd
from tests.helpers.healthy import healthy


@dataclass(slots=True)
class Stream(Draft):
    """A draft as it is recorded and judged."""

    ends: dict[ChannelName, StreamEnd] = field(default_factory=dict)
    """How a channel's recording ends, by position; CLOSED unless said otherwise."""
    holes: dict[ChannelName, list[Hole]] = field(default_factory=dict)
    cut: dict[ChannelName, int] = field(default_factory=dict)
    """Bytes taken off the end of an encoded channel."""
    kinds: dict[ChannelName, ChannelKind] = field(default_factory=dict)
    """What a channel is recognised as, by position; MULTIFD unless said otherwise."""
    frames: dict[ChannelName, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    notes: tuple[CaptureNote, ...] = ()
    more: tuple[CapturedChannel, ...] = ()
    """Further connections."""

    def source(self, name: ChannelName) -> MemorySource:
        data = self.encoded(name)
        source = MemorySource(
            data[: max(0, len(data) - self.cut.get(name, 0))],
            end=self.ends.get(name, StreamEnd.CLOSED),
            holes=self.holes.get(name, ()),
        )
        source.frames = self.frames.get(name, ())
        return source

    def recording(self) -> Recording:
        channels = [captured(name, self.source(name), self.kinds.get(name)) for name, _ in self.lines()]
        return recording([*channels, *self.more], self.notes)

    def lint(self, **options: Any) -> Report:
        (report,) = lint_recording(self.recording(), LintOptions(**options))
        return report


def stream_of(name: str) -> Stream:
    """The healthy migration of that name."""
    draft = healthy(name)
    return Stream(draft.main, draft.channels, draft.order)
