"""Who sent this, and what destination would be like it: release, mode, number of channels.

Each clue bounds the sender's release from below or above; the clues are a table, weighed in order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from analyzers.findings import ProfileChoice
from analyzers.rulebook.conditions import PacketCondition
from analyzers.rulebook.packets.habit_rules import EMPTY_WITHOUT_SYNC, STALE_NAME, STALE_OFFSETS, SYNC_WITH_PAGES
from analyzers.rulebook.packets.page_rules import ZERO_PAGES
from analyzers.rulebook.packets.rules import SYNC_WITH_ALLOC, SYNC_WITHOUT_ALLOC
from analyzers.rulebook.payloads.rules import EMPTY_WITH_SIZE
from analyzers.survey.channel import ChannelSurvey, numbers_of
from analyzers.survey.main import MainSurvey, RecordKind
from analyzers.survey.migration import Surveyed
from analyzers.survey.vfio import SectionKind
from multifd_codec.dialect import releases as dialect
from multifd_codec.dialect.compression import COMPRESSIONS, either
from multifd_codec.dialect.destination import Destination
from multifd_codec.dialect.machine import machine_defaults, machine_version
from multifd_codec.dialect.releases import MEASURED, NEWEST, OLDEST, RELEASES, Mode, Release
from multifd_codec.dialect.version import Version
from multifd_codec.dialect.words import Habit, since, which
from multifd_codec.main.rendezvous import ends_unpaired
from multifd_codec.wire.qemufile import CommandId

PING_PACKAGED_LOADED = 0x42


class Facts(NamedTuple):
    """What inference looks at."""

    main: MainSurvey | None
    channels: Sequence[ChannelSurvey]

    def seen(self, condition: PacketCondition) -> int:
        """Packets for which a condition holds, over all channels."""
        return sum(channel.hits[condition].count for channel in self.channels if condition in channel.hits)

    def compressed(self, flags: int) -> bool:
        return any(number & flags for channel in self.channels for number in channel.compressions)

    def command(self, number: int, value: int | None = None) -> bool:
        commands = self.main.commands if self.main is not None else []
        return any(c.number == number and value in (None, c.value) for c in commands)

    def flushes(self) -> int:
        return self.main.count(RecordKind.FLUSH) if self.main is not None else 0

    def machine(self) -> Version | None:
        return machine_version(self.main.machine or "") if self.main is not None else None

    def unpaired_tail(self) -> bool:
        """Every channel ends in a SYNC more than there are FLUSH records."""
        return ends_unpaired(((channel.sync, channel.ends_in_sync) for channel in self.channels), self.flushes())


class Clue(NamedTuple):
    """A habit, and how often the stream shows it."""

    habit: Habit
    strength: Callable[[Facts], int]
    text: str
    """In it ``{which}`` and ``{since}`` are the releases that have the habit."""

    def says(self) -> str:
        return self.text.replace("{which}", which(self.habit, "or")).replace("{since}", since(self.habit))


STRONGEST = 16
"""How often a habit is counted at the most: one wild packet must not outweigh the habit of all others."""
CERTAIN = 100
"""Strength of what the stream says in so many words."""


def _per_round(release: Release) -> bool:
    return release.sender.per_round


def _compressed(first: Version) -> Clue:
    """The methods that came with a release."""
    methods = [row for row in COMPRESSIONS.values() if row.since == first]
    names, flags = either([row.name for row in methods]), sum(row.flag for row in methods)
    return Clue(lambda r: r.version >= first, lambda f: f.compressed(flags), names + ": {which}")


_FIRSTS = sorted({row.since for row in COMPRESSIONS.values() if row.flag}, reverse=True)
_METHODS = [_compressed(first) for first in _FIRSTS]
CLUES: tuple[Clue, ...] = (
    Clue(
        lambda r: r.sender.device_state,
        lambda f: sum(c.device_state for c in f.channels),
        "device-state packets: {which}",
    ),
    Clue(
        lambda r: r.sender.device_state,
        lambda f: STRONGEST * f.command(CommandId.SWITCHOVER_START),
        "SWITCHOVER_START: {which}",
    ),
    Clue(
        lambda r: r.destination.config_load_ready,
        lambda f: CERTAIN * (f.main is not None and any(tags.ready is not None for tags in f.main.vfio.values())),
        "DEV_CONFIG_LOAD_READY: {which}",
    ),
    Clue(
        lambda r: r.sender.ping_packaged,
        lambda f: STRONGEST * f.command(CommandId.PING, PING_PACKAGED_LOADED),
        "PING 0x42: {which}",
    ),
    *_METHODS[:-1],
    Clue(lambda r: r.sender.zero_pages, lambda f: f.seen(ZERO_PAGES), "zero pages in packets: {which}"),
    Clue(lambda r: r.sender.sync_carries_pages, lambda f: f.seen(SYNC_WITH_PAGES), "SYNC carries pages: {which}"),
    Clue(
        lambda r: r.sender.sync_carries_pages,
        lambda f: f.seen(EMPTY_WITHOUT_SYNC),
        "empty packets without SYNC: {which}",
    ),
    Clue(
        lambda r: not r.sender.sync_pages_alloc_zero,
        lambda f: f.seen(SYNC_WITH_ALLOC),
        "pages_alloc in SYNC packets: {which}",
    ),
    Clue(
        lambda r: r.sender.sync_pages_alloc_zero,
        lambda f: f.seen(SYNC_WITHOUT_ALLOC),
        "SYNC packets say pages_alloc 0: from {since}",
    ),
    Clue(
        lambda r: r.sender.sync_size_stale,
        lambda f: f.seen(EMPTY_WITH_SIZE),
        "stale next_packet_size in SYNC packets: {which}",
    ),
    _METHODS[-1],
    Clue(
        lambda r: not r.destination.postcopy_refused,
        lambda f: CERTAIN * (bool(f.channels) and f.main is not None and f.main.advised is not None),
        "postcopy-ram beside multifd: {which}",
    ),
    Clue(
        lambda r: r.destination.compress_page,
        lambda f: CERTAIN * (not f.channels and f.main is not None and f.main.compress_page is not None),
        "COMPRESS_PAGE records without multifd: {which}",
    ),
    Clue(
        lambda r: r.sender.flush_without_multifd,
        lambda f: CERTAIN * (not f.channels and f.main is not None and bool(f.main.page_records and f.flushes())),
        "FLUSH records without multifd: {which}",
    ),
    Clue(_per_round, lambda f: f.flushes(), "FLUSH records: {which}"),
    Clue(
        lambda r: r.sender.header_stale,
        lambda f: f.seen(STALE_OFFSETS) + f.seen(STALE_NAME),
        "stale bytes in headers: {which}",
    ),
    Clue(
        lambda r: r.sender.unpaired_sync_at_complete,
        lambda f: f.unpaired_tail(),
        "a last SYNC without FLUSH on every channel: {which}",
    ),
)


class Sender(NamedTuple):
    """Bounds of the sender's release."""

    first: Version
    last: Version
    evidence: tuple[str, ...]

    def surely(self, test: Callable[[dialect.SenderHabits], bool]) -> bool:
        """Whether a habit holds for every release in the bounds."""
        return all(test(RELEASES[version].sender) for version in RELEASES if self.first <= version <= self.last)

    def maybe(self, test: Callable[[dialect.SenderHabits], bool]) -> bool:
        """Whether a habit holds for some release in the bounds."""
        return any(test(RELEASES[version].sender) for version in RELEASES if self.first <= version <= self.last)


def infer_sender(facts: Facts) -> Sender:
    """The releases that most of the evidence speaks for; what contradicts them is left out."""
    clues = list(CLUES)
    machine = facts.machine()
    if machine is not None and OLDEST <= machine <= NEWEST:
        assert facts.main is not None
        clues.append(Clue(lambda r: r.version >= machine, lambda _: CERTAIN, f"machine type {facts.main.machine}"))
    counted = [(int(clue.strength(facts)), clue) for clue in clues]
    weighed = [(count if count == CERTAIN else min(count, STRONGEST), clue) for count, clue in counted if count]
    score = {
        version: sum(strength for strength, clue in weighed if clue.habit(row)) for version, row in RELEASES.items()
    }
    best = [row for version, row in RELEASES.items() if score[version] == max(score.values())]
    evidence = tuple(clue.says() for _, clue in weighed if clue.habit(best[0]) and clue.habit(best[-1]))
    return Sender(best[0].version, best[-1].version, evidence)


def destination_like(sender: Sender) -> Version:
    """The release a destination like the sender has: a measured one if the bounds hold one, else the newest."""
    measured = [version for version in MEASURED if sender.first <= version <= sender.last]
    return measured[0] if measured else max(version for version in RELEASES if version <= sender.last)


def infer_mode(facts: Facts, version: Version) -> tuple[Mode, str]:
    """The mode the stream was sent in: by its records, then by counting, then by machine type and release."""
    main = facts.main
    if not RELEASES[version].sender.per_round:
        return Mode.PER_SECTION, f"releases before {since(_per_round)} know no other mode"
    if main is None:
        return Mode.PER_ROUND, f"default since {since(_per_round)}"
    flushes, ends = main.count(RecordKind.FLUSH), main.count(RecordKind.EOS)
    syncs = {channel.sync for channel in facts.channels}
    in_setup = any(r.kind is RecordKind.FLUSH and r.section is SectionKind.START for r in main.records)
    if flushes and not in_setup and syncs == {ends + flushes}:
        return Mode.PER_SECTION, "as many SYNCs as RAM section ends and FLUSH records"
    if flushes and (in_setup or not (syncs == {ends} and 2 * flushes < ends)):
        return Mode.PER_ROUND, f"{flushes} FLUSH records"
    if ends and syncs == {ends}:
        return Mode.PER_SECTION, "as many SYNCs as RAM section ends" + (", no FLUSH" if not flushes else "")
    machine = facts.machine()
    if machine is not None:
        mode = machine_defaults(machine).mode
        return mode, f"machine type {main.machine}"
    if ends and not flushes:
        return Mode.PER_SECTION, "no FLUSH"
    return Mode.PER_ROUND, RELEASES[version].name


def infer_channels(channels: Sequence[ChannelSurvey], *, partial: bool, drops: bool = False) -> tuple[int, str]:
    """How many multifd channels there should be: those present, and one more where packet numbers betray it.

    With ``partial`` connections may be missing in the recording: then there are as many as the highest id tells.
    ``drops``: the sender may number packets of zero pages that it does not send.
    """
    ids = [channel.init.id for channel in channels if channel.init is not None]
    count = len(channels)
    if partial:
        expected = max(count, max(ids, default=-1) + 1)
        return expected, f"{count} present" + (f", highest id {max(ids)}" if expected > count else "")
    # Without content on any channel, nobody knows whether packets are compressed.
    if drops and not any(channel.normal_pages for channel in channels):
        return count, f"{count} present"
    if not ids or any(channel.unreadable or channel.stops_being_packets for channel in channels):
        return count, f"{count} present"
    wanted = set(range(count))
    if set(ids) == wanted and not _misses_numbers(channels):
        return count, f"{count} present"
    first_numbers = {int(channel.packet_numbers()[0]) for channel in channels if len(channel.packet_numbers())}
    if _misses_numbers(channels) and len(set(ids)) == count and first_numbers != wanted:
        expected = max(count + 1, max((i for i in ids if i <= count), default=0) + 1)
        return expected, f"{count} present, packet numbers of at least one more are missing"
    if set(ids) == wanted and _misses_numbers(channels):
        return count + 1, f"{count} present, packet numbers of at least one more are missing"
    return count, f"{count} present"


def _misses_numbers(channels: Sequence[ChannelSurvey]) -> bool:
    """Whether numbers are missing between any two SYNCs: each rendezvous takes one number for every channel."""
    if any(number for channel in channels for number in channel.compressions):
        return False
    if max(channel.sync for channel in channels) > min(channel.sync for channel in channels) + 1:
        return False  # one did not get as far as the others: what is missing may be its own
    seen = numbers_of(channels)
    seen = seen[seen < 4 * len(seen)]  # a wild number says nothing about the others
    if len(seen) < 2 or len(seen) == int(seen[-1]) + 1:
        return False
    rounds = min(channel.sync for channel in channels)
    # Up to 8.2 a SYNC that is merged into data overwrites the number that data had.
    overwritten = sum(channel.hits[SYNC_WITH_PAGES].count for channel in channels if SYNC_WITH_PAGES in channel.hits)
    missing = int(seen[-1]) + 1 - len(seen) - overwritten
    return rounds >= 2 and rounds - 1 <= missing <= seen[-1] and missing * (len(channels) + 1) * 2 >= len(seen)


def choose(
    surveyed: Surveyed,
    *,
    profile: str | None = None,
    mode: Mode | None = None,
    channels: int | None = None,
    compression: str | None = None,
) -> tuple[ProfileChoice, Sender]:
    """The destination that judges: as given, else as the stream has it. Raises InputError for an unknown profile."""
    facts = Facts(surveyed.main, surveyed.surveys)
    sender = infer_sender(facts)
    name = profile or RELEASES[destination_like(sender)].name
    inferred_mode, mode_evidence = infer_mode(facts, dialect.release(name).version)
    drops = sender.maybe(lambda habits: habits.drops_zero_only_compressed)
    count, count_evidence = infer_channels(facts.channels, partial=surveyed.partial, drops=drops)
    evidence = list(sender.evidence) if profile is None else []
    if profile is None and not evidence:
        evidence.append("nothing in the streams tells the release: see what becomes of them elsewhere")
    if mode is None:
        evidence.append(f"{inferred_mode}: {mode_evidence}")
    if channels is None:
        evidence.append(f"channels: {count_evidence}")
    destination = Destination(
        name,
        inferred_mode if mode is None else mode,
        count if channels is None else channels,
        surveyed.page_size,
        surveyed.compression if compression is None else compression,
    )
    return ProfileChoice(destination, profile is None, tuple(evidence)), sender
