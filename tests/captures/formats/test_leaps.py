"""Records found in many places at once are those that a walk from the first one finds."""

from __future__ import annotations

import random
import struct
import tempfile

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from captures.formats.leaps import RecordForm, Typical, leap
from captures.formats.mapped import MappedFile
from captures.formats.pcap import PcapFile
from captures.formats.records import BATCH_FRAMES

SECONDS = 1_700_000_000
HEADER = struct.Struct("<IIII")
FILE_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)


def record(length: int, payload: bytes) -> bytes:
    return HEADER.pack(SECONDS, 7, length, length) + payload[:length].ljust(length, b"\0")


def capture(seed: int, sizes: list[int], deceit: float, count: int) -> tuple[bytes, list[int]]:
    """Frames of some ``sizes``; ``deceit``: how many of them hold what looks like records themselves."""
    chance = random.Random(seed)
    parts, starts, position = [FILE_HEADER], [], len(FILE_HEADER)
    for _ in range(count):
        size = chance.choice(sizes)
        lies = b"".join(record(chance.choice([1, 4, 30]), b"") for _ in range(9)) if chance.random() < deceit else b""
        starts.append(position)
        parts.append(record(size, bytes(chance.randrange(20)) + lies))
        position += HEADER.size + size
    return b"".join(parts), starts


@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.sampled_from([1, 9, 60, 150, 400]), min_size=1, max_size=3),
    deceit=st.sampled_from([0, 0, 0.05, 1]),
    count=st.sampled_from([10, 700, 3000]),
    average=st.sampled_from([20, 60, 200]),
    cut=st.integers(0, 300),
)
def test_leap_gives_the_chain(seed: int, sizes: list[int], deceit: float, count: int, average: int, cut: int) -> None:
    content, starts = capture(seed, sizes, deceit, count)
    content = content[: max(len(FILE_HEADER) + HEADER.size, len(content) - cut)]
    whole = [start for start in starts if start + HEADER.size <= len(content)]
    with tempfile.TemporaryFile() as storage:
        storage.write(content)
        file = MappedFile(storage)
    header = np.dtype(
        {"names": ["seconds", "fraction", "captured", "original"], "formats": ["<u4"] * 4, "offsets": [0, 4, 8, 12]}
    )
    form = RecordForm(header, 10**6, 262144)
    found = leap(file, form, len(FILE_HEADER), Typical(average, max(sizes) + HEADER.size, SECONDS)).tolist()
    assert found == whole[: len(found)]
    # Fewer only when the stretch was over, or something only looked like a record.
    assert len(found) == len(whole) or deceit or found[-1] >= len(FILE_HEADER) + 500 * average
    file.close()


def test_long_capture_frame_by_frame() -> None:
    """Long enough to leap, with damage on the way."""
    content, starts = capture(1, [60, 66, 1514], 0.01, 5 * BATCH_FRAMES)
    damaged = starts[4 * BATCH_FRAMES + 99]
    content = content[: damaged + 8] + b"\xee" * 8 + content[damaged + 16 :]
    with tempfile.TemporaryFile() as storage:
        storage.write(content)
        file = MappedFile(storage)
    reader = PcapFile(file)
    found = [start for batch in reader.batches() for start in batch.record.tolist()]
    starts.remove(damaged)
    assert found == starts
    assert len(reader.notes) == 1
    file.close()
