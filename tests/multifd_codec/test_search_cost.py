"""What a hole costs: work is counted in bytes read, not in seconds."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.holes import main_channel
from multifd_codec.main.decoder import MainDecoder
from multifd_codec.source import FIRST_PIECE, BufferSource, Hole, HoleReason, pieces
from tests.helpers.main_channels import recorded
from tests.multifd_codec.main.test_decoder import LEGACY, PC

MARK = b"\x11\x22\x33\x44\0\0\0\x01"


class CountingSource(BufferSource):
    """Counts the bytes that are read."""

    read_bytes = 0

    def read(self, offset: int, length: int) -> bytes:
        data = super().read(offset, length)
        self.read_bytes += len(data)
        return data


def read_by_decoding(data: bytes, holes: Sequence[Hole] = ()) -> int:
    source = CountingSource(data, holes=holes)
    assert list(MainDecoder(source).walk())
    return source.read_bytes


@pytest.mark.parametrize(
    "data", [recorded(LEGACY), recorded(PC), main_channel(150)], ids=["legacy", "pc", "many devices"]
)
def test_a_byte_that_is_missing_does_not_make_all_be_read_again(data: bytes) -> None:
    """Wherever it is: not even without the vmdescription, when the end of every device body must be searched."""
    intact = read_by_decoding(data)
    for offset in range(0, len(data), max(1, len(data) // 200)):
        assert read_by_decoding(data, [Hole(offset, offset + 1, HoleReason.LOST)]) < 3 * intact + (64 << 10)


@given(st.integers(0, 6 * FIRST_PIECE), st.integers(0, 6 * FIRST_PIECE), st.integers(1, 2 * FIRST_PIECE))
def test_a_search_misses_nothing_that_is_recorded(at: int, start: int, length: int) -> None:
    data = bytearray(7 * FIRST_PIECE)
    data[at : at + len(MARK)] = MARK
    source = BufferSource(bytes(data), holes=[Hole(start, start + length, HoleReason.LOST)])
    found = [offset + piece.find(MARK) for offset, piece in pieces(source, 0, source.size, overlap=7) if MARK in piece]
    cut = start < at + len(MARK) and at < start + length
    assert found == ([] if cut else [at])
