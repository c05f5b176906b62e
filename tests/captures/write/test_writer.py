"""What the writer writes, the reader reads back; tshark finds nothing to say against it."""

from __future__ import annotations

import subprocess
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.recording import open_recording
from captures.write.tcp_frames import MAX_SEGMENT
from multifd_codec.source import BufferSource, Hole, HoleReason, StreamEnd
from tests.helpers.writing import ETHERNET_SEGMENT, Piece, round_robin, write_pcap

HEADS = [b"QEVM\0\0\0\3", *(bytes.fromhex("1122334400000001") + bytes(16) + bytes([i]) + bytes(39) for i in range(3))]
"""How the streams of a migration begin: main, then channels 0, 1, 2."""


@st.composite
def migrations(draw: st.DrawFn) -> tuple[list[BufferSource], list[Piece], list[int], int]:
    """Streams with holes, a send order across them, sequence numbers that may wrap, a segment size."""
    sources = []
    for head in HEADS[: draw(st.integers(1, len(HEADS)))]:
        data = head + draw(st.binary(max_size=2000))
        cuts = sorted(draw(st.sets(st.integers(len(head), len(data)), max_size=4)))
        pairs = list(zip(cuts[::2], cuts[1::2], strict=False))
        # A capture can tell a hole only by what comes behind it.
        holes = [Hole(start, end, HoleReason.LOST) for start, end in pairs if end < len(data)]
        sources.append(BufferSource(data, holes=holes, end=draw(st.sampled_from(StreamEnd))))
    pieces = list(round_robin([source.size for source in sources], draw(st.integers(100, 3000))))
    turns = draw(st.permutations([piece[0] for piece in pieces]))
    queues = [iter([piece for piece in pieces if piece[0] == number]) for number in range(len(sources))]
    order = [next(queues[number]) for number in turns]
    starts = [draw(st.integers(0, 2**32 - 1) | st.integers(2**32 - 3000, 2**32 - 1)) for _ in sources]
    return sources, order, starts, draw(st.sampled_from([1, 7, 100, ETHERNET_SEGMENT, MAX_SEGMENT]))


@given(migrations())
def test_read_back(case: tuple[list[BufferSource], list[Piece], list[int], int]) -> None:
    sources, order, starts, segment_size = case
    with TemporaryDirectory() as folder:
        path = Path(folder) / "written.pcap"
        write_pcap(path, sources, order=order, initial_sequences=starts, segment_size=segment_size)
        with open_recording(path, reader="native") as recording:
            (migration,) = recording.migrations
            assert [channel.channel_id for channel in migration.channels] == [None, 0, 1, 2][: len(sources)]
            for channel, source in zip(migration.channels, sources, strict=True):
                assert (channel.source.size, channel.source.end) == (source.size, source.end)
                assert list(channel.source.holes()) == list(source.holes())
                position = 0
                for hole in [*source.holes(), Hole(source.size, source.size, HoleReason.LOST)]:
                    length = hole.start - position
                    assert bytes(channel.source.read(position, length)) == source.read(position, length)
                    position = hole.end


@pytest.mark.tshark
@pytest.mark.parametrize("segment_size", [100, ETHERNET_SEGMENT, MAX_SEGMENT])
def test_wireshark_finds_no_fault(samples: Path, tmp_path: Path, segment_size: int) -> None:
    """No expert warning, no retransmission, checksums right; the return path is there."""
    path = tmp_path / "written.pcap"
    with open_recording(samples / "q10.0-none-device-state.pcap") as recording:
        migration = recording.migrations[0]
        write_pcap(path, migration, segment_size=segment_size, initial_sequences=[2**32 - 700] * 3)
        streams = [bytes(channel.source.read(0, channel.source.size)).hex() for channel in migration.channels]
        assert migration.return_path is not None
        returned = bytes(migration.return_path.read(0, migration.return_path.size)).hex()
    checks = ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]
    expert = ["-T", "fields", "-e", "_ws.expert.severity", "-e", "_ws.expert.message"]
    lines = _tshark(path, *checks, *expert, "-Y", "_ws.expert.severity >= note").splitlines()
    assert {line.split("\t")[1] for line in lines} <= {
        "This frame initiates the connection closing",
        "This frame undergoes the connection closing",
        "Connection finish (FIN),This frame initiates the connection closing",
        "Connection finish (FIN),This frame undergoes the connection closing",
    }
    for number, stream in enumerate(streams):
        follow = _tshark(path, "-q", "-z", f"follow,tcp,raw,{number}").splitlines()[6:-1]
        assert "".join(line for line in follow if not line.startswith("\t")) == stream
        assert "".join(line.strip() for line in follow if line.startswith("\t")) == (returned if number == 0 else "")


def _tshark(path: Path, *arguments: str) -> str:
    command = ["tshark", "-n", "-r", str(path), *arguments]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def test_memory_does_not_grow_with_the_stream() -> None:
    class Zeros(BufferSource):
        size = 64 << 20

        def read(self, offset: int, length: int) -> bytes:
            return bytes(min(length, self.size - offset))

    tracemalloc.start()
    write_pcap(Path("/dev/null"), [Zeros(), Zeros()])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20
