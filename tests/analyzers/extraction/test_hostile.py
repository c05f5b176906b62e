"""Rebuilding from hostile and damaged input: nothing leaves the folder, nothing is called zero that is not known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzers.cli.app import multifd
from analyzers.extraction import rebuild
from analyzers.extraction.loader import Loader
from analyzers.extraction.order import MAIN, Ordered
from analyzers.extraction.output import Folder, safe_name
from analyzers.extraction.page_table import CHUNK, PageKind, PageTable, Room, Stamp
from analyzers.extraction.stores import MemoryStore
from analyzers.extraction.xbzrle import decode_xbzrle
from captures.memory import MemorySource
from multifd_codec.draft.draft import Record
from multifd_codec.draft.main_records import block_list, zero_page
from multifd_codec.errors import FormatError, InputError
from multifd_codec.main import events as ev
from multifd_codec.main.ram_events import MappedRam, RamBlock
from multifd_codec.wire.packet import pages_per_packet
from tests.analyzers.extraction.test_extract import at, expected, extract, lean, normal_pages, ram_of, rebuilt
from tests.helpers.healthy import PAGE
from tests.helpers.streams import stream_of
from tests.helpers.writing import files_of_at_most, write_folder

HOSTILE = [b"../../evil", b"/etc/passwd", b".hidden", b"a\nb", b"\xff\xfe", b"x" * 255, b"manifest.json", b"A", b"a"]


def test_names_stay_in_the_folder(tmp_path: Path) -> None:
    stream = stream_of("10.0")
    own = stream.on_main(ev.BlockList).event.blocks
    listed = block_list([*(RamBlock(name, PAGE) for name in HOSTILE), *own]).event
    stream.on_main(ev.BlockList).event = listed
    write_folder(tmp_path / "in", stream.recording().migrations[0])
    before = set(tmp_path.rglob("*"))
    result, manifest = extract(tmp_path / "in", tmp_path / "out", "--provenance")
    assert result.exit_code == 0, result.output
    made = set(tmp_path.rglob("*")) - before - {tmp_path / "out"}
    assert {path.parent for path in made} == {tmp_path / "out"}
    names = [block["file"] for block in manifest["blocks"]]
    assert len({name.lower() for name in names}) == len(listed.blocks) and not any(
        name.startswith(".") for name in names
    )


@given(st.text())
def test_safe_names(name: str) -> None:
    safe = safe_name(name)
    assert safe and "/" not in safe and not safe.startswith(".") and safe.isascii() and safe.isprintable()


@pytest.mark.parametrize("size", [1 << 40, 1 << 50, (1 << 63)])
def test_a_block_that_claims_to_be_huge(tmp_path: Path, size: int) -> None:
    stream = stream_of("10.0")
    huge, other = stream.on_main(ev.BlockList).event.blocks
    stream.on_main(ev.BlockList).event = block_list([huge._replace(used_length=size), other]).event
    write_folder(tmp_path / "in", stream.recording().migrations[0])
    result, manifest = extract(tmp_path / "in", tmp_path / "out")
    assert result.exit_code == (0 if size <= 1 << 40 else 1)
    block = next(block for block in manifest["blocks"] if block["name"] == "pc.ram")
    content = (tmp_path / "out" / block["file"]).open("rb").read(96 * PAGE)
    assert (content, block["sha256"]) == (expected()["pc.ram"], block["sha256"])
    assert (block["sha256"] is None) == (size < 1 << 63)
    with pytest.raises(InputError, match="too many"):
        lean(stream.recording(), limit=1 << 30)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_gives_a_result(data: st.DataObject) -> None:
    stream = stream_of(data.draw(st.sampled_from(["10.0", "7.2", "10.0 zlib"])))
    sources = {}
    for name, _ in stream.lines():
        content = bytearray(stream.encoded(name))
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
            content[place] ^= data.draw(st.integers(1, 255))
        del content[data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content)))) :]
        sources[name] = MemorySource(bytes(content))
    captured = [
        c._replace(source=sources[n])
        for c, (n, _) in zip(stream.recording().migrations[0].channels, stream.lines(), strict=True)
    ]
    one = stream.recording().migrations[0]._replace(channels=tuple(captured))
    try:
        result = rebuild(one)
    except InputError:
        return
    for block in result.blocks:
        assert block.known + block.unknown + block.never_sent == block.pages


def test_cut_captures_exit_with_3(samples: Path, tmp_path: Path) -> None:
    whole = (samples / "q10.0-none-device-state.pcap").read_bytes()
    for number, share in enumerate((0.3, 0.6, 0.9)):
        path = tmp_path / f"{number}.pcap"
        path.write_bytes(whole[: int(len(whole) * share)])
        result, manifest = extract(path, tmp_path / f"out{number}")
        assert (result.exit_code, manifest["complete"]) == (3, False), share
        assert manifest["incomplete"]


def test_the_folder(samples: Path, tmp_path: Path) -> None:
    """Only new files, unless asked otherwise; never an input."""
    source = samples / "q11.1-none.pcap"
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    outside = tmp_path / "outside"
    outside.write_text("outside")
    for place, word in (("file", "not a folder"), ("full", "not empty"), ("a/b", "there is no folder")):
        result, _ = extract(source, tmp_path / place)
        assert result.exit_code == 2 and word in result.stderr and len(result.stderr.splitlines()) == 1
    (tmp_path / "full" / "ram.bin").symlink_to(outside)
    result, manifest = extract(source, tmp_path / "full", "--force")
    assert result.exit_code == 0 and manifest["blocks"][0]["file"] == "ram.bin"
    assert (outside.read_text(), (tmp_path / "full" / "mine").read_text()) == ("outside", "mine")
    stream = stream_of("10.0")
    stream.on_main(ev.BlockList).event = block_list([RamBlock(b"main", PAGE)]).event
    write_folder(tmp_path / "in", stream.recording().migrations[0])
    before = {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()}
    result, _ = extract(tmp_path / "in", tmp_path / "in", "--force")
    assert result.exit_code == 2 and "also an input" in result.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()}.items() >= before.items()


def test_chosen_blocks(tmp_path: Path) -> None:
    stream = stream_of("10.0 zstd")
    result = rebuilt(stream, blocks=("vga.vram",))
    assert {name: bytes(data) for name, data in (result.memory or {}).items()} == {"vga.vram": expected()["vga.vram"]}
    with pytest.raises(InputError, match=r"no RAM block 'nope', only 'pc.ram', 'vga.vram'"):
        rebuilt(stream, blocks=("nope",))


# What a destination refuses.

CAPACITY = pages_per_packet(PAGE)
FAR = (1 << 64) - PAGE
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a page in front of its block": ({"pages": (FAR, *[0] * (CAPACITY - 1))}, "offset 0xfffffffffffff000 lies beyond"),
    "a page behind its block": ({"pages": (160 * PAGE, *[0] * (CAPACITY - 1))}, "offset 0xa0000 lies beyond"),
    "another block": ({"ramblock": b"nowhere".ljust(256, b"\0")}, "RAM block 'nowhere' is not in the block list"),
    "more pages than there can be": ({"zero_pages": CAPACITY}, "exceeds pages_alloc"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_pages_that_a_destination_refuses(name: str) -> None:
    """What the channel carries from there on is not loaded, in either way of rebuilding."""
    changes, words = REFUSED[name]
    stream = stream_of("10.0")
    packet, same_round = stream.data(0, 2), stream.data(1, 1)
    assert packet.event.normal_pages and normal_pages(same_round)
    packet.set(**changes)
    result = rebuilt(stream)
    assert not result.sound and words in result.problems[0].message
    for memory in (result.memory or {}, lean(stream.recording())):
        assert all(memory["pc.ram"][at(page)] == expected()["pc.ram"][at(page)] for page in normal_pages(same_round))
        assert not any(memory["vga.vram"])


@pytest.mark.parametrize("addr", [96 * PAGE, 1 << 62])
def test_records_on_main_about_pages_that_there_are_not(addr: int) -> None:
    stream = stream_of("without multifd")
    last = stream.on_main(ev.Page, -1)
    stream.behind(last, zero_page(addr, "pc.ram"), Record(last.event._replace(addr=addr), bytes(PAGE)))
    result = rebuilt(stream)
    assert not result.sound and "page beyond the 0x60000 bytes of RAM block 'pc.ram'" in result.problems[0].message
    assert {block: bytes(data) for block, data in (result.memory or {}).items()} == expected()
    assert {block: bytes(data) for block, data in lean(stream.recording()).items()} == expected()


# XBZRLE.


@given(st.binary(min_size=64, max_size=64), st.binary(min_size=64, max_size=64))
def test_xbzrle(old: bytes, new: bytes) -> None:
    assert decode_xbzrle(encode_xbzrle(old, new), old) == new


def encode_xbzrle(old: bytes, new: bytes) -> bytes:
    """As xbzrle_encode_buffer does, byte by byte."""
    out, at = bytearray(), 0
    while at < len(new):
        same = at
        while same < len(new) and old[same] == new[same]:
            same += 1
        if same == len(new):
            break
        other = same
        while other < len(new) and old[other] != new[other]:
            other += 1
        out += bytes([same - at, other - same]) + new[same:other]
        at = other
    return bytes(out)


@pytest.mark.parametrize(
    "data", [b"\x00", b"\x05\x00", b"\x00\x02a", b"\x40\x01a", b"\x01\x01a\x00\x01b", b"\x80", b"\x80\x80"]
)
def test_malformed_xbzrle(data: bytes) -> None:
    with pytest.raises(FormatError):
        decode_xbzrle(data, bytes(64))


def test_xbzrle_record() -> None:
    """A page of the first round, changed by an XBZRLE record."""
    stream = stream_of("without multifd")
    last = stream.on_main(ev.Page, -1)
    offset, old = last.event.addr, last.payload
    encoded = bytes([100, 3]) + b"new"
    stream.behind(last, Record(ev.XbzrlePage(0, 0, offset, b"pc.ram", "pc.ram", 1, 0, len(encoded)), encoded))
    assert ram_of(rebuilt(stream))[offset:][:PAGE] == bytes(old[:100]) + b"new" + bytes(old[103:])


def test_pages_far_apart_take_no_more_than_there_is_room_for() -> None:
    """What is not kept track of counts as unknown, whatever it was."""
    table = PageTable(room=Room(0))
    pages = np.arange(0, 1 << 40, CHUNK * 1000, dtype=np.int64)[:200_000]
    for part in np.array_split(pages, 10):
        table.mark(part, Stamp(PageKind.ZERO, 0, 0, 0))
    assert table.overflowed and table.count(1 << 40)[PageKind.UNKNOWN] > 1 << 39
    assert not table.known(int(pages[-1])) and not table.known(CHUNK + 1) and table.known(int(pages[0]))


def test_blocks_of_a_mapped_ram_file_over_each_other() -> None:
    """The pages of a file are those of one block: many blocks over each other would be a bomb."""
    stream = stream_of("10.0")
    listed = stream.on_main(ev.BlockList).event
    content = bytes(range(1, 1 + PAGE // 64)) * 64
    source = MemorySource(b"\xff" + bytes(PAGE - 1) + content)
    first, second = (RamBlock(name, PAGE, mapped_ram=MappedRam(1, PAGE, 0, PAGE)) for name in (b"first", b"second"))
    store = MemoryStore()
    loader = Loader(store, PAGE, [], [], source)
    loader.record(Ordered(0, MAIN, listed._replace(blocks=(first, second))))
    for name in ("first", "second"):
        store.finish(name, PAGE)
    assert bytes(store.blocks["first"]) == content and bytes(store.blocks["second"]) == bytes(PAGE)
    assert loader.blocks["second"].table.count(1)[PageKind.UNKNOWN] == 1
    assert [problem.message for problem in loader.problems if "lie in those" in problem.message]


def test_zeros_that_are_only_claimed_are_not_hashed_without_end(tmp_path: Path) -> None:
    stream = stream_of("10.0")
    own = stream.on_main(ev.BlockList).event.blocks
    claimed = [RamBlock(b"claimed%d" % number, 1 << 30) for number in range(64)]
    stream.on_main(ev.BlockList).event = block_list([*claimed, *own]).event
    write_folder(tmp_path / "in", stream.recording().migrations[0])
    _, manifest = extract(tmp_path / "in", tmp_path / "out")
    hashed = [block["sha256"] is not None for block in manifest["blocks"]]
    assert hashed[0] and not all(hashed[: len(claimed)]) and all(hashed[len(claimed) :])


def test_what_goes_wrong_leaves_the_folder_as_it_was(samples: Path, tmp_path: Path) -> None:
    """A limit on files stands for a full disk; the old result stays whole, the message names the file."""
    source = samples / "q11.1-none.pcap"
    extract(source, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    for place in ("out", "new"):
        with files_of_at_most(100_000):
            result = CliRunner().invoke(multifd, ["extract", str(source), "-o", str(tmp_path / place), "--force"])
        assert result.exit_code == 2 and str(tmp_path / place / "ram.bin") in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert not (tmp_path / "new").exists()


def test_no_folder_is_followed_out_of_the_one_asked_for(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "away").mkdir()
    (tmp_path / "out" / "migration-1").symlink_to(tmp_path / "away")
    with (
        pytest.raises(InputError, match="link"),
        Folder(tmp_path / "out", overwrite=True) as folder,
    ):
        folder.place("migration-1")
    assert not any((tmp_path / "away").iterdir()) and [path.name for path in (tmp_path / "out").iterdir()] == [
        "migration-1"
    ]
