"""Synchronisation: MFD301 to MFD315."""

from __future__ import annotations

from analyzers.findings import Severity
from multifd_codec import main_events as ev
from multifd_codec.draft import Record
from tests.analyzers.rule_cases.case import COMPLETES, CRASHES, FAILS, HANGS, LOSES, Case, Near
from tests.channel_records import page, ram
from tests.main_records import RAM, eos, flush, zero_page
from tests.migrations import V72, V82, V92, like, mapped_ram, single_channel
from tests.streams import Stream

SECTION = like(machine=b"pc-q35-8.0", per_round=False, legacy_zero=True, switchover=False)
"""A new release in per-section mode."""
DEVICES = like(devices=2)
POSTCOPY = like(machine=b"pc-q35-10.1", postcopy=True)
S_01, S_02, P_30, S_08, S_10 = "MFD301", "MFD302", "MFD130", "MFD308", "MFD310"


def more_syncs(stream: Stream, count: int, *channels: int) -> Record:
    """Further SYNCs behind everything else."""
    added = None
    for channel in channels or range(len(stream.channels)):
        for _ in range(count):
            added = stream.behind(stream.channels[channel][-1], ram(0))
    stream.renumber()
    assert added is not None
    return added


def early_sync(stream: Stream) -> Record:
    """One SYNC too many on channel 0, in front of all data: from there on it is a round late."""
    stream.behind(stream.sync(0, 0), ram(0))
    stream.renumber()
    return stream.sync(0)


def flush_number(stream: Stream, number: int) -> Record:
    return stream.on_main(ev.Flush, number)


def drop_flushes(stream: Stream, *numbers: int) -> Stream:
    for record in [flush_number(stream, number) for number in numbers]:
        stream.drop(record)
    return stream


def late_data(stream: Stream) -> Record:
    """The last packet of channel 0 overtaken by the last SYNC."""
    last = stream.data(0, -1)
    stream.drop(last)
    stream.behind(stream.sync(0), last)
    stream.renumber()
    return last


def early_data(stream: Stream) -> Record:
    """The first data of channel 0 in front of its first SYNC."""
    first = stream.move(stream.data(0), before=stream.sync(0, 0))
    stream.renumber()
    return first


def early_state(stream: Stream) -> None:
    """Device state directly behind the first SYNC, in front of all pages."""
    record = stream.drop(stream.state(1))
    stream.behind(stream.sync(1, 0), record)


def another_section(stream: Stream) -> None:
    """A PART section more, and a SYNC on each channel for it."""
    stream.before(stream.on_main(ev.SectionEnd), *section_of_eos())
    more_syncs(stream, 1)


def sync_in_front_of_state(stream: Stream) -> Record:
    """Every channel has a SYNC too many, its device state behind it."""
    for channel in range(len(stream.channels)):
        stream.behind(stream.sync(channel), ram(0))
    stream.renumber()
    return stream.state(0, 1)


def flushes_in_setup(stream: Stream, count: int) -> Record:
    """Move a FLUSH from PART to START."""
    record = flush_number(stream, 1)
    stream.move(record, before=stream.on_main(ev.EndOfRam))
    return stream.on_main(ev.SectionStart)


def flush_from_part_to_end(stream: Stream) -> None:
    stream.move(flush_number(stream, 1), before=flush_number(stream, 2))


def flush_from_end_to_part(stream: Stream) -> Record:
    stream.move(flush_number(stream, 2), before=flush_number(stream, 1))
    return stream.on_main(ev.EndOfRam, 2)


def paired_flush(stream: Stream) -> Record:
    """A FLUSH in a per-section stream, and a SYNC on each channel for it."""
    added = stream.before(stream.on_main(ev.EndOfRam, 1), flush())
    more_syncs(stream, 1)
    return added


def zero_on_main(stream: Stream, round_end: int) -> Record:
    """Page 0, which channel 0 carries in both rounds, is a ZERO record on main as well."""
    stream.before(stream.on_main(ev.EndOfRam, round_end), zero_page(0))
    return stream.data(0)


def postcopy_data(stream: Stream) -> Record:
    added = stream.behind(stream.sync(0), ram(0, RAM, (10,), payload=page(10, 5)))
    stream.renumber()
    return added


CASES = (
    Case(
        "MFD301", "two SYNCs too many", lambda s: more_syncs(s, 2, 0, 1), COMPLETES, Near(make=like(V92)), name="flags"
    ),
    Case(
        "MFD301",
        "a FLUSH too many",
        lambda s: (s.before(s.on_main(ev.EndOfRam, 1), flush()), s.sync(0))[1],
        HANGS,
        Near(lambda s: (s.before(s.on_main(ev.EndOfRam, 1), flush()), more_syncs(s, 1))),
        name="flags",
        also=frozenset({P_30}),
    ),
    Case(
        "MFD302",
        "a SYNC too many on one channel",
        lambda s: more_syncs(s, 1, 0),
        COMPLETES,
        Near(lambda s: more_syncs(s, 1)),
        name="flags",
        also=frozenset({S_01}),
    ),
    Case(
        "MFD302",
        "an early SYNC too many on one channel",
        early_sync,
        COMPLETES | LOSES,
        Near(lambda s: more_syncs(s, 1)),
        name="flags",
        also=frozenset({S_01, S_08}),
    ),
    Case(
        "MFD303",
        "data in front of the first SYNC",
        early_data,
        COMPLETES | CRASHES,
        Near(early_state, make=DEVICES),
        name="flags",
    ),
    Case(
        "MFD303",
        "device state in front of it",
        lambda s: s.move(s.state(1), before=s.sync(1, 0)),
        COMPLETES | HANGS,
        Near(early_state),
        make=DEVICES,
        name="flags",
    ),
    Case("MFD304", "two FLUSHes", lambda s: flushes_in_setup(s, 2), COMPLETES, Near(flush_from_part_to_end)),
    Case(
        "MFD304",
        "no FLUSH",
        lambda s: drop_flushes(s, 0).on_main(ev.SectionStart),
        COMPLETES | LOSES,
        Near(flush_from_part_to_end),
        also=frozenset({S_08, S_10}),
    ),
    Case(
        "MFD305",
        "a FLUSH between section ends",
        lambda s: s.before(s.on_main(ev.EndOfRam, 1), flush()),
        HANGS,
        Near(another_section),
        make=SECTION,
        name="flags",
        also=frozenset({S_01, P_30}),
    ),
    Case(
        "MFD305", "a FLUSH with its SYNCs", paired_flush, COMPLETES, Near(another_section), make=SECTION, name="flags"
    ),
    Case(
        "MFD306",
        "per round to per section",
        lambda s: ("main", None),
        HANGS,
        Near(options={"mode": "per-round"}),
        options={"mode": "per-section"},
    ),
    Case(
        "MFD306",
        "per section to per round",
        lambda s: ("main", None),
        LOSES,
        Near(options={"mode": "per-section"}),
        make=SECTION,
        options={"mode": "per-round"},
    ),
    Case(
        "MFD306",
        "per round to 7.2",
        lambda s: ("main", None),
        FAILS,
        Near(options={"profile": "qemu-8.1"}),
        make=like(V82),
        options={"profile": "qemu-7.2"},
    ),
    Case("MFD307", "no FLUSH in END", flush_from_end_to_part, COMPLETES, Near(flush_from_part_to_end)),
    Case(
        "MFD307",
        "the last FLUSH is missing",
        lambda s: drop_flushes(s, 2).on_main(ev.EndOfRam, 2),
        COMPLETES | LOSES,
        Near(flush_from_part_to_end),
        also=frozenset({S_08, S_10}),
    ),
    Case("MFD308", "data behind the last SYNC", late_data, COMPLETES | LOSES, Near(make=like(V72, merged_sync=True))),
    Case(
        "MFD308",
        "data behind a SYNC that nothing releases",
        lambda s: drop_flushes(s, 1, 2).data(0, 2),
        LOSES,
        Near(make=like(V72, merged_sync=True)),
        also=frozenset({S_01, "MFD307"}),
    ),
    Case(
        "MFD309",
        "device state behind an unpaired SYNC",
        sync_in_front_of_state,
        HANGS,
        Near(lambda s: more_syncs(s, 1)),
        make=DEVICES,
        also=frozenset({S_01}),
    ),
    Case("MFD310", "the tail of 9.2", lambda s: s.sync(0), COMPLETES, Near(), make=like(V92), name="flags"),
    Case(
        "MFD310",
        "the tail of rfc-v3",
        lambda s: (more_syncs(s, 1), s.sync(0))[1],
        COMPLETES,
        Near(options={}),
        make=DEVICES,
        name="flags",
        options={"profile": "rfc-v3"},
    ),
    Case(
        "MFD311",
        "FLUSH in a migration without multifd",
        lambda s: s.before(s.on_main(ev.EndOfRam), flush()),
        COMPLETES,
        Near(),
        make=single_channel,
        name="flags",
    ),
    Case(
        "MFD311",
        "FLUSH without multifd for 7.2",
        lambda s: s.before(s.on_main(ev.EndOfRam), flush()),
        FAILS,
        Near(),
        make=single_channel,
        name="flags",
        severity=Severity.ERROR,
        options={"profile": "qemu-7.2"},
    ),
    Case(
        "MFD312",
        "FLUSH while pages are postcopied",
        lambda s: s.before(s.on_main(ev.EndOfRam, 3), flush()),
        FAILS,
        Near(),
        make=POSTCOPY,
        name="flags",
    ),
    Case("MFD313", "a RAM packet in postcopy", postcopy_data, COMPLETES | LOSES, Near(), make=POSTCOPY),
    Case(
        "MFD313",
        "a SYNC in postcopy",
        lambda s: more_syncs(s, 1, 0),
        COMPLETES,
        Near(),
        make=POSTCOPY,
        also=frozenset({S_02}),
    ),
    Case(
        "MFD314",
        "FLUSH in a mapped-ram file",
        lambda s: s.before(s.on_main(ev.EndOfRam, 1), flush()),
        FAILS,
        Near(lambda s: s.before(s.on_main(ev.SectionEnd), *section_of_eos())),
        make=mapped_ram,
        name="flags",
    ),
    Case(
        "MFD315",
        "a page on main and on a channel",
        lambda s: zero_on_main(s, 1),
        COMPLETES | LOSES,
        Near(lambda s: zero_on_main(s, 0)),
        make=like(V72),
        name="offset",
    ),
)


def section_of_eos() -> list[Record]:
    return [Record(ev.SectionPart(0, 5, 2)), eos(), Record(ev.SectionFooter(0, 5, 2))]
