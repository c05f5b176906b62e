"""Synchronisation: SYNCs on channels and the records of main that they pair with."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from analyzers.findings import Severity
from analyzers.mutation.edits import Demand, asks, having, multifd
from analyzers.mutation.legal import (
    another_part,
    another_round,
    last_paired_sync,
    more_syncs,
    never_normal,
    resend,
    sync_record,
)
from analyzers.mutation.main_edits import add_before, add_behind, add_flush, last_iteration, zero_page
from analyzers.mutation.mutation import (
    COMPLETES,
    CRASHES,
    FAILS,
    HANGS,
    LOSES,
    NOWHERE,
    UNDECIDED,
    Edit,
    Mutation,
    Place,
    same,
    untouched,
)
from analyzers.mutation.shape import Section, Shape, avoid, block_of, is_command, need, pick
from multifd_codec.draft.draft import Draft, Record
from multifd_codec.draft.main_records import flush
from multifd_codec.main import events as ev
from multifd_codec.wire.qemufile import CommandId

S_01, S_02, P_30, S_08, S_10 = "MFD301", "MFD302", "MFD130", "MFD308", "MFD310"
MAIN: Place = ("main", None)


def syncs(count: int, *, all_channels: bool) -> Edit:
    """SYNCs too many behind everything else."""

    def edit(draft: Draft, random: Random) -> Place:
        shape = Shape(draft)
        shape.multifd(1 if all_channels else 2)
        channels = () if all_channels else (random.randrange(len(draft.channels)),)
        return more_syncs(draft, count, *channels)

    return edit


def extra_flush(draft: Draft, random: Random) -> Place:
    """A FLUSH that no SYNC belongs to."""
    shape = Shape(draft)
    shape.multifd()
    need(shape.per_round, "FLUSH records")
    avoid(shape.tail, "a SYNC without FLUSH at the end, which would get one")
    need(all(shape.syncs), "SYNCs on every channel")
    add_flush(draft, shape)
    return shape.syncs[random.randrange(len(draft.channels))][-1]


def early_sync(draft: Draft, random: Random) -> Place:
    """One SYNC too many in front of all data of a channel: from there on it is a round late."""
    shape = Shape(draft)
    shape.multifd(2)
    avoid(shape.states, "device state: it would be a round late as well")
    late = [p.channel for p in shape.paired_data if p.segment == len(shape.rendezvous) - 1]
    channel = random.choice(late) if late else random.randrange(len(draft.channels))
    if not late:
        resend(draft, random, channel=channel)
    draft.behind(shape.syncs[channel][0], sync_record(shape))
    draft.renumber()
    return shape.syncs[channel][-1]


def data_first(draft: Draft, random: Random) -> Place:
    """The first data of a channel in front of its first SYNC."""
    shape = Shape(draft)
    shape.multifd()
    first = {p.channel: p for p in shape.paired_data[::-1]}
    if not first:
        channel = random.randrange(len(draft.channels))
        need(shape.syncs[channel], "a SYNC")
        return resend(draft, random, channel=channel, before=shape.syncs[channel][0])
    packet = random.choice(list(first.values()))
    draft.move(packet.record, before=shape.syncs[packet.channel][0])
    draft.renumber()
    return packet.record


def state_first(draft: Draft, random: Random) -> Place:
    packet = pick(random, Shape(draft).states, "device state")
    return draft.move(packet.record, before=Shape(draft).syncs[packet.channel][0])


def state_early(draft: Draft, random: Random) -> None:
    """Device state directly behind the first SYNC, in front of all pages; without device state a round more."""
    shape = Shape(draft)
    if not shape.states:
        another_round(draft, random)
        return
    packet = random.choice(shape.states)
    draft.drop(packet.record)
    draft.behind(shape.syncs[packet.channel][0], packet.record)


def flush_of(section: Section) -> list[Record]:
    return [record for record in section.records if isinstance(record.event, ev.Flush)]


def with_flush(kind: type, what: str) -> Callable[[Shape], list[Record]]:
    """The FLUSH records of a section of RAM."""

    def found(shape: Shape) -> list[Record]:
        shape.multifd()
        records = flush_of(shape.ram_section(kind))
        need(shape.per_round and records, f"a FLUSH in the {what} section")
        return records

    return found


IN_SETUP, IN_END = with_flush(ev.SectionStart, "START"), with_flush(ev.SectionEnd, "END")


def end_of(section: Section) -> Record | None:
    """Its first EOS."""
    return next((record for record in section.records if isinstance(record.event, ev.EndOfRam)), None)


def two_in_setup(draft: Draft, random: Random) -> Place:
    """A FLUSH moves from PART to START."""
    shape = Shape(draft)
    shape.multifd()
    start = shape.ram_section(ev.SectionStart)
    first = next((r for section in shape.ram_sections(ev.SectionPart) for r in flush_of(section)), None)
    need(shape.per_round and first, "a FLUSH in a PART section")
    assert first is not None
    draft.move(first, before=end_of(start) or start.last)
    return start.header


def none_in_setup(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    for record in IN_SETUP(shape):
        draft.drop(record)
    return shape.ram_section(ev.SectionStart).header


def flush_from_end(draft: Draft, random: Random) -> Place:
    """What FLUSH there is in END moves to the section in front."""
    shape = Shape(draft)
    found = IN_END(shape)
    behind = [r for r in last_iteration(shape).records if isinstance(r.event, ev.EndOfRam)]
    need(behind, "an EOS in its RAM sections")
    for record in found:
        draft.move(record, before=behind[-1])
    return end_of(shape.ram_section(ev.SectionEnd)) or NOWHERE


def no_last_flush(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    for record in IN_END(shape):
        draft.drop(record)
    return end_of(shape.ram_section(ev.SectionEnd)) or NOWHERE


def flush_to_end(draft: Draft, random: Random) -> None:
    """A FLUSH moves from the last PART to END; per section there is a round more."""
    shape = Shape(draft)
    ends = [r for section in shape.ram_sections(ev.SectionEnd) for r in flush_of(section)]
    parts = [r for section in shape.ram_sections(ev.SectionPart) for r in flush_of(section)]
    if not ends or not parts:
        another_round(draft, random)
        return
    draft.move(parts[-1], before=ends[0])


def one_flush_more(*demands: Demand) -> Edit:
    """A FLUSH in front of an EOS of the last section of RAM before the switchover."""

    def edit(draft: Draft, random: Random) -> Place:
        shape = Shape(draft)
        for demand in demands:
            demand(shape)
        return add_flush(draft, shape)

    return edit


BETWEEN_ENDS = one_flush_more(multifd(), having(lambda s: not s.per_round, "a per-section stream"))
IN_MAPPED_RAM = one_flush_more(having(lambda s: s.mapped_ram, "the capability mapped-ram"))


def flush_with_syncs(draft: Draft, random: Random) -> Place:
    """A FLUSH in a per-section stream, and a SYNC on each channel for it."""
    shape = Shape(draft)
    avoid(shape.states, "device state: it would stand behind another SYNC")
    added = BETWEEN_ENDS(draft, random)
    more_syncs(draft, 1)
    return added


def late_data(draft: Draft, random: Random) -> Place:
    """The last packet of a channel is overtaken by the last SYNC."""
    shape = Shape(draft)
    shape.multifd()
    last = {p.channel: p for p in shape.paired_data}
    found = [p for p in last.values() if len(shape.syncs[p.channel]) >= len(shape.rendezvous)]
    if found:
        _, channel, record = random.choice(found)
        avoid(record.event.flags & 1, "a SYNC that carries the last pages")
    else:
        channel = random.randrange(len(draft.channels))
        record = resend(draft, random, channel=channel)
    draft.drop(record)
    draft.behind(last_paired_sync(shape, channel), record)
    draft.renumber()
    return record


def unreleased_data(draft: Draft, random: Random) -> Place:
    """All FLUSH records behind that of the setup are missing."""
    shape = Shape(draft)
    shape.multifd()
    need(shape.per_round, "FLUSH records")
    avoid(shape.states, "device state: it would not be released either")
    need(len(shape.rendezvous) > 2, "a third rendezvous")
    if not any(p.segment > 1 for p in shape.paired_data):
        resend(draft, random)
        shape = Shape(draft)
    packets = shape.paired_data
    for record in shape.rendezvous[1:]:
        draft.drop(record)
    first = {p.channel: p.record for p in packets[::-1]}
    return random.choice(list(first.values()))


def state_behind_unreleased(draft: Draft, random: Random) -> Place:
    """A SYNC too many on each channel, device state behind it."""
    shape = Shape(draft)
    need(shape.states, "device state")
    places: list[Record] = []
    for channel in range(len(draft.channels)):
        mine = [p.record for p in shape.states if p.channel == channel]
        if not mine:
            draft.channels[channel].append(sync_record(shape))
            continue
        draft.drop(mine[-1])
        draft.channels[channel] += [sync_record(shape), mine[-1]]
        places.append(mine[-1])
    draft.renumber()
    return random.choice(places)


def tail(draft: Draft, random: Random) -> Place:
    """A SYNC behind everything on every channel, as 9.1 and 9.2 send it."""
    shape = Shape(draft)
    shape.multifd()
    records = len(shape.rendezvous)
    if not all(len(mine) == records + 1 for mine in shape.syncs):
        need(all(len(mine) == records for mine in shape.syncs), "a SYNC for each rendezvous")
        more_syncs(draft, 1)
    channel = random.randrange(len(draft.channels))
    return draft.rams(channel)[-1]


def zero_on_main(draft: Draft, random: Random) -> Place:
    """A page that a channel carries with content is a ZERO record on main in the same round."""
    shape = Shape(draft)
    shape.multifd()
    if not shape.content:
        resend(draft, random)
        shape = Shape(draft)
    packet = pick(random, shape.content, "a packet with content")
    record = packet.record
    end = shape.rendezvous[packet.segment]
    add_before(draft, end, zero_page(record.event.pages[0], block_of(record.event)))
    return record


def zero_in_setup(draft: Draft, random: Random) -> None:
    """The ZERO record is that of a page that no packet carries with content."""
    shape = Shape(draft)
    block, offset = never_normal(shape, random)
    add_behind(draft, shape.block_list, zero_page(offset, block))


# Outside of precopy with multifd.


def flush_without_multifd(draft: Draft, random: Random) -> Place:
    avoid(draft.channels, "multifd channels")
    shape = Shape(draft)
    avoid(shape.mapped_ram, "the capability mapped-ram")
    if shape.per_round:
        return next(record for record in draft.main if isinstance(record.event, ev.Flush))
    return add_flush(draft, shape)


def without_channels(draft: Draft, random: Random) -> Place:
    """The channels of a stream with FLUSH records are taken away."""
    shape = Shape(draft)
    shape.multifd()
    need(shape.per_round, "FLUSH records")
    draft.channels.clear()
    return next(record for record in draft.main if isinstance(record.event, ev.Flush))


def in_postcopy(shape: Shape) -> list[Record]:
    """The records behind POSTCOPY_LISTEN."""
    main = shape.draft.main
    at = next((i for i, record in enumerate(main) if is_command(record, CommandId.POSTCOPY_LISTEN)), None)
    need(at is not None, "a postcopy phase")
    assert at is not None
    return main[at:]


def flush_in_postcopy(draft: Draft, random: Random) -> Place:
    ends = [record for record in in_postcopy(Shape(draft)) if isinstance(record.event, ev.EndOfRam)]
    need(ends, "RAM sections in its postcopy phase")
    return draft.before(ends[0], flush())


def data_in_postcopy(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    in_postcopy(shape)
    shape.multifd()
    channel = random.randrange(len(draft.channels))
    sync = sync_record(shape)
    draft.channels[channel].append(sync)
    record = resend(draft, random, channel=channel, before=sync)
    draft.drop(sync)
    draft.renumber()
    return record


def sync_in_postcopy(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    in_postcopy(shape)
    shape.multifd(2)
    return more_syncs(draft, 1, random.randrange(len(draft.channels)))


PER_ROUND = asks(multifd(), having(lambda s: s.per_round, "a per-round stream"), at=MAIN)
PER_SECTION = asks(multifd(), having(lambda s: not s.per_round, "a per-section stream"), at=MAIN)
UNPAIRED = frozenset({S_01, P_30})
ROUND, TO_END = same(another_round), same(flush_to_end)

MUTATIONS = (
    Mutation("MFD301", "two SYNCs too many", COMPLETES, syncs(2, all_channels=True), ROUND, "flags"),
    Mutation("MFD301", "a FLUSH too many", HANGS, extra_flush, ROUND, "flags", also=frozenset({P_30})),
    Mutation("MFD302", "a SYNC too many on one channel", COMPLETES, syncs(1, all_channels=False), ROUND, "flags",
        also=frozenset({S_01})),
    Mutation("MFD302", "an early SYNC too many on one channel", COMPLETES | LOSES, early_sync, ROUND, "flags",
        also=frozenset({S_01, S_08, "MFD216", "MFD315"})),
    Mutation("MFD303", "data in front of the first SYNC", COMPLETES | CRASHES, data_first, same(state_early), "flags"),
    Mutation("MFD303", "device state in front of it", COMPLETES | HANGS, state_first, same(state_early), "flags"),
    Mutation("MFD304", "two FLUSHes", COMPLETES, two_in_setup, TO_END),
    Mutation("MFD304", "no FLUSH", COMPLETES | LOSES, none_in_setup, TO_END,
        also=frozenset({S_01, S_08, S_10, "MFD309"})),
    Mutation("MFD305", "a FLUSH between section ends", HANGS, BETWEEN_ENDS, ROUND, "flags", also=UNPAIRED),
    Mutation("MFD305", "a FLUSH with its SYNCs", COMPLETES, flush_with_syncs, ROUND, "flags"),
    Mutation("MFD306", "per round to per section", HANGS, PER_ROUND, PER_ROUND, options={"mode": "per-section"},
        near_options={"mode": "per-round"}),
    Mutation("MFD306", "per section to per round", LOSES, PER_SECTION, PER_SECTION,
        options={"profile": "qemu-10.0", "mode": "per-round"},
        near_options={"profile": "qemu-10.0", "mode": "per-section"}, also=frozenset({"MFD224", "MFD225", "MFD226"})),
    Mutation("MFD306", "per round to 7.2", FAILS, PER_ROUND, PER_ROUND, options={"profile": "qemu-7.2"},
        near_options={}, also=frozenset({"MFD206", "MFD211", "MFD417", "MFD515"})),
    Mutation("MFD307", "no FLUSH in END", COMPLETES, flush_from_end, TO_END),
    Mutation("MFD307", "the last FLUSH is missing", COMPLETES | LOSES, no_last_flush, TO_END,
        also=frozenset({S_01, S_08, S_10, "MFD309"})),
    Mutation("MFD308", "data behind the last SYNC", COMPLETES, late_data, ROUND),
    Mutation("MFD308", "data behind a SYNC that nothing releases", LOSES, unreleased_data, ROUND,
        also=frozenset({S_01, "MFD307"})),
    Mutation("MFD309", "device state behind an unpaired SYNC", HANGS, state_behind_unreleased, same(another_round),
        also=frozenset({S_01, "MFD415"})),
    Mutation("MFD310", "the tail of 9.2", COMPLETES, tail, ROUND, "flags"),
    Mutation("MFD310", "the tail of rfc-v3", COMPLETES, tail, untouched, "flags", {"profile": "rfc-v3"}, {}),
    Mutation("MFD314", "FLUSH in a mapped-ram file", FAILS, IN_MAPPED_RAM, same(another_part), "flags"),
    Mutation("MFD315", "a page on main and on a channel", COMPLETES | LOSES, zero_on_main, same(zero_in_setup),
        "offset"),
    Mutation("MFD311", "FLUSH in a migration without multifd", COMPLETES, flush_without_multifd, untouched, "flags",
        severity=Severity.INFO),
    Mutation("MFD311", "a migration without its channels", UNDECIDED, without_channels, untouched, "flags"),
    Mutation("MFD312", "FLUSH while pages are postcopied", FAILS, flush_in_postcopy, untouched, "flags"),
    Mutation("MFD313", "a RAM packet in postcopy", COMPLETES | LOSES, data_in_postcopy, untouched),
    Mutation("MFD313", "a SYNC in postcopy", COMPLETES, sync_in_postcopy, untouched, also=frozenset({"MFD302"})),
)  # fmt: skip
