"""Page payloads: compressing and expanding, the bytes that QEMU sends, payloads that lie."""

from __future__ import annotations

import gzip
import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from captures.recording import open_recording
from multifd_codec.channel.decoder import ChannelDecoder
from multifd_codec.channel.events import RamPacket
from multifd_codec.compression import PageCompressor, compressor, decompressor, decompressor_of_flags
from multifd_codec.dialect.compression import COMPRESSIONS, of_flags
from multifd_codec.errors import EncodeError, FormatError, InputError
from multifd_codec.layout import parse_declared
from multifd_codec.wire.packet import PacketFlags
from multifd_codec.wire.payload import GzipHeader

PAGE = 4096
METHODS = PLAIN, ZLIB, ZSTD, QPL, UADK, QATZIP = tuple(COMPRESSIONS)
BOMB = 64 << 20

methods = st.sampled_from(METHODS)
packets = st.lists(
    st.lists(
        st.one_of(
            st.builds(lambda byte: bytes([byte]) * PAGE, st.integers(0, 255)),
            st.builds(lambda seed: seed.randbytes(PAGE), st.randoms(use_true_random=False)),
            st.builds(lambda seed, part: seed.randbytes(part).ljust(PAGE, b"\1"), st.randoms(), st.integers(0, PAGE)),
        ),
        max_size=20,
    ),
    max_size=4,
)
"""Pages of each packet of a channel."""


@given(methods, packets, st.integers(1, 9))
def test_what_is_compressed_expands_to_the_same_pages(method: str, sent: list[list[bytes]], level: int) -> None:
    sender, receiver = compressor(method, level), decompressor(method)
    for pages in sent:
        payload = sender.payload(b"".join(pages), len(pages), PAGE)
        assert bool(payload) == bool(pages)
        if pages:
            assert receiver.pages(payload, len(pages), PAGE) == (b"".join(pages), 0)


def payloads(path: Path) -> Iterator[tuple[str, Iterator[tuple[RamPacket, bytes]]]]:
    """Each multifd channel of a recording: its compression id, and its packets with payload."""
    with open_recording(path) as recording:
        for migration in recording.migrations:
            for channel in migration.channels:
                if channel.channel_id is not None:
                    events = ChannelDecoder(channel.source).events()
                    found = [event for event in events if isinstance(event, RamPacket) and event.normal_pages]
                    source = channel.source
                    contents = (bytes(source.read(event.payload_offset, event.payload_length)) for event in found)
                    method = of_flags(found[0].compression)
                    assert method is not None
                    yield method.name, zip(found, contents, strict=True)


@pytest.mark.parametrize("name", ["q10.0-none-known-ram-zlib.pcap", "q10.0-pc-zlib.pcap"])
def test_zlib_gives_the_bytes_of_qemu(samples: Path, name: str) -> None:
    count = 0
    for compression, packets_sent in payloads(samples / name):
        sender, receiver = compressor(compression), decompressor(compression)
        for packet, payload in packets_sent:
            pages, left = receiver.pages(payload, packet.normal_pages, PAGE)
            assert left == 0
            assert sender.payload(pages, packet.normal_pages, PAGE) == payload
            count += 1
    assert count == {"q10.0-none-known-ram-zlib.pcap": 8, "q10.0-pc-zlib.pcap": 7}[name]


def test_pages_that_do_not_get_smaller_are_raw() -> None:
    noise = random.Random(1).randbytes(PAGE)
    pages = noise + bytes(PAGE)
    for method in (QPL, UADK):
        payload = compressor(method).payload(pages, 2, PAGE)
        assert struct.unpack_from(">I", payload) == (PAGE,)
        assert payload[8 : 8 + PAGE] == noise


def test_qatzip_members() -> None:
    """The library's header in front of each 64 KiB; any gzip reader takes the whole."""
    pages = b"".join(bytes([number]) * PAGE for number in range(20))
    payload = compressor(QATZIP).payload(pages, 20, PAGE)
    header = parse_declared(GzipHeader, payload[: GzipHeader.sizeof()])
    assert (header.extra_id, header.raw_size, header.os, header.extra_length) == (b"QZ", 1 << 16, 255, 12)
    second = payload[GzipHeader.sizeof() + header.compressed_size + 8 :]
    assert parse_declared(GzipHeader, second[: GzipHeader.sizeof()]).raw_size == 4 * PAGE
    assert gzip.decompress(payload) == pages
    assert decompressor(QATZIP).pages(gzip.compress(pages[:5000]) + gzip.compress(pages[5000:]), 20, PAGE) == (pages, 0)
    assert decompressor(QATZIP).pages(payload + b"\0\0\0", 20, PAGE) == (pages, 3)


def table(*pages: bytes) -> bytes:
    return struct.pack(f">{len(pages)}I", *map(len, pages)) + b"".join(pages)


def raw_deflate(content: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(content) + stream.flush()


LIES: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "plain, too short": (PLAIN, lambda: bytes(PAGE), "8192 expected"),
    "zlib, garbage": (ZLIB, lambda: b"\xff" * 100, "zlib: "),
    "zlib, one page": (ZLIB, lambda: compressor(ZLIB).payload(bytes(PAGE), 1, PAGE), "inflates to 4096 bytes"),
    "zstd, garbage": (ZSTD, lambda: b"\xff" * 100, "zstd: "),
    "zstd, one page": (ZSTD, lambda: compressor(ZSTD).payload(bytes(PAGE), 1, PAGE), "decompresses to 4096 bytes"),
    "qpl, table cut": (QPL, lambda: b"\0\0\0\1", "length table of 8 bytes"),
    "qpl, page cut": (QPL, lambda: table(raw_deflate(bytes(PAGE)), b"\3\0")[:-1], "add up to"),
    "qpl, large page": (QPL, lambda: table(bytes(PAGE), bytes(PAGE + 1)), "page 1 of 4097 bytes"),
    "qpl, short page": (QPL, lambda: table(bytes(PAGE), raw_deflate(bytes(PAGE - 1))), "inflates to 4095 bytes"),
    "qpl, bomb": (QPL, lambda: table(bytes(PAGE), raw_deflate(bytes(1 << 20))), "more than a page"),
    "uadk, garbage": (UADK, lambda: table(bytes(PAGE), b"garbage"), "uadk: page 1"),
    "uadk, bomb": (UADK, lambda: table(bytes(PAGE), zlib.compress(bytes(1 << 20))), "more than a page"),
    "qatzip, garbage": (QATZIP, lambda: b"garbage", "qatzip: "),
    "qatzip, nothing": (QATZIP, lambda: b"", "qatzip: payload ends"),
    "qatzip, cut": (QATZIP, lambda: compressor(QATZIP).payload(bytes(2 * PAGE), 2, PAGE)[:-1], "inside a gzip member"),
    "qatzip, checksum": (QATZIP, lambda: gzip.compress(bytes(2 * PAGE))[:-5] + b"\0" * 5, "qatzip: "),
    "qatzip, bomb": (QATZIP, lambda: gzip.compress(bytes(BOMB)), "more than 8192"),
    "qatzip, one more": (QATZIP, lambda: gzip.compress(bytes(2 * PAGE)) + gzip.compress(b"x"), "more than 8192"),
}


@pytest.mark.parametrize("name", LIES)
def test_payloads_that_lie(name: str) -> None:
    method, make, message = LIES[name]
    with pytest.raises(FormatError, match=message):
        decompressor(method).pages(make(), 2, PAGE)


@pytest.mark.parametrize(
    ("method", "bomb"),
    [
        (ZLIB, zlib.compress(bytes(BOMB))),
        (ZSTD, zstandard.ZstdCompressor(19).compress(bytes(BOMB))),
        (QPL, struct.pack(">I", 4000) + raw_deflate(bytes(BOMB))[:4000]),
        (QATZIP, gzip.compress(bytes(BOMB))),
    ],
)
def test_a_bomb_is_not_expanded(method: str, bomb: bytes) -> None:
    receiver = decompressor(method)
    tracemalloc.start()
    try:
        receiver.pages(bomb, 1, PAGE)
    except FormatError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < BOMB // 2 + (1 << 20)


@given(methods, st.binary(max_size=200), st.integers(0, 3))
def test_any_payload_gives_pages_or_an_error(method: str, payload: bytes, count: int) -> None:
    try:
        pages, left = decompressor(method).pages(payload, count, 16)
    except FormatError:
        return
    assert (len(pages), left >= 0) == (16 * count, True)


@pytest.mark.parametrize("method", METHODS)
def test_pages_of_another_length_are_refused(method: str) -> None:
    sender: PageCompressor = compressor(method)
    with pytest.raises(EncodeError, match="4095 bytes are not 1 pages of 4096"):
        sender.payload(bytes(PAGE - 1), 1, PAGE)


def test_ids_and_levels_there_are_none_of() -> None:
    assert decompressor_of_flags(PacketFlags.ZLIB | PacketFlags.ZSTD) is None
    for make in (compressor, decompressor):
        with pytest.raises(InputError, match="no compression 'lzo'; there are none, zlib"):
            make("lzo")
    for method in (ZLIB, ZSTD, QPL, UADK, QATZIP):
        with pytest.raises(EncodeError, match="compression level 99"):
            compressor(method, 99)
