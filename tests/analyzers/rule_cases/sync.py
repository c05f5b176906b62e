"""Synchronisation: MFD301 to MFD315."""

from __future__ import annotations

from analyzers.findings import Severity
from multifd_codec.draft.draft import Record
from multifd_codec.main import events as ev
from tests.analyzers.rule_cases.case import COMPLETES, CRASHES, FAILS, HANGS, LOSES, Case, Near
from tests.channel_records import ram
from tests.main_records import eos, flush, zero_page
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


def early_state(stream: Stream) -> None:
    """Device state directly behind the first SYNC, in front of all pages."""
    record = stream.drop(stream.state(1))
    stream.behind(stream.sync(1, 0), record)


def zero_on_main(stream: Stream, round_end: int) -> Record:
    """Page 0, which channel 0 carries in both rounds, is a ZERO record on main as well."""
    stream.before(stream.on_main(ev.EndOfRam, round_end), zero_page(0))
    return stream.data(0)


CASES = (
    Case("MFD301", "two SYNCs too many", COMPLETES, near=Near(make=like(V92))),
    Case(
        "MFD301",
        "a FLUSH too many",
        HANGS,
        near=Near(lambda s: (s.before(s.on_main(ev.EndOfRam, 1), flush()), more_syncs(s, 1))),
        also=frozenset({P_30}),
    ),
    Case(
        "MFD302",
        "a SYNC too many on one channel",
        COMPLETES,
        near=Near(lambda s: more_syncs(s, 1)),
        also=frozenset({S_01}),
    ),
    Case(
        "MFD302",
        "an early SYNC too many on one channel",
        COMPLETES | LOSES,
        near=Near(lambda s: more_syncs(s, 1)),
        also=frozenset({S_01, S_08}),
    ),
    Case("MFD303", "data in front of the first SYNC", COMPLETES | CRASHES, near=Near(early_state, make=DEVICES)),
    Case("MFD303", "device state in front of it", COMPLETES | HANGS, near=Near(early_state), make=DEVICES),
    Case("MFD304", "two FLUSHes", COMPLETES),
    Case("MFD304", "no FLUSH", COMPLETES | LOSES, also=frozenset({S_08, S_10})),
    Case("MFD305", "a FLUSH between section ends", HANGS, make=SECTION, also=frozenset({S_01, P_30})),
    Case("MFD305", "a FLUSH with its SYNCs", COMPLETES, make=SECTION),
    Case("MFD306", "per round to per section", HANGS, near=Near(options={"mode": "per-round"})),
    Case(
        "MFD306",
        "per section to per round",
        LOSES,
        near=Near(options={"mode": "per-section"}),
        make=SECTION,
        options={"mode": "per-round"},
    ),
    Case("MFD306", "per round to 7.2", FAILS, near=Near(options={"profile": "qemu-8.1"}), make=like(V82)),
    Case("MFD307", "no FLUSH in END", COMPLETES),
    Case("MFD307", "the last FLUSH is missing", COMPLETES | LOSES, also=frozenset({S_08, S_10})),
    Case("MFD308", "data behind the last SYNC", COMPLETES | LOSES, near=Near(make=like(V72, merged_sync=True))),
    Case(
        "MFD308",
        "data behind a SYNC that nothing releases",
        LOSES,
        near=Near(make=like(V72, merged_sync=True)),
        also=frozenset({S_01, "MFD307"}),
    ),
    Case(
        "MFD309",
        "device state behind an unpaired SYNC",
        HANGS,
        near=Near(lambda s: more_syncs(s, 1)),
        make=DEVICES,
        also=frozenset({S_01}),
    ),
    Case("MFD310", "the tail of 9.2", COMPLETES, make=like(V92)),
    Case("MFD310", "the tail of rfc-v3", COMPLETES, near=Near(options={}), make=DEVICES),
    Case("MFD311", "FLUSH in a migration without multifd", COMPLETES, make=single_channel),
    Case(
        "MFD311",
        "FLUSH without multifd for 7.2",
        FAILS,
        near=Near(),
        edit=lambda s: s.before(s.on_main(ev.EndOfRam), flush()),
        make=single_channel,
        name="flags",
        severity=Severity.ERROR,
        options={"profile": "qemu-7.2"},
    ),
    Case("MFD312", "FLUSH while pages are postcopied", FAILS, make=POSTCOPY),
    Case("MFD313", "a RAM packet in postcopy", COMPLETES | LOSES, make=POSTCOPY),
    Case("MFD313", "a SYNC in postcopy", COMPLETES, make=POSTCOPY, also=frozenset({S_02})),
    Case(
        "MFD314",
        "FLUSH in a mapped-ram file",
        FAILS,
        near=Near(lambda s: s.before(s.on_main(ev.SectionEnd), *section_of_eos())),
        make=mapped_ram,
    ),
    Case(
        "MFD315",
        "a page on main and on a channel",
        COMPLETES | LOSES,
        near=Near(lambda s: zero_on_main(s, 0)),
        make=like(V72),
    ),
)


def section_of_eos() -> list[Record]:
    return [Record(ev.SectionPart(0, 5, 2)), eos(), Record(ev.SectionFooter(0, 5, 2))]
