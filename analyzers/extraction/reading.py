"""How far a destination gets with a migration: judged as the linter does, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from analyzers.judge.infer import Facts, choose
from analyzers.judge.scripts import Judge, build
from analyzers.receiver.script import Act, MainAct
from analyzers.survey.channel import ChannelSurvey, survey_channel
from analyzers.survey.main import MainSurvey, RecordKind
from analyzers.survey.main_pass import survey_main
from analyzers.survey.start import starts_with_init
from captures.model import CapturedChannel, ChannelKind, Migration, ProgressCallback
from multifd_codec.channel.decoder import ChannelDecoder, ScanItem
from multifd_codec.dialect.releases import Mode
from multifd_codec.errors import ChannelName
from multifd_codec.main.decoder import MainDecoder
from multifd_codec.main.events import BlockList, MainItem

UNKNOWN_PAGE_SIZE = 4096


@dataclass(slots=True)
class PlannedChannel:
    """One multifd channel. ``stop``: offset of the first record a destination does not take; None: it takes all."""

    name: ChannelName
    captured: CapturedChannel
    survey: ChannelSurvey
    stop: int | None = None
    reason: str = ""
    """Why it does not."""

    def items(self, page_size: int) -> Iterator[ScanItem]:
        source, starts = self.captured.source, starts_with_init(self.captured)
        return ChannelDecoder(source, page_size=page_size, starts_with_init=starts).scan()


@dataclass(slots=True)
class Plan:
    """What is loaded, and how far."""

    mode: Mode
    page_size: int
    main: CapturedChannel | None
    main_survey: MainSurvey | None
    channels: list[PlannedChannel]
    reached: int | None
    """Rendezvous that complete; None when the recording does not tell."""
    main_stop: int | None = None
    """Offset at which loading main ends with an error."""
    main_reason: str = ""
    racing: int | None = None
    """The round behind the last rendezvous, if main gets there: it races with the end of the migration."""
    incomplete: list[str] = field(default_factory=list)
    """Why the recording cannot tell everything."""

    def main_items(self) -> Iterator[MainItem]:
        """Records on main, up to where loading ends."""
        if self.main is None:
            return
        for item in MainDecoder(self.main.source, page_size=self.page_size).walk():
            if self.main_stop is not None and item.offset >= self.main_stop:
                if isinstance(item, BlockList) and item.offset == self.main_stop:
                    yield item  # a destination had read some of it
                return
            yield item


def make_plan(
    migration: Migration,
    *,
    page_size: int | None = None,
    mode: Mode | None = None,
    progress: ProgressCallback | None = None,
) -> Plan:
    """Read all headers once and judge them by a destination like the sender."""
    total = sum(channel.source.size for channel in migration.channels)
    done = 0

    def moved(offset: int) -> None:
        if progress is not None:
            progress("reading headers", done + offset, total)

    mains = [channel for channel in migration.channels if channel.kind is ChannelKind.MAIN]
    main = mains[0] if mains else None
    surveyed = None
    if main is not None:
        surveyed = survey_main(main.source, page_size=page_size, progress=moved)
        done += main.source.size
        if page_size is None and surveyed.page_size_stated:
            page_size = surveyed.page_size
    channels: list[PlannedChannel] = []
    for captured in migration.channels:
        if captured.kind not in (ChannelKind.MULTIFD, ChannelKind.UNKNOWN):
            continue
        survey = survey_channel(
            captured.source,
            page_size=page_size,
            blocks=None if surveyed is None else surveyed.blocks,
            starts_with_init=starts_with_init(captured),
            progress=moved,
        )
        done += captured.source.size
        if captured.kind is ChannelKind.MULTIFD or survey.packets:
            number = captured.channel_id if captured.channel_id is not None else len(channels)
            channels.append(PlannedChannel(number, captured, survey))
    if surveyed is not None and "mapped-ram" in surveyed.capabilities:
        channels = []  # no packets in such a file
    channels.sort(key=lambda channel: channel.name if isinstance(channel.name, int) else -1)
    plan = _judged(main, surveyed, channels, page_size, mode)
    if any(channel.kind is ChannelKind.TLS for channel in migration.channels):
        plan.incomplete.insert(0, "TLS sessions cannot be read without the key log of this migration (--keylog)")
    return plan


def _judged(
    main: CapturedChannel | None,
    surveyed: MainSurvey | None,
    channels: list[PlannedChannel],
    page_size: int | None,
    mode: Mode | None,
) -> Plan:
    surveys = [channel.survey for channel in channels]
    if page_size is None:
        guessed = surveyed.page_size if surveyed is not None else None
        page_size = surveys[0].page_size if surveys else guessed or UNKNOWN_PAGE_SIZE
    incomplete = list(_incomplete(surveyed, channels))
    profile, release, sender = choose(
        Facts(surveyed, surveys),
        partial=bool(incomplete),
        profile=None,
        mode=None if mode is None else str(mode),
        channels=None,
        page_size=page_size,
    )
    chosen = Mode(profile.mode)
    plan = Plan(chosen, page_size, main, surveyed, channels, None, incomplete=incomplete)
    judge = Judge(release.destination, chosen, _compression(surveys), release.version)
    named = [(position, channel.survey) for position, channel in enumerate(channels)]
    script, faults = build(named, surveyed, judge)
    counts: list[int] = []
    for position, steps in enumerate(script.channels):
        if steps[-1].act is not Act.OPEN:
            counts.append(sum(step.act is Act.SYNC for step in steps))
        if position in faults:
            channels[position].stop, channels[position].reason = faults[position].offset, faults[position].reason
    last = script.main[-1]
    if last.act is not MainAct.OPEN:
        counts.append(sum(step.act is MainAct.RENDEZVOUS for step in script.main))
    if last.act in (MainAct.FAIL, MainAct.CRASH):
        plan.main_stop, plan.main_reason = last.offset, last.reason
    plan.reached = min(counts, default=None)
    if last.act is not MainAct.OPEN and plan.reached == counts[-1]:
        plan.racing = plan.reached
    expected = max((channel.captured.channel_id or 0 for channel in channels), default=-1) + 1
    dropped = sender.maybe(lambda habits: habits.drops_zero_only_compressed)
    if not dropped and any(survey.normal_pages + survey.zero_pages for survey in surveys):
        expected = max(expected, profile.channels)  # told by packet numbers that are missing
    if len(channels) < expected:
        plan.incomplete.append(f"{len(channels)} of at least {expected} multifd channels are in the recording")
    elif surveyed is not None and not channels and surveyed.count(RecordKind.FLUSH) and not surveyed.page_records:
        plan.incomplete.append("the multifd channels are not in the recording")
    return plan


def _compression(surveys: Sequence[ChannelSurvey]) -> int:
    """The compression id most packets with pages carry."""
    counts: dict[int, int] = {}
    for survey in surveys:
        for number, hits in survey.compressions.items():
            counts[number] = counts.get(number, 0) + hits.count
    return max(counts, key=lambda number: counts[number], default=0)


def _incomplete(main: MainSurvey | None, channels: Sequence[PlannedChannel]) -> Iterator[str]:
    """What the recording has not got, as far as headers tell it."""
    if main is None:
        yield "the main channel is not in the recording"
    elif main.skipped is not None:
        yield f"main channel: bytes that could not be read from offset {main.skipped} on"
    elif main.eof is None and main.failure is None:
        yield f"main channel: the recording is understood up to offset {main.understood} only"
    for channel in channels:
        survey = channel.survey
        if survey.starts_late:
            yield f"channel {channel.name}: the start of the stream is not in the recording"
        holes = [item for item in survey.items if item.hole]
        if holes:
            yield (
                f"channel {channel.name}: {len(holes)} stretches with packet headers are missing, the first at offset "
                f"{holes[0].offset}: pages they carried may be missing or of an earlier round, and SYNCs may be"
            )
        if survey.end is not None and not survey.ends_at_boundary:
            yield f"channel {channel.name}: the stream ends {survey.end.position}, at offset {survey.end.offset}"
