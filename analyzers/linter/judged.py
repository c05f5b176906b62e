"""One destination judges one surveyed migration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple
from uuid import UUID

from analyzers.findings import ChannelEnd, Kind, Outcome, ProfileChoice, Reason
from analyzers.judge.arrival import NEVER_STARTS, NOT_RECORDED, Arrived, Ending, Others, ending, others
from analyzers.judge.handshake import Connection, Handshake, judge_handshake
from analyzers.judge.infer import Facts, Sender, choose, infer_mode
from analyzers.judge.memory import Known
from analyzers.judge.verdict import Verdict, judge
from analyzers.linter.context import Context
from analyzers.receiver.explain import Carrier, explain
from analyzers.receiver.script import MainAct
from analyzers.receiver.solve import lockstep
from analyzers.rulebook.codes import MFD521, MFD603
from analyzers.survey.channel import ChannelSurvey
from analyzers.survey.damage import connection_missing, lacks_numbers, misses_numbers, undecidable
from analyzers.survey.main import MainSurvey, RecordKind
from analyzers.survey.migration import Surveyed
from captures.model import (
    StreamSource,
)
from multifd_codec.device_key import DeviceKey
from multifd_codec.dialect.releases import Mode
from multifd_codec.errors import ChannelName
from multifd_codec.source import StreamEnd


class LintOptions(NamedTuple):
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
    postcopy: bool | None = None
    """The destination's capability postcopy-ram."""
    switchover_ack: bool | None = None
    """The destination's capability switchover-ack."""
    device_transfer: bool | None = None
    """x-migration-multifd-transfer of the destination's VFIO devices."""
    config_after_iter: bool | None = None
    """x-migration-load-config-after-iter of the destination's VFIO devices."""
    uuid: UUID | None = None
    """The destination's uuid."""
    witness: bool = False
    """Add a schedule that ends in the worst outcome."""
    elsewhere: bool = False
    """Judge the streams for every release and mode, too."""


class Judged(NamedTuple):
    """A surveyed migration and what a destination makes of it."""

    surveyed: Surveyed
    context: Context
    handshake: Handshake
    verdict: Verdict
    end: Ending | None
    """How it ends before the load begins; None when that begins."""
    known: Known
    """What was found on the way that other destinations need not find again."""
    undecidable: bool
    """The verdict may rest on what is only missing from the recording."""
    lacks_connection: bool
    """A whole channel is missing that others show to have been there."""
    demanded: frozenset[Outcome] = frozenset()
    """What comes of a number of channels that was asked for, whatever is missing."""

    @property
    def outcomes(self) -> frozenset[Outcome]:
        """Where frames are missing, what seems to go wrong may be only their absence."""
        outcomes = self.verdict.outcomes if self.end is None else self.end.outcomes
        if not self.undecidable:
            return outcomes
        return (outcomes & {Outcome.COMPLETES}) | {Outcome.UNDECIDED} | self.demanded

    @property
    def ends_unseen(self) -> bool:
        """A channel may go on behind the recording, and what judges it was inferred from what is there."""
        open_ends = any(survey.source.end is StreamEnd.OPEN for survey in self.surveyed.surveys)
        return self.context.profile.inferred and open_ends

    @property
    def sorted_outcomes(self) -> tuple[Outcome, ...]:
        """Most harmless first."""
        return tuple(sorted(self.outcomes, key=lambda outcome: outcome.rank))

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why it ends so."""
        reasons = [] if self.end is None else [self.end.reason]
        if self.end is None:
            reasons = explain(self.verdict.script, self.outcomes, _carried(self.surveyed.surveys))
            if self.outcomes & {Outcome.LOSES_DATA}:
                reasons += [*self.verdict.memory.wrong, *self.verdict.memory.raced]
        return tuple(self._told(reason.framed(self.context.frame)) for reason in reasons)

    def _told(self, reason: Reason) -> Reason:
        """Where frames are missing, what is not there may be in them."""
        says_so = reason.kind in SAYS_SO or reason.ended is ChannelEnd.NOT_RECORDED
        return reason if says_so or Outcome.UNDECIDED not in self.outcomes else reason._replace(perhaps=True)


SAYS_SO = frozenset(
    {
        Kind.RECORDING_ENDS,
        Kind.CHANNELS_NOT_RECORDED,
        Kind.CHANNELS_PERHAPS_MISSING,
        Kind.MAIN_UNKNOWN,
        Kind.MAIN_WAITS_FOR_TOKENS,
        Kind.WAITS_FOR_RELEASE,
        Kind.BEHIND_IT,
    }
)
"""Reasons that say that something is not recorded, and how things stand until then."""
GAPS = "gaps"
SWITCHES = ("postcopy", "switchover_ack", "device_transfer", "config_after_iter")
"""Options that a destination has by the same names."""


def judge_surveyed(surveyed: Surveyed, options: LintOptions) -> Judged:
    """Choose the destination, then judge connections, packets and records by it."""
    if surveyed.main is not None and options.machine is not None:
        surveyed.main.expect_machine(options.machine)
    profile, sender = choose(
        surveyed,
        profile=options.profile,
        mode=options.mode,
        channels=options.channels,
        compression=options.compression,
    )
    own = {name: value for name in SWITCHES if (value := getattr(options, name)) is not None}
    if own:
        profile = profile._replace(destination=replace(profile.destination, **own))
    return judge_by(surveyed, options, profile, sender)


def judge_by(
    surveyed: Surveyed, options: LintOptions, profile: ProfileChoice, sender: Sender, known: Known | None = None
) -> Judged:
    """The same by a destination that is chosen already. ``known``: of the same surveyed migration."""
    known = {} if known is None else known
    main, surveys, destination = surveyed.main, surveyed.surveys, profile.destination
    connections = [Connection(position, one.survey, one.name) for position, one in enumerate(surveyed.channels)]
    uuid = None if options.uuid is None else options.uuid.bytes
    handshake = judge_handshake(
        connections,
        main,
        destination.habits,
        destination.channels,
        uuid=uuid,
        partial=surveyed.partial,
        mains=len(surveyed.mains),
        demanded=options.channels is not None,
    )
    read = [] if surveyed.mapped_ram else [(channel.name, channel.survey) for channel in surveyed.channels]
    if GAPS not in known:
        dense = not surveyed.partial and sender.surely(lambda s: s.packet_num_dense)
        known[GAPS] = dense and misses_numbers(surveys)
    verdict = judge(read, main, destination, sender, gaps=known[GAPS], second_main=len(surveyed.mains) > 1, known=known)
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
    beside = others(surveyed, connections, destination, uuid)
    end = _ending(surveyed, options, context, handshake, verdict, beside)
    lacking = undecidable(surveyed) or end is NOT_RECORDED
    if options.channels is not None or _refused_by(options, handshake, end):
        lacking = lacking and end is None
    elif not lacking:
        missing = ("connection missing", destination.channels)
        if missing not in known:
            known[missing] = connection_missing(surveys, dense=known[GAPS], expected=destination.channels)
        lacking = known[missing]
    demanded = handshake.outcomes if options.channels is not None else None
    lacks = end is NOT_RECORDED or (known[GAPS] and lacks_numbers(surveys))
    return Judged(surveyed, context, handshake, verdict, end, known, lacking, lacks, demanded or frozenset())


def _sources(surveyed: Surveyed) -> dict[ChannelName, StreamSource]:
    sources: dict[ChannelName, StreamSource] = {one.name: one.captured.source for one in surveyed.channels}
    if surveyed.mains:
        sources["main"] = surveyed.mains[0].source
    return sources


def _refused_by(options: LintOptions, handshake: Handshake, end: Ending | None) -> bool:
    """Whether the uuid that was given refuses a ChannelInit that is recorded: what else is missing changes nothing."""
    refused = options.uuid is not None and any(problem.rule is MFD603 for problem in handshake.problems)
    return refused and end is not None and end.reason.kind is Kind.CHANNEL_REFUSED


def _ending(
    surveyed: Surveyed,
    options: LintOptions,
    context: Context,
    handshake: Handshake,
    verdict: Verdict,
    beside: Iterable[Others],
) -> Ending | None:
    main, channels = surveyed.main, surveyed.channels
    if main is not None and not (channels or surveyed.short or surveyed.foreign):
        if options.channels and "mapped-ram" not in main.capabilities:
            return NEVER_STARTS  # it waits for channels in front of the load, also those of a source without multifd
        if _needs_channels(main, verdict):
            return NOT_RECORDED
    taken = len(surveyed.migration.channels) - len(surveyed.ignored)
    surplus = bool(options.channels) and taken > (options.channels or 0)
    arrived = Arrived(len(surveyed.mains), surveyed.foreign, surveyed.short, surplus, beside)
    return ending(arrived, handshake, verdict.script, context.destination.habits)


def _carried(surveys: Sequence[ChannelSurvey]) -> dict[tuple[DeviceKey, int], Carrier]:
    """Every device-state buffer on the wire."""
    return {
        (item.buffer.device, item.buffer.index): Carrier(position, item.offset, item.buffer.config)
        for position, survey in enumerate(surveys)
        for item in survey.items
        if item.buffer is not None and item.buffer.index is not None
    }


def _needs_channels(main: MainSurvey, verdict: Verdict) -> bool:
    """Whether the migration had multifd channels and its outcome depends on them.

    FLUSH records or guest pages nobody sends, in precopy at least, speak for channels; all pages on main (8.1 wrote
    FLUSH then, too), or a load that fails in front of the first rendezvous, against it.
    """
    acts = [step.act for step in verdict.script.main]
    if "mapped-ram" in main.capabilities or (acts[-1] is MainAct.FAIL and MainAct.RENDEZVOUS not in acts):
        return False
    if verdict.memory.never_sent or (main.postcopy and main.iterates and MFD521 not in main.hits):
        return True
    return main.count(RecordKind.FLUSH) > 0 and (main.postcopy or not main.page_records)
