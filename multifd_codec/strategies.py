"""Hypothesis strategies for the protocol: packets, channels, plans, whole migrations, edited migrations.

They shrink to streams a person can read: few channels, rounds, pages and edits, the first dialect, small numbers.
Needs hypothesis, which the extra ``strategies`` brings. An example of a test is in docs/strategies.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import NamedTuple
from uuid import UUID

from multifd_codec.channel.decoder import encode_channel
from multifd_codec.channel.events import ChannelEvent, ChannelInit, DeviceStatePacket, RamPacket
from multifd_codec.channel.framing import ram_payload
from multifd_codec.dialect.compression import COMPRESSIONS
from multifd_codec.dialect.releases import RELEASES, RFC_V3, Mode, release
from multifd_codec.draft.channel_records import channel_init, device_state_packet, ram_record
from multifd_codec.draft.draft import Draft, Record
from multifd_codec.draft.edits import KINDS, Edit, EditKind, apply, describe
from multifd_codec.plan.page_content import Given, PageContent, Pattern, Zero
from multifd_codec.plan.pci import pci_config
from multifd_codec.plan.plan import NO_UUID, Block, Device, MigrationPlan, Pages, Round
from multifd_codec.sender import draft as draft_of_plan
from multifd_codec.wire.packet import COMPRESSION_MASK, SYNC, pages_per_packet

try:
    from hypothesis import strategies as st
except ImportError:
    raise ImportError("multifd_codec.strategies needs hypothesis: pip install 'multifd-codec[strategies]'") from None

BEST_KNOWN = ("qemu-10.0", "qemu-7.2")
DIALECTS = (*BEST_KNOWN, *(row.name for row in RELEASES.values() if row.name not in BEST_KNOWN), RFC_V3)
"""All dialects, the two best known first: examples shrink to them."""
PAGE_SIZES = (4096, 16384, 65536)
BLOCK_NAMES = ("ram", "pc.bios", "/rom@etc/acpi/tables", "vga.vram")
DEVICE_NAMES = ("0000:00:05.0/vfio", "0000:00:06.0/vfio", "0000:00:07.0/vfio")
FLAGS = (0, 1, 2, 4, 3, 0x81)


# Records of one channel, legal in framing and arbitrary in content.


def channel_inits() -> st.SearchStrategy[ChannelInit]:
    """A ChannelInit at offset 0."""
    return st.builds(
        lambda uuid, number, unused: channel_init(number, uuid).event._replace(unused1=unused),
        st.binary(min_size=16, max_size=16),
        st.integers(0, 255),
        st.sampled_from([bytes(7), b"garbage"]),
    )


@st.composite
def ram_packets(draw: st.DrawFn, page_size: int = 4096) -> RamPacket:
    """A RAM packet of any flags, with and without pages, counts that fit the packet, and any offsets.

    ``payload_length`` is what a receiver reads behind it. Offsets of the event are 0; ``place`` sets them.
    """
    capacity = pages_per_packet(page_size)
    flags = draw(st.sampled_from(FLAGS))
    normal = draw(st.integers(0, 2))
    zero = draw(st.sampled_from([0, 1, capacity - normal]))
    compressed = flags & COMPRESSION_MASK
    size = draw(st.integers(1, 300)) if compressed and normal else draw(st.sampled_from([0, normal * page_size, 4096]))
    pages = tuple(page_size * draw(st.integers(0, 1 << 20)) for _ in range(min(3, normal + zero)))
    name = draw(st.sampled_from(["", *BLOCK_NAMES]))
    return ram_record(
        draw(st.integers(0, 1 << 40)),
        name.encode(),
        pages,
        page_size=page_size,
        flags=flags,
        pages_alloc=draw(st.sampled_from([0, capacity])),
        normal_pages=normal,
        zero_pages=zero,
        next_packet_size=size,
        unused32=draw(st.sampled_from([0, 7])),
        payload_length=ram_payload(flags, normal, size, page_size),
    ).event


def device_state_packets() -> st.SearchStrategy[DeviceStatePacket]:
    """A device-state packet that announces up to 300 bytes. Offsets as in ``ram_packets``."""
    return st.builds(
        lambda name, size: device_state_packet(bytes(size), name.encode()).event,
        st.sampled_from(DEVICE_NAMES),
        st.integers(1, 300),
    )


@st.composite
def channels(draw: st.DrawFn, page_size: int = 65536, max_packets: int = 8) -> list[ChannelEvent]:
    """The events of one channel, placed: a ChannelInit, a SYNC as every sender has it first, and some packets."""
    packets = draw(st.lists(st.one_of(ram_packets(page_size), device_state_packets()), max_size=max_packets))
    sync = draw(ram_packets(page_size))._replace(
        flags=SYNC, normal_pages=0, zero_pages=0, next_packet_size=0, payload_length=0
    )
    return placed([draw(channel_inits()), sync, *packets])


def placed(events: Iterable[ChannelEvent]) -> list[ChannelEvent]:
    """Events made from nothing with the offsets they have one behind the other, each followed by its payload."""
    result: list[ChannelEvent] = []
    offset = 0
    for event in events:
        if isinstance(event, RamPacket | DeviceStatePacket):
            event = event._replace(offset=offset, payload_offset=offset + event.length)  # noqa: PLW2901
            offset += event.length + event.payload_length
        elif isinstance(event, ChannelInit):
            event = event._replace(offset=offset)  # noqa: PLW2901
            offset += event.length
        result.append(event)
    return result


def channel_bytes(events: Iterable[ChannelEvent], fill: bytes = b"\x5a") -> bytes:
    """The bytes of a channel; all payload is ``fill``, one byte, again and again."""
    return b"".join(bytes(part) for part in encode_channel(events, lambda event: fill * event.payload_length))


# Whole migrations.


@st.composite
def plans(
    draw: st.DrawFn,
    *,
    dialects: Sequence[str] = DIALECTS,
    modes: Sequence[Mode] = (Mode.PER_ROUND, Mode.PER_SECTION),
    policies: Sequence[str | None] = (None,),
    compression: Sequence[str] = ("none", "zlib", "zstd"),
    page_sizes: Sequence[int] = PAGE_SIZES,
    devices: int = 2,
    max_channels: int = 4,
    max_pages: int = 24,
    max_rounds: int = 3,
) -> MigrationPlan:
    """A plan that ``multifd_codec.plan.plan.check`` accepts; ``multifd_codec.sender.draft`` sends it.

    Only what a release can do is combined: a dialect that has none of ``modes`` is left out, one that lacks a
    compression is sent without it, ``devices`` (at most so many, their state on the channels) are given to releases and
    compressions that allow it. RAM blocks have up to ``max_pages`` pages each, all sent in the first round; a round
    names a page once at most. With the default ``policies`` and ``compression`` every plan is a healthy migration: the
    zero pages that compressed 9.0 to 9.2 lose are avoided (destinations lose some of qpl and uadk, too).

    Raises ValueError when no dialect has a mode.
    """
    rows = [(name, mode) for name in dialects for mode in modes if _can(name, mode)]
    if not rows:
        raise ValueError(f"none of {', '.join(dialects)} can send {' or '.join(modes)}")
    # The same choices for every dialect, taken back where it cannot: so that examples shrink across dialects.
    dialect, mode = draw(st.sampled_from(rows))
    row = release(dialect)
    method = draw(st.sampled_from(compression))
    if row.version < COMPRESSIONS[method].since:
        method = "none"
    count = draw(st.integers(1, max_channels))
    page_size = draw(st.sampled_from(page_sizes))
    detection = draw(st.sampled_from([None, "legacy", "multifd", "none"]))
    if row.sender.drops_zero_only_compressed and method != "none":
        detection = detection if detection in ("legacy", "none") else "legacy"  # the others lose zero pages
    elif not row.sender.zero_pages:
        detection = None
    vfio = draw(st.integers(0, devices))
    if not row.sender.device_state or method != "none":
        vfio = 0
    merge = draw(st.sampled_from([0.0, 0.5, 1.0]))
    names = BLOCK_NAMES[: draw(st.integers(1, len(BLOCK_NAMES)))]
    blocks = tuple(Block(name, page_size * draw(st.integers(1, max_pages))) for name in names)
    return MigrationPlan(
        blocks=blocks,
        rounds=(draw(_first_round(blocks, page_size)), *draw(_rounds(blocks, page_size, max_rounds - 1))),
        final=draw(_final_rounds(blocks, page_size)),
        devices=tuple(draw(_devices(name)) for name in DEVICE_NAMES[:vfio]),
        dialect=dialect,
        mode=mode,
        policy=draw(st.sampled_from(policies)),
        channels=count,
        page_size=page_size,
        compression=method,
        zero_page_detection=detection,
        uuid=draw(st.sampled_from([NO_UUID, UUID(bytes=bytes(range(16)))])),
        return_path=draw(st.booleans()),
        merge_sync=merge if row.sender.sync_carries_pages else 0.0,
        channel_order=tuple(draw(st.lists(st.integers(0, count - 1), max_size=4))),
        seed=draw(st.integers(0, 9)),
    )


def _can(dialect: str, mode: Mode) -> bool:
    return mode is Mode.PER_SECTION or release(dialect).sender.per_round


@st.composite
def _first_round(draw: st.DrawFn, blocks: Sequence[Block], page_size: int) -> Round:
    """Every page, a block in one or two runs."""
    runs: list[Pages] = []
    for block in blocks:
        pages = block.size // page_size
        cut = draw(st.integers(0, pages - 1))
        for first, count in ((0, cut), (cut, pages - cut)):
            if count:
                runs.append(Pages(block.name, first, count, draw(_content(first, count, page_size))))
    return Round(tuple(runs), draw(st.integers(1, 3)))


@st.composite
def _rounds(draw: st.DrawFn, blocks: Sequence[Block], page_size: int, most: int) -> tuple[Round, ...]:
    """Up to so many rounds over pages that are dirty again."""
    result: list[Round] = []
    while len(result) < most and draw(st.booleans()):
        result.append(Round(draw(_dirty_pages(blocks, page_size)), draw(st.integers(1, 3))))
    return tuple(result)


@st.composite
def _final_rounds(draw: st.DrawFn, blocks: Sequence[Block], page_size: int) -> tuple[Round, ...]:
    """One or two passes over what is left when the guest has stopped, no page in both."""
    pages = draw(_dirty_pages(blocks, page_size))
    cut = draw(st.integers(0, len(pages)))
    return (Round(pages),) if not cut else (Round(pages[cut:]), Round(pages[:cut]))


@st.composite
def _dirty_pages(draw: st.DrawFn, blocks: Sequence[Block], page_size: int) -> tuple[Pages, ...]:
    """Some runs of pages, in the order in which a source looks through its memory, none twice."""
    runs: list[Pages] = []
    for block in blocks:
        first, pages = 0, block.size // page_size
        while first < pages and draw(st.booleans()):
            first = draw(st.integers(first, pages - 1))
            count = draw(st.integers(1, pages - first))
            runs.append(Pages(block.name, first, count, draw(_content(first, count, page_size))))
            first += count
    return tuple(runs)


@st.composite
def _content(draw: st.DrawFn, first: int, count: int, page_size: int) -> PageContent:
    match draw(st.sampled_from(["zero", "pattern", "given"])):
        case "zero":
            return Zero()
        case "pattern":
            return Pattern(draw(st.integers(0, 3)), draw(st.sampled_from([0.0, 0.5])))
    pages = draw(st.lists(st.sampled_from([0, 1, 0xFF]), min_size=1, max_size=3))
    return Given(b"".join(bytes([pages[number % len(pages)]]) * page_size for number in range(count)), first)


def _devices(name: str) -> st.SearchStrategy[Device]:
    sizes = st.integers(0, 400)
    configs = st.just(pci_config()) | st.binary(max_size=40)
    return st.builds(Device, st.just(name), sizes, st.integers(100, 400), st.integers(0, 2), configs)


def drafts(healthy: st.SearchStrategy[MigrationPlan] | None = None) -> st.SearchStrategy[Draft]:
    """What the reference sender sends for plans, by default for ``plans()``."""
    return (plans() if healthy is None else healthy).map(draft_of_plan)


# Edited migrations.


class _Aim(NamedTuple):
    """An edit of a draft that is not known yet: numbers count modulo what will be there."""

    kind: EditKind
    channel: int
    sort: int
    """Of record: a FLUSH is as likely as a data packet, however many there are of each."""
    number: int
    """Among the records of that sort."""
    to: int
    field: int


def _aims(kinds: Sequence[EditKind]) -> st.SearchStrategy[_Aim]:
    some = st.integers(0, 255)
    return st.builds(_Aim, st.sampled_from(kinds), some, some, some, st.integers(0, 1 << 16), some)


def _aimed(draft: Draft, aim: _Aim) -> Edit:
    names = [name for name, _ in draft.lines()] or ["main"]
    channel = names[aim.channel % len(names)]
    sorts: dict[str, list[int]] = {}
    for position, record in enumerate(draft.main if channel == "main" else draft.channels[channel]):
        sorts.setdefault(_sort(record), []).append(position)
    position = 0
    if sorts:
        positions = list(sorts.values())[aim.sort % len(sorts)]
        position = positions[aim.number % len(positions)]
    others = [name for name in names if name != channel] or names
    return Edit(aim.kind, channel, position, aim.to, others[aim.field % len(others)], aim.field)


def edits(draft: Draft, kinds: Sequence[EditKind] = KINDS) -> st.SearchStrategy[Edit]:
    """One edit of a record that the draft has. Every sort of record is as likely as the others, however many there
    are."""
    return _aims(kinds).map(lambda aim: _aimed(draft, aim))


def _sort(record: Record) -> str:
    event = record.event
    return "SYNC" if isinstance(event, RamPacket) and event.sync else type(event).__name__


class EditedDraft(NamedTuple):
    """A migration that went wrong, and how it came to be."""

    plan: MigrationPlan
    """What was healthy."""
    edits: tuple[Edit, ...]
    draft: Draft
    """The plan's draft with the edits on it."""

    def __repr__(self) -> str:
        """What of the plan is not default and, in words, the edits: what a failing test is to print."""
        draft, said = draft_of_plan(self.plan), []
        for edit in self.edits:
            said.append(f"{edit!r}: {describe(draft, edit)}")
            draft = apply(draft, edit)
        values = [(entry, getattr(self.plan, entry.name)) for entry in fields(self.plan)]
        shown = ", ".join(f"{entry.name}={value!r}" for entry, value in values if value != entry.default)
        return "\n".join([f"EditedDraft of MigrationPlan({shown})", *said])


@st.composite
def edited_drafts(
    draw: st.DrawFn,
    healthy: st.SearchStrategy[MigrationPlan] | None = None,
    *,
    kinds: Sequence[EditKind] = KINDS,
    max_edits: int = 3,
) -> EditedDraft:
    """A plan's draft (by default of ``plans()``) with one to ``max_edits`` edits. It can always be encoded."""
    # Drawn first: what is drawn last, Hypothesis likes to leave at its simplest.
    many = draw(st.one_of(st.just(1), st.integers(1, max_edits)))
    aims = [draw(_aims(kinds)) for _ in range(many)]
    plan = draw(plans() if healthy is None else healthy)
    draft = draft_of_plan(plan)
    done: list[Edit] = []
    for aim in aims:
        done.append(_aimed(draft, aim))
        draft = apply(draft, done[-1])
    return EditedDraft(plan, tuple(done), draft)
