"""Rebuilding: guest RAM is that of the source, device state is whole, and what is not known is not called zero."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
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
from multifd_codec.main import events as ev
from multifd_codec.main.decoder import MainDecoder
from multifd_codec.main.ram_events import MappedRam
from multifd_codec.plan.plan import Device, MigrationPlan, memory
from multifd_codec.sender import draft
from multifd_codec.source import Hole, HoleReason
from multifd_codec.wire.packet import PacketFlags
from tests.captures.writing import write_folder
from tests.channel_records import CAPACITY, page, ram
from tests.main_records import BLOCKS, PAGE, RAM, zero_page
from tests.migrations import V72, V82, V90, V92, like, mapped_ram, migration, single_channel
from tests.streams import Stream

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
    """What tests.migrations sends."""
    made = {name.decode(): bytearray(count * PAGE) for name, count in BLOCKS.items()}
    for block, number, generation in (
        *((RAM, n, 0) for n in (*range(4), *range(128, 131), 240)),
        *((b"pc.bios", n, 0) for n in (0, 1)),
        *((RAM, n, 1) for n in (0, 1, 128, 2)),
    ):
        made[block.decode()][number * PAGE : (number + 1) * PAGE] = page(number, generation)
    return {name: bytes(content) for name, content in made.items()}


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


@pytest.mark.parametrize(
    "make", [like(), like(V72), like(V82), like(V90), like(V92), like(V72, merged_sync=True), single_channel]
)
def test_every_dialect(make: Callable[[], Stream]) -> None:
    result = rebuilt(make())
    assert {name: bytes(content) for name, content in (result.memory or {}).items()} == expected()
    assert (result.complete, result.sound, result.conflicts) == (True, True, [])
    assert {name: bytes(content) for name, content in lean(make().recording()).items()} == expected()


# What is not known, or not read.


def test_a_hole_in_plain_pages_is_unknown() -> None:
    stream = migration()
    packet = stream.data(0)
    channel, offset = stream.place(packet)
    payload = offset + 1344
    stream.holes[channel] = [Hole(payload + PAGE + 10, payload + PAGE + 20, HoleReason.LOST)]
    result = rebuilt(stream)
    block = result.blocks[0]
    # Page 1 of the first round is unknown until the second round sends it again.
    assert block.unknown == 0 and bytes((result.memory or {})["pc.ram"]) == expected()["pc.ram"]
    assert not result.complete and "1 packets" in result.incomplete[-1]


def test_a_hole_over_a_page_that_is_not_sent_again() -> None:
    stream = migration()
    channel, offset = stream.place(stream.data(0))
    start = offset + 1344 + 3 * PAGE
    stream.holes[channel] = [Hole(start, start + PAGE, HoleReason.SNAPLEN)]
    result = rebuilt(stream)
    block = result.blocks[0]
    assert (block.unknown, list(block.table.stretches(PageKind.UNKNOWN, block.pages))) == (1, [(3, 4)])
    assert not result.complete
    found = bytes((result.memory or {})["pc.ram"])
    assert found[: 3 * PAGE] == expected()["pc.ram"][: 3 * PAGE]
    assert found[4 * PAGE :] == expected()["pc.ram"][4 * PAGE :]


def test_a_hole_spoils_what_is_compressed_behind_it() -> None:
    stream = like(compression=int(PacketFlags.ZLIB))()
    channel, offset = stream.place(stream.data(0))
    stream.holes[channel] = [Hole(offset + 1344, offset + 1400, HoleReason.LOST)]
    result = rebuilt(stream)
    assert list(result.blocks[0].table.stretches(PageKind.UNKNOWN, 256)) == [(0, 4)]
    assert "nothing compressed behind it" in result.problems[0].message
    other = like(compression=int(PacketFlags.UADK))()
    other.holes[channel] = [Hole(offset + 1344, offset + 1400, HoleReason.LOST)]
    assert list(rebuilt(other).blocks[0].table.stretches(PageKind.UNKNOWN, 256)) == [(3, 4)]


def test_a_recording_of_headers_only() -> None:
    """As ``tcpdump -s`` makes them."""
    stream = migration()
    for channel in (0, 1):
        at, holes = 0, []
        for record in stream.channels[channel]:
            at += len(record.encoded())
            if record.payload:
                holes.append(Hole(at - len(record.payload), at, HoleReason.SNAPLEN))
        stream.holes[channel] = holes
    result = rebuilt(stream)
    normal = {0, 1, 2, 3, 128, 129, 130, 240}
    stretches = result.blocks[0].table.stretches(PageKind.UNKNOWN, 256)
    assert {page for first, behind in stretches for page in range(first, behind)} == normal
    assert not any((result.memory or {})["pc.ram"]) and not result.complete


def test_what_stands_behind_an_unreleased_sync_is_not_loaded() -> None:
    stream = migration()
    late = ram(99, RAM, (7,), (), page(7, 5))
    extra = ram(98)
    stream.channels[0] += [extra, late]
    result = rebuilt(stream)
    assert bytes((result.memory or {})["pc.ram"]) == expected()["pc.ram"]
    assert result.not_loaded == {0: 1344 + PAGE} and not result.sound and result.complete
    everything = rebuilt(stream, apply_all=True)
    assert (everything.memory or {})["pc.ram"][7 * PAGE : 8 * PAGE] == page(7, 5)
    assert lean(stream.recording())["pc.ram"] == expected()["pc.ram"]
    assert lean(stream.recording(), apply_all=True) == everything.memory


def test_a_channel_ends_at_a_packet_that_is_refused() -> None:
    stream = migration()
    stream.data(0, 1).set(ramblock=b"nowhere".ljust(256, b"\0"))
    result = rebuilt(stream)
    assert (result.memory or {})["pc.ram"][:PAGE] == page(0, 0)
    assert any(problem.channel == 0 for problem in result.problems) and not result.sound
    assert lean(stream.recording())["pc.ram"][:PAGE] == page(0, 0)


def test_order_that_is_not_defined_is_said() -> None:
    """S-15: a ZERO record on main and a normal page in the same round."""
    stream = like(V82)()
    first = stream.on_main(ev.ZeroPage)
    stream.before(first, zero_page(3, RAM), zero_page(50, RAM))
    result = rebuilt(stream)
    assert [(c.block, c.offset, c.pages) for c in result.conflicts] == [("pc.ram", 3 * PAGE, 1)]
    assert (result.memory or {})["pc.ram"][3 * PAGE : 4 * PAGE] == page(3)


def test_zero_pages_come_before_normal_pages_of_their_packet() -> None:
    stream = migration()
    stream.data(0).set(zero_pages=1, pages=(*(PAGE * n for n in range(4)), 0, *[0] * (CAPACITY - 5)))
    stream.data(0, 2).set(normal_pages=0, next_packet_size=0, zero_pages=2)
    stream.data(0, 2).payload = b""
    result = rebuilt(stream)
    found = (result.memory or {})["pc.ram"]
    assert found[: 2 * PAGE] == bytes(2 * PAGE)


def test_provenance(tmp_path: Path) -> None:
    stream = migration()
    write_folder(tmp_path / "in", stream.recording().migrations[0])
    _, manifest = extract(tmp_path / "in", tmp_path / "out", "--provenance")
    (name,) = [block["provenance"] for block in manifest["blocks"] if block["name"] == "pc.ram"]
    lines = [json.loads(line) for line in (tmp_path / "out" / name).read_text().splitlines()]
    assert sum(line["pages"] for line in lines) == 256
    assert [line["offset"] for line in lines] == sorted(line["offset"] for line in lines)
    by_page = {line["offset"] // PAGE: line for line in lines}
    packet = stream.data(0, 2)
    assert by_page[0] == {
        "offset": 0,
        "pages": 2,
        "kind": "normal",
        "channel": 0,
        "packet_offset": stream.place(packet)[1],
        "frame": None,
        "packet_num": packet.event.packet_num,
        "round": 2,
    }
    assert (by_page[4]["kind"], by_page[4]["pages"], by_page[4]["round"]) == ("zero", 96, 1)


def test_mapped_ram() -> None:
    stream = mapped_ram(b"pc.ram", b"second")
    result = rebuilt(stream)
    content = b"".join(page(number) for number in range(16))
    assert {name: bytes(data) for name, data in (result.memory or {}).items()} == {"pc.ram": content, "second": content}
    listed = stream.on_main(ev.BlockList)
    payload = bytearray(listed.payload)
    payload[:2] = b"\xfe\x0f"  # the bitmap: pages 0 and 12 to 15 are clear
    listed.payload = bytes(payload)
    found = (rebuilt(stream).memory or {})["pc.ram"]
    assert found == bytes(PAGE) + content[PAGE : 12 * PAGE] + bytes(4 * PAGE)


@pytest.mark.parametrize("bitmap", [1 << 40, (1 << 63) + 5])
def test_mapped_ram_bitmap_outside_the_file(bitmap: int) -> None:
    stream = mapped_ram()
    listed = stream.on_main(ev.BlockList)
    block = listed.event.blocks[0]
    header = block.mapped_ram
    listed.set(blocks=(block._replace(mapped_ram=MappedRam(1, PAGE, bitmap, header.pages_offset)),))
    result = rebuilt(stream)
    assert not (result.complete and result.sound) and all(block.known == 0 for block in result.blocks)


def test_mapped_ram_file_cut_in_its_pages() -> None:
    stream = mapped_ram()
    start = stream.place(stream.on_main(ev.BlockList))[1] + len(stream.on_main(ev.BlockList).encoded())
    stream.cut["main"] = len(stream.encoded("main")) - start + 5 * PAGE + 7
    result = rebuilt(stream)
    assert not result.complete
    assert [(block.known, block.unknown) for block in result.blocks] == [(10, 6)]
    assert bytes((result.memory or {})["pc.ram"])[: 10 * PAGE] == b"".join(page(number) for number in range(10))
