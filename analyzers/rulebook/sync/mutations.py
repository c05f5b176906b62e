"""Synchronisation; the edits outside of precopy with multifd are in postcopy_edits.py."""

from __future__ import annotations

from random import Random

from analyzers.mutation.legal import (
    another_part,
    another_round,
    last_paired_sync,
    more_syncs,
    never_normal,
    resend,
    sync_record,
)
from analyzers.mutation.main_edits import (
    add_before,
    add_behind,
    add_flush,
    last_iteration,
    zero_page,
)
from analyzers.mutation.mutation import Edit, Mutation, Place, same, untouched
from analyzers.mutation.shape import Section, Shape, avoid, block_of, need, pick
from analyzers.rulebook.sync.postcopy_edits import (
    data_in_postcopy,
    flush_in_postcopy,
    flush_without_multifd,
    sync_in_postcopy,
    without_channels,
)
from multifd_codec.draft.draft import Draft, Record
from multifd_codec.main import events as ev

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
    channel = random.randrange(len(draft.channels))
    return shape.syncs[channel][-1]


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
    shape = Shape(draft)
    packet = pick(random, shape.states, "device state")
    return draft.move(packet.record, before=shape.syncs[packet.channel][0])


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


def flush_in_part(shape: Shape) -> Record:
    """The last FLUSH of a PART section."""
    found = [record for section in shape.ram_sections(ev.SectionPart) for record in flush_of(section)]
    need(shape.per_round and found, "a FLUSH in a PART section")
    return found[-1]


def two_in_setup(draft: Draft, random: Random) -> Place:
    """A FLUSH moves from PART to START."""
    shape = Shape(draft)
    shape.multifd()
    start = shape.ram_section(ev.SectionStart)
    first = next((r for section in shape.ram_sections(ev.SectionPart) for r in flush_of(section)), None)
    need(shape.per_round and first, "a FLUSH in a PART section")
    assert first is not None
    end = next((r for r in start.records if isinstance(r.event, ev.EndOfRam)), start.last)
    draft.move(first, before=end)
    return start.header


def none_in_setup(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    shape.multifd()
    start = shape.ram_section(ev.SectionStart)
    found = flush_of(start)
    need(shape.per_round and found, "a FLUSH in the START section")
    for record in found:
        draft.drop(record)
    return start.header


def flush_to_end(draft: Draft, random: Random) -> None:
    """A FLUSH moves from the last PART to END; per section there is a round more."""
    shape = Shape(draft)
    ends = [r for section in shape.ram_sections(ev.SectionEnd) for r in flush_of(section)]
    parts = [r for section in shape.ram_sections(ev.SectionPart) for r in flush_of(section)]
    if not ends or not parts:
        another_round(draft, random)
        return
    draft.move(parts[-1], before=ends[0])


def flush_between_ends(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    shape.multifd()
    need(not shape.per_round, "a per-section stream")
    return add_flush(draft, shape)


def flush_with_syncs(draft: Draft, random: Random) -> Place:
    """A FLUSH in a per-section stream, and a SYNC on each channel for it."""
    shape = Shape(draft)
    avoid(shape.states, "device state: it would stand behind another SYNC")
    added = flush_between_ends(draft, random)
    more_syncs(draft, 1)
    return added


def of_mode(*, per_round: bool) -> Edit:
    """No edit: the question is what a destination of the other mode makes of it."""

    def edit(draft: Draft, random: Random) -> Place:
        shape = Shape(draft)
        shape.multifd()
        need(shape.per_round is per_round, "a per-round stream" if per_round else "a per-section stream")
        return MAIN

    return edit


def flush_from_end(draft: Draft, random: Random) -> Place:
    """What FLUSH there is in END moves to the section in front."""
    shape = Shape(draft)
    shape.multifd()
    end = shape.ram_section(ev.SectionEnd)
    need(shape.per_round and flush_of(end), "a FLUSH in the END section")
    place = last_iteration(shape)
    behind = [r for r in place.records if isinstance(r.event, ev.EndOfRam)]
    need(behind, "an EOS in its RAM sections")
    for record in flush_of(end):
        draft.move(record, before=behind[-1])
    return next(r for r in end.records if isinstance(r.event, ev.EndOfRam))


def no_last_flush(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    shape.multifd()
    end = shape.ram_section(ev.SectionEnd)
    need(shape.per_round and flush_of(end), "a FLUSH in the END section")
    for record in flush_of(end):
        draft.drop(record)
    return next(r for r in end.records if isinstance(r.event, ev.EndOfRam))


def late_data(draft: Draft, random: Random) -> Place:
    """The last packet of a channel is overtaken by the last SYNC."""
    shape = Shape(draft)
    shape.multifd()
    last = {p.channel: p for p in shape.paired_data}
    found = [p for p in last.values() if len(shape.syncs[p.channel]) >= len(shape.rendezvous)]
    if found:
        packet = random.choice(found)
        record = packet.record
        channel = packet.channel
        avoid(record.event.flags & 1, "a SYNC that carries the last pages")
        draft.drop(record)
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


def flush_in_mapped_ram(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    need(shape.mapped_ram, "the capability mapped-ram")
    return add_flush(draft, shape)


def zero_on_main(draft: Draft, random: Random) -> Place:
    """A page that a channel carries with content is a ZERO record on main in the same round."""
    shape = Shape(draft)
    shape.multifd()
    if not shape.content:
        record = resend(draft, random)
        shape = Shape(draft)
        packet = next(p for p in shape.packets if p.record is record)
    else:
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


UNPAIRED = frozenset({S_01, P_30})
ROUND, TO_END = same(another_round), same(flush_to_end)

MUTATIONS = (
    Mutation("MFD301", "two SYNCs too many", syncs(2, all_channels=True), ROUND, "flags"),
    Mutation("MFD301", "a FLUSH too many", extra_flush, ROUND, "flags", also=frozenset({P_30})),
    Mutation(
        "MFD302", "a SYNC too many on one channel", syncs(1, all_channels=False), ROUND, "flags", also=frozenset({S_01})
    ),
    Mutation(
        "MFD302",
        "an early SYNC too many on one channel",
        early_sync,
        ROUND,
        "flags",
        also=frozenset({S_01, S_08, "MFD216", "MFD315"}),
    ),
    Mutation("MFD303", "data in front of the first SYNC", data_first, same(state_early), "flags"),
    Mutation("MFD303", "device state in front of it", state_first, same(state_early), "flags"),
    Mutation("MFD304", "two FLUSHes", two_in_setup, TO_END),
    Mutation("MFD304", "no FLUSH", none_in_setup, TO_END, also=frozenset({S_01, S_08, S_10, "MFD309"})),
    Mutation("MFD305", "a FLUSH between section ends", flush_between_ends, ROUND, "flags", also=UNPAIRED),
    Mutation("MFD305", "a FLUSH with its SYNCs", flush_with_syncs, ROUND, "flags"),
    Mutation(
        "MFD306",
        "per round to per section",
        of_mode(per_round=True),
        of_mode(per_round=True),
        options={"mode": "per-section"},
        near_options={"mode": "per-round"},
    ),
    Mutation(
        "MFD306",
        "per section to per round",
        of_mode(per_round=False),
        of_mode(per_round=False),
        options={"profile": "qemu-10.0", "mode": "per-round"},
        near_options={"profile": "qemu-10.0", "mode": "per-section"},
        also=frozenset({"MFD224", "MFD225", "MFD226"}),
    ),
    Mutation(
        "MFD306",
        "per round to 7.2",
        of_mode(per_round=True),
        of_mode(per_round=True),
        options={"profile": "qemu-7.2"},
        near_options={},
        also=frozenset({"MFD206", "MFD211", "MFD417", "MFD515"}),
    ),
    Mutation("MFD307", "no FLUSH in END", flush_from_end, TO_END),
    Mutation(
        "MFD307", "the last FLUSH is missing", no_last_flush, TO_END, also=frozenset({S_01, S_08, S_10, "MFD309"})
    ),
    Mutation("MFD308", "data behind the last SYNC", late_data, ROUND),
    Mutation(
        "MFD308", "data behind a SYNC that nothing releases", unreleased_data, ROUND, also=frozenset({S_01, "MFD307"})
    ),
    Mutation(
        "MFD309",
        "device state behind an unpaired SYNC",
        state_behind_unreleased,
        same(another_round),
        also=frozenset({S_01, "MFD415"}),
    ),
    Mutation("MFD310", "the tail of 9.2", tail, ROUND, "flags"),
    Mutation("MFD310", "the tail of rfc-v3", tail, untouched, "flags", {"profile": "rfc-v3"}, {}),
    Mutation("MFD314", "FLUSH in a mapped-ram file", flush_in_mapped_ram, same(another_part), "flags"),
    Mutation("MFD315", "a page on main and on a channel", zero_on_main, same(zero_in_setup), "offset"),
    Mutation("MFD311", "FLUSH in a migration without multifd", flush_without_multifd, untouched, "flags"),
    Mutation("MFD311", "a migration without its channels", without_channels, untouched, "flags"),
    Mutation("MFD312", "FLUSH while pages are postcopied", flush_in_postcopy, untouched, "flags"),
    Mutation("MFD313", "a RAM packet in postcopy", data_in_postcopy, untouched),
    Mutation("MFD313", "a SYNC in postcopy", sync_in_postcopy, untouched, also=frozenset({"MFD302"})),
)
