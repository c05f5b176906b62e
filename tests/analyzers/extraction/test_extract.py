"""Rebuilding: guest RAM is that of the source, device state is whole, and what is not known is not called zero."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from analyzers.cli.app import multifd
from analyzers.extraction import RebuildOptions, Rebuilt, rebuild, rebuild_memory
from analyzers.extraction.page_table import PageKind
from analyzers.produce.outline import Outline, outlined
from captures.memory import recording_of
from multifd_codec.channel.decoder import ChannelDecoder
from multifd_codec.draft.channel_records import ram_record
from multifd_codec.draft.draft import Record
from multifd_codec.draft.main_records import zero_page
from multifd_codec.main import events as ev
from multifd_codec.main.decoder import MainDecoder
from multifd_codec.main.ram_events import MappedRam
from multifd_codec.plan.plan import Device, MigrationPlan, memory
from multifd_codec.sender import draft
from multifd_codec.source import Hole, HoleReason
from tests.helpers.healthy import NONE, PAGE
from tests.helpers.streams import Stream, stream_of
from tests.helpers.writing import write_folder

HEADER = ram_record(0).size()
KNOWN_RAM = "9cf67a50956458d3f5d0c1a3783f81891592d7cc1e3f12a56325965c19813ba3"
"""captures/samples/README.md"""


def extract(path: Path, out: Path, *options: object) -> tuple[Any, dict[str, Any]]:
    arguments = ["extract", str(path), "-o", str(out), *map(str, options)]
    result = CliRunner().invoke(multifd, arguments, prog_name="multifd")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    manifest = out / "manifest.json"
    return result, json.loads(manifest.read_text()) if manifest.exists() else {}


def rebuilt(stream: Stream, **options: Any) -> Rebuilt:
    return rebuild(stream.recording().migrations[0], RebuildOptions(**options))


def expected() -> dict[str, bytes]:
    """The memory of the healthy migrations."""
    return {name: bytes(content) for name, content in memory(NONE).items()}


def normal_pages(record: Record) -> list[int]:
    """The pages of pc.ram that a packet carries with content, by number."""
    event = record.event
    of_ram = event.ramblock.startswith(b"pc.ram\0")
    return [offset // PAGE for offset in event.pages[: event.normal_pages]] if of_ram else []


def first_packet(stream: Stream) -> Record:
    """The first one with pages of pc.ram."""
    return min((r for n in (0, 1) for r in stream.rams(n) if normal_pages(r)), key=lambda r: r.event.packet_num)


def sent_later(stream: Stream, record: Record) -> set[int]:
    """The pages of pc.ram that other packets than the first carry."""
    return {n for channel in (0, 1) for r in stream.rams(channel) if r is not record for n in normal_pages(r)}


def unknown(result: Rebuilt) -> set[int]:
    """The pages of pc.ram that are not known."""
    block = next(block for block in result.blocks if block.name == "pc.ram")
    return {n for first, behind in block.table.stretches(PageKind.UNKNOWN, block.pages) for n in range(first, behind)}


def ram_of(result: Rebuilt) -> bytes:
    return bytes((result.memory or {})["pc.ram"])


def at(page: int) -> slice:
    return slice(page * PAGE, (page + 1) * PAGE)


# Against what is known.


@pytest.mark.parametrize(
    "name",
    [
        "q7.2-none-known-ram.pcap.zst",
        "q10.0-none-known-ram.pcap.zst",
        "q10.0-none-known-ram-zlib.pcap",
        "q10.0-none-known-ram-zstd.pcap",
        "q10.0-none-known-ram-two-devices.pcap.zst",
    ],
)
def test_the_memory_of_the_source(samples: Path, tmp_path: Path, name: str) -> None:
    result, manifest = extract(samples / name, tmp_path / "out")
    (block,) = manifest["blocks"]
    assert (block["name"], block["size"], block["sha256"]) == ("ram0", 4 << 20, KNOWN_RAM)
    assert hashlib.sha256((tmp_path / "out" / block["file"]).read_bytes()).hexdigest() == KNOWN_RAM
    assert block["pages"] == {"total": 1024, "known": 1024, "unknown": 0, "never_sent": 0, "offsets_not_recorded": 0}
    assert (result.exit_code, manifest["complete"], manifest["schema"]) == (0, True, "multifd-extract/1")


@pytest.mark.tshark
def test_the_memory_of_the_source_behind_tls(samples: Path, tmp_path: Path) -> None:
    path = samples / "q10.0-none-known-ram-tls.pcap"
    _, manifest = extract(path, tmp_path / "out", "--keylog", path.with_suffix(".keys"))
    assert [block["sha256"] for block in manifest["blocks"]] == [KNOWN_RAM]


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("q10.0-none-device-state.pcap", {"0000:00:05.0/vfio": 200_000}),
        ("q10.0-none-known-ram-two-devices.pcap.zst", {"0000:00:05.0/vfio": 50_000, "0000:00:06.0/vfio": 9_000}),
        ("q10.0-pc-two-devices.pcap.zst", {"0000:00:05.0/vfio": 300_000, "0000:00:06.0/vfio": 90_000}),
    ],
)
def test_device_state(samples: Path, tmp_path: Path, name: str, sizes: dict[str, int]) -> None:
    result, manifest = extract(samples / name, tmp_path / "out")
    devices = [device for device in manifest["devices"] if device["kind"] == "device-state packets"]
    assert {device["idstr"]: device["bytes"] for device in devices} == sizes
    assert all(device["complete"] and not device["missing"] for device in devices)
    for device in devices:
        data = (tmp_path / "out" / device["file"]).read_bytes()
        config = (tmp_path / "out" / device["config_file"]).read_bytes()
        assert (len(data), len(config)) == (device["bytes"], device["config_bytes"])
        assert config.startswith(bytes.fromhex("ffffffffef100002")) and config.endswith(
            bytes.fromhex("ffffffffef100001")
        )
    assert result.exit_code == 0


def test_a_buffer_that_never_came(samples: Path, tmp_path: Path) -> None:
    result, manifest = extract(samples / "q10.0-none-device-state-lost.pcap", tmp_path / "out")
    device = manifest["devices"][0]
    assert (device["missing"], device["complete"], device["bytes"]) == ([3], False, 3 * 65536)
    assert result.exit_code == 1


plans = st.builds(
    lambda outline, dialect, compression, devices, channels: replace(
        outlined(outline),
        dialect=dialect,
        compression=compression if dialect != "qemu-4.0" else "none",
        devices=devices if dialect == "qemu-10.0" and compression == "none" else (),
        channels=channels,
        seed=outline.seed,
        zero_page_detection=None,
    ),
    st.builds(
        Outline,
        st.sampled_from([(("ram", 1 << 20),), (("ram", 1 << 18), ("second", 1 << 17))]),
        page_size=st.just(PAGE),
        rounds=st.integers(1, 4),
        dirty=st.floats(0, 1),
        zero=st.sampled_from([0.0, 0.3, 1.0]),
        seed=st.integers(0, 99),
    ),
    st.sampled_from(["qemu-4.0", "qemu-7.2", "qemu-8.1", "qemu-9.0", "qemu-9.2", "qemu-10.0", "rfc-v3"]),
    st.sampled_from(["none", "zlib", "zstd"]),
    st.sampled_from([(), (Device("0000:00:05.0/vfio", 5000, 1000),)]),
    st.integers(1, 4),
)


@given(plans)
def test_what_the_sender_was_asked_to_send(plan: MigrationPlan) -> None:
    """Both ways of rebuilding give the memory of the plan."""
    recording = recording_of(draft(plan))
    result = rebuild(recording.migrations[0])
    assert result.memory == memory(plan)
    assert (result.problems, result.incomplete, result.not_loaded) == ([], [], {})
    assert lean(recording_of(draft(plan))) == memory(plan)


def lean(recording: Any, **options: Any) -> dict[str, bytearray]:
    sources = [channel.source for channel in recording.migrations[0].channels]
    items = list(MainDecoder(sources[0]).walk())
    channels = [list(ChannelDecoder(source, page_size=PAGE).scan()) for source in sources[1:]]
    return rebuild_memory(items, channels, sources, PAGE, **options)


@pytest.mark.parametrize("method", ["QPL", "UADK", "QATZIP"])
def test_hardware_compression(method: str) -> None:
    plan = replace(outlined(Outline((("ram", 1 << 18),), zero=0.2)), compression=method.lower(), dialect="qemu-10.0")
    recording = recording_of(draft(plan))
    assert rebuild(recording.migrations[0]).memory == memory(plan) == lean(recording)


@pytest.mark.parametrize("name", ["10.0", "7.2", "8.2", "9.0", "9.2", "7.2 merged", "without multifd"])
def test_every_dialect(name: str) -> None:
    stream = stream_of(name)
    result = rebuilt(stream)
    assert {name: bytes(content) for name, content in (result.memory or {}).items()} == expected()
    assert (result.complete, result.sound, result.conflicts) == (True, True, [])
    assert {name: bytes(content) for name, content in lean(stream.recording()).items()} == expected()


# What is not known, or not read.


def without_page(stream: Stream, *, sent_again: bool) -> int:
    """Bytes inside a page of the first packet are not recorded; the page."""
    packet = first_packet(stream)
    pages, later = normal_pages(packet), sent_later(stream, packet)
    page = next(page for page in pages if (page in later) is sent_again)
    channel, offset = stream.place(packet)
    start = offset + HEADER + pages.index(page) * PAGE
    stream.holes[channel] = [Hole(start + 10, start + 20, HoleReason.LOST)]
    return page


def test_a_hole_in_a_page_that_is_sent_again() -> None:
    stream = stream_of("10.0")
    without_page(stream, sent_again=True)
    result = rebuilt(stream)
    assert unknown(result) == set() and ram_of(result) == expected()["pc.ram"]
    assert not result.complete and "1 packets" in result.incomplete[-1]


def test_a_hole_over_a_page_that_is_not_sent_again() -> None:
    stream = stream_of("10.0")
    page = without_page(stream, sent_again=False)
    result = rebuilt(stream)
    assert unknown(result) == {page} and not result.complete
    found, whole = ram_of(result), expected()["pc.ram"]
    assert found[: page * PAGE] == whole[: page * PAGE] and found[(page + 1) * PAGE :] == whole[(page + 1) * PAGE :]


@pytest.mark.parametrize(("method", "spoiled"), [("10.0 zlib", True), ("10.0 uadk", False)])
def test_a_hole_spoils_what_is_compressed_behind_it(method: str, spoiled: bool) -> None:
    """Where a channel has one context for all packets."""
    stream = stream_of(method)
    packet = first_packet(stream)
    channel, offset = stream.place(packet)
    stream.holes[channel] = [Hole(offset + HEADER, offset + HEADER + 56, HoleReason.LOST)]
    behind = [r for r in stream.rams(int(channel)) if r.event.packet_num >= packet.event.packet_num] if spoiled else []
    lost = set(normal_pages(packet)).union(*map(normal_pages, behind))
    known = {n for r in (*stream.rams(0), *stream.rams(1)) if r not in (packet, *behind) for n in normal_pages(r)}
    result = rebuilt(stream)
    assert unknown(result) == lost - known
    assert any("nothing compressed behind it" in problem.message for problem in result.problems) is spoiled


def test_a_recording_of_headers_only() -> None:
    """As ``tcpdump -s`` makes them."""
    stream = stream_of("10.0")
    for channel in (0, 1):
        at, holes = 0, []
        for record in stream.channels[channel]:
            at += len(record.encoded())
            if record.payload:
                holes.append(Hole(at - len(record.payload), at, HoleReason.SNAPLEN))
        stream.holes[channel] = holes
    result = rebuilt(stream)
    packet = first_packet(stream)
    assert unknown(result) == {*normal_pages(packet)} | sent_later(stream, packet)
    assert not any(ram_of(result)) and not result.complete


def test_what_stands_behind_an_unreleased_sync_is_not_loaded() -> None:
    stream = stream_of("10.0")
    content = bytes(range(256)) * (PAGE // 256)
    late = ram_record(99, b"pc.ram", [7 * PAGE], payload=content)
    stream.channels[0] += [ram_record(98), late]
    result = rebuilt(stream)
    assert ram_of(result) == expected()["pc.ram"]
    assert result.not_loaded == {0: HEADER + PAGE} and not result.sound and result.complete
    everything = rebuilt(stream, apply_all=True)
    assert ram_of(everything)[at(7)] == content
    assert lean(stream.recording())["pc.ram"] == expected()["pc.ram"]
    assert lean(stream.recording(), apply_all=True) == everything.memory


def test_a_channel_ends_at_a_packet_that_is_refused() -> None:
    stream = stream_of("10.0")
    packet = first_packet(stream)
    channel = int(stream.place(packet)[0])
    later = [r for r in stream.rams(channel) if r.event.packet_num > packet.event.packet_num and not r.event.sync]
    later[0].set(ramblock=b"nowhere".ljust(256, b"\0"))
    result = rebuilt(stream)
    page = next(page for page in normal_pages(packet) if page not in sent_later(stream, packet))
    assert ram_of(result)[at(page)] == expected()["pc.ram"][at(page)]
    assert any(problem.channel == channel for problem in result.problems) and not result.sound
    assert lean(stream.recording())["pc.ram"][at(page)] == expected()["pc.ram"][at(page)]


def test_order_that_is_not_defined_is_said() -> None:
    """S-15: a ZERO record on main and a normal page in the same round."""
    stream = stream_of("8.2")
    packet = first_packet(stream)
    page = next(page for page in normal_pages(packet) if page not in sent_later(stream, packet))
    stream.before(stream.on_main(ev.ZeroPageRun), zero_page(page * PAGE, "pc.ram"), zero_page(PAGE, "vga.vram"))
    result = rebuilt(stream)
    assert [(c.block, c.offset, c.pages) for c in result.conflicts] == [("pc.ram", page * PAGE, 1)]
    assert ram_of(result)[at(page)] == expected()["pc.ram"][at(page)]


def test_zero_pages_come_before_normal_pages_of_their_packet() -> None:
    stream = stream_of("10.0")
    packet = first_packet(stream)
    event = packet.event
    used = event.normal_pages + event.zero_pages
    pages = (*event.pages[:used], event.pages[0], *event.pages[used + 1 :])
    packet.set(zero_pages=event.zero_pages + 1, pages=pages)
    assert ram_of(rebuilt(stream)) == expected()["pc.ram"]


def test_provenance(tmp_path: Path) -> None:
    stream = stream_of("10.0")
    write_folder(tmp_path / "in", stream.recording().migrations[0])
    _, manifest = extract(tmp_path / "in", tmp_path / "out", "--provenance")
    (name,) = [block["provenance"] for block in manifest["blocks"] if block["name"] == "pc.ram"]
    lines = [json.loads(line) for line in (tmp_path / "out" / name).read_text().splitlines()]
    assert sum(line["pages"] for line in lines) == 96
    assert [line["offset"] for line in lines] == sorted(line["offset"] for line in lines)
    by_page = {line["offset"] // PAGE: line for line in lines}
    packet = next(r for n in (0, 1) for r in stream.rams(n) if normal_pages(r)[:1] == [20])
    channel, offset = stream.place(packet)
    assert by_page[20] == {
        "offset": 20 * PAGE,
        "pages": 6,
        "kind": "normal",
        "channel": channel,
        "packet_offset": offset,
        "frame": None,
        "packet_num": packet.event.packet_num,
        "round": 2,
    }
    zeros = {n for line in lines if line["kind"] == "zero" for n in range(line["offset"] // PAGE)[-1:]}
    assert zeros and {line["round"] for line in lines if line["kind"] == "zero"} == {1}


def mapped_content(pages: int) -> bytes:
    return b"".join(number.to_bytes(2, "big") * (PAGE // 2) for number in range(pages))


def test_mapped_ram() -> None:
    stream = stream_of("mapped-ram")
    result = rebuilt(stream)
    contents = {"pc.ram": mapped_content(96), "vga.vram": mapped_content(160)}
    assert {name: bytes(data) for name, data in (result.memory or {}).items()} == contents
    listed = stream.on_main(ev.BlockList)
    payload = bytearray(listed.payload)
    payload[:2] = b"\xfe\x0f"  # the bitmap: pages 0 and 12 to 15 are clear
    listed.payload = bytes(payload)
    content = contents["pc.ram"]
    assert ram_of(rebuilt(stream)) == bytes(PAGE) + content[PAGE : 12 * PAGE] + bytes(4 * PAGE) + content[16 * PAGE :]


@pytest.mark.parametrize("bitmap", [1 << 40, (1 << 63) + 5])
def test_mapped_ram_bitmap_outside_the_file(bitmap: int) -> None:
    stream = stream_of("mapped-ram")
    listed = stream.on_main(ev.BlockList)
    block, *others = listed.event.blocks
    assert block.mapped_ram is not None
    wrong = block._replace(mapped_ram=MappedRam(1, PAGE, bitmap, block.mapped_ram.pages_offset))
    listed.set(blocks=(wrong, *others))
    result = rebuilt(stream)
    assert not (result.complete and result.sound)
    assert [block.known for block in result.blocks if block.name == "pc.ram"] == [0]


def test_mapped_ram_file_cut_in_its_pages() -> None:
    stream = stream_of("mapped-ram")
    end = stream.place(stream.on_main(ev.BlockList))[1] + stream.on_main(ev.BlockList).size()
    stream.cut["main"] = len(stream.encoded("main")) - end + 5 * PAGE + 7
    result = rebuilt(stream)
    assert not result.complete
    assert [(block.known, block.unknown) for block in result.blocks] == [(96, 0), (154, 6)]
    assert (result.memory or {})["vga.vram"][: 154 * PAGE] == mapped_content(154)
