"""The linter: a recording in, a report for each of its migrations out. This is the library's front door."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np

from analyzers.findings import Actor, Finding, InputInfo, Kind, Outcome, Reason, Report
from analyzers.judge.arrival import NEVER_STARTS, NOT_RECORDED, Arrived, Ending, ending
from analyzers.judge.handshake import Connection, Handshake, judge_handshake
from analyzers.judge.infer import Facts, choose, infer_mode
from analyzers.judge.verdict import Verdict, judge
from analyzers.linter import device_state, packets, sync
from analyzers.linter import recording as recording_checks
from analyzers.linter.connections import found_by_arrival
from analyzers.linter.context import Context
from analyzers.linter.found import Collector
from analyzers.linter.rows import found_by_handshake, found_by_reader, found_by_rows
from analyzers.linter.summary import channel_summary, device_summaries, main_summary, stream_facts
from analyzers.receiver.explain import Carrier, explain, witness
from analyzers.receiver.script import MainAct, Script
from analyzers.receiver.solve import lockstep
from analyzers.survey.channel import ChannelSurvey
from analyzers.survey.main import MainSurvey, RecordKind
from analyzers.survey.migration import Surveyed, survey_migration
from captures.model import (
    CapturedChannel,
    CaptureNote,
    Migration,
    ProgressCallback,
    Recording,
    StreamSource,
)
from multifd_codec.arrays import distinct
from multifd_codec.device_key import DeviceKey
from multifd_codec.dialect import releases as dialect
from multifd_codec.dialect.releases import Mode
from multifd_codec.errors import ChannelName


@dataclass(frozen=True, slots=True)
class LintOptions:
    """What the stream does not say. None: inferred from it."""

    profile: str | None = None
    """Destination: ``qemu-10.0``, ``rfc-v3``."""
    mode: Mode | None = None
    channels: int | None = None
    page_size: int | None = None
    """Target page size in bytes."""
    machine: str | None = None
    """The destination's machine type."""
    compression: str | None = None
    """The destination's multifd-compression."""
    uuid: UUID | None = None
    """The destination's uuid."""
    witness: bool = False
    """Add a schedule that ends in the worst outcome."""


def lint_recording(
    recording: Recording, options: LintOptions | None = None, progress: ProgressCallback | None = None
) -> list[Report]:
    """Judge every migration of a recording. Raises InputError for an unknown profile."""
    if not recording.migrations:
        return [_unjudged(recording, (), recording.notes, Kind.NO_MIGRATION)]
    return [report for report, _ in lint_with_scripts(recording, options, progress)]


def lint_with_scripts(
    recording: Recording, options: LintOptions | None = None, progress: ProgressCallback | None = None
) -> list[tuple[Report, Script | None]]:
    """Like ``lint_recording``, each report with the receiver's script it was judged by (None: nothing was readable)."""
    options = options or LintOptions()
    return [_linted(recording, migration, options, progress) for migration in recording.migrations]


def _linted(
    recording: Recording, migration: Migration, options: LintOptions, progress: ProgressCallback | None
) -> tuple[Report, Script | None]:
    surveyed = survey_migration(
        migration,
        page_size=options.page_size,
        channels=options.channels,
        device_state=options.profile is None or dialect.release(options.profile).destination.device_state,
        progress=progress,
    )
    notes = (*recording.notes, *migration.notes)
    if not surveyed.readable:
        return _unjudged(recording, migration.channels, notes, Kind.UNREADABLE), None
    judged = judge_surveyed(surveyed, options)
    return _report(recording, judged, _findings(judged, notes), options), judged.verdict.script


def _info(recording: Recording, channels: Sequence[CapturedChannel]) -> InputInfo:
    gaps = sum(len(channel.source.holes()) for channel in channels)
    return InputInfo(str(recording.path), recording.kind, recording.bytes, recording.frames, gaps)


def _unjudged(
    recording: Recording, channels: Sequence[CapturedChannel], notes: Sequence[CaptureNote], why: Kind
) -> Report:
    collect = Collector({})
    collect.add_all(found_by_reader(notes, {}, headers_cut=False))
    return Report(
        input=_info(recording, channels),
        profile=None,
        possible_outcomes=(Outcome.UNDECIDED,),
        main=None,
        findings=collect.findings(),
        reasons=(Reason(why, Actor.DESTINATION),),
    )


@dataclass(frozen=True, slots=True)
class Judged:
    """A surveyed migration and what a destination makes of it."""

    surveyed: Surveyed
    context: Context
    handshake: Handshake
    verdict: Verdict
    end: Ending | None
    """How it ends before the load begins; None when that begins."""

    @property
    def outcomes(self) -> frozenset[Outcome]:
        return self.verdict.outcomes if self.end is None else self.end.outcomes


def judge_surveyed(surveyed: Surveyed, options: LintOptions) -> Judged:
    """Choose the destination, then judge connections, packets and records by it."""
    main, surveys = surveyed.main, surveyed.surveys
    if main is not None and options.machine is not None:
        main.expect_machine(options.machine)
    profile, sender = choose(
        surveyed,
        profile=options.profile,
        mode=options.mode,
        channels=options.channels,
        compression=options.compression,
    )
    destination = profile.destination
    handshake = judge_handshake(
        [Connection(position, one.survey, one.name) for position, one in enumerate(surveyed.channels)],
        main,
        destination.habits,
        destination.channels,
        uuid=None if options.uuid is None else options.uuid.bytes,
        partial=surveyed.partial,
        mains=len(surveyed.mains),
    )
    read = [] if surveyed.mapped_ram else [(channel.name, channel.survey) for channel in surveyed.channels]
    gaps = not surveyed.partial and sender.surely(lambda s: s.packet_num_dense) and _misses_packets(surveys)
    verdict = judge(read, main, destination, sender, gaps=gaps, second_main=len(surveyed.mains) > 1)
    given = options.mode is not None or options.profile is not None
    infers = given and not surveyed.partial
    context = Context(
        main=main,
        channels=read,
        profile=profile,
        sender=sender,
        stream_mode=infer_mode(Facts(main, surveys), sender.last)[0] if infers else destination.mode,
        script=verdict.script,
        lockstep=lockstep(verdict.script),
        memory=verdict.memory,
        reduced=surveyed.partial or len(surveys) < destination.channels or any(s.init is None for s in surveys),
        sources=_sources(surveyed),
    )
    end = _ending(surveyed, options, context, handshake, verdict)
    return Judged(surveyed, context, handshake, verdict, end)


def _sources(surveyed: Surveyed) -> dict[ChannelName, StreamSource]:
    sources: dict[ChannelName, StreamSource] = {one.name: one.captured.source for one in surveyed.channels}
    if surveyed.mains:
        sources["main"] = surveyed.mains[0].source
    return sources


def _ending(
    surveyed: Surveyed, options: LintOptions, context: Context, handshake: Handshake, verdict: Verdict
) -> Ending | None:
    main, channels = surveyed.main, surveyed.channels
    if main is not None and not (channels or surveyed.short or surveyed.foreign) and _needs_channels(main, verdict):
        return NEVER_STARTS if options.channels else NOT_RECORDED
    taken = len(surveyed.migration.channels) - len(surveyed.ignored)
    surplus = bool(options.channels) and taken > (options.channels or 0)
    arrived = Arrived(len(surveyed.mains), surveyed.foreign, surveyed.short, surplus)
    return ending(arrived, handshake, verdict.script, context.destination.habits)


def _report(recording: Recording, judged: Judged, findings: tuple[Finding, ...], options: LintOptions) -> Report:
    surveyed, context, script = judged.surveyed, judged.context, judged.verdict.script
    outcomes = judged.outcomes
    worst = max(outcomes, key=lambda outcome: outcome.rank)
    end = judged.end
    reasons = [] if end is None else [end.reason]
    if end is None:
        reasons = explain(script, outcomes, _carried(surveyed.surveys))
        if outcomes & {Outcome.LOSES_DATA}:
            reasons += [*judged.verdict.memory.wrong, *judged.verdict.memory.raced]
    return Report(
        input=_info(recording, surveyed.migration.channels),
        profile=context.profile,
        possible_outcomes=tuple(sorted(outcomes, key=lambda outcome: outcome.rank)),
        main=main_summary(surveyed.main, context) if surveyed.main is not None else None,
        channels=tuple(channel_summary(one.name, one.survey, one.captured) for one in surveyed.channels),
        devices=device_summaries(surveyed.surveys),
        findings=findings,
        reasons=tuple(reason.framed(context.frame) for reason in reasons),
        witness=tuple(step.framed(context.frame) for step in witness(script, worst)) if options.witness else (),
        monitor_alive=(end is not None and end.monitor_alive) if worst is Outcome.HANGS else None,
        facts=stream_facts(surveyed.main, surveyed.surveys, context, surveyed.migration),
    )


def _findings(judged: Judged, notes: Sequence[CaptureNote]) -> tuple[Finding, ...]:
    surveyed, context = judged.surveyed, judged.context
    collect = Collector(context.sources)
    collect.add_all(found_by_arrival(surveyed))
    collect.add_all(found_by_handshake(judged.handshake.problems, [one.name for one in surveyed.channels]))
    collect.add_all(found_by_rows(context))
    for module in (packets, sync, device_state):
        collect.add_all(module.CHECKS.found(context))
    labels: dict[str, ChannelName] = {one.captured.label: one.name for one in surveyed.channels}
    if surveyed.mains:
        labels[surveyed.mains[0].label] = "main"
    headers_cut = any(survey.unreadable for _, survey in context.channels)
    collect.add_all(found_by_reader(notes, labels, headers_cut=headers_cut))
    collect.add_all(recording_checks.CHECKS.found(context))
    return collect.findings()


def _carried(surveys: Sequence[ChannelSurvey]) -> dict[tuple[DeviceKey, int], Carrier]:
    """Every device-state buffer on the wire."""
    return {
        (item.buffer.device, item.buffer.index): Carrier(position, item.offset, item.buffer.config)
        for position, survey in enumerate(surveys)
        for item in survey.items
        if item.buffer is not None and item.buffer.index is not None
    }


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
