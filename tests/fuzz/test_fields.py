"""Integers at their limits: any field of any record, set to a number that is one too many for somebody."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers.report.decoding import Filter, decoded
from tests.fuzz.seeds import folders
from tests.fuzz.targets import LOST, NEXT, TARGETS, folder

SMALL = 24 << 10


class Place(NamedTuple):
    """One field: where it stands in the bytes of a folder."""

    offset: int
    size: int


@cache
def streams() -> tuple[bytes, ...]:
    return tuple(seed for seed in folders() if len(seed) < SMALL and LOST not in seed and places(seed))


@cache
def places(data: bytes) -> tuple[Place, ...]:
    """The fields of one, two, four or eight bytes, as ``decode --hex`` shows them."""
    starts = {}
    position = 0
    for number, part in enumerate(data.split(NEXT)):
        starts[f"part-{number}"] = position
        position += len(part) + len(NEXT)
    found = []
    for located in decoded(folder(data).migrations, Filter(), None):
        start = starts[located.line.channel.label]
        fields = [field for field in located.fields() if len(field.data) in (1, 2, 4, 8)]
        found += [Place(start + field.offset, len(field.data)) for field in fields]
    return tuple(found)


def limits(size: int) -> st.SearchStrategy[int]:
    """Around the powers of two that tables, signed numbers and floats end at."""
    largest = (1 << 8 * size) - 1
    powers = [1 << bits for bits in (0, 7, 8, 12, 16, 31, 32, 48, 52, 53, 62, 63, 64)]
    around = {power + change for power in powers for change in (-4096, -1, 0, 1, 4096)}
    return st.sampled_from(sorted(value for value in around if 0 <= value <= largest))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("target", ["lint", "decode", "extract", "produce"])
@given(data=st.data())
def test_any_field_at_a_limit(target: str, data: st.DataObject) -> None:
    stream = bytearray(data.draw(st.sampled_from(streams())))
    known = places(bytes(stream))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(known))
        value = data.draw(limits(place.size))
        stream[place.offset : place.offset + place.size] = value.to_bytes(place.size, "big")
    rule = bytes((data.draw(st.integers(0, 255)),)) if target == "produce" else b""
    TARGETS[target](rule + bytes(stream))
