"""What must hold without any QEMU, tried on families of migrations: one plan, and many structural edits of its stream.

For every plan: what is decoded is what was encoded, whole and in pieces; the plan's memory is what its stream rebuilds;
the linter has nothing to say. For every edited stream: the same of the channels it touches; the outcome of a random
schedule is among those the solver found by counting. For some of each family, as they take longer: all interleavings
give the solver's outcomes; the linter's way from bytes to outcomes gives the same.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from analyzers.extraction import rebuild_memory
from analyzers.findings import Kind, Outcome, Severity
from analyzers.fuzz.case import Case, Habitat, random_plan
from analyzers.fuzz.script import STRUCTURAL, script_of
from analyzers.linter.judged import LintOptions
from analyzers.linter.linter import lint_recording, lint_with_scripts
from analyzers.receiver import machine
from analyzers.receiver.explore import TooLargeError, explore
from analyzers.receiver.script import Script
from analyzers.receiver.solve import solve
from analyzers.receiver.tables import ROWS
from captures.memory import MemorySource, captured, recording
from multifd_codec.channel.batch import PacketBatch
from multifd_codec.channel.decoder import ChannelDecoder
from multifd_codec.channel.events import ChannelInit
from multifd_codec.draft.draft import CHANNEL_EVENTS, Draft, Line, Record
from multifd_codec.draft.edits import Edit, apply, random_edit
from multifd_codec.draft.main_records import placed
from multifd_codec.errors import ChannelName, EncodeError, MultifdError
from multifd_codec.main.decoder import MainDecoder
from multifd_codec.main.events import Command, Flush, ZeroPageRun
from multifd_codec.plan.plan import memory
from multifd_codec.sender import draft
from multifd_codec.source import BufferSource, StreamEnd
from multifd_codec.wire.qemufile import CommandId

ALWAYS = 2
"""Streams of each plan beside these: the healthy one and a hostile one."""
VARIANTS = 63
"""Edited streams of each plan."""
LARGEST = 600
"""Places up to which all interleavings are tried."""
SCHEDULES = 8
"""One of so many edited streams runs through a random schedule."""


class Problem(NamedTuple):
    """An invariant that does not hold."""

    invariant: str
    case: Case
    message: str


@dataclass(slots=True)
class Tally:
    """What a run has seen."""

    streams: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    transitions: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.streams += other.streams
        self.outcomes += other.outcomes
        self.transitions += other.transitions
        self.problems += other.problems


def all_transitions() -> frozenset[str]:
    """Every transition of the receiver's tables."""
    return frozenset(row.name for row in ROWS)


def run_family(seed: int, habitat: Habitat, variants: int = VARIANTS) -> Tally:
    """One plan and its edited streams."""
    return _Family(seed, habitat).run(variants)


class _Family:
    def __init__(self, seed: int, habitat: Habitat) -> None:
        self.chance = random.Random(f"family {seed}/{habitat.destination.release.version}/{habitat.destination.mode}")
        self.plan = random_plan(self.chance, habitat)
        self.seed = seed
        self.habitat = habitat
        self.tally = Tally()
        self.draft = draft(self.plan)
        self.script = script_of(self.draft, self.habitat.destination)

    def run(self, variants: int) -> Tally:
        self._healthy()
        watched = self.chance.randrange(max(1, variants))
        for number in range(variants):
            self._edited(thorough=number == watched, scheduled=number % SCHEDULES == 0)
        self._hostile()
        return self.tally

    def _fails(self, invariant: str, message: str, edits: Sequence[Edit] = ()) -> None:
        self.tally.problems.append(Problem(invariant, Case(self.seed, self.plan, tuple(edits)), message))

    # The healthy migration.

    def _healthy(self) -> None:
        self.tally.streams += 1
        encoded = {name: self.draft.encoded(name) for name, _ in self.draft.lines()}
        channels = []
        for number, line in enumerate(self.draft.channels):
            items = list(self._decoder(encoded[number]).scan())
            channels.append(items)
            self._round_trip(number, line, _events(items), ())
            if number == 0:
                self._chunks(encoded[0], _events(items))
        main = list(MainDecoder(BufferSource(encoded["main"]), page_size=self.plan.page_size).walk())
        self._main_round_trip(main)
        sources = [BufferSource(encoded[name]) for name in ("main", *range(len(channels)))]
        try:
            rebuilt = rebuild_memory(main, channels, sources, self.plan.page_size, mode=self.habitat.destination.mode)
        except MultifdError as error:
            self._fails("memory", str(error))
            return
        if not self._drops_packets() and rebuilt != memory(self.plan):
            self._fails("memory", "rebuilt memory is not what the plan says")
        outcomes = solve(self.script)
        self._count(outcomes)
        self._linted(encoded, outcomes, ())

    def _drops_packets(self) -> bool:
        """Whether the sender may leave zero pages out that its plan has (J-9)."""
        return self.plan.compression != "none" and self.plan.release.sender.drops_zero_only_compressed

    def _decoder(self, data: bytes) -> ChannelDecoder:
        return ChannelDecoder(BufferSource(data), page_size=self.plan.page_size)

    def _round_trip(self, name: ChannelName, line: Line, events: Sequence[object], edits: Sequence[Edit]) -> None:
        """What was decoded is what was encoded, but for the offsets."""
        if len(events) != len(line):
            self._fails("round trip", f"channel {name}: {len(line)} records encoded, {len(events)} decoded", edits)
            return
        offset = 0
        for record, event in zip(line, events, strict=True):
            sent = record.event
            if isinstance(sent, CHANNEL_EVENTS) and type(event) is type(sent):
                behind = offset + sent.length
                placed: dict[str, Any] = {"offset": offset}
                if not isinstance(sent, ChannelInit):
                    placed |= {"payload_offset": behind, "payload_length": len(record.payload)}
                if event == sent._replace(**placed):
                    offset = behind + len(record.payload)
                    continue
            self._fails("round trip", f"channel {name}, offset {offset}: {type(sent).__name__} became {event}", edits)
            return

    def _main_round_trip(self, items: Sequence[object]) -> None:
        sent = list(_main_records(self.draft.main))
        items = [part for item in items for part in (item.records() if isinstance(item, ZeroPageRun) else (item,))]
        records = [record.event for record in placed(sent)]
        for expected, item in zip(records, items, strict=False):
            if type(expected) is not type(item) or expected.offset != item.offset or expected.length != item.length:
                self._fails("round trip", f"main, offset {expected.offset}: {type(expected).__name__} became {item}")
                return
        if len(items) != len(records) + 1:  # and the end
            self._fails("round trip", f"main: {len(records)} records encoded, {len(items)} decoded")

    def _chunks(self, data: bytes, whole: Sequence[object]) -> None:
        """The same bytes in pieces give the same events."""
        source = BufferSource(b"", end=StreamEnd.OPEN)
        decoder = ChannelDecoder(source, page_size=self.plan.page_size, growing=True)
        seen: list[object] = []
        start = 0
        while start < len(data):
            end = start + self.chance.choice((1, 63, 200, 1344, 6000))
            source.feed(data[start:end])
            seen += decoder.events()
            start = end
        source.close()
        seen += decoder.events()
        if seen[:-1] != list(whole):
            self._fails("chunks", "decoding in pieces gives other events")

    # Edited ones.

    def _edited(self, *, thorough: bool, scheduled: bool) -> None:
        made, edits = self.draft, []
        for _ in range(self.chance.choice((1, 1, 2, 3))):
            edit = self._structural(made)
            if edit is None:
                continue
            made = apply(made, edit)
            edits.append(edit)
        self.tally.streams += 1
        for number, line in enumerate(made.channels):
            if line != self.draft.channels[number]:
                data = made.encoded(number)
                self._round_trip(number, line, _events(self._decoder(data).scan()), edits)
        script = script_of(made, self.habitat.destination, (self.draft, self.script))
        outcomes = solve(script)
        self._count(outcomes)
        if scheduled:
            self._schedule(script, outcomes, edits)
        if thorough:
            self._explored(script, outcomes, edits)
        if thorough and self.plan.compression == "none":  # else the order of packets decides what they unpack to
            self._linted({name: made.encoded(name) for name, _ in made.lines()}, outcomes, edits)

    def _hostile(self) -> None:
        """Any edits at all: nothing raises, and what the linter makes of it holds together."""
        made, edits = self.draft, []
        for _ in range(self.chance.choice((1, 1, 2, 3))):
            edits.append(random_edit(made, self.chance))
            made = apply(made, edits[-1])
        self.tally.streams += 1
        try:
            encoded = {name: made.encoded(name) for name, _ in made.lines()}
        except EncodeError:
            return
        streams = [captured(name, MemorySource(data)) for name, data in encoded.items()]
        try:
            ((report, script),) = lint_with_scripts(recording(streams), self._options())
        except Exception as error:  # whatever it is, it is a bug
            self._fails("hostile", f"{type(error).__name__}: {error}", edits)
            return
        self._count(frozenset(report.possible_outcomes))
        if script is not None:
            outcomes = solve(script)
            self._schedule(script, outcomes, edits)
            self._explored(script, outcomes, edits)

    def _options(self) -> LintOptions:
        destination = self.habitat.destination
        return LintOptions(destination.name, destination.mode, self.plan.channels)

    def _structural(self, made: Draft) -> Edit | None:
        """An edit that leaves records whole: packets of channels, FLUSH and SWITCHOVER_START of main."""
        edit = random_edit(made, self.chance, STRUCTURAL)
        line = made.main if edit.channel == "main" else made.channels[edit.channel]
        if edit.channel == "main":
            movable = [i for i, r in enumerate(line) if _is_movable(r.event)]
            if not movable:
                return None
            position = self.chance.choice(movable)
            kind = edit.kind if edit.kind in STRUCTURAL[:2] else STRUCTURAL[0]
            if isinstance(line[position].event, Command):
                kind = STRUCTURAL[0]
            return edit._replace(kind=kind, position=position)
        if len(line) < 2 or edit.other == "main":
            return None
        # The ChannelInit stays where it is.
        count = len(line) - 1
        behind = len(made.channels[edit.other]) if edit.kind is STRUCTURAL[3] else count
        return edit._replace(position=1 + edit.position % count, to=1 + edit.to % max(1, behind))

    def _schedule(self, script: Script, outcomes: frozenset[Outcome], edits: Sequence[Edit]) -> None:
        """One run, each step picked at random."""
        at = machine.start(script)
        while True:
            moves = list(machine.moves(script, at))
            if not moves:
                break
            move = self.chance.choice(moves)
            self.tally.transitions[move.row.name] += 1
            at = move.state
        seen = machine.outcome(script, at)
        if seen not in outcomes:
            self._fails("schedule", f"a schedule ends in {seen}, counting finds {_said(outcomes)}", edits)

    def _explored(self, script: Script, outcomes: frozenset[Outcome], edits: Sequence[Edit]) -> None:
        try:
            every = explore(script, limit=LARGEST)
        except TooLargeError:
            return
        if every != outcomes:
            self._fails("brute force", f"all interleavings: {_said(every)}, counting: {_said(outcomes)}", edits)

    def _linted(self, encoded: dict[ChannelName, bytes], outcomes: frozenset[Outcome], edits: Sequence[Edit]) -> None:
        """The linter, from the bytes alone, finds the same outcomes."""
        streams = [captured(name, MemorySource(data)) for name, data in encoded.items()]
        (report,) = lint_recording(recording(streams), self._options())
        found, outcomes = _without_memory(report.possible_outcomes), _without_memory(outcomes)
        if not edits and not self._drops_packets():
            bad = [finding for finding in report.findings if finding.severity is not Severity.INFO]
            if bad or found != {Outcome.COMPLETES}:
                self._fails("healthy", f"{_said(found)}; {bad[0].rule if bad else 'no finding'}")
        doubted = {Outcome.FAILS} if any(reason.kind is Kind.MAIN_MAY_FAIL for reason in report.reasons) else set()
        if not outcomes <= found or found - outcomes - doubted:
            self._fails("model", f"the linter finds {_said(found)}, the records say {_said(outcomes)}", edits)

    def _count(self, outcomes: frozenset[Outcome]) -> None:
        for outcome in outcomes:
            self.tally.outcomes[str(outcome)] += 1


def _events(items: Iterator[object] | Sequence[object]) -> list[object]:
    """Scan items as events, without the end."""
    events: list[object] = []
    for item in items:
        if isinstance(item, PacketBatch):
            events += item.packets()
        else:
            events.append(item)
    return events[:-1]


def _main_records(line: Line) -> Iterator[Record]:
    for record in line:
        if isinstance(record.event, ZeroPageRun):
            yield from map(Record, record.event.records())
        else:
            yield record


def _is_movable(event: object) -> bool:
    return isinstance(event, Flush) or (isinstance(event, Command) and event.command == CommandId.SWITCHOVER_START)


def _without_memory(outcomes: Iterable[Outcome]) -> frozenset[Outcome]:
    """Memory is not part of a script made from records."""
    return frozenset(Outcome.COMPLETES if outcome is Outcome.LOSES_DATA else outcome for outcome in outcomes)


def _said(outcomes: frozenset[Outcome]) -> str:
    return ", ".join(sorted(map(str, outcomes))) or "nothing"
