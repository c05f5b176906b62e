"""The linter: a recording in, a report for each of its migrations out. This is the library's front door."""

from __future__ import annotations

from collections.abc import Sequence

from analyzers.evidence.ending import recorded
from analyzers.evidence.summary import connection_summaries
from analyzers.findings import Actor, Finding, InputInfo, Kind, Outcome, Reason, Report
from analyzers.findings.recorded import NOT_RECORDED, Ended, Recorded
from analyzers.linter import device_state, packets, sync
from analyzers.linter import recording as recording_checks
from analyzers.linter.connections import found_by_arrival
from analyzers.linter.elsewhere import Compared, compare
from analyzers.linter.found import Collector
from analyzers.linter.happened import found_by_packets, story
from analyzers.linter.judged import Judged, LintOptions, judge_surveyed
from analyzers.linter.legs import between_legs
from analyzers.linter.noted import noted
from analyzers.linter.outcome import with_outcome
from analyzers.linter.rows import found_by_handshake, found_by_reader, found_by_rows
from analyzers.linter.summary import channel_summary, device_summaries, main_summary, stream_facts
from analyzers.receiver.explain import witness
from analyzers.receiver.script import Script
from analyzers.survey.migration import Surveyed, survey_migration
from captures.model import (
    CapturedChannel,
    CaptureNote,
    ChannelKind,
    Migration,
    ProgressCallback,
    Recording,
)
from multifd_codec.dialect import releases as dialect
from multifd_codec.errors import ChannelName


def lint_recording(
    recording: Recording, options: LintOptions | None = None, progress: ProgressCallback | None = None
) -> list[Report]:
    """Judge every migration of a recording. Raises InputError for an unknown profile."""
    if not recording.migrations:
        return [_unjudged(recording, None, recording.notes, Kind.NO_MIGRATION)]
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
    return lint_surveyed(recording, surveyed, options)


def lint_surveyed(recording: Recording, surveyed: Surveyed, options: LintOptions) -> tuple[Report, Script | None]:
    """The same for a migration that has been read."""
    notes = (*recording.notes, *surveyed.migration.notes)
    seen = recorded(surveyed)
    if not surveyed.readable:
        encrypted = any(channel.kind is ChannelKind.TLS for channel in surveyed.migration.channels)
        why = Kind.UNREADABLE if encrypted else Kind.HEADERS_ONLY
        if not surveyed.migration.channels:
            why = Kind.NOTHING_SENT
        return _unjudged(recording, surveyed.migration, notes, why, seen), None
    if seen.ended is Ended.COMPLETED and surveyed.main is not None:
        surveyed.main.accepted()
    judged = judge_surveyed(surveyed, options)
    if judged.lacks_connection:
        seen = recorded(surveyed, lacks=True)
    compared = compare(judged, options, seen)
    return _report(recording, judged, _findings(judged, notes, compared), options, compared), judged.verdict.script


def _info(recording: Recording, channels: Sequence[CapturedChannel]) -> InputInfo:
    gaps = sum(len(channel.source.holes()) for channel in channels)
    files = recording.files if len(recording.files) > 1 else ()
    named = tuple((str(file.path), file.frames) for file in files)
    return InputInfo(str(recording.path), recording.kind, recording.bytes, recording.frames, gaps, named)


def _unjudged(
    recording: Recording,
    migration: Migration | None,
    notes: Sequence[CaptureNote],
    why: Kind,
    seen: Recorded = NOT_RECORDED,
) -> Report:
    collect = Collector({})
    collect.add_all(found_by_packets(seen))
    collect.add_all(found_by_reader(notes, {}, headers_cut=why is Kind.HEADERS_ONLY))
    return Report(
        input=_info(recording, () if migration is None else migration.channels),
        profile=None,
        possible_outcomes=(Outcome.UNDECIDED,),
        main=None,
        findings=collect.findings(),
        reasons=(*story(seen), Reason(why, Actor.DESTINATION)),
        connections=() if migration is None else connection_summaries(migration),
        recorded=seen,
    )


def _report(
    recording: Recording, judged: Judged, findings: tuple[Finding, ...], options: LintOptions, compared: Compared
) -> Report:
    surveyed, context, script = judged.surveyed, judged.context, judged.verdict.script
    worst, end = judged.sorted_outcomes[-1], judged.end
    return Report(
        input=_info(recording, surveyed.migration.channels),
        profile=context.profile,
        possible_outcomes=judged.sorted_outcomes,
        main=main_summary(surveyed.main, context) if surveyed.main is not None else None,
        channels=tuple(channel_summary(one.name, one.survey, one.captured) for one in surveyed.channels),
        devices=device_summaries(surveyed.surveys),
        findings=findings,
        reasons=(
            *between_legs(surveyed.migration),
            *story(compared.seen),
            *noted(surveyed),
            *compared.reasons(judged),
            *judged.reasons,
        ),
        witness=tuple(step.framed(context.frame) for step in witness(script, worst)) if options.witness else (),
        monitor_alive=(end is not None and end.monitor_alive) if worst is Outcome.HANGS else None,
        facts=stream_facts(surveyed.main, surveyed.surveys, context, surveyed.migration),
        connections=connection_summaries(surveyed.migration),
        recorded=compared.seen,
        explained_by=compared.explained_by,
        elsewhere=compared.elsewhere,
    )


def _findings(judged: Judged, notes: Sequence[CaptureNote], compared: Compared) -> tuple[Finding, ...]:
    surveyed, context = judged.surveyed, judged.context
    collect = Collector(context.sources)
    collect.add_all(found_by_packets(compared.seen))
    collect.add_all(compared.found(judged))
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
    return with_outcome(collect, judged)
