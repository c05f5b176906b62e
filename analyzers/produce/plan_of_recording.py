"""A plan from a recording: what its source sent, to be sent again, by the same release or another one.

Pages keep their content and their round, not their packets: how a batch is cut and which channel takes it is the
sender's business.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from analyzers.judge.infer import choose
from analyzers.rulebook.packets.habit_rules import SYNC_WITH_PAGES
from analyzers.survey.main_pass import RAM
from analyzers.survey.migration import Surveyed, survey_migration
from captures.model import Migration
from multifd_codec.channel.decoder import ChannelDecoder
from multifd_codec.channel.events import DeviceStatePacket, RamPacket
from multifd_codec.compression import PageDecompressor, decompressor
from multifd_codec.device_key import DeviceKey
from multifd_codec.dialect.compression import of_flags
from multifd_codec.dialect.releases import Mode, release
from multifd_codec.draft.channel_records import VFIO_HEADER
from multifd_codec.errors import FormatError, HoleError, InputError
from multifd_codec.main import events as ev
from multifd_codec.main.decoder import MainDecoder
from multifd_codec.main.rendezvous import Rendezvous
from multifd_codec.main.vmdescription import parse_description
from multifd_codec.plan.page_content import Given, Zero
from multifd_codec.plan.plan import NO_UUID, Block, Device, MigrationPlan, Pages, Round, Section
from multifd_codec.source import Buffer, ByteSource
from multifd_codec.wire.qemufile import CommandId
from multifd_codec.wire.vfio import CONFIG_STATE, VfioTag

STOCK = ["timer", "globalstate"]
"""FULL sections of ``-machine none``, which the sender makes itself."""

_Found = dict[tuple[str, int], Buffer | None]
"""(RAM block, page number) to the page's content, None when it is zero."""


def plan_of(migration: Migration, *, dialect: str | None = None) -> MigrationPlan:
    """The plan of a recorded migration, whole and without holes; page content stays where it is recorded.

    ``dialect``: the release that shall send it, by default the one it was inferred to be; habits that it has not got
    are left out, but compression and device state that it cannot send are for ``check`` to refuse. Raises InputError
    when the recording is not whole, or carries what the sender does not make (postcopy, mapped-ram, VFIO data on main).
    """
    surveyed = survey_migration(migration)
    if len(surveyed.mains) != 1 or not surveyed.channels:
        raise InputError("a plan needs one main channel and the multifd channels of a migration")
    try:
        return _Reader(surveyed, dialect).plan()
    except HoleError as error:
        raise InputError(f"a plan needs a recording without holes: {error}") from None
    except FormatError as error:
        raise InputError(f"a plan needs pages that can be read: {error}") from None


@dataclass(slots=True)
class _State:
    """What the device-state packets of one device hold, headers left out: bytes."""

    sizes: list[int] = field(default_factory=list)
    config: bytes | None = None

    def take(self, event: DeviceStatePacket, source: ByteSource) -> None:
        head = VFIO_HEADER.parse(source.read(event.payload_offset, VFIO_HEADER.size))
        held = event.payload_length - VFIO_HEADER.size
        if head["flags"] & CONFIG_STATE:
            start = event.payload_offset + VFIO_HEADER.size + VfioTag.sizeof()
            self.config = bytes(source.read(start, max(0, held - 2 * VfioTag.sizeof())))
        else:
            self.sizes.append(held)


class _Reader:
    def __init__(self, surveyed: Surveyed, dialect: str | None) -> None:
        main = surveyed.main
        if main is None or main.eof is None or main.postcopy or main.capabilities:
            raise InputError("a plan needs a precopy migration whose main channel was recorded to its EOF byte")
        self.surveyed, self.survey, self.page_size = surveyed, main, surveyed.page_size
        source = choose(surveyed)[0].destination
        self.mode = source.mode
        """The recorded source's, which may not be that of the one that shall send."""
        self.dialect = dialect or source.name
        self.sender = release(self.dialect).sender
        self.merges = any(SYNC_WITH_PAGES in survey.hits for survey in surveyed.surveys)
        self.states: defaultdict[DeviceKey, _State] = defaultdict(_State)

    def plan(self) -> MigrationPlan:
        rounds = self._channels()
        running, final, sections, description, commands = self._on_main(rounds)
        blocks = [Block(name, size) for name, size in (self.survey.blocks or {}).items()]
        order = {block.name: number for number, block in enumerate(blocks)}
        devices = self._devices()
        names = {device.idstr for device in devices}
        switchover = CommandId.SWITCHOVER_START in commands
        stock = [section.idstr for section in sections if section.idstr not in names] == STOCK
        plan = MigrationPlan(
            blocks=tuple(blocks),
            rounds=tuple(one._replace(pages=tuple(self._pages(found, order))) for one, found in running),
            final=tuple(one._replace(pages=tuple(self._pages(found, order))) for one, found in final),
            devices=devices,
            dialect=self.dialect,
            mode=self.mode if self.sender.per_round else Mode.PER_SECTION,
            machine=self.survey.machine or "none",
            channels=len(self.surveyed.channels),
            page_size=self.page_size,
            compression=self.surveyed.compression,
            zero_page_detection="legacy" if self.survey.page_records else None,
            uuid=self.surveyed.uuid or NO_UUID,
            return_path=CommandId.OPEN_RETURN_PATH in commands,
            switchover_start=switchover and self.sender.device_state,
            sections=None if stock else tuple(sections),
            description=None if stock else description,
        )
        return replace(plan, merge_sync=0.5) if self.merges and self.sender.sync_carries_pages else plan

    def _channels(self) -> list[_Found]:
        """Pages by rendezvous, from that of the setup on; device state goes to ``states``."""
        rounds: list[_Found] = []
        for _, channel, _ in self.surveyed.channels:
            segment, source = 0, channel.source
            unpack: PageDecompressor | None = None
            decoder = ChannelDecoder(source, page_size=self.page_size, starts_with_init=channel.starts_with_init)
            for event in decoder.events():
                if isinstance(event, DeviceStatePacket):
                    self.states[DeviceKey(event.device, event.instance_id)].take(event, source)
                if not isinstance(event, RamPacket):
                    continue
                while len(rounds) <= segment:
                    rounds.append({})
                if event.normal_pages and event.compression and unpack is None:
                    method = of_flags(event.compression)
                    if method is None:
                        raise InputError(f"pages of compression id {event.compression:#x} cannot be decompressed")
                    unpack = decompressor(method.name)
                self._packet(event, source, unpack, rounds[segment])
                segment += event.sync
        return rounds

    def _packet(self, event: RamPacket, source: ByteSource, unpack: PageDecompressor | None, found: _Found) -> None:
        pages, count = self.page_size, event.normal_pages
        if count:
            content = source.read(event.payload_offset, event.payload_length)
            if unpack is not None:
                content, _ = unpack.pages(content, count, pages)
            for index, offset in enumerate(event.pages[:count]):
                found[event.block, offset // pages] = content[index * pages : (index + 1) * pages]
        for offset in event.pages[count : count + event.zero_pages]:
            found[event.block, offset // pages] = None

    def _on_main(
        self, rounds: list[_Found]
    ) -> tuple[
        list[tuple[Round, _Found]], list[tuple[Round, _Found]], list[Section], dict[str, object] | None, set[int]
    ]:
        """Rounds while the guest runs and behind its stop, FULL sections, their vmdescription, commands."""
        running: list[tuple[Round, _Found]] = []
        final: list[tuple[Round, _Found]] = []
        full: list[Section] = []
        description: dict[str, object] | None = None
        commands: set[int] = set()
        read = self.survey.source.read
        here, parts, passed, in_end = _Found(), 0, 0, False
        is_rendezvous = Rendezvous(self.mode)
        for item in MainDecoder(self.survey.source).events():
            match item:
                case ev.ZeroPage():
                    here[item.block or "", item.addr // self.page_size] = None
                case ev.Page() | ev.XbzrlePage() | ev.CompressedPage():
                    raise InputError("a plan has no pages on the main channel", channel="main", offset=item.offset)
                case ev.SectionPart() if item.device == RAM:
                    parts += 1
                case ev.SectionEnd() if item.device == RAM:
                    in_end = True
                case ev.Command():
                    commands.add(item.command)
                case ev.SectionFull():
                    full.append(Section(item.section_id, item.device, b"", item.version_id, item.instance_id))
                case ev.DeviceBody() if not full:
                    raise InputError("a body without a section", channel="main", offset=item.offset)
                case ev.DeviceBody():
                    full[-1] = full[-1]._replace(body=bytes(read(item.offset, item.length)))
                case ev.VfioRecord() if item.payload_length:
                    raise InputError("a plan has no VFIO data on main", channel="main", offset=item.offset)
                case ev.VmDescription():
                    text = read(item.payload_offset, item.payload_length)
                    parse_description(text, item.payload_offset)  # for its errors
                    description = json.loads(bytes(text))
            if is_rendezvous(item):
                passed += 1
                if passed > 1:  # the first is that of the setup
                    found = {**(rounds[passed - 1] if passed <= len(rounds) else {}), **here}
                    (final if in_end else running).append((Round(sections=1 if in_end else max(1, parts)), found))
                    here, parts = {}, 0
        return running, final, full, description, commands

    def _devices(self) -> tuple[Device, ...]:
        """Devices whose state travels on the channels, with what their packets hold together."""
        states = ((device, self.states[device]) for device in self.survey.vfio if device in self.states)
        return tuple(
            Device(device.idstr, sum(state.sizes), max(state.sizes, default=1), device.instance_id, state.config)
            for device, state in states
            if state.config is not None
        )

    def _pages(self, found: _Found, order: dict[str, int]) -> Iterator[Pages]:
        """Runs of pages in the order in which a source looks through its memory."""
        keys = sorted(found, key=lambda key: (order.get(key[0], len(order)), key[1]))
        start = 0
        for position, key in enumerate(keys):
            behind = keys[position + 1] if position + 1 < len(keys) else None
            zero = found[key] is None
            if behind == (key[0], key[1] + 1) and (found[behind] is None) == zero:
                continue
            first, count = keys[start][1], position + 1 - start
            data = b"".join(bytes(content) for content in map(found.get, keys[start : position + 1]) if content)
            yield Pages(key[0], first, count, Zero() if zero else Given(data, first))
            start = position + 1
