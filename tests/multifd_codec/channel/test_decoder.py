"""The channel codec: round trip, any chunking, holes, and bytes that are no channel."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from multifd_codec.channel.decoder import ChannelDecoder, encode_channel
from multifd_codec.channel.events import (
    ChannelEnd,
    ChannelEvent,
    ChannelInit,
    DeviceStatePacket,
    EndPosition,
    RamPacket,
    Unreadable,
)
from multifd_codec.source import BufferSource, Hole, HoleReason, StreamEnd
from multifd_codec.strategies import channel_bytes, channels

PAGE_SIZE = 65536


def decode(data: bytes, **options: object) -> list[ChannelEvent]:
    return list(ChannelDecoder(BufferSource(data), page_size=PAGE_SIZE, **options).events())  # type: ignore[arg-type]


@given(channels())
def test_round_trip(events: list[ChannelEvent]) -> None:
    data = channel_bytes(events)
    decoded = decode(data)
    assert decoded[:-1] == events
    assert decoded[-1] == ChannelEnd(len(data), EndPosition.BOUNDARY, len(data), 0, StreamEnd.CLOSED)


@given(channels(), st.data())
def test_any_chunking_gives_the_same_events(events: list[ChannelEvent], data: st.DataObject) -> None:
    stream = channel_bytes(events)
    cut = data.draw(st.integers(0, len(stream)))
    garbled = data.draw(st.booleans())
    if garbled:
        stream = stream[:cut] + data.draw(st.binary(max_size=40)) + stream[cut:]
    expected = decode(stream)
    source = BufferSource(end=StreamEnd.OPEN)
    decoder = ChannelDecoder(source, page_size=PAGE_SIZE, growing=True)
    found: list[ChannelEvent] = []
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    for start, end in pairwise([0, *cuts, len(stream)]):
        source.feed(stream[start:end])
        found += decoder.events()
    source.close()
    found += decoder.events()
    assert found == expected


@given(channels(), st.data())
def test_damage_never_raises_and_covers_every_byte(events: list[ChannelEvent], data: st.DataObject) -> None:
    stream = bytearray(channel_bytes(events))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(stream) - 1))
        stream[at] ^= 1 << data.draw(st.integers(0, 7))
    del stream[data.draw(st.integers(0, len(stream))) :]
    page_size = data.draw(st.sampled_from([PAGE_SIZE, None]))
    decoded = list(ChannelDecoder(BufferSource(bytes(stream)), page_size=page_size).events())
    assert isinstance(decoded[-1], ChannelEnd)
    position = 0
    for event in decoded[:-1]:
        assert event.offset == position
        position = event.offset + event.length + getattr(event, "payload_length", 0)
    assert position >= decoded[-1].record
    again = b"".join(
        bytes(part)
        for part in encode_channel(
            decoded,
            lambda e: bytes(stream[e.payload_offset : e.payload_offset + e.payload_length]),
            lambda e: bytes(stream[e.offset : e.offset + e.length]),
        )
    )
    assert again == bytes(stream[: decoded[-1].record] if position <= len(stream) else stream)


@given(channels(), st.data())
def test_a_hole_in_payload_loses_nothing(events: list[ChannelEvent], data: st.DataObject) -> None:
    stream = channel_bytes(events)
    holes = []
    for event in events:
        length = getattr(event, "payload_length", 0)
        if length and data.draw(st.booleans()):
            start = event.payload_offset + data.draw(st.integers(0, length - 1))
            holes.append(Hole(start, event.payload_offset + length, HoleReason.SNAPLEN))
    decoded = list(ChannelDecoder(BufferSource(stream, holes=holes), page_size=PAGE_SIZE).events())
    assert decoded[:-1] == events


@given(channels(), st.data())
def test_decoding_goes_on_behind_a_hole_over_a_header(events: list[ChannelEvent], data: st.DataObject) -> None:
    packets = [event for event in events if isinstance(event, RamPacket | DeviceStatePacket)]
    lost = data.draw(st.sampled_from(packets))
    hole = Hole(lost.offset, lost.offset + lost.length, HoleReason.LOST)
    decoded = list(ChannelDecoder(BufferSource(channel_bytes(events), holes=[hole]), page_size=PAGE_SIZE).events())
    rest = [event for event in events if event.offset > lost.offset]
    if rest:
        assert decoded[-1 - len(rest) : -1] == rest
    assert Unreadable in {type(event) for event in decoded}
    assert [e for e in decoded if e.offset < lost.offset] == [e for e in events if e.offset < lost.offset]


@given(st.sampled_from([4096, 16384, 65536]), st.data())
def test_page_size_is_inferred(page_size: int, data: st.DataObject) -> None:
    events = data.draw(channels(page_size))
    decoder = ChannelDecoder(BufferSource(channel_bytes(events)))
    assert list(decoder.events())[:-1] == events
    assert decoder.page_size == page_size


@given(st.binary(max_size=4000))
def test_noise_never_raises(data: bytes) -> None:
    for starts_with_init in (True, False):
        decoded = list(ChannelDecoder(BufferSource(data), starts_with_init=starts_with_init).events())
        assert isinstance(decoded[-1], ChannelEnd)
        assert sum(isinstance(event, ChannelInit) for event in decoded) == (starts_with_init and len(data) >= 64)
