"""Healthy migrations of each dialect, as ``tests.streams.Stream``: what a real source of that release would send.

RAM blocks pc.ram (256 pages) and pc.bios (4 pages), two rounds of pages: everything, then what was dirtied.
"""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from multifd_codec import main_events as ev
from multifd_codec.events import ChannelInit, DeviceStatePacket, RamPacket
from multifd_codec.framing import DEVICE, INIT
from multifd_codec.layout import layout
from multifd_codec.wire.handshake import MULTIFD_MAGIC, MULTIFD_VERSION
from multifd_codec.wire.packet import PacketFlags, pages_per_packet, ram_packet
from multifd_codec.wire.qemufile import QEMU_VM_FILE_MAGIC, QEMU_VM_FILE_VERSION, CommandId
from multifd_codec.wire.ram import MappedRamHeader, RamFlags
from multifd_codec.wire.vfio import CONFIG_STATE, VFIODeviceStatePacket, VfioTagId
from tests.streams import Line, Record, Stream

PAGE = 4096
CAPACITY = pages_per_packet(PAGE)
RAM, BIOS = b"pc.ram", b"pc.bios"
BLOCKS = {RAM: 256, BIOS: 4}
"""RAM block to its pages."""
DEVICES = (b"0000:00:05.0/vfio", b"0000:00:06.0/vfio")
UUID = bytes(range(16))

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


def page(number: int, generation: int = 0) -> bytes:
    """Content of a guest page: half of it can be compressed."""
    return random.Random(1000 * generation + number).randbytes(PAGE // 2) + bytes([number % 255 + 1]) * (PAGE // 2)


def ram(
    number: int,
    block: bytes = b"",
    normal: Sequence[int] = (),
    zero: Sequence[int] = (),
    payload: bytes = b"",
    **fields: Any,
) -> Record:
    """A RAM packet of the releases from 9.2 on; without pages it is a SYNC."""
    pages = tuple(PAGE * entry for entry in (*normal, *zero))
    event = RamPacket(
        offset=0,
        length=layout(ram_packet(PAGE)).size,
        magic=MULTIFD_MAGIC,
        version=MULTIFD_VERSION,
        flags=0 if pages else int(PacketFlags.SYNC),
        pages_alloc=CAPACITY if pages else 0,
        normal_pages=len(normal),
        next_packet_size=len(payload),
        packet_num=number,
        zero_pages=len(zero),
        unused32=0,
        unused64=(0, 0, 0),
        ramblock=block.ljust(256, b"\0"),
        pages=pages + (0,) * (CAPACITY - len(pages)),
        payload_offset=0,
        payload_length=0,
        known=layout(ram_packet(PAGE)).size,
    )
    return Record(event._replace(**fields), payload)


def init(number: int, uuid: bytes = UUID) -> Record:
    event = ChannelInit(0, INIT.size, MULTIFD_MAGIC, MULTIFD_VERSION, uuid, number, bytes(7), (0, 0, 0, 0))
    return Record(event)


def state(index: int, data: bytes, flags: int = 0, device: bytes = DEVICES[0], version: int = 0) -> Record:
    """A device-state packet with a VFIO header."""
    payload = VFIODeviceStatePacket.build({"version": version, "idx": index, "flags": flags}) + data
    return bare_state(payload, device)


def bare_state(payload: bytes, device: bytes = DEVICES[0], flags: int = PacketFlags.DEVICE_STATE) -> Record:
    """A device-state packet with any payload."""
    name = device.ljust(256, b"\0")
    event = DeviceStatePacket(
        0, DEVICE.size, MULTIFD_MAGIC, MULTIFD_VERSION, int(flags), name, 0, len(payload), 0, len(payload)
    )
    return Record(event, payload)


def config(index: int, first: int = VfioTagId.DEV_CONFIG_STATE, last: int = VfioTagId.END_OF_STATE) -> Record:
    """The last device-state packet of a device."""
    data = struct.pack(">Q", first) + b"pci config".ljust(40, b".") + struct.pack(">Q", last)
    return state(index, data, CONFIG_STATE)


Compress = Callable[[bytes], bytes]


def compressor(compression: int) -> Compress:
    """What one channel does to the pages of each packet."""
    if compression == PacketFlags.ZLIB:
        stream = zlib.compressobj(1)
        return lambda pages: stream.compress(pages) + stream.flush(zlib.Z_SYNC_FLUSH)
    if compression == PacketFlags.ZSTD:
        import zstandard

        frame = zstandard.ZstdCompressor().compressobj()
        return lambda pages: frame.compress(pages) + frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    if compression in (PacketFlags.QPL, PacketFlags.UADK):
        return contained
    return bytes


def contained(pages: bytes) -> bytes:
    """A length table and the pages, every other one as it is."""
    parts = [pages[at : at + PAGE] for at in range(0, len(pages), PAGE)]
    parts = [zlib.compress(part) if number % 2 else part for number, part in enumerate(parts)]
    return struct.pack(f">{len(parts)}I", *map(len, parts)) + b"".join(parts)


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


# Records of the main channel.


def flush() -> Record:
    return Record(ev.Flush(0, 8))


def eos() -> Record:
    return Record(ev.EndOfRam(0, 8))


def footer(section_id: int) -> Record:
    return Record(ev.SectionFooter(0, 5, section_id))


def command(number: int, payload: bytes = b"", declared: int | None = None) -> Record:
    return Record(ev.Command(0, 0, number, len(payload) if declared is None else declared, payload))


def zero_page(number: int, block: bytes | None = RAM, fill: int = 0) -> Record:
    flags = RamFlags.ZERO if block is not None else RamFlags.ZERO | RamFlags.CONTINUE
    return Record(ev.ZeroPage(0, 0, PAGE * number, block, None, fill, int(flags)))


def normal_page(number: int, content: bytes, block: bytes = RAM) -> Record:
    return Record(ev.Page(0, 0, PAGE * number, block, None, 0, len(content)), content)


def tag(value: int, data: bytes = b"") -> Record:
    return Record(ev.VfioRecord(0, 0, value, 0, len(data)), data)


def section(kind: type, section_id: int, *body: Record, name: bytes = b"", version: int = 1) -> Line:
    """A section with its footer."""
    named = (section_id, name, 0, version) if kind in (ev.SectionStart, ev.SectionFull) else (section_id,)
    return [Record(kind(0, 0, *named)), *body, footer(section_id)]


def body(section_id: int, data: bytes) -> Record:
    return Record(ev.DeviceBody(0, len(data), section_id, None, None, ev.BodyLength.VMDESCRIPTION), data)


TIMER = struct.pack(">qqq", 5, 0, 1234)
GLOBALSTATE = struct.pack(">I32sBB66s", 8, b"running", 0, 0, b"")
FIELDS: dict[bytes, list[tuple[str, str, int]]] = {
    b"timer": [("cpu_ticks_offset", "int64", 8), ("unused", "unused_buffer", 8), ("cpu_clock_offset", "int64", 8)],
    b"globalstate": [("size", "uint32", 4), ("runstate", "buffer", 32), ("flags", "buffer", 68)],
}


def description(devices: Sequence[bytes], page_size: int = PAGE) -> Record:
    """The vmdescription of these devices."""
    entries = []
    for name in devices:
        entry: dict[str, Any] = {"name": name.decode(), "instance_id": 0}
        fields = [dict(zip(("name", "type", "size"), field, strict=True)) for field in FIELDS.get(name, ())]
        known = {"vmsd_name": name.decode(), "version": 1, "fields": fields}
        opaque = {"size": 8, "fields": [{"name": "data", "size": 8, "type": "buffer"}]}
        entries.append(entry | (known if fields else opaque))
    head = {"vmsd_name": "configuration", "version": 1, "fields": []}
    return text({"configuration": head, "page_size": page_size, "devices": entries})


def text(value: object) -> Record:
    data = json.dumps(value).encode()
    return Record(ev.VmDescription(0, 5, len(data), 0, len(data)), data)


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


def block_list(blocks: Sequence[ev.RamBlock] | None = None) -> Record:
    entries = tuple(ev.RamBlock(name, PAGE * pages) for name, pages in BLOCKS.items()) if blocks is None else blocks
    return Record(ev.BlockList(0, 0, sum(entry.used_length for entry in entries), tuple(entries)))


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
