"""Rebuilding from hostile and damaged input: nothing leaves the folder, nothing is called zero that is not known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzers.extraction import rebuild
from analyzers.extraction.output import safe_name
from analyzers.extraction.xbzrle import decode_xbzrle
from captures.memory import MemorySource
from multifd_codec.draft.draft import Record
from multifd_codec.errors import FormatError, InputError
from multifd_codec.main import events as ev
from multifd_codec.main.ram_events import RamBlock
from multifd_codec.wire.packet import PacketFlags
from tests.analyzers.test_extract import expected, extract, lean, rebuilt
from tests.captures.writing import write_folder
from tests.channel_records import CAPACITY, page
from tests.main_records import BLOCKS, PAGE, RAM, block_list, zero_page
from tests.migrations import V72, V90, Dialect, like, migration, single_channel

HOSTILE = [b"../../evil", b"/etc/passwd", b".hidden", b"a\nb", b"\xff\xfe", b"x" * 255, b"manifest.json", b"A", b"a"]


def test_names_stay_in_the_folder(tmp_path: Path) -> None:
    stream = migration()
    listed = [RamBlock(name, PAGE) for name in (*HOSTILE, RAM, b"pc.bios")]
    sizes = [replace_size(block) for block in listed]
    stream.on_main(ev.BlockList).event = block_list(sizes).event
    write_folder(tmp_path / "in", stream.recording().migrations[0])
    before = set(tmp_path.rglob("*"))
    result, manifest = extract(tmp_path / "in", tmp_path / "out", "--provenance")
    assert result.exit_code == 0, result.output
    made = set(tmp_path.rglob("*")) - before - {tmp_path / "out"}
    assert {path.parent for path in made} == {tmp_path / "out"}
    names = [block["file"] for block in manifest["blocks"]]
    assert len({name.lower() for name in names}) == len(sizes) and not any(name.startswith(".") for name in names)


def replace_size(block: RamBlock) -> RamBlock:
    return block._replace(used_length=BLOCKS.get(block.idstr, 1) * PAGE)


@given(st.text())
def test_safe_names(name: str) -> None:
    safe = safe_name(name)
    assert safe and "/" not in safe and not safe.startswith(".") and safe.isascii() and safe.isprintable()


@pytest.mark.parametrize("size", [1 << 40, 1 << 50, (1 << 63)])
def test_a_block_that_claims_to_be_huge(tmp_path: Path, size: int) -> None:
    stream = migration()
    huge = RamBlock(RAM, size)
    stream.on_main(ev.BlockList).event = block_list([huge, RamBlock(b"pc.bios", 4 * PAGE)]).event
    write_folder(tmp_path / "in", stream.recording().migrations[0])
    result, manifest = extract(tmp_path / "in", tmp_path / "out")
    assert result.exit_code == (0 if size <= 1 << 40 else 1)
    block = next(block for block in manifest["blocks"] if block["name"] == "pc.ram")
    content = (tmp_path / "out" / block["file"]).open("rb").read(256 * PAGE)
    assert (content, block["sha256"]) == (expected()["pc.ram"], block["sha256"])
    assert (block["sha256"] is None) == (size < 1 << 63)
    with pytest.raises(InputError, match="too many"):
        lean(stream.recording(), limit=1 << 30)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_gives_a_result(data: st.DataObject) -> None:
    dialect = data.draw(st.sampled_from([Dialect(), V72, replace(V90, compression=int(PacketFlags.ZLIB))]))
    stream = migration(dialect)
    sources = {}
    for name, _ in stream.lines():
        content = bytearray(stream.encoded(name))
        for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
            content[at] ^= data.draw(st.integers(1, 255))
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
    stream = migration()
    stream.on_main(ev.BlockList).event = block_list([RamBlock(b"main", PAGE)]).event
    write_folder(tmp_path / "in", stream.recording().migrations[0])
    before = {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()}
    result, _ = extract(tmp_path / "in", tmp_path / "in", "--force")
    assert result.exit_code == 2 and "also an input" in result.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()}.items() >= before.items()


def test_chosen_blocks(tmp_path: Path) -> None:
    stream = like(compression=int(PacketFlags.ZSTD))()
    result = rebuilt(stream, blocks=("pc.bios",))
    assert {name: bytes(data) for name, data in (result.memory or {}).items()} == {"pc.bios": expected()["pc.bios"]}
    with pytest.raises(InputError, match=r"no RAM block 'nope', only 'pc.bios', 'pc.ram'"):
        rebuilt(stream, blocks=("nope",))


# What a destination refuses.

FAR = (1 << 64) - PAGE
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a page in front of its block": ({"pages": (FAR, *[0] * (CAPACITY - 1))}, "offset 0xfffffffffffff000 lies beyond"),
    "a page behind its block": ({"pages": (256 * PAGE, *[0] * (CAPACITY - 1))}, "offset 0x100000 lies beyond"),
    "another block": ({"ramblock": b"nowhere".ljust(256, b"\0")}, "RAM block 'nowhere' is not in the block list"),
    "more pages than there can be": ({"zero_pages": CAPACITY}, "exceeds pages_alloc"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_pages_that_a_destination_refuses(name: str) -> None:
    """What the channel carries from there on is not loaded, in either way of rebuilding."""
    changes, words = REFUSED[name]
    stream = migration()
    stream.data(0).set(**changes)
    result = rebuilt(stream)
    assert not result.sound and words in result.problems[0].message
    for memory in (result.memory or {}, lean(stream.recording())):
        assert memory["pc.ram"][129 * PAGE :][:PAGE] == page(129)  # of channel 1, in the same round
        assert not any(memory["pc.ram"][: 4 * PAGE])


@pytest.mark.parametrize("addr", [256 * PAGE, 1 << 62])
def test_records_on_main_about_pages_that_there_are_not(addr: int) -> None:
    stream = single_channel()
    pages = [record for record in stream.main if isinstance(record.event, ev.Page)]
    stream.behind(pages[-1], zero_page(addr // PAGE, RAM), Record(pages[0].event._replace(addr=addr), bytes(PAGE)))
    result = rebuilt(stream)
    assert not result.sound and "page beyond the 0x100000 bytes of RAM block 'pc.ram'" in result.problems[0].message
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
    stream = single_channel()
    last = [record for record in stream.main if isinstance(record.event, ev.Page)][-1]
    old = page(240)
    encoded = bytes([100, 3]) + b"new"
    number = 240 * PAGE
    event = ev.XbzrlePage(0, 0, number, RAM, "pc.ram", 1, 0, len(encoded))
    stream.behind(last, Record(event, encoded))
    found = (rebuilt(stream).memory or {})["pc.ram"][number : number + PAGE]
    assert found == old[:100] + b"new" + old[103:]
