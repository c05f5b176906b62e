"""The linter: a recording in, a report for each of its migrations out. This is the library's front door."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

from analyzers.findings import InputInfo, Outcome, Report, Severity
from analyzers.judge.arrival import NEVER_STARTS, NOT_RECORDED, Arrived, ending
from analyzers.judge.handshake import (
    FOREIGN,
    MAGIC_LENGTH,
    SHORT,
    Connection,
    SetProblem,
    ignored,
    judge_handshake,
)
from analyzers.judge.infer import Facts, choose, infer_mode
from analyzers.judge.scripts import Judge
from analyzers.judge.verdict import Verdict, judge
from analyzers.linter import channel_set as set_rules
from analyzers.linter import device_state, packets, sync
from analyzers.linter.context import Collector, Context
from analyzers.linter.summary import channel_summary, device_summaries, main_summary, stream_facts
from analyzers.receiver.explain import Carrier, explain, witness
from analyzers.receiver.script import MainAct, Script
from analyzers.receiver.solve import lockstep
from analyzers.rulebook.codes import MFD602, MFD606, MFD608
from analyzers.survey.channel import ChannelSurvey, survey_channel
from analyzers.survey.main import MainSurvey, RecordKind
from analyzers.survey.main_pass import survey_main
from analyzers.survey.start import starts_with_init
from captures.model import CapturedChannel, ChannelKind, Migration, ProgressCallback, Recording, StreamSource
from multifd_codec.arrays import distinct
from multifd_codec.channel import framing
from multifd_codec.channel.events import ChannelInit
from multifd_codec.device_key import DeviceKey
from multifd_codec.dialect import releases as dialect
from multifd_codec.dialect.compression import named
from multifd_codec.dialect.releases import Mode
from multifd_codec.errors import ChannelName
from multifd_codec.source import StreamEnd
from multifd_codec.wire.handshake import MULTIFD_MAGIC, MULTIFD_VERSION
from multifd_codec.wire.packet import COMPRESSION_MASK


@dataclass(frozen=True, slots=True)
class LintOptions:
    """What the stream does not say. None: inferred from it."""

    profile: str | None = None
    """Destination: ``qemu-10.0``, ``rfc-v3``."""
    mode: str | None = None
    """``per-section`` or ``per-round``."""
    channels: int | None = None
    page_size: int | None = None
    """Target page size in bytes."""
    machine: str | None = None
    """The destination's machine type."""
    compression: str | None = None
    """The destination's multifd-compression."""
    uuid: bytes | None = None
    """The destination's uuid, 16 bytes."""
    witness: bool = False
    """Add a schedule that ends in the worst outcome."""


def lint_recording(
    recording: Recording, options: LintOptions | None = None, progress: ProgressCallback | None = None
) -> list[Report]:
    """Judge every migration of a recording. Raises InputError for an unknown profile."""
    options = options or LintOptions()
    if not recording.migrations:
        return [_nothing(recording)]
    return [_Linter(recording, migration, options, progress).report() for migration in recording.migrations]


def lint_with_scripts(recording: Recording, options: LintOptions | None = None) -> list[tuple[Report, Script | None]]:
    """Like ``lint_recording``, each report with the receiver's script it was judged by (None: nothing was readable)."""
    options = options or LintOptions()
    linters = [_Linter(recording, migration, options, None) for migration in recording.migrations]
    return [(linter.report(), linter.script) for linter in linters]


def _info(recording: Recording, channels: Sequence[CapturedChannel]) -> InputInfo:
    gaps = sum(len(channel.source.holes()) for channel in channels)
    return InputInfo(str(recording.path), recording.kind, recording.bytes, recording.frames, gaps)


def _nothing(recording: Recording) -> Report:
    collect = Collector({})
    set_rules.recording(None, collect, recording.notes, {})
    return Report(
        input=_info(recording, ()),
        profile=None,
        possible_outcomes=(Outcome.UNDECIDED,),
        main=None,
        findings=collect.findings(),
        explanation=("no multifd migration was found in this input",),
    )


class _Linter:
    """One migration on its way to a report."""

    def __init__(
        self, recording: Recording, migration: Migration, options: LintOptions, progress: ProgressCallback | None
    ) -> None:
        self.recording = recording
        self.migration = migration
        self.options = options
        self.progress = progress
        late = ignored(migration.channels, options.channels)
        self.ignored = [c for position, c in enumerate(migration.channels) if position in late]
        self.channels = [c for position, c in enumerate(migration.channels) if position not in late]
        self.mains = [c for c in self.channels if c.kind is ChannelKind.MAIN]
        self.foreign: list[CapturedChannel] = []
        self.short: list[CapturedChannel] = []
        self.notes = (*recording.notes, *migration.notes)
        self.script: Script | None = None
        """What was judged, once it has been."""
        self.done = 0
        self.total = sum(channel.source.size for channel in migration.channels)

    def report(self) -> Report:
        readable = [c for c in self.channels if c.kind in (ChannelKind.MULTIFD, ChannelKind.UNKNOWN)]
        if not self.mains and not readable:
            return self._unreadable()
        main = (
            survey_main(self.mains[0].source, page_size=self.options.page_size, progress=self._progress())
            if self.mains
            else None
        )
        if self.mains:
            self.done += self.mains[0].source.size
        surveyed = [(channel, self._survey(channel, main)) for channel in readable]
        self.short = [c for c, s in surveyed if c.kind is ChannelKind.UNKNOWN and not s.packets and _is_short(c)]
        if main is None or not main.postcopy:  # the preempt channel of postcopy starts with no magic
            strange = [(c, s) for c, s in surveyed if c.kind is ChannelKind.UNKNOWN and _starts(c)]
            self.foreign = [c for c, s in strange if not s.packets or s.starts_late]
        surveyed = [(c, s) for c, s in surveyed if c.kind is ChannelKind.MULTIFD or s.packets]
        numbered = sorted(
            (
                (survey.init.id if _is_init(survey.init) else len(surveyed) + position, position)
                for position, (_, survey) in enumerate(surveyed)
            ),
        )
        channels = [(number, surveyed[position][1]) for number, position in numbered]
        return self._judge(main, channels, [surveyed[position][0] for _, position in numbered])

    def _progress(self) -> Callable[[int], None] | None:
        if self.progress is None:
            return None
        progress, done, total = self.progress, self.done, self.total
        return lambda offset: progress("reading channels", done + offset, total)

    def _survey(self, channel: CapturedChannel, main: MainSurvey | None) -> ChannelSurvey:
        source = channel.source
        page_size = self.options.page_size
        if page_size is None and main is not None and main.page_size_stated:
            page_size = main.page_size
        survey = survey_channel(
            source,
            page_size=page_size,
            blocks=main.blocks if main is not None else None,
            starts_with_init=starts_with_init(channel),
            device_state=self._reads_device_state(main),
            progress=self._progress(),
        )
        self.done += source.size
        return survey

    def _reads_device_state(self, main: MainSurvey | None) -> bool:
        """False for a destination that does not know the flag and a stream that does not mean it."""
        if self.options.profile is None or dialect.release(self.options.profile).destination.device_state:
            return True
        return main is None or bool(main.vfio)

    def _compression(self, surveys: Sequence[ChannelSurvey]) -> int:
        chosen = self.options.compression
        return _compression(surveys) if chosen is None else named(chosen).flag

    def _unreadable(self) -> Report:
        collect = Collector({})
        labels: dict[str, ChannelName] = {}
        set_rules.recording(None, collect, self.notes, labels)
        return Report(
            input=_info(self.recording, self.migration.channels),
            profile=None,
            possible_outcomes=(Outcome.UNDECIDED,),
            main=None,
            findings=collect.findings(),
            explanation=("the channels cannot be read: TLS sessions need the key log of this migration (--keylog)",),
        )

    def _judge(
        self,
        main: MainSurvey | None,
        channels: list[tuple[int, ChannelSurvey]],
        captured: list[CapturedChannel],
    ) -> Report:
        surveys = [survey for _, survey in channels]
        if main is not None and self.options.machine is not None:
            main.expect_machine(self.options.machine)
        page_size = surveys[0].page_size if surveys else (main.page_size if main is not None else None) or 4096
        facts = Facts(main, surveys)
        partial = _partial(main, surveys)
        profile, release, sender = choose(
            facts,
            partial=partial,
            profile=self.options.profile,
            mode=self.options.mode,
            channels=self.options.channels,
            page_size=self.options.page_size or page_size,
        )
        destination = Judge(release.destination, Mode(profile.mode), self._compression(surveys), release.version)
        connections = [Connection(position, survey) for position, survey in enumerate(surveys)]
        handshake = judge_handshake(
            connections,
            main,
            release.destination,
            profile.channels,
            uuid=self.options.uuid,
            partial=partial,
            mains=len(self.mains),
        )
        gaps = not partial and sender.surely(lambda s: s.packet_num_dense) and _misses_packets(surveys)
        read = [] if main is not None and "mapped-ram" in main.capabilities else channels
        verdict = judge(read, main, destination, sender, gaps=gaps, second_main=len(self.mains) > 1)
        self.script = verdict.script
        surplus = bool(self.options.channels) and len(self.channels) > (self.options.channels or 0)
        arrived = Arrived(len(self.mains), self.foreign, self.short, surplus)
        end = ending(arrived, handshake, verdict.script, release.destination)
        if main is not None and not (channels or self.short or self.foreign) and _needs_channels(main, verdict):
            end = NEVER_STARTS if self.options.channels else NOT_RECORDED
        outcomes = verdict.outcomes if end is None else end.outcomes
        sources: dict[ChannelName, StreamSource] = {
            number: c.source for (number, _), c in zip(channels, captured, strict=True)
        }
        if self.mains:
            sources["main"] = self.mains[0].source
        given = self.options.mode is not None or self.options.profile is not None
        context = Context(
            main=main,
            channels=read,
            profile=profile,
            release=release,
            sender=sender,
            mode=destination.mode,
            stream_mode=infer_mode(facts, sender.last)[0] if given and not partial else destination.mode,
            compression=destination.compression,
            script=verdict.script,
            lockstep=lockstep(verdict.script),
            memory=verdict.memory,
            reduced=partial or len(channels) < profile.channels or any(survey.init is None for survey in surveys),
            sources=sources,
        )
        collect = Collector(sources)
        numbered = [(number, c) for (number, _), c in zip(channels, captured, strict=True)]
        self._rules(context, collect, handshake.problems, numbered)
        where = _locator(context)
        lines = [] if end is None else [end.reason]
        if end is None:
            lines = explain(verdict.script, outcomes, _carried(surveys), where)
            if outcomes & {Outcome.LOSES_DATA}:
                lines += [*verdict.memory.wrong, *verdict.memory.raced]
        worst = max(outcomes, key=lambda outcome: outcome.rank)
        return Report(
            input=_info(self.recording, self.migration.channels),
            profile=profile,
            possible_outcomes=tuple(sorted(outcomes, key=lambda outcome: outcome.rank)),
            main=main_summary(main, context) if main is not None else None,
            channels=tuple(
                channel_summary(number, survey, c.label) for (number, survey), c in zip(channels, captured, strict=True)
            ),
            devices=device_summaries(surveys),
            findings=collect.findings(),
            explanation=tuple(lines),
            witness=tuple(witness(verdict.script, worst, where)) if self.options.witness else (),
            monitor_alive=(end is not None and end.monitor_alive) if worst is Outcome.HANGS else None,
            facts=stream_facts(main, surveys, context, self.migration),
        )

    def _rules(
        self,
        context: Context,
        collect: Collector,
        problems: Sequence[SetProblem],
        captured: list[tuple[int, CapturedChannel]],
    ) -> None:
        for channel in self.short:
            collect.add(MFD602, f"{channel.label}: {SHORT}")
        for channel in self.foreign:
            collect.add(MFD602, f"{channel.label}: {FOREIGN}")
        for extra in self.ignored:
            message = f"a connection behind the full set of channels, which is ignored ({extra.label})"
            rule = MFD608 if extra.kind is ChannelKind.MAIN else MFD606
            collect.add(rule, message, severity=Severity.WARNING)
        for extra in self.mains[1:]:
            collect.add(MFD608, f"a second main channel ({extra.label})", channel="main", offset=0)
        set_rules.channel_set(collect, problems, [number for number, _ in captured])
        packets.check(context, collect)
        sync.check(context, collect)
        device_state.check(context, collect)
        set_rules.main_channel(context, collect)
        labels: dict[str, ChannelName] = {c.label: number for number, c in captured}
        if self.mains:
            labels[self.mains[0].label] = "main"
        set_rules.recording(context, collect, self.notes, labels)


COMPRESSION_IDS = frozenset({0, *(1 << bit for bit in range(32) if COMPRESSION_MASK >> bit & 1)})


def _carried(surveys: Sequence[ChannelSurvey]) -> dict[tuple[DeviceKey, int], Carrier]:
    """Every device-state buffer on the wire."""
    return {
        (item.buffer.device, item.buffer.index): Carrier(position, item.offset, item.buffer.config)
        for position, survey in enumerate(surveys)
        for item in survey.items
        if item.buffer is not None and item.buffer.index is not None
    }


def _is_init(init: ChannelInit | None) -> TypeGuard[ChannelInit]:
    """Whether its id can be believed: at most one of magic and version is wrong."""
    return init is not None and (init.magic == MULTIFD_MAGIC or init.version == MULTIFD_VERSION)


def _compression(surveys: Sequence[ChannelSurvey]) -> int:
    """The compression id most packets with pages carry; only ids there are can be configured."""
    counts: Counter[int] = Counter()
    for survey in surveys:
        for number, hits in survey.compressions.items():
            if number in COMPRESSION_IDS:
                counts[number] += hits.count
    return counts.most_common(1)[0][0] if counts else 0


def _partial(main: MainSurvey | None, surveys: Sequence[ChannelSurvey]) -> bool:
    """Whether packets or records may be missing from the recording, so that counting proves nothing."""
    if main is None or main.skipped is not None or (main.eof is None and main.end is not StreamEnd.CLOSED):
        return True
    if main.eof is None and main.source.holes():
        return True
    return any(s.unreadable or (s.source.end is StreamEnd.OPEN and not s.ends_at_boundary) for s in surveys)


def _starts(channel: CapturedChannel) -> bool:
    """Whether the bytes a destination tells connections by are there."""
    return channel.start_captured and len(framing.read_known(channel.source, 0, MAGIC_LENGTH)) == MAGIC_LENGTH


def _is_short(channel: CapturedChannel) -> bool:
    """Whether a connection was closed before a destination could tell what it is."""
    source = channel.source
    whole = channel.start_captured and source.end is StreamEnd.CLOSED and not source.holes()
    return whole and source.size < MAGIC_LENGTH


def _misses_packets(surveys: Sequence[ChannelSurvey]) -> bool:
    numbers = distinct(np.concatenate([np.empty(0, np.int64), *(survey.packet_numbers() for survey in surveys)]))
    return bool(len(numbers)) and len(numbers) <= int(numbers[-1])


def _needs_channels(main: MainSurvey, verdict: Verdict) -> bool:
    """Whether the migration had multifd channels and its outcome depends on them.

    FLUSH records or guest pages nobody sends speak for channels; all pages on main (8.1 wrote FLUSH then, too), or a
    load that fails in front of the first rendezvous, against it.
    """
    acts = [step.act for step in verdict.script.main]
    if "mapped-ram" in main.capabilities or (acts[-1] is MainAct.FAIL and MainAct.RENDEZVOUS not in acts):
        return False
    if verdict.memory.never_sent:
        return True
    return main.count(RecordKind.FLUSH) > 0 and (main.postcopy or not main.page_records)


def _locator(context: Context) -> Callable[[int | None, int], str]:
    def where(position: int | None, offset: int) -> str:
        channel: ChannelName = "main" if position is None else context.channels[position][0]
        frame = context.frame(channel, offset)
        return f"offset {offset}" + (f" (frame {frame})" if frame is not None else "")

    return where
