"""``send``: the main channel's course, and what happens on the multifd channels meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from multifd_codec.dialect.releases import Mode
from multifd_codec.dialect.sync_policy import FinalSync
from multifd_codec.draft import main_records as make
from multifd_codec.draft.draft import Draft, Record, Sent, draft_of
from multifd_codec.main.events import RamBlock, ZeroPageRun
from multifd_codec.plan.plan import MigrationPlan, Pages, check
from multifd_codec.sender import devices
from multifd_codec.sender.batches import Batch, Batches, ZeroPages, split
from multifd_codec.sender.channels import Channels
from multifd_codec.wire.packet import pages_per_packet
from multifd_codec.wire.qemufile import CommandId
from multifd_codec.wire.ram import RAM_VERSION
from multifd_codec.wire.vfio import VfioTagId

RAM = "ram"
FIRST_PING = 1


def send(plan: MigrationPlan) -> Iterator[Sent]:
    """Everything the source of a plan sends, record by record, ChannelInits first.

    Raises InputError (one line) for a plan that no source could have, before anything is sent.
    """
    return _Source(plan).send()


def draft(plan: MigrationPlan) -> Draft:
    """The same as a draft, to be edited. Holds all page content in memory."""
    return draft_of(send(plan), plan.channels)


class _Source:
    """One migration."""

    def __init__(self, plan: MigrationPlan) -> None:
        self.plan = plan
        self.habits = check(plan)
        self.sender = self.habits.release.sender
        self.channels = Channels(plan, self.habits)
        self.batches = Batches(plan.page_size, pages_per_packet(plan.page_size), self.habits.zero_pages)
        self.ram_id = devices.ram_section_id(self.sender)
        self.vfio_ids = devices.vfio_section_ids(plan, self.sender)
        self.device_state = devices.device_state(plan)
        self._early = devices.packets(plan) // 3
        """Device-state packets that overtake the last pages: the rest takes longer."""
        self._generation = 0
        self._zero_block: str | None = None

    def send(self) -> Iterator[Sent]:
        yield from self.channels.open()
        yield from self._setup()
        for one in self.plan.rounds:
            yield from self._round(split(one))
            self._generation += 1
        yield from self._complete()

    def _setup(self) -> Iterator[Sent]:
        plan = self.plan
        bits = plan.page_size.bit_length() - 1
        yield from _main(
            make.file_header(), make.configuration(plan.machine, page_bits=bits if plan.page_size != 4096 else None)
        )
        if plan.return_path:
            yield from _main(make.command(CommandId.OPEN_RETURN_PATH), make.ping(FIRST_PING))
        blocks = (RamBlock(block.name.encode(), block.size) for block in plan.blocks)
        yield from _main(make.section_start(self.ram_id, RAM, version_id=RAM_VERSION), make.block_list(blocks))
        yield from self._rendezvous()
        yield from self._end_of_ram()
        for device, number in self.vfio_ids.items():
            yield from _main(
                make.section_start(number, device.idstr, device.instance_id, version_id=1),
                make.vfio(VfioTagId.DEV_SETUP_STATE),
                make.vfio(VfioTagId.END_OF_STATE),
                make.footer(number),
            )

    def _rendezvous(self) -> Iterator[Sent]:
        """SYNC on every channel, then the record that releases it: FLUSH, or per section the EOS that comes anyway."""
        yield from self.channels.sync()
        if self.habits.mode is Mode.PER_ROUND:
            yield from _main(make.flush())

    def _end_of_ram(self) -> Iterator[Sent]:
        yield from _main(make.end_of_ram(), make.footer(self.ram_id))

    def _round(self, sections: list[tuple[Pages, ...]]) -> Iterator[Sent]:
        """PART sections; the round ends in the last of them."""
        for number, section in enumerate(sections):
            last = number == len(sections) - 1
            yield from _main(make.section_part(self.ram_id, RAM))
            yield from self._pages(section)
            if last or self.habits.mode is Mode.PER_SECTION:
                yield from self._packets(self.batches.flush())
                yield from self._rendezvous()
            yield from self._end_of_ram()

    def _pages(self, section: Iterable[Pages]) -> Iterator[Sent]:
        for pages in section:
            yield from self._packets(self.batches.add(pages, self._generation))

    def _packets(self, made: Iterable[Batch | ZeroPages]) -> Iterator[Sent]:
        for one in made:
            if isinstance(one, ZeroPages):
                yield from self._zero_records(one)
            else:
                yield from self.channels.data(one.block, one.normal, one.pages, one.zero)

    def _zero_records(self, zero: ZeroPages) -> Iterator[Sent]:
        """ZERO records; the first of a block names it."""
        offsets = zero.offsets.astype(np.uint64)
        if zero.block != self._zero_block:
            self._zero_block = zero.block
            yield from _main(make.zero_page(int(offsets[0]), zero.block))
            offsets = offsets[1:]
        if len(offsets):
            yield from _main(Record(ZeroPageRun(0, 0, zero.block, offsets)))

    def _complete(self) -> Iterator[Sent]:
        """The guest has stopped."""
        final_sync, per_round = self.habits.final_sync, self.habits.mode is Mode.PER_ROUND
        if self.habits.switchover_start:
            yield from _main(make.command(CommandId.SWITCHOVER_START))
        yield from _main(make.section_end(self.ram_id, RAM))
        for number, one in enumerate(self.plan.final, 1):
            yield from self._pages(one.pages)
            if number == len(self.plan.final):
                yield from self._packets(self.batches.flush())
                yield from self._device_state(self._early)
            if per_round:
                yield from self._packets(self.batches.flush())
                yield from self._rendezvous()
            self._generation += 1
        if final_sync in (FinalSync.AT_RAM_COMPLETE, FinalSync.WITH_FLUSH):
            yield from self.channels.sync()
        yield from self.channels.settle()
        if final_sync is FinalSync.WITH_FLUSH:
            yield from _main(make.flush())
        yield from self._end_of_ram()
        for device, number in self.vfio_ids.items():
            yield from _main(
                make.section_end(number, device.idstr, device.instance_id),
                make.vfio(VfioTagId.END_OF_STATE),
                make.footer(number),
            )
        yield from self._device_state(None)
        if final_sync is FinalSync.BEHIND_ITERABLE:
            yield from self.channels.sync()
        yield from self._full_sections()

    def _device_state(self, upto: int | None) -> Iterator[Sent]:
        """Device state that is ready by now: so many packets, all that are left when None."""
        for record in itertools.islice(self.device_state, upto):
            yield self.channels.device_state(record)

    def _full_sections(self) -> Iterator[Sent]:
        full = devices.full_sections(self.plan, self.sender, self.vfio_ids)
        own = set(self.vfio_ids.values())
        for section in full:
            number, name, instance_id = section.section_id, section.idstr, section.instance_id
            if number in own:
                head = make.section_full(number, name, instance_id, section.version_id)
                yield from _main(head, make.vfio(VfioTagId.END_OF_STATE), make.footer(number))
            else:
                yield from _main(*make.device(number, name, bytes(section.body), instance_id, section.version_id))
        yield from _main(make.end_of_stream())
        yield from _main(make.vmdescription(devices.description(self.plan, self.sender, full)))


def _main(*records: Record) -> Iterator[Sent]:
    for record in records:
        yield Sent("main", record)
