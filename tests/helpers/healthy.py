"""Healthy migrations, made by the reference sender: one of each release, compression and shape.

What the sender does not send (postcopy, files of mapped-ram, no multifd at all, device state beside compression) is
made of what it sends.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from multifd_codec import sender
from multifd_codec.channel.events import RamPacket
from multifd_codec.draft import main_records as make
from multifd_codec.draft.draft import Draft, Line, Record
from multifd_codec.main import events as ev
from multifd_codec.plan.page_content import Pattern, Zero
from multifd_codec.plan.plan import Block, Device, MigrationPlan, Pages, Round
from multifd_codec.wire.packet import PacketFlags
from multifd_codec.wire.qemufile import CommandId
from multifd_codec.wire.ram import MappedRamHeader

PAGE = 4096
DEVICES = (Device("0000:00:05.0/vfio", 5000, 1000), Device("0000:00:06.0/vfio", 300, 100))
NONE = MigrationPlan(
    blocks=(Block("pc.ram", 96 * PAGE), Block("vga.vram", 160 * PAGE)),
    rounds=(
        Round((Pages("pc.ram", 0, 96, Pattern(3, 0.3)), Pages("vga.vram", 0, 160, Zero()))),
        Round((Pages("pc.ram", 20, 6, Pattern(4)), Pages("vga.vram", 0, 2, Pattern(4)))),
    ),
    final=(Round((Pages("pc.ram", 40, 4, Pattern(5)), Pages("vga.vram", 8, 3, Zero()))),),
)
"""All of memory, then twice what was written since. The last packet of a round may be one of zero pages only."""


def plan(**fields: Any) -> MigrationPlan:
    """That migration, with other options; blocks are as many pages, of whatever size."""
    size = fields.get("page_size", PAGE)
    blocks = tuple(Block(block.name, block.size // PAGE * size) for block in NONE.blocks)
    return replace(NONE, **{"blocks": blocks} | fields)


PLANS: Mapping[str, MigrationPlan] = {
    "10.0": plan(return_path=True),
    "10.0 devices": plan(devices=DEVICES, channels=3, return_path=True),
    "10.0 zlib": plan(compression="zlib"),
    "10.0 zstd": plan(compression="zstd"),
    "10.0 qpl": plan(compression="qpl"),
    "10.0 qatzip": plan(compression="qatzip"),
    "10.0 legacy zero pages": plan(zero_page_detection="legacy"),
    "10.0 all pages with content": plan(zero_page_detection="none"),
    "10.0 per section": plan(machine="pc-q35-8.0"),
    "11.1": plan(dialect="qemu-11.1"),
    "10.0 uadk": plan(compression="uadk"),
    "9.2": plan(dialect="qemu-9.2"),
    "9.0": plan(dialect="qemu-9.0"),
    "8.2": plan(dialect="qemu-8.2"),
    "8.1 merged zlib": plan(dialect="qemu-8.1", compression="zlib", merge_sync=1.0),
    "7.2": plan(dialect="qemu-7.2"),
    "7.2 merged": plan(dialect="qemu-7.2", merge_sync=1.0),
    "4.2": plan(dialect="qemu-4.2"),
    "rfc-v3 devices": plan(dialect="rfc-v3", devices=DEVICES),
    "one channel of large pages": plan(channels=1, page_size=1 << 16),
}


def copied(draft: Draft) -> Draft:
    """Other records, the same bytes."""
    copies = {id(record): record.copy() for _, line in draft.lines() for record in line}
    main, *channels = ([copies[id(record)] for record in line] for line in (draft.main, *draft.channels))
    order = [copies[id(record)] for record in draft.order if id(record) in copies]
    return Draft(main, channels, order)


@cache
def _sent(name: str) -> Draft:
    return MADE[name]() if name in MADE else sender.draft(PLANS[name])


def healthy(name: str) -> Draft:
    """The migration of that name, to be edited."""
    return copied(_sent(name))


def position(line: Line, kind: type, number: int = 0) -> int:
    """Where the record of that kind and number stands."""
    return [i for i, record in enumerate(line) if isinstance(record.event, kind)][number]


def postcopy() -> Draft:
    """Memory is postcopied behind the first two rounds: what the last one has got travels on main."""
    draft = sender.draft(plan(dialect="qemu-10.1", machine="pc-q35-10.1", return_path=True))
    main, ram_id = draft.main, draft.on_main(ev.SectionStart).event.section_id
    advise = make.command(CommandId.POSTCOPY_ADVISE, struct.pack(">QQ", PAGE, PAGE))
    main.insert(position(main, ev.SectionStart), advise)
    end, full, eof = (position(main, kind) for kind in (ev.SectionEnd, ev.SectionFull, ev.EndOfStream))
    blob = [
        make.command(CommandId.POSTCOPY_LISTEN),
        *main[full:eof],
        make.ping(3),
        make.command(CommandId.POSTCOPY_RUN),
    ]
    discard = b"\0\x06pc.ram\0" + struct.pack(">QQ", 40 * PAGE, 4 * PAGE)
    length = sum(record.size() for record in blob)
    late = [make.page(40 * PAGE, "pc.ram", b"late" * (PAGE // 4)), make.end_of_ram()]
    main[end:] = [
        make.command(CommandId.POSTCOPY_RAM_DISCARD, discard),
        make.ping(2),
        make.command(CommandId.PACKAGED, struct.pack(">I", length)),
        *blob,
        make.ping(4),
        *(make.section_part(ram_id), *late, make.footer(ram_id)),
        *(make.section_end(ram_id), make.end_of_ram(), make.footer(ram_id)),
        make.end_of_stream(),
    ]
    for line in draft.channels:
        ends = [i for i, record in enumerate(line) if _is_sync(record)]
        del line[ends[-2] + 1 :]
    draft.renumber()
    return Draft(main, draft.channels)


def _is_sync(record: Record) -> bool:
    return isinstance(record.event, RamPacket) and bool(record.event.flags & PacketFlags.SYNC)


def without_multifd() -> Draft:
    """Every page is a PAGE or ZERO record on main."""
    draft = sender.draft(plan(machine="pc-q35-8.0", dialect="qemu-8.1", return_path=True))
    pages: Line = []
    for record in draft.order:
        if not isinstance(record.event, RamPacket):
            continue
        block = record.event.ramblock.rstrip(b"\0").decode()
        for number, offset in enumerate(record.event.pages[: record.event.normal_pages]):
            pages.append(make.page(offset, block, bytes(record.payload[number * PAGE :][:PAGE])))
    draft.before(draft.on_main(ev.EndOfRam, -1), *pages)
    return Draft(draft.main, [])


def mapped_ram() -> Draft:
    """The main file of a mapped-ram migration: pages at multiples of 1 MiB, their bitmap in front of them."""
    draft = sender.draft(plan(machine="pc-q35-8.0", switchover_start=False))
    draft.main[1] = make.configuration("pc-q35-9.0", capabilities=("mapped-ram",))
    listed = position(draft.main, ev.BlockList)
    offset = sum(record.size() for record in draft.main[:listed]) + 8
    blocks, payload = [], b""
    for block in draft.main[listed].event.blocks:
        pages = block.used_length // PAGE
        offset += 1 + len(block.idstr) + 8 + MappedRamHeader.sizeof()
        first = (offset >> 20) + 1 << 20
        bitmap = (b"\xff" * (pages // 8)).ljust(first - offset, b"\0")
        content = b"".join(number.to_bytes(2, "big") * (PAGE // 2) for number in range(pages))
        header = ev.MappedRam(1, PAGE, offset, first)
        blocks.append(block._replace(mapped_ram=header, behind=len(bitmap) + len(content)))
        payload += bitmap + content
        offset = first + len(content)
    draft.main[listed] = Record(make.block_list(blocks).event, payload)
    kept = [record for record in draft.main if not isinstance(record.event, (ev.ZeroPage, ev.ZeroPageRun))]
    return Draft(kept, [])


def devices_beside_zlib() -> Draft:
    """What no source sends: device state on channels whose pages are compressed."""
    draft = sender.draft(PLANS["10.0 devices"])
    for line in draft.channels:
        stream = zlib.compressobj(1)
        for record in line:
            if isinstance(record.event, RamPacket) and not _is_sync(record):
                if record.event.normal_pages:
                    record.payload = stream.compress(record.payload) + stream.flush(zlib.Z_SYNC_FLUSH)
                size = len(record.payload)
                record.set(flags=int(PacketFlags.ZLIB), next_packet_size=size, payload_length=size)
    return draft


MADE: Mapping[str, Callable[[], Draft]] = {
    "postcopy": postcopy,
    "mapped-ram": mapped_ram,
    "without multifd": without_multifd,
    "devices beside zlib": devices_beside_zlib,
}
