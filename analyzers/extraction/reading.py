"""How far a destination gets with a migration: judged as the linter does, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from analyzers.judge.effects import Fault
from analyzers.judge.infer import Sender, choose
from analyzers.judge.scripts import build
from analyzers.receiver.script import Act, MainAct
from analyzers.survey.channel import ChannelSurvey
from analyzers.survey.main import RecordKind
from analyzers.survey.migration import Surveyed, SurveyedChannel, survey_migration
from captures.model import CapturedChannel, Migration, ProgressCallback
from multifd_codec.channel.decoder import ChannelDecoder, ScanItem
from multifd_codec.dialect.destination import Destination
from multifd_codec.dialect.releases import Mode
from multifd_codec.main.decoder import MainDecoder
from multifd_codec.main.events import BlockList, MainItem
from multifd_codec.main.rendezvous import Rendezvous


@dataclass(frozen=True, slots=True)
class ReadChannel:
    """One multifd channel. ``stop``: offset of the first record a destination does not take; None: it takes all."""

    name: int
    captured: CapturedChannel
    survey: ChannelSurvey
    stop: int | None = None
    reason: str = ""
    """Why it does not."""

    def items(self, page_size: int) -> Iterator[ScanItem]:
        source, starts = self.captured.source, self.captured.starts_with_init
        return ChannelDecoder(source, page_size=page_size, starts_with_init=starts).scan()


@dataclass(frozen=True, slots=True)
class Reading:
    """What is loaded, and how far."""

    destination: Destination
    main: CapturedChannel | None
    channels: tuple[ReadChannel, ...]
    reached: int | None
    """Rendezvous that complete; None when the recording does not tell."""
    main_stop: int | None = None
    """Offset at which loading main ends with an error."""
    main_reason: str = ""
    racing: int | None = None
    """The round behind the last rendezvous, if main gets there: it races with the end of the migration."""
    starts_loaders: bool = True
    """Main tells the loaders of its devices to begin, or may do so behind the end of the recording."""
    incomplete: tuple[str, ...] = ()
    """Why the recording cannot tell everything."""

    @property
    def page_size(self) -> int:
        return self.destination.page_size

    @property
    def recorded(self) -> int:
        """Bytes of all channels that are in the recording: what memory, time and disk may depend on."""
        every = [channel.captured for channel in self.channels] + ([self.main] if self.main is not None else [])
        return sum(one.source.size - sum(hole.end - hole.start for hole in one.source.holes()) for one in every)

    def rendezvous(self) -> Rendezvous:
        """What tells rendezvous, for one walk over main."""
        waits_in_postcopy = not self.destination.habits.flush_in_postcopy_fails
        return Rendezvous(self.destination.mode, in_postcopy=waits_in_postcopy)

    def main_items(self, stop: int | None) -> Iterator[MainItem]:
        """Records on main, up to offset ``stop``, where loading ends."""
        if self.main is None:
            return
        for item in MainDecoder(self.main.source, page_size=self.page_size).walk():
            if stop is not None and item.offset >= stop:
                if isinstance(item, BlockList) and item.offset == stop:
                    yield item  # a destination had read some of it
                return
            yield item


def read_migration(
    migration: Migration,
    *,
    page_size: int | None = None,
    mode: Mode | None = None,
    progress: ProgressCallback | None = None,
) -> Reading:
    """Read all headers once and judge them by a destination like the sender."""
    surveyed = survey_migration(migration, page_size=page_size, progress=progress)
    profile, sender = choose(surveyed, mode=mode)
    destination = profile.destination
    read = () if surveyed.mapped_ram else surveyed.channels  # no packets in such a file
    script, faults = build([(channel.name, channel.survey) for channel in read], surveyed.main, destination)
    counts = [sum(step.act is Act.SYNC for step in steps) for steps in script.channels if steps[-1].act is not Act.OPEN]
    last = script.main[-1]
    if last.act is not MainAct.OPEN:
        counts.append(sum(step.act is MainAct.RENDEZVOUS for step in script.main))
    reached = min(counts, default=None)
    fails = last.act in (MainAct.FAIL, MainAct.CRASH)
    main_stop = last.offset if fails else None
    channels = []
    for position, (channel, steps) in enumerate(zip(read, script.channels, strict=True)):
        ends = steps[-1].act in (Act.ERROR, Act.CRASH)
        stop = _stop(faults[position], channel.survey) if position in faults else steps[-1].offset
        channels.append(ReadChannel(*channel, stop if ends else None, steps[-1].reason if ends else ""))
    return Reading(
        destination,
        surveyed.mains[0] if surveyed.mains else None,
        tuple(channels),
        reached,
        main_stop,
        last.reason if fails else "",
        starts_loaders=last.act is MainAct.OPEN
        or not script.devices
        or any(step.act is MainAct.START_LOADERS for step in script.main),
        racing=reached if last.act is not MainAct.OPEN and reached == counts[-1] else None,
        incomplete=tuple(_incomplete(surveyed, read, main_stop, destination.channels, sender)),
    )


def _stop(fault: Fault, survey: ChannelSurvey) -> int:
    """Where a channel is read no further: at the packet that is refused, or behind it when it is loaded first."""
    ends = (item.end for item in survey.items if fault.queued and item.offset == fault.offset)
    return next(ends, fault.offset)


def _incomplete(
    surveyed: Surveyed, read: Sequence[SurveyedChannel], main_stop: int | None, channels: int, sender: Sender
) -> Iterator[str]:
    """Why what a destination would load is not all in the recording. ``channels``: as many as it must have."""
    main, named = surveyed.main, {channel.name for channel in read}
    for missing in surveyed.missing:
        behind = missing.channel == "main" and main_stop is not None and missing.offset >= main_stop
        if not behind and (missing.channel in (None, "main") or missing.channel in named):
            yield missing.text
    understood = main is None or main.stopped is None or main.failure is not None
    if main is not None and not understood and not any(m.channel == "main" for m in surveyed.missing):
        yield f"main channel: the recording is understood up to offset {main.understood} only"
    expected = max((channel.captured.stated_id or 0 for channel in read), default=-1) + 1
    dropped = sender.maybe(lambda habits: habits.drops_zero_only_compressed)
    if not dropped and any(channel.survey.normal_pages + channel.survey.zero_pages for channel in read):
        expected = max(expected, channels)  # told by packet numbers that are missing
    if len(read) < expected:
        yield f"{len(read)} of at least {expected} multifd channels are in the recording"
    elif main is not None and not read and main.count(RecordKind.FLUSH) and not main.page_records:
        yield "the multifd channels are not in the recording"
