"""Captures in several files, and from pipes: the same recording as from one file."""

from __future__ import annotations

import gzip
import os
import struct
import threading
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from analyzers.findings import Outcome, Severity
from analyzers.linter.linter import lint_recording
from captures.model import Recording
from captures.recording import open_recording, open_recordings, open_together
from multifd_codec.errors import InputError
from tests.conftest import SAMPLES

WHOLE = SAMPLES / "q10.0-none-device-state.pcap"
LOST = SAMPLES / "q10.0-none-device-state-lost.pcap"
PACKERS = (bytes, gzip.compress, zstandard.compress)


def records(path: Path) -> tuple[bytes, list[bytes]]:
    """The file header and the records of a little-endian pcap."""
    content, found, position = path.read_bytes(), [], 24
    while position < len(content):
        (length,) = struct.unpack_from("<I", content, position + 8)
        found.append(content[position : position + 16 + length])
        position += 16 + length
    return content[:24], found


def told(recording: Recording) -> list[dict[str, Any]]:
    """The reports, but for what the input is."""
    with recording:
        return [report.to_dict() | {"input": report.input.frames} for report in lint_recording(recording)]


@pytest.mark.parametrize("path", [WHOLE, LOST])
@given(st.data())
def test_parts_are_one_recording(path: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("parts")
    header, frames = records(path)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(frames) - 1), max_size=4)))
    parts = []
    for number, (start, stop) in enumerate(zip([0, *cuts], [*cuts, len(frames)], strict=True)):
        part = folder / f"part{number}"
        part.write_bytes(data.draw(st.sampled_from(PACKERS))(header + b"".join(frames[start:stop])))
        parts.append(part)
    shuffled = data.draw(st.permutations(parts))
    recording = open_together(shuffled)
    assert len(parts) == 1 or [(file.path, file.frames) for file in recording.files] == [
        (part, stop - start) for part, start, stop in zip(parts, [0, *cuts], [*cuts, len(frames)], strict=True)
    ]
    assert told(recording) == told(open_recording(path))


def test_parts_are_recognised(tmp_path: Path) -> None:
    header, frames = records(WHOLE)
    first, second = tmp_path / "2", tmp_path / "1"
    first.write_bytes(header + b"".join(frames[:40]))
    second.write_bytes(header + b"".join(frames[40:]))
    found = []
    for paths, recording in open_recordings([second, LOST, tmp_path / "none", first, WHOLE]):
        found.append((paths, None if isinstance(recording, InputError) else recording.frames))
        if not isinstance(recording, InputError):
            recording.close()
    assert sorted(found) == sorted(
        [
            ((first, second), len(frames)),
            ((LOST,), open_recording(LOST).frames),
            ((WHOLE,), len(frames)),
            ((tmp_path / "none",), None),
        ]
    )


def test_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for pack in PACKERS:
        writer = threading.Thread(target=pipe.write_bytes, args=(pack(WHOLE.read_bytes()),))
        writer.start()
        assert told(open_recording(pipe)) == told(open_recording(WHOLE))
        writer.join()


@pytest.mark.parametrize("path", [WHOLE, LOST, SAMPLES / "q10.0-none-known-ram-tls.pcap"])
@given(snaplen=st.integers(54, 200))
def test_captures_of_headers(path: Path, tmp_path_factory: pytest.TempPathFactory, snaplen: int) -> None:
    cut = tmp_path_factory.mktemp("cut") / "cut.pcap"
    header, frames = records(path)
    with cut.open("wb") as file:
        file.write(header)
        for frame in frames:
            length = min(snaplen, len(frame) - 16)
            file.write(frame[:8] + struct.pack("<I", length) + frame[12 : 16 + length])
    with open_recording(path) as whole, open_recording(cut) as headers:
        ends = [
            {(one.label, one.to_destination.sent, one.to_source.sent) for one in recording.migrations[0].connections}
            for recording in (whole, headers)
        ]
        assert ends[0] == ends[1]
        (report,) = lint_recording(headers)
    assert report.outcome is Outcome.UNDECIDED
    assert not [finding for finding in report.findings if finding.severity is Severity.ERROR]


def test_frames_seen_on_two_interfaces_are_not_sent_twice(tmp_path: Path) -> None:
    header, frames = records(WHOLE)
    cooked = tmp_path / "any.pcap"
    with cooked.open("wb") as file:
        file.write(header[:20] + struct.pack("<I", 276))
        for frame in frames:
            for interface in (3, 7):
                link = struct.pack(">HHIHBB8s", 0x0800, 0, interface, 1, 0, 6, bytes(8))
                captured, original = struct.unpack_from("<II", frame, 8)
                lengths = struct.pack("<II", captured + len(link) - 14, original + len(link) - 14)
                file.write(frame[:8] + lengths + link + frame[30:])
    with open_recording(WHOLE) as whole, open_recording(cooked) as twice:
        seen = [
            [
                (one.label, len(one.attempts), half.sent, half.retransmissions and half.retransmissions.number)
                for one in recording.migrations[0].connections
                for half in (one.to_destination, one.to_source)
            ]
            for recording in (whole, twice)
        ]
    assert seen[0] == seen[1]
    assert sum(number or 0 for *_, number in seen[0]) == 1
