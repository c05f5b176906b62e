"""Declarations of the main channel, VFIO, return path and payloads: byte for byte, and as real streams have them."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from construct import Construct
from hypothesis import given
from hypothesis import strategies as st

from captures.model import Migration
from captures.recording import open_recording
from multifd_codec.channel.decoder import ChannelDecoder
from multifd_codec.channel.events import DeviceStatePacket, RamPacket
from multifd_codec.draft.main_records import MainRecord, block_list, page, zero_page
from multifd_codec.errors import FormatError, TruncatedError
from multifd_codec.layout import build_declared, parse_declared
from multifd_codec.main.events import BlockList, MainEvent, Page, RamBlock, end_of
from multifd_codec.main.return_path import ReturnPathEnd, ReturnPathMessage, decode_return_path
from multifd_codec.source import BufferSource, StreamEnd
from multifd_codec.wire import payload, qemufile, ram, return_path, vfio
from tests.conftest import SAMPLES
from tests.helpers.main_channels import PAGE, decode, placed_stream, recorded

DECLARATIONS: dict[str, Construct] = {
    f"{module.__name__.rsplit('.', 1)[-1]}.{name}": value
    for module in (qemufile, ram, vfio, return_path, payload)
    for name, value in vars(module).items()
    if isinstance(value, Construct)
} | {
    "qemufile.ram_discard": qemufile.ram_discard(2),
    "ram.block_entry": ram.block_entry(page_size=True, guest_address=True, mapped_ram=True),
}


@pytest.mark.parametrize("name", sorted(DECLARATIONS))
@given(data=st.binary(min_size=60, max_size=120))
def test_every_declaration_gives_back_its_bytes(name: str, data: bytes) -> None:
    """Whatever they are: nothing is constrained, so nothing is lost. A length beyond the data is a TruncatedError."""
    declaration = DECLARATIONS[name]
    try:
        values = parse_declared(declaration, data)
    except TruncatedError as error:
        assert error.available == len(data)
    else:
        built = build_declared(declaration, values)
        assert built == data[: len(built)]


def test_sizes_of_the_fixed_ones() -> None:
    """As the structures and put/get calls of QEMU have them."""
    sizes = {name: declaration.sizeof() for name, declaration in DECLARATIONS.items() if _is_fixed(declaration)}
    wanted = {
        "qemufile.FileHeader": 8,
        "qemufile.Command": 5,
        "qemufile.SectionPart": 5,
        "qemufile.PostcopyAdvise": 16,
        "ram.MappedRamHeader": 28,
        "ram.ZeroRecord": 9,
        "vfio.VFIODeviceStatePacket": 12,
        "return_path.ReqPages": 12,
    }
    assert wanted.items() <= sizes.items()


def _is_fixed(declaration: Construct) -> bool:
    try:
        declaration.sizeof()
    except Exception:  # Construct's own error, which does not leave multifd_codec.layout otherwise
        return False
    return True


def agrees(event: MainEvent, data: bytes) -> bool:
    """Whether the declaration of a RAM record reads what the decoder made an event of."""
    form = ram.ram_record(ram.block_entry())
    declared = parse_declared(form, data[event.offset :], page_size=PAGE)
    length = len(build_declared(form, declared, page_size=PAGE))
    if isinstance(event, BlockList):
        blocks = tuple(RamBlock(bytes(entry.idstr), entry.used_length) for entry in declared.body.blocks)
        same = declared.word == event.total | event.flags and blocks == event.blocks
    else:
        names = (declared.idstr, getattr(event, "idstr", None))
        same = declared.word == event.addr | event.flags and names[0] == names[1]  # type: ignore[union-attr]
    return bool(same) and length == end_of(event) - event.offset


RECORDS = ("BlockList", "ZeroPage", "Page", "Flush", "EndOfRam")


@pytest.mark.parametrize("name", ["q7.2-none-known-ram.pcap.zst", "q10.0-pc-two-devices.pcap.zst"])
def test_declared_and_decoded_records_agree_on_recordings(name: str) -> None:
    data = recorded(name)
    events = [event for event in decode(data) if type(event).__name__ in RECORDS]
    assert len(events) > 7
    assert all(agrees(event, data) for event in events)


@given(st.lists(st.tuples(st.integers(0, 1 << 40), st.booleans()), max_size=5), st.integers(0, 255))
def test_declared_and_decoded_records_agree(pages: list[tuple[int, bool]], fill: int) -> None:
    items: list[MainRecord] = [zero_page(number * PAGE, "ram", named=named, fill=fill) for number, named in pages]
    items += [page(number * PAGE, "ram", b"\x10" * PAGE, named=named) for number, named in pages]
    events, data = placed_stream([block_list([RamBlock(b"ram", PAGE)]), *items])
    assert all(agrees(event, data) for event in events)
    assert sum(isinstance(event, Page) for event in events) == len(pages)


def migration(name: str) -> Iterator[Migration]:
    with open_recording(SAMPLES / name) as recording:
        yield from recording.migrations


def packets(name: str) -> Iterator[tuple[int | None, RamPacket | DeviceStatePacket, bytes]]:
    """Channel id, packet and payload of every packet with payload."""
    for recording in migration(name):
        for channel in recording.channels[:]:
            if channel.channel_id is None:
                continue
            for event in ChannelDecoder(channel.source).events():
                if isinstance(event, RamPacket | DeviceStatePacket) and event.payload_length:
                    content = bytes(channel.source.read(event.payload_offset, event.payload_length))
                    yield channel.channel_id, event, content


@pytest.mark.parametrize("name", ["q10.0-none-device-state.pcap", "q10.0-pc-two-devices.pcap.zst"])
def test_device_state_payloads(name: str) -> None:
    """idx 0 to n without gaps for each device; the last is the config, in its two tags."""
    devices: dict[str, dict[int, tuple[int, bytes]]] = {}
    for _, event, content in packets(name):
        if isinstance(event, DeviceStatePacket):
            header = parse_declared(vfio.VFIODeviceStatePacket, content)
            assert header.version == vfio.DEVICE_STATE_PACKET_VERSION
            devices.setdefault(event.device, {})[header.idx] = header.flags, content[12:]
    assert devices
    for buffers in devices.values():
        assert sorted(buffers) == list(range(len(buffers)))
        assert [index for index, (flags, _) in buffers.items() if flags & vfio.CONFIG_STATE] == [max(buffers)]
        data = buffers[max(buffers)][1]
        first, last = (parse_declared(vfio.VfioTag, part).tag for part in (data[:8], data[-8:]))
        assert (first, last) == (vfio.VfioTagId.DEV_CONFIG_STATE, vfio.VfioTagId.END_OF_STATE)


def test_compressed_payloads() -> None:
    """zlib: each channel starts with a header, each payload ends in a sync flush. zstd: the magic, once a channel."""
    first: dict[int | None, bytes] = {}
    for channel, _, content in packets("q10.0-none-known-ram-zlib.pcap"):
        assert content.endswith(payload.ZLIB_SYNC_FLUSH)
        first.setdefault(channel, content)
    headers = [content[:2] for content in first.values()]  # RFC 1950
    assert [(header[0] & 15, int.from_bytes(header, "big") % 31) for header in headers] == [(8, 0)] * 2
    starts = [channel for channel, _, content in packets("q10.0-none-known-ram-zstd.pcap") if _is_zstd(content)]
    assert sorted(starts) == [0, 1, 2]  # type: ignore[type-var]


def _is_zstd(content: bytes) -> bool:
    return content.startswith(payload.ZSTD_MAGIC)


def test_recorded_return_path() -> None:
    """The answer to PING(1), then success."""
    for recording in migration("q10.0-none-device-state.pcap"):
        assert recording.return_path is not None
        messages = list(decode_return_path(recording.return_path))
        size = recording.return_path.size
    read = [(m.name, m.arguments()) for m in messages if isinstance(m, ReturnPathMessage)]
    assert read == [("PONG", {"value": 1}), ("SHUT", {"value": 0})]
    assert messages[-1] == ReturnPathEnd(size, 0, StreamEnd.CLOSED)


VALUES = {
    1: {"value": 0},
    2: {"value": 7},
    3: {"start": 4096, "length": 8192, "block": b"pc.ram"},
    4: {"start": 1 << 40, "length": 4096},
    5: {"block": b"pc.ram"},
    6: {"value": 1},
    7: {},
}
BITMAP = struct.pack(">Q", 16) + bytes(16) + struct.pack(">Q", return_path.RECV_BITMAP_ENDING)


def _message(kind: int) -> bytes:
    body = build_declared(return_path.PAYLOADS[kind], VALUES[kind])
    return build_declared(return_path.Message, {"type": kind, "length": len(body)}) + body


@given(st.lists(st.sampled_from(sorted(VALUES)), max_size=5), st.data())
def test_return_path_messages(kinds: list[int], data: st.DataObject) -> None:
    pieces = [_message(kind) + (BITMAP if kind == 5 else b"") for kind in kinds]
    whole = b"".join(pieces)
    *messages, end = decode_return_path(BufferSource(whole))
    assert [(m.type, m.arguments(), m.length) for m in messages if isinstance(m, ReturnPathMessage)] == [
        (kind, VALUES[kind], len(piece)) for kind, piece in zip(kinds, pieces, strict=True)
    ]
    assert (end.offset, end.length) == (len(whole), 0)
    size = data.draw(st.integers(0, len(whole)))
    *there, cut = decode_return_path(BufferSource(whole[:size]))
    assert there == messages[: len(there)]
    assert cut.offset + cut.length == size


@given(st.binary(max_size=80))
def test_return_path_of_any_bytes(data: bytes) -> None:
    for message in decode_return_path(BufferSource(data)):
        if isinstance(message, ReturnPathMessage):
            try:
                message.arguments()
            except FormatError as error:
                assert error.offset == message.offset
