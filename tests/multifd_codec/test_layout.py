"""Fast layouts equal the declarations they are derived from, in values and in errors."""

from __future__ import annotations

from typing import Any

import pytest
from construct import Container, ListContainer, Struct
from hypothesis import given
from hypothesis import strategies as st

from multifd_codec.errors import EncodeError, TruncatedError
from multifd_codec.layout import build_declared, layout, parse_declared
from multifd_codec.wire.handshake import ChannelInit
from multifd_codec.wire.packet import DeviceStatePacket, PacketHeader, RamPacketFixed, ram_packet

DECLARATIONS = [ChannelInit, PacketHeader, RamPacketFixed, DeviceStatePacket, ram_packet(4096), ram_packet(65536)]


def plain(value: Any) -> Any:
    if isinstance(value, Container):
        return {key: plain(item) for key, item in value.items() if not key.startswith("_")}
    return list(value) if isinstance(value, ListContainer) else value


@pytest.mark.parametrize(
    ("declaration", "size"),
    [(ChannelInit, 64), (PacketHeader, 12), (RamPacketFixed, 320), (DeviceStatePacket, 276)]
    + [
        (ram_packet(page), length)
        for page, length in ((1024, 4416), (4096, 1344), (8192, 832), (16384, 576), (65536, 384))
    ],
)
def test_sizes_are_those_of_the_protocol_reference(declaration: Struct, size: int) -> None:
    assert layout(declaration).size == declaration.sizeof() == size


@given(st.sampled_from(DECLARATIONS), st.binary(max_size=1500))
def test_fast_equals_declared(declaration: Struct, data: bytes) -> None:
    fast = layout(declaration)
    if len(data) >= fast.size:
        values = fast.parse(data)
        assert values == plain(parse_declared(declaration, data))
        assert build_declared(declaration, values) == data[: fast.size]
        return
    errors = []
    for parse in (fast.parse, lambda d: parse_declared(declaration, d)):
        with pytest.raises(TruncatedError) as caught:
            parse(data)
        errors.append((str(caught.value), caught.value.field, caught.value.needed, caught.value.available))
    assert errors[0] == errors[1]


@given(st.sampled_from(DECLARATIONS), st.randoms(use_true_random=False))
def test_numpy_reads_the_same(declaration: Struct, random: Any) -> None:
    import numpy as np

    fast = layout(declaration)
    data = random.randbytes(fast.size)
    row = np.frombuffer(data, fast.dtype)[0]
    for name, value in fast.parse(data).items():
        found = row[name]
        assert (found.tobytes() if isinstance(value, bytes) else np.asarray(found).tolist()) == value


def test_values_that_do_not_fit_are_refused() -> None:
    with pytest.raises(EncodeError):
        build_declared(PacketHeader, {"magic": 1 << 32, "version": 1, "flags": 0})
