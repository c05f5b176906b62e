"""Main channels for tests: the recorded ones, and Hypothesis strategies for healthy ones made from nothing."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from hypothesis import strategies as st

from captures.model import ChannelKind
from captures.recording import open_recording
from multifd_codec.draft import main_records as make
from multifd_codec.draft.draft import Record
from multifd_codec.draft.main_records import MainRecord
from multifd_codec.main.decoder import MainDecoder
from multifd_codec.main.events import MainEvent, PackageEnd, RamBlock, Trailing, VfioRecord
from multifd_codec.source import BufferSource, Hole, HoleReason, StreamEnd
from multifd_codec.wire.qemufile import CommandId
from multifd_codec.wire.vfio import VfioTagId
from tests.conftest import SAMPLES

PAGE = 4096
NAMES = ["ram", "pc.ram", "/rom@etc/acpi/tables", "ä"]


@cache
def recorded(name: str) -> bytes:
    """The main channel in a sample."""
    with open_recording(SAMPLES / name) as recording:
        (source,) = [c.source for m in recording.migrations for c in m.channels if c.kind is ChannelKind.MAIN]
        return bytes(source.read(0, source.size))


def decode(data: bytes, *holes: tuple[int, int], end: StreamEnd = StreamEnd.CLOSED) -> list[MainEvent]:
    """All events; bytes ``start`` to ``end`` of each hole count as lost."""
    lost = [Hole(start, stop, HoleReason.LOST) for start, stop in holes]
    return list(MainDecoder(BufferSource(data, end=end, holes=lost)).events())


def trailing(data: bytes) -> MainRecord:
    return Record(Trailing(0, len(data)), data)


def package(records: Iterable[MainRecord]) -> list[MainRecord]:
    """PACKAGED, the records in it, and its end."""
    inside = list(records)
    length = sum(record.size() for record in inside)
    return [make.command(CommandId.PACKAGED, length.to_bytes(4, "big")), *inside, Record(PackageEnd(0))]


def placed_stream(records: Iterable[MainRecord]) -> tuple[list[MainEvent], bytes]:
    """The events, placed, and the bytes they make."""
    whole = list(make.placed(records))
    return [record.event for record in whole], b"".join(record.encoded() for record in whole)


@st.composite
def page_records(draw: st.DrawFn, blocks: list[RamBlock]) -> list[MainRecord]:
    """Records of one RAM section, up to EOS."""
    items: list[MainRecord] = []
    block: RamBlock | None = None
    for kind in draw(st.lists(st.sampled_from(["zero", "zeros", "page", "flush"]), max_size=4)):
        if kind == "flush":
            items.append(make.flush())
            continue
        chosen = draw(st.sampled_from(blocks))
        pages = chosen.used_length // PAGE
        first = draw(st.integers(0, pages - 1))
        named = chosen is not block or draw(st.booleans())
        block = chosen
        if kind == "page":
            content = draw(st.sampled_from([bytes(PAGE), b"\x7e\0\0\0\x02" * (PAGE // 5) + b"."]))
            items.append(make.page(first * PAGE, chosen.block, content, named=named))
            continue
        items.append(make.zero_page(first * PAGE, chosen.block, named=named))
        count = draw(st.integers(0, 90)) if kind == "zeros" else 0
        items += [make.zero_page((first + number) % pages * PAGE, chosen.block, named=False) for number in range(count)]
    return [*items, make.end_of_ram()]


@st.composite
def main_items(draw: st.DrawFn) -> list[MainRecord]:
    """A whole healthy migration, as its source writes it."""
    old = draw(st.booleans())  # neither configuration nor footers
    shared = not old and draw(st.booleans())
    bits = None if old else draw(st.sampled_from([None, 12]))
    items: list[MainRecord] = [make.file_header()]
    if not old:
        capabilities = ["x-ignore-shared"] if shared else []
        uuid = draw(st.none() | st.binary(min_size=16, max_size=16))
        items.append(make.configuration("none", page_bits=bits, capabilities=capabilities, uuid=uuid))
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=3))
    address = 0x1_0000_0000 if shared else None
    lengths = draw(st.lists(st.integers(1, 64), min_size=len(names), max_size=len(names)))
    blocks = [
        RamBlock(name.encode(), length * 16 * PAGE, None, address) for name, length in zip(names, lengths, strict=True)
    ]

    def whole(header: MainRecord, body: list[MainRecord], section_id: int) -> list[MainRecord]:
        return [header, *body, *([] if old else [make.footer(section_id)])]

    if draw(st.booleans()):
        items += [make.command(CommandId.OPEN_RETURN_PATH), make.ping(1)]
    items += whole(make.section_start(2, "ram"), [make.block_list(blocks), make.flush(), make.end_of_ram()], 2)
    vfio = draw(st.booleans())
    setup: list[MainRecord] = [make.vfio(VfioTagId.DEV_SETUP_STATE), make.vfio(VfioTagId.END_OF_STATE)]
    if vfio:
        items += whole(make.section_start(3, "0000:00:05.0/vfio", version_id=1), setup, 3)
    # A section may go on with the block of the one before: the strategy starts each with a named record instead.
    for _ in range(draw(st.integers(0, 2))):
        items += whole(make.section_part(2, "ram"), draw(page_records(blocks)), 2)
        if vfio:
            data = draw(st.binary(max_size=40))
            state = Record(VfioRecord(0, 0, VfioTagId.DEV_DATA_STATE, 0, len(data)), data)
            body: list[MainRecord] = [state, make.vfio(VfioTagId.END_OF_STATE)]
            items += whole(make.section_part(3, "0000:00:05.0/vfio"), body, 3)
    items.append(make.command(CommandId.SWITCHOVER_START))
    items += whole(make.section_end(2, "ram"), draw(page_records(blocks)), 2)
    if vfio:
        items += whole(make.section_end(3, "0000:00:05.0/vfio"), [make.vfio(VfioTagId.END_OF_STATE)], 3)
    described = []
    for number, body in enumerate(draw(st.lists(st.binary(max_size=60), max_size=3))):
        device = make.device(4 + number, "timer", body, instance_id=number, version_id=2)
        items += device[:-1] if old else device
        described.append(make.buffer_device("timer", len(body), number))
    items.append(make.end_of_stream())
    items.append(make.vmdescription({"page_size": PAGE, "devices": described}))
    return [*items, trailing(b"\0" * 9)] if draw(st.booleans()) else items
