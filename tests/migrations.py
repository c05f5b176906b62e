"""Healthy migrations of each dialect, as ``tests.streams.Stream``: what a real source of that release would send.

RAM blocks pc.ram (256 pages) and pc.bios (4 pages), two rounds of pages: everything, then what was dirtied.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from multifd_codec.draft.draft import Line, Record
from multifd_codec.main import events as ev
from multifd_codec.wire.packet import PacketFlags
from multifd_codec.wire.qemufile import QEMU_VM_FILE_MAGIC, QEMU_VM_FILE_VERSION, CommandId
from multifd_codec.wire.ram import MappedRamHeader
from multifd_codec.wire.vfio import VfioTagId
from tests.channel_records import CAPACITY, DEVICES, compressor, config, init, page, ram, state
from tests.main_records import (
    BIOS,
    BLOCKS,
    GLOBALSTATE,
    PAGE,
    RAM,
    TIMER,
    block_list,
    body,
    command,
    description,
    eos,
    flush,
    normal_page,
    section,
    tag,
    zero_page,
)
from tests.streams import Stream

Pages = tuple[int, bytes, Sequence[int], Sequence[int]]
"""Channel, RAM block, normal pages, zero pages of one packet."""
ROUNDS: tuple[tuple[Pages, ...], ...] = (
    (
        (0, RAM, range(4), range(4, 100)),
        (1, RAM, range(128, 131), range(131, 240)),
        (0, RAM, (), range(100, 128)),
        (1, RAM, (240,), range(241, 256)),
        (1, BIOS, (0, 1), (2, 3)),
    ),
    ((0, RAM, (0, 1), ()), (1, RAM, (128,), ()), (0, RAM, (2,), ())),
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """What tells one source from another on the wire."""

    machine: bytes = b"pc-q35-10.0"
    per_round: bool = True
    legacy_zero: bool = False
    """Zero pages are ZERO records on main."""
    merged_sync: bool = False
    """SYNC may be a flag of the last packet of a round, an empty packet follows (up to 8.2)."""
    stale_size: bool = False
    stale_names: bool = False
    sync_alloc: int = 0
    """pages_alloc of a SYNC packet."""
    unpaired_tail: bool = False
    switchover: bool = True
    devices: int = 0
    compression: int = 0
    postcopy: bool = False
    channels: int = 2
    dense: bool = True
    """Packet numbers are counted atomically (9.0 and later)."""


V10 = Dialect()
V72 = Dialect(
    machine=b"pc-q35-7.2",
    per_round=False,
    legacy_zero=True,
    stale_size=True,
    stale_names=True,
    sync_alloc=CAPACITY,
    switchover=False,
    dense=False,
)
V82 = replace(V72, machine=b"pc-q35-8.2", per_round=True, stale_size=False)
V90 = Dialect(machine=b"pc-q35-9.0", sync_alloc=CAPACITY, stale_names=True, switchover=False)
V92 = Dialect(machine=b"pc-q35-9.2", unpaired_tail=True, switchover=False)


class _Source:
    """Writes the channels of one migration."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.channels: list[Line] = [[init(number)] for number in range(dialect.channels)]
        self.compress = [compressor(dialect.compression) for _ in self.channels]
        self.packets = 0
        self.last: list[Record | None] = [None for _ in self.channels]

    def number(self) -> int:
        self.packets += 1
        return self.packets - 1

    def pages(self, generation: int) -> None:
        for channel, block, normal, zeros in ROUNDS[generation]:
            zero = () if self.dialect.legacy_zero else zeros
            if not normal and not zero:
                continue
            position = channel % len(self.channels)
            content = b"".join(page(entry, generation) for entry in normal)
            payload = self.compress[position](content) if normal else b""
            record = ram(self.number(), block, normal, zero, payload, flags=self.dialect.compression)
            self.last[position] = record
            self.channels[position].append(record)

    def sync(self) -> None:
        for position, line in enumerate(self.channels):
            last = self.last[position]
            if self.dialect.merged_sync and last is line[-1]:
                last.set(flags=last.event.flags | PacketFlags.SYNC)
                line.append(ram(last.event.packet_num, flags=0, pages_alloc=self.dialect.sync_alloc))
                continue
            record = ram(self.number(), pages_alloc=self.dialect.sync_alloc)
            if last is not None and self.dialect.stale_size:
                record.set(next_packet_size=last.event.next_packet_size)
            if last is not None and self.dialect.stale_names:
                record.set(ramblock=last.event.ramblock, pages=last.event.pages)
            line.append(record)

    def device_state(self) -> None:
        """In front of and behind the last SYNC, on all channels."""
        for number, device in enumerate(DEVICES[: self.dialect.devices]):
            mine = [state(index, bytes([index]) * (40 + index), device=device) for index in range(3)]
            final = config(3)
            final.event = final.event._replace(idstr=device.ljust(256, b"\0"))
            for index, record in enumerate((*mine, final)):
                line = self.channels[(number + index) % len(self.channels)]
                if index == 0 and number == 0:
                    line.insert(len(line) - 1, record)
                else:
                    line.append(record)


def migration(dialect: Dialect = V10) -> Stream:
    """A healthy migration."""
    source = _Source(dialect)
    source.sync()
    for generation in range(len(ROUNDS)):
        source.pages(generation)
        source.sync()
    if dialect.unpaired_tail:
        source.sync()
    source.device_state()
    return Stream(_main(dialect), source.channels)


def like(dialect: Dialect = V10, **changes: Any) -> Callable[[], Stream]:
    """Makes fresh migrations of a dialect."""
    return lambda: migration(replace(dialect, **changes))


def full_sections(dialect: Dialect) -> Line:
    lines = section(ev.SectionFull, 0, body(0, TIMER), name=b"timer", version=2)
    for number, name in enumerate(DEVICES[: dialect.devices]):
        lines += section(ev.SectionFull, 3 + number, tag(VfioTagId.END_OF_STATE), name=name)
    return lines + section(ev.SectionFull, 5, body(5, GLOBALSTATE), name=b"globalstate")


def zero_pages(dialect: Dialect) -> Line:
    """ZERO records for the zero pages of the first round."""
    records: Line = []
    for block, pages in BLOCKS.items():
        sent = {entry for _, named, normal, _ in ROUNDS[0] if named == block for entry in normal}
        rest = [entry for entry in range(pages) if entry not in sent]
        records += [zero_page(entry, None if position else block) for position, entry in enumerate(rest)]
    return records if dialect.legacy_zero else []


def head(dialect: Dialect, *subsections: ev.ConfigurationSubsection) -> Line:
    return [
        Record(ev.FileHeader(0, 8, QEMU_VM_FILE_MAGIC, QEMU_VM_FILE_VERSION)),
        Record(ev.Configuration(0, 0, dialect.machine, subsections)),
    ]


def _main(dialect: Dialect) -> Line:
    rendezvous = [flush] if dialect.per_round else []
    devices = DEVICES[: dialect.devices]
    lines = [*head(dialect), command(CommandId.OPEN_RETURN_PATH), command(CommandId.PING, struct.pack(">I", 1))]
    if dialect.postcopy:
        lines.append(command(CommandId.POSTCOPY_ADVISE, struct.pack(">QQ", PAGE, PAGE)))
    lines += section(ev.SectionStart, 2, block_list(), *(make() for make in rendezvous), eos(), name=b"ram", version=4)
    for number, name in enumerate(devices):
        tags = tag(VfioTagId.DEV_SETUP_STATE), tag(VfioTagId.END_OF_STATE)
        lines += section(ev.SectionStart, 3 + number, *tags, name=name)
    lines += section(ev.SectionPart, 2, *zero_pages(dialect), *(make() for make in rendezvous), eos())
    if dialect.postcopy:
        lines += section(ev.SectionPart, 2, *(make() for make in rendezvous), eos())
    if dialect.switchover:
        lines.append(command(CommandId.SWITCHOVER_START))
    if dialect.postcopy:
        return lines + _postcopy(dialect)
    lines += section(ev.SectionEnd, 2, *(make() for make in rendezvous), eos())
    for number in range(dialect.devices):
        lines += section(ev.SectionEnd, 3 + number, tag(VfioTagId.END_OF_STATE))
    described = description((b"timer", *devices, b"globalstate"))
    return [*lines, *full_sections(dialect), Record(ev.EndOfStream(0)), described]


def _postcopy(dialect: Dialect) -> Line:
    """From the discards on: the rest of RAM travels on main."""
    discard = b"\0" + bytes([len(RAM)]) + RAM + b"\0" + struct.pack(">QQ", PAGE * 8, PAGE)
    blob = [
        command(CommandId.POSTCOPY_LISTEN),
        *full_sections(dialect),
        command(CommandId.PING, struct.pack(">I", 3)),
        command(CommandId.POSTCOPY_RUN),
    ]
    ping = [command(CommandId.PING, struct.pack(">I", number)) for number in (2, 4)]
    return [
        command(CommandId.POSTCOPY_RAM_DISCARD, discard),
        ping[0],
        *package(blob),
        ping[1],
        *section(ev.SectionPart, 2, normal_page(8, page(8)), eos()),
        *section(ev.SectionEnd, 2, zero_page(9), eos()),
        Record(ev.EndOfStream(0)),
    ]


def package(blob: Line) -> Line:
    """PACKAGED and its sections."""
    length = sum(len(record.encoded()) for record in blob)
    return [command(CommandId.PACKAGED, struct.pack(">I", length)), *blob]


@cache
def _mapped_pages() -> bytes:
    return b"".join(page(number) for number in range(16))


def mapped_ram(*names: bytes) -> Stream:
    """The main file of a mapped-ram migration: RAM blocks of 16 pages, pages at multiples of 1 MiB."""
    dialect = Dialect(switchover=False)
    lines = head(dialect, ev.CapabilityList(0, 0, 1, (b"mapped-ram",)))
    blocks = names or (RAM,)
    listed = [ev.RamBlock(name, 16 * PAGE, mapped_ram=ev.MappedRam(1, PAGE, 0, 0)) for name in blocks]
    start = section(ev.SectionStart, 2, block_list(listed), eos(), name=b"ram", version=4)
    position = sum(len(record.encoded()) for record in (*lines, start[0])) + 8
    payload = b""
    for number, entry in enumerate(listed):
        position += 1 + len(entry.idstr) + 8 + MappedRamHeader.sizeof()
        pages = 1 + position >> 20 << 20
        pages += 1 << 20
        gap = b"\xff\xff".ljust(pages - position, b"\0")
        listed[number] = entry._replace(
            mapped_ram=ev.MappedRam(1, PAGE, position, pages), behind=len(gap) + len(_mapped_pages())
        )
        payload += gap + _mapped_pages()
        position = pages + len(_mapped_pages())
    start[1] = block_list(listed)
    start[1].payload = payload
    lines += start
    lines += section(ev.SectionPart, 2, eos()) + section(ev.SectionEnd, 2, eos())
    lines += [*full_sections(dialect), Record(ev.EndOfStream(0)), description((b"timer", b"globalstate"))]
    return Stream(lines, [])


def single_channel() -> Stream:
    """A migration without multifd: every page is a PAGE or ZERO record on main."""
    dialect = replace(V10, legacy_zero=True, per_round=False, switchover=False)
    stream = Stream(_main(dialect), [])
    part = stream.on_main(ev.SectionPart)
    pages = [normal_page(n, page(n, g), block) for g in (0, 1) for _, block, ns, _ in ROUNDS[g] for n in ns]
    stream.behind(part, *pages)
    return stream
