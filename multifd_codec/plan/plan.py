"""What a migration is to carry, and as whom to send it: the input of the reference sender.

Everything is in guest pages and bytes; nothing here knows the wire. ``check`` says what no source could do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from multifd_codec.channel.framing import PAGE_SIZES
from multifd_codec.dialect.compression import Compression, named
from multifd_codec.dialect.machine import machine_defaults, machine_version
from multifd_codec.dialect.releases import Mode, Release, release
from multifd_codec.dialect.sync_policy import FinalSync, SyncPolicy, policy, policy_of
from multifd_codec.dialect.version import dotted
from multifd_codec.dialect.words import which
from multifd_codec.errors import FormatError, InputError
from multifd_codec.main.vmdescription import parse_description
from multifd_codec.plan.page_content import Given, PageContent, Pattern
from multifd_codec.plan.pci import pci_config
from multifd_codec.source import Buffer

ZERO_PAGE_DETECTION = ("none", "legacy", "multifd")
"""Zero pages travel as normal pages, as ZERO records on main, or in packets."""

NO_UUID = UUID(int=0)
"""That of a QEMU which was given none."""
MAX_CHANNELS = 255
MAX_NAME = 255
MAX_BUFFER = 1 << 20
"""Bytes of device state in one packet that upstream senders do not exceed."""
MAX_BUFFERS = (1 << 32) - 1
"""Of one device, its config not counted: idx is a 32-bit word."""
MAX_SECTIONS = 1 << 16
"""PART sections of one round."""
MAX_RAM = 1 << 62
"""Bytes of all RAM blocks: their sum is a 64-bit word with flags in it."""
MAX_ID = (1 << 31) - 1
"""Of sections, instances and versions: what QEMU's own counters, which are ints, can reach."""


class Block(NamedTuple):
    """A RAM block."""

    name: str
    size: int
    """Bytes, a multiple of the page size."""


@dataclass(frozen=True, slots=True)
class Pages:
    """Pages that are dirty in a round: ``count`` pages of a block from page ``first`` on."""

    block: str
    first: int
    count: int
    content: PageContent


class Round(NamedTuple):
    """One pass over the dirty pages, in order."""

    pages: tuple[Pages, ...] = ()
    sections: int = 1
    """PART sections it takes: a source ends one when its bandwidth for that time is used."""


class Device(NamedTuple):
    """A VFIO device whose state travels on the multifd channels."""

    idstr: str
    size: int
    """Bytes of state in front of its config."""
    buffer_size: int = MAX_BUFFER
    """Bytes of state in one packet at most."""
    instance_id: int = 0
    config: bytes = pci_config()
    """Its config between the two tags, which a real destination compares with its own device's."""


class Section(NamedTuple):
    """A device that travels as a FULL section on main."""

    section_id: int
    idstr: str
    body: Buffer
    version_id: int = 1
    instance_id: int = 0


@dataclass(frozen=True, slots=True)
class MigrationPlan:
    """A whole migration. The defaults are those of a 10.0 source of ``-machine none``."""

    blocks: tuple[Block, ...]
    rounds: tuple[Round, ...]
    """While the guest runs; the first normally has all pages."""
    final: tuple[Round, ...] = (Round(),)
    """Passes over what is still dirty when the guest has stopped, all in the END section. One at least."""
    devices: tuple[Device, ...] = ()
    dialect: str = "qemu-10.0"
    """The release that sends, or ``rfc-v3``."""
    mode: Mode | None = None
    """None: what the machine type implies, else the newest the release can."""
    policy: str | SyncPolicy | None = None
    """Sync policy, by name or one's own; None: the release's own."""
    machine: str = "none"
    channels: int = 2
    page_size: int = 4096
    """Target page size in bytes."""
    compression: str = "none"
    zero_page_detection: str | None = None
    """None: the release's default for this machine type."""
    uuid: UUID = NO_UUID
    return_path: bool = False
    """OPEN_RETURN_PATH and a PING come first."""
    switchover_start: bool | None = None
    """None: as the release does for this machine type."""
    merge_sync: float = 0.0
    """Share of the SYNCs that are merged into the last data packet of their channel, of all that could."""
    channel_order: tuple[int, ...] = ()
    """The channel of each data and device-state packet, in order, repeated as often as needed; empty: by seed."""
    sections: tuple[Section, ...] | None = None
    """Further devices on main; None: timer and globalstate, all that ``-machine none`` has."""
    description: dict[str, Any] | None = None
    """The vmdescription for ``sections``; None with own sections: they are described as opaque bytes."""
    seed: int = 0

    @property
    def release(self) -> Release:
        return release(self.dialect)


class Habits(NamedTuple):
    """A plan's open questions, answered by its release and machine type."""

    release: Release
    mode: Mode
    policy: SyncPolicy
    final_sync: FinalSync
    compression: Compression
    zero_pages: str
    switchover_start: bool


def habits(plan: MigrationPlan) -> Habits:
    """How the plan is sent. Raises InputError for what its release cannot do; ``check`` says the rest."""
    row = plan.release
    sender, machine = row.sender, machine_defaults(machine_version(plan.machine))
    mode = plan.mode
    if mode is None:
        mode = machine.mode if sender.per_round else Mode.PER_SECTION
    if mode is Mode.PER_ROUND and not sender.per_round:
        raise InputError(f"{plan.dialect} cannot send per round ({which(lambda r: r.sender.per_round)} can)")
    compression = named(plan.compression)
    if row.version < compression.since:
        have = f"{dotted(compression.since)} and later have"
        raise InputError(f"{plan.dialect} has no compression {plan.compression} ({have})")
    zero_pages = plan.zero_page_detection
    if zero_pages is None:
        zero_pages = machine.zero_page_detection if sender.zero_pages else "legacy"
    if zero_pages not in ZERO_PAGE_DETECTION:
        raise InputError(f"there is no zero page detection {zero_pages!r}; there are {', '.join(ZERO_PAGE_DETECTION)}")
    if zero_pages != "legacy" and not sender.zero_pages:
        others = f"{which(lambda r: r.sender.zero_pages)} have others"
        raise InputError(f"{plan.dialect} detects zero pages on main only ('legacy'; {others})")
    if plan.devices and not sender.device_state:
        do = f"{which(lambda r: r.sender.device_state)} do"
        raise InputError(f"{plan.dialect} sends no device state on multifd channels ({do})")
    if plan.devices and compression.flag:
        raise InputError("device state on multifd channels needs compression none")
    own = policy(plan.policy) if isinstance(plan.policy, str) else plan.policy
    chosen = own or policy_of(sender)
    switchover = plan.switchover_start
    if switchover is None:
        switchover = sender.device_state and machine.switchover_start
    if switchover and not sender.device_state:
        raise InputError(f"{plan.dialect} has no SWITCHOVER_START ({which(lambda r: r.sender.device_state)} have)")
    final_sync = chosen.final_sync(mode, device_state=bool(plan.devices))
    return Habits(row, mode, chosen, final_sync, compression, zero_pages, switchover)


def check(plan: MigrationPlan) -> Habits:
    """``habits``, and raises InputError, in one line, for a plan that no source could have."""
    result = habits(plan)
    if not 1 <= plan.channels <= MAX_CHANNELS:
        raise InputError(f"{plan.channels} channels: there are 1 to {MAX_CHANNELS}")
    if plan.page_size not in PAGE_SIZES:
        raise InputError(f"there is no target page size of {plan.page_size} bytes")
    _check_name("machine", plan.machine)
    if not 0 <= plan.merge_sync <= 1:
        raise InputError(f"merge_sync is a share from 0 to 1, not {plan.merge_sync}")
    if plan.merge_sync and not result.release.sender.sync_carries_pages:
        do = f"{which(lambda r: r.sender.sync_carries_pages)} do"
        raise InputError(f"{plan.dialect} never merges SYNC into data ({do})")
    if bad := [number for number in plan.channel_order if not 0 <= number < plan.channels]:
        raise InputError(f"channel_order names channel {bad[0]}, there are {plan.channels}")
    _check_blocks(plan)
    _check_rounds(plan, result.mode)
    _check_content(plan)
    _check_devices(plan)
    _check_sections(plan)
    return result


def _check_blocks(plan: MigrationPlan) -> None:
    sizes: dict[str, int] = {}
    for block in plan.blocks:
        _check_name("RAM block", block.name)
        if block.name in sizes:
            raise InputError(f"RAM block {block.name} stands twice in the plan")
        if block.size <= 0 or block.size % plan.page_size:
            raise InputError(f"RAM block {block.name}: {block.size} bytes are not a number of pages")
        sizes[block.name] = block.size // plan.page_size
    if not sizes:
        raise InputError("a migration needs a RAM block")
    if sum(block.size for block in plan.blocks) > MAX_RAM:
        raise InputError(f"RAM block {plan.blocks[-1].name}: all blocks together have more than {MAX_RAM} bytes")
    for number, one in enumerate((*plan.rounds, *plan.final)):
        if not 1 <= one.sections <= MAX_SECTIONS:
            raise InputError(f"round {number} takes {one.sections} sections, there are 1 to {MAX_SECTIONS}")
        for pages in one.pages:
            if pages.block not in sizes:
                raise InputError(f"round {number} has pages of RAM block {pages.block}, which is not in the plan")
            if pages.first < 0 or pages.count < 0 or pages.first + pages.count > sizes[pages.block]:
                there = f"{pages.block} has {sizes[pages.block]}"
                raise InputError(f"round {number}: pages {pages.first} to {pages.first + pages.count}, {there}")
    if not plan.rounds or not plan.final:
        raise InputError("a migration needs a round while the guest runs and one when it has stopped")
    if any(one.sections != 1 for one in plan.final):
        raise InputError("the rounds behind the stop of the guest all stand in one END section")


def _check_rounds(plan: MigrationPlan, mode: Mode) -> None:
    """No page stands twice between two rendezvous: nothing says which of the two arrives last."""
    passes = [*plan.rounds, *plan.final]
    if mode is Mode.PER_SECTION:  # END is one section, however often the source looks through its memory in it
        passes[len(plan.rounds) :] = [Round(tuple(pages for one in plan.final for pages in one.pages))]
    for number, one in enumerate(passes):
        runs = sorted((pages.block, pages.first, pages.first + pages.count) for pages in one.pages if pages.count)
        for (block, _, end), (other, first, _) in pairwise(runs):
            if block == other and first < end:
                raise InputError(f"round {number}: page {first} of RAM block {block} stands in it twice")


def _check_content(plan: MigrationPlan) -> None:
    for pages, number in dirty(plan):
        content = pages.content
        if isinstance(content, Given):
            first, end = ((at - content.first) * plan.page_size for at in (pages.first, pages.first + pages.count))
            if first < 0 or end > len(content.data):
                where = f"round {number}: pages {pages.first} to {pages.first + pages.count} of RAM block {pages.block}"
                raise InputError(f"{where} are not in the {len(content.data)} bytes given")
        elif isinstance(content, Pattern) and not 0 <= content.zero_share <= 1:
            raise InputError(f"round {number}: zero_share is a share from 0 to 1, not {content.zero_share}")


def _check_devices(plan: MigrationPlan) -> None:
    seen = set()
    for device in plan.devices:
        _check_name("device", device.idstr)
        if (device.idstr, device.instance_id) in seen:
            raise InputError(f"device {device.idstr} instance {device.instance_id} stands twice in the plan")
        seen.add((device.idstr, device.instance_id))
        if device.size < 0 or not 0 < device.buffer_size <= MAX_BUFFER:
            raise InputError(f"device {device.idstr}: buffers hold 1 to {MAX_BUFFER} bytes, sizes are not negative")
        if device.size > device.buffer_size * MAX_BUFFERS:
            raise InputError(f"device {device.idstr}: its state is more than {MAX_BUFFERS} buffers")
        if len(device.config) > MAX_BUFFER:
            raise InputError(f"device {device.idstr}: its config has {MAX_BUFFER} bytes at most")
        _check_ids(f"device {device.idstr}", device.instance_id)


def _check_sections(plan: MigrationPlan) -> None:
    for section in plan.sections or ():
        _check_name("section", section.idstr)
        _check_ids(f"section {section.idstr}", section.section_id, section.instance_id, section.version_id)
    if plan.description is not None:
        try:
            parse_description(json.dumps(plan.description).encode())
        except (FormatError, ValueError, TypeError, RecursionError) as error:
            raise InputError(f"the description is no vmdescription: {str(error).splitlines()[0]}") from None


def _check_ids(what: str, *numbers: int) -> None:
    if bad := [number for number in numbers if not 0 <= number <= MAX_ID]:
        raise InputError(f"{what}: section, instance and version ids are 0 to {MAX_ID}, not {bad[0]}")


def _check_name(what: str, name: str) -> None:
    size = len(name.encode("utf-8", "surrogatepass"))
    if not 0 < size <= MAX_NAME or any(char == "\0" or "\ud800" <= char <= "\udfff" for char in name):
        raise InputError(f"{what} {name!r}: a name has 1 to {MAX_NAME} bytes of UTF-8, none of them 0")


def memory(plan: MigrationPlan) -> dict[str, bytearray]:
    """RAM block to what it holds when all rounds are applied: what a destination must end up with."""
    result = {block.name: bytearray(block.size) for block in plan.blocks}
    for pages, generation in dirty(plan):
        size = plan.page_size
        made = pages.content.pages(pages.block, pages.first, pages.count, size, generation)
        target = np.frombuffer(result[pages.block], np.uint8).reshape(-1, size)
        target[pages.first : pages.first + pages.count] = made
    return result


def dirty(plan: MigrationPlan) -> Iterator[tuple[Pages, int]]:
    """All pages of all rounds in order, each with its generation: the number of its round."""
    for generation, one in enumerate((*plan.rounds, *plan.final)):
        for pages in one.pages:
            yield pages, generation


def least_bytes(plan: MigrationPlan) -> int:
    """Bytes that its streams have at least: device state, and pages known to travel as they are."""
    size = sum(device.size for device in plan.devices)
    if plan.compression != "none":
        return size
    for pages, _ in dirty(plan):
        if isinstance(pages.content, Pattern):
            size += int(0.9 * pages.count * (1 - pages.content.zero_share)) * plan.page_size  # the share is a chance
    return size
