"""Whatever happened to the segments on the way into the capture, the bytes and the holes are the true ones."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from captures.model import CapturedChannel, ChannelKind, NoteKind
from captures.recording import open_recording
from multifd_codec.source import Hole, HoleReason, StreamEnd
from tests.helpers import packets
from tests.helpers.packets import ACK, FIN, RST, Conversation, Frame, Tcp

FORMATS = {
    "pcap": packets.pcap,
    "pcap, big-endian": lambda frames: packets.pcap(frames, ">"),
    "pcap, nanoseconds": lambda frames: packets.pcap(frames, nanoseconds=True),
    "pcapng": packets.pcapng,
    "pcapng, big-endian": lambda frames: packets.pcapng(frames, ">"),
    "pcapng, obsolete blocks": lambda frames: packets.pcapng(frames, kind=2),
}


@dataclass(frozen=True)
class Sent:
    """Bytes ``start`` to ``stop`` of the stream, sent once; ``altered``: with other content."""

    start: int
    stop: int
    altered: bool = False


@dataclass(frozen=True)
class Story:
    """What the capture saw of one connection."""

    stream: bytes
    first: int
    """Sequence number of the first byte."""
    sent: tuple[Sent, ...]
    opened: bool
    ending: str
    """``fin``, ``reset``, ``acknowledged`` (all of it) or nothing."""
    kept: int
    """How many bytes of payload the snaplen left in each frame."""
    link: str
    file: str
    version: int


@st.composite
def stories(draw: st.DrawFn) -> Story:
    stream = b"QEVM\0\0\0\3" + draw(st.binary(min_size=1, max_size=300))
    size = len(stream)
    cuts = sorted({0, size, *draw(st.lists(st.integers(1, size - 1), max_size=12))})
    placed: list[tuple[int, Sent]] = []
    for number, (start, stop) in enumerate(itertools.pairwise(cuts)):
        late = draw(st.sampled_from([0, 0, 0, 1, 2, 5]))
        for _ in range(draw(st.sampled_from([1, 1, 1, 1, 2, 0]))):
            placed.append((number + late, Sent(start, stop)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, size - 1))
        stop = draw(st.integers(start + 1, size))
        placed.append((draw(st.integers(0, len(cuts))), Sent(start, stop, draw(st.booleans()))))
    placed.sort(key=lambda item: item[0])
    return Story(
        stream=stream,
        first=draw(st.one_of(st.integers(0, 2**32 - 1), st.integers(2**32 - 300, 2**32 - 1))),
        sent=tuple(sent for _, sent in placed),
        opened=draw(st.booleans()) if placed else True,
        ending=draw(st.sampled_from(["fin", "reset", "acknowledged", ""])),
        kept=draw(st.sampled_from([10**6, 10**6, 10**6, 40, 9, 0])),
        link=draw(st.sampled_from(list(packets.LINKS))),
        file=draw(st.sampled_from(list(FORMATS))),
        version=draw(st.sampled_from([4, 6])),
    )


def altered(data: bytes) -> bytes:
    return bytes(byte ^ 0x55 for byte in data)


class Truth:
    """The stream as a receiver with only the captured frames would know it, byte by byte."""

    def __init__(self, story: Story, frames: list[int]) -> None:
        """``frames``: the frame number of each of ``story.sent``."""
        base = 0 if story.opened else min(sent.start for sent in story.sent)
        seen = max((sent.stop for sent in story.sent), default=0)
        size = len(story.stream) if story.ending in ("fin", "acknowledged") else seen
        self.end = {"fin": StreamEnd.CLOSED, "reset": StreamEnd.RESET}.get(story.ending, StreamEnd.OPEN)
        if story.ending == "acknowledged" and size == seen + 1:
            # One byte more than was sent is a FIN that the capture missed.
            size, self.end = seen, StreamEnd.CLOSED
        self.size = size - base
        self.known: list[int | None] = [None] * self.size
        self.frame: list[int | None] = [None] * self.size
        on_wire = [False] * self.size
        self.differs = False
        for number, sent in zip(frames, story.sent, strict=True):
            data = story.stream[sent.start : sent.stop]
            data = altered(data) if sent.altered else data
            for index in range(len(data)):
                at = sent.start - base + index
                on_wire[at] = True
                if index >= story.kept:
                    continue
                if self.known[at] is None:
                    self.known[at], self.frame[at] = data[index], number
                elif self.known[at] != data[index] and min(len(data), story.kept) > 1:
                    self.differs = True
        self.holes: list[Hole] = []
        at = 0
        while at < self.size:
            start = at
            while at < self.size and self.known[at] is None:
                at += 1
            if at > start:
                reason = HoleReason.SNAPLEN if all(on_wire[start:at]) else HoleReason.LOST
                self.holes.append(Hole(start, at, reason))
            at += 1


def tell(story: Story) -> tuple[list[Frame], list[int]]:
    """The frames of a capture, and the numbers of those that carry ``story.sent``."""
    client, server = ("192.0.2.1", "192.0.2.2") if story.version == 4 else ("2001:db8::1", "2001:db8::2")
    other = Conversation(client, server, client_port=50001)
    story_of = Conversation(client, server, client_first=story.first)
    frames = [packets.frame(tcp, story.link) for tcp in other.whole(packets.multifd(0, 100))[:4]]
    if story.opened:
        frames += [packets.frame(tcp, story.link) for tcp in story_of.opening()]
    numbers = []
    for sent in story.sent:
        data = story.stream[sent.start : sent.stop]
        whole = packets.frame(story_of.to_server(sent.start, altered(data) if sent.altered else data), story.link)
        frames.append(whole.cut(len(whole.data) - max(0, len(data) - story.kept)))
        numbers.append(len(frames))
    size = len(story.stream)
    endings: dict[str, Tcp] = {
        "fin": story_of.to_server(size, flags=FIN | ACK),
        "reset": story_of.to_client(0, flags=RST),
        "acknowledged": story_of.to_client(0, acknowledged=size),
    }
    if story.ending:
        frames.append(packets.frame(endings[story.ending], story.link))
    return frames, numbers


def subject(channels: tuple[CapturedChannel, ...]) -> CapturedChannel:
    return next(channel for channel in channels if ":50000 > " in channel.label)


@given(stories())
def test_bytes_holes_frames_and_end(story: Story) -> None:
    frames, numbers = tell(story)
    truth = Truth(story, numbers)
    with tempfile.NamedTemporaryFile() as file:
        file.write(FORMATS[story.file](frames))
        file.flush()
        with open_recording(Path(file.name)) as recording:
            assert recording.frames == len(frames)
            (migration,) = recording.migrations
            channel = subject(migration.channels)
            source = channel.source
            assert (source.size, source.end) == (truth.size, truth.end)
            assert list(source.holes()) == truth.holes
            position = 0
            for hole in [*truth.holes, Hole(truth.size, truth.size, HoleReason.LOST)]:
                assert list(source.read(position, hole.start - position)) == truth.known[position : hole.start]
                assert source.next_hole(position) == (hole if hole.start < hole.end else None)
                position = hole.end
            assert [source.frame_at(offset) for offset in range(truth.size)] == truth.frame
            assert channel.start_captured == (story.opened or channel.kind is ChannelKind.MAIN)
            assert (channel.kind is ChannelKind.MAIN) == (bytes(map(int, map(_or_zero, truth.known[:4]))) == b"QEVM")
            kinds = {note.kind for note in migration.notes if note.label == channel.label}
            assert (NoteKind.RETRANSMISSION_DIFFERS in kinds) == truth.differs
            assert (NoteKind.END_NOT_CAPTURED in kinds) == (truth.end is StreamEnd.OPEN)
            for kind, reason in REASONS.items():
                assert (kind in kinds) == any(hole.reason is reason for hole in truth.holes)


REASONS = {NoteKind.LOST_SEGMENTS: HoleReason.LOST, NoteKind.CUT_BY_SNAPLEN: HoleReason.SNAPLEN}


def _or_zero(value: int | None) -> int:
    return value or 0
