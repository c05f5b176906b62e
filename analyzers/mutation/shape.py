"""What a draft is made of, as mutations need to know it: mode, page size, RAM blocks, rounds, sections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from random import Random
from typing import NamedTuple, TypeVar

from analyzers.mutation.mutation import LacksError
from multifd_codec.channel.events import DeviceStatePacket, RamPacket
from multifd_codec.channel.framing import FIXED
from multifd_codec.dialect.compression import usual
from multifd_codec.dialect.releases import Mode
from multifd_codec.draft.channel_records import VFIO_HEADER
from multifd_codec.draft.draft import Draft, Line, Record
from multifd_codec.layout import layout
from multifd_codec.main import events as ev
from multifd_codec.main.rendezvous import Rendezvous, ends_unpaired, mode_of_records
from multifd_codec.names import block_name
from multifd_codec.wire.packet import (
    MULTIFD_PACKET_SIZE,
    pages_per_packet,
    ram_packet,
)
from multifd_codec.wire.qemufile import CommandId
from multifd_codec.wire.ram import RAM_IDSTR
from multifd_codec.wire.vfio import CONFIG_STATE

T = TypeVar("T")
ENTRY = layout(ram_packet(MULTIFD_PACKET_SIZE)).span("offset").size
SECTIONS = (ev.SectionStart, ev.SectionPart, ev.SectionEnd, ev.SectionFull)
RAM_RECORDS = (ev.ZeroPage, ev.ZeroPageRun, ev.Page, ev.Flush, ev.EndOfRam)
NAMED_PAGES = (ev.ZeroPage, ev.Page)
DEFAULT_PAGE_SIZE = 4096


class Section(NamedTuple):
    """One section of the main channel, footer included if it has one."""

    records: Line

    @property
    def header(self) -> Record:
        return self.records[0]

    @property
    def number(self) -> int:
        """Its section id."""
        return int(self.header.event.section_id)

    @property
    def last(self) -> Record:
        return self.records[-1]

    @property
    def footer(self) -> Record | None:
        return self.last if isinstance(self.last.event, ev.SectionFooter) else None


class Segmented(NamedTuple):
    """A packet and the number of SYNCs in front of it on its channel."""

    segment: int
    channel: int
    record: Record


def pick(random: Random, candidates: Sequence[T], what: str) -> T:
    """One of them. Raises LacksError, ``what`` being what there is none of."""
    need(candidates, what)
    return candidates[0] if len(candidates) == 1 else random.choice(candidates)


def need(condition: object, what: str) -> None:
    """Raises LacksError unless the condition holds; ``what`` is missing then."""
    if not condition:
        raise LacksError(f"this stream lacks {what}")


def avoid(condition: object, what: str) -> None:
    """Raises LacksError if the condition holds; ``what`` is in the way then."""
    if condition:
        raise LacksError(f"it does not go with {what}")


class Shape:
    """What a draft is made of. A snapshot: edits are not followed."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft

    # Channels.

    @cached_property
    def packets(self) -> list[Segmented]:
        """All packets of all channels, channel by channel."""
        found = []
        for channel, line in enumerate(self.draft.channels):
            segment = 0
            for record in line:
                event = record.event
                if isinstance(event, RamPacket | DeviceStatePacket):
                    found.append(Segmented(segment, channel, record))
                    segment += isinstance(event, RamPacket) and event.sync
        return found

    @cached_property
    def data(self) -> list[Segmented]:
        """RAM packets with pages."""
        return [p for p in self.packets if isinstance(e := p.record.event, RamPacket) and e.normal_pages + e.zero_pages]

    @property
    def paired_data(self) -> list[Segmented]:
        """RAM packets with pages that a rendezvous covers, behind the first SYNC and in front of the last one."""
        return [p for p in self.data if 0 < p.segment < len(self.rendezvous)]

    @property
    def content(self) -> list[Segmented]:
        """RAM packets with pages that have content."""
        return [p for p in self.paired_data if p.record.event.normal_pages]

    @property
    def zeros(self) -> list[Segmented]:
        """RAM packets with nothing but zero pages."""
        return [p for p in self.paired_data if not p.record.event.normal_pages]

    @property
    def last_contents(self) -> list[Segmented]:
        """The last packet with content of each channel: no compression context depends on it."""
        return list({p.channel: p for p in self.content}.values())

    @cached_property
    def syncs(self) -> list[list[Record]]:
        """The SYNCs of each channel."""
        return [self.draft_syncs(channel) for channel in range(len(self.draft.channels))]

    def draft_syncs(self, channel: int) -> list[Record]:
        """The SYNCs of a channel as it is now."""
        return [r for r in self.draft.rams(channel) if r.event.sync]

    @property
    def plain_syncs(self) -> list[Record]:
        """SYNCs without pages behind the first of their channel."""
        return [r for syncs in self.syncs for r in syncs[1:] if not r.event.normal_pages + r.event.zero_pages]

    @cached_property
    def states(self) -> list[Segmented]:
        return [p for p in self.packets if isinstance(p.record.event, DeviceStatePacket)]

    @cached_property
    def page_size(self) -> int:
        packet = next((p.record.event for p in self.packets if isinstance(p.record.event, RamPacket)), None)
        if packet is not None:
            return MULTIFD_PACKET_SIZE // max(1, (packet.length - FIXED.size) // ENTRY)
        described = (r.event.page_size for r in self.draft.main if isinstance(r.event, ev.VmDescription))
        return next((size for size in described if size), DEFAULT_PAGE_SIZE)

    @property
    def capacity(self) -> int:
        return pages_per_packet(self.page_size)

    @cached_property
    def compression(self) -> int:
        """The compression id of most packets with pages."""
        return usual(Counter(p.record.event.compression for p in self.data)).flag

    @property
    def zero_pages_in_packets(self) -> bool:
        """9.0 and later."""
        return any(p.record.event.zero_pages for p in self.data)

    @property
    def old_syncs(self) -> bool:
        """SYNCs as up to 9.1: pages_alloc is not 0, reserved bytes may be anything."""
        return any(r.event.pages_alloc for r in self.plain_syncs)

    @property
    def since_9_0(self) -> bool:
        """Zero pages may travel in packets, SYNC packets are nothing but SYNCs, numbers are dense."""
        return self.zero_pages_in_packets or not self.old_syncs

    @property
    def by_id(self) -> list[int]:
        """Positions of the channels in the order of their ids."""
        return sorted(range(len(self.draft.channels)), key=self._id)

    def _id(self, position: int) -> int:
        name = self.draft.name(position)
        return name if isinstance(name, int) else position

    @property
    def dense_numbers(self) -> bool:
        """Packet numbers are counted from 0 without a gap, as from 9.0 on."""
        numbers = sorted(p.record.event.packet_num for p in self.packets if isinstance(p.record.event, RamPacket))
        return numbers == list(range(len(numbers)))

    # Main.

    @cached_property
    def per_round(self) -> bool:
        return mode_of_records(record.event for record in self.draft.main) is Mode.PER_ROUND

    @cached_property
    def rendezvous(self) -> list[Record]:
        """The records of main that SYNCs pair with."""
        is_rendezvous = Rendezvous(Mode.PER_ROUND if self.per_round else Mode.PER_SECTION)
        return [record for record in self.draft.main if is_rendezvous(record.event)]

    @property
    def tail(self) -> bool:
        """Every channel ends in a SYNC more than main has rendezvous."""
        lines = zip(self.draft.channels, self.syncs, strict=True)
        return ends_unpaired(((len(mine), mine[-1:] == line[-1:]) for line, mine in lines), len(self.rendezvous))

    @cached_property
    def postcopy(self) -> bool:
        return any(is_command(record, CommandId.POSTCOPY_LISTEN) for record in self.draft.main)

    @cached_property
    def sections(self) -> list[Section]:
        found: list[Section] = []
        open_section = False
        for record in self.draft.main:
            if isinstance(record.event, SECTIONS):
                found.append(Section([record]))
                open_section = True
            elif isinstance(record.event, ev.Command | ev.EndOfStream | ev.PackageEnd):
                open_section = False
            elif open_section:
                found[-1].records.append(record)
                open_section = not isinstance(record.event, ev.SectionFooter)
        return found

    @cached_property
    def ram_id(self) -> int:
        for section in self.sections:
            event = section.header.event
            if isinstance(event, ev.SectionStart) and event.idstr == RAM_IDSTR:
                return int(event.section_id)
        raise LacksError("this stream lacks a RAM section on main")

    def ram_sections(self, *kinds: type) -> list[Section]:
        """Sections of RAM of these kinds, in front of postcopy."""
        return [s for s in self.sections if isinstance(s.header.event, kinds or SECTIONS) and s.number == self.ram_id]

    def ram_section(self, kind: type, number: int = 0) -> Section:
        found = self.ram_sections(kind)
        need(len(found) > number and found, f"a {kind.__name__.removeprefix('Section').upper()} section of RAM on main")
        return found[number]

    @cached_property
    def blocks(self) -> dict[bytes, int]:
        """RAM block to its bytes."""
        listed = next((r.event for r in self.draft.main if isinstance(r.event, ev.BlockList)), None)
        return {block.idstr: block.used_length for block in listed.blocks} if listed is not None else {}

    @property
    def block_list(self) -> Record:
        found = [r for r in self.draft.main if isinstance(r.event, ev.BlockList)]
        need(found, "a block list on main")
        return found[0]

    @property
    def capabilities(self) -> tuple[bytes, ...]:
        """Those that the configuration lists."""
        parts = (part for r in self.draft.main if isinstance(r.event, ev.Configuration) for part in r.event.subsections)
        return tuple(name for part in parts if isinstance(part, ev.CapabilityList) for name in part.names)

    @property
    def mapped_ram(self) -> bool:
        return b"mapped-ram" in self.capabilities

    def commands(self, number: int) -> list[Record]:
        return [record for record in self.draft.main if is_command(record, number)]

    def multifd(self, channels: int = 1) -> None:
        """Raises LacksError without so many multifd channels, or without a main channel to pair with."""
        need(self.draft.main, "a main channel")
        need(len(self.draft.channels) >= channels, f"{channels} multifd channel{'s' * (channels > 1)}")


def is_command(record: Record, number: int) -> bool:
    return isinstance(record.event, ev.Command) and record.event.command == number


def block_of(event: RamPacket) -> bytes:
    """Name of the RAM block of a packet."""
    return block_name(event.ramblock)


def used_pages(event: RamPacket) -> tuple[int, ...]:
    """The offsets that count."""
    return event.pages[: event.normal_pages + event.zero_pages]


def payload_size(record: Record) -> int:
    """Bytes behind a packet's header."""
    return int(record.size() - record.event.length)


def records(packets: Sequence[Segmented], test: Callable[[RamPacket], object] | None = None) -> list[Record]:
    """The packets themselves; only those that pass the test."""
    return [p.record for p in packets if test is None or test(p.record.event)]


def sent_in_round(shape: Shape, number: int) -> set[tuple[bytes, int]]:
    """(block, offset) of every page that packets and main carry between rendezvous ``number - 1`` and ``number``."""
    found = {
        (block_of(p.record.event), offset)
        for p in shape.data
        if p.segment == number
        for offset in used_pages(p.record.event)
    }
    return found | set(_on_main(shape, number))


def _on_main(shape: Shape, number: int) -> Iterator[tuple[bytes, int]]:
    passed = 0
    ends = {id(record) for record in shape.rendezvous}
    for record in shape.draft.main:
        passed += id(record) in ends
        if passed > number:
            return
        if passed < number or not isinstance(record.event, (*NAMED_PAGES, ev.ZeroPageRun)):
            continue
        event = record.event
        block = (event.block or "").encode() or getattr(event, "idstr", None) or b""
        for offset in event.pages.tolist() if isinstance(event, ev.ZeroPageRun) else (event.addr,):
            yield block, offset


def is_config(record: Record) -> bool:
    """Whether a device-state packet says that it carries a device's config."""
    return vfio_header(record)[2] & CONFIG_STATE != 0


def vfio_header(record: Record) -> tuple[int, int, int]:
    """(version, idx, flags) in front of a device-state packet's data. Raises LacksError when it is too short."""
    need(len(record.payload) >= VFIO_HEADER.size, "VFIO headers in its device-state packets")
    version, index, flags = VFIO_HEADER.struct.unpack_from(record.payload)
    return version, index, flags
