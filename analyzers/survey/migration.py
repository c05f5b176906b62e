"""One pass over all channels of a migration: what each connection is, what it carries, and what is not recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple
from uuid import UUID

from analyzers.survey.channel import ChannelSurvey, survey_channel
from analyzers.survey.main import MainSurvey
from analyzers.survey.main_pass import survey_main
from captures.connection import NoBytes
from captures.model import CapturedChannel, ChannelKind, Migration, NoteKind, ProgressCallback, StreamSource
from captures.tcp.streams import SegmentSource
from multifd_codec.dialect.compression import usual
from multifd_codec.errors import ChannelName
from multifd_codec.source import StreamEnd, read_known

MAGIC_LENGTH = 4
"""Bytes by which a destination tells connections (migration_ioc_process_incoming, migration/migration.c)."""
DEFAULT_PAGE_SIZE = 4096


class SurveyedChannel(NamedTuple):
    """A multifd channel. ``name`` is that of ``Migration.names``: its id wherever that is known."""

    name: int
    captured: CapturedChannel
    survey: ChannelSurvey


def _is_cut(channel: CapturedChannel) -> bool:
    """Whether the recording cuts off even what says what a connection is."""
    hole = channel.source.next_hole(0)
    return channel.kind is ChannelKind.UNKNOWN and hole is not None and hole.start < MAGIC_LENGTH


def _is_lost(channel: CapturedChannel) -> bool:
    """Whether a connection may have carried something that was not recorded."""
    source = channel.source
    open_still = source.size < MAGIC_LENGTH and source.end is StreamEnd.OPEN
    lacking = isinstance(source, NoBytes) or source.next_hole(0) is not None
    return lacking or open_still or not channel.start_captured


class Missing(NamedTuple):
    """Something the recording has not got."""

    channel: ChannelName | None
    """None: the whole migration."""
    offset: int
    text: str


@dataclass(frozen=True)
class Surveyed:
    """What a migration carries, whoever asks: the linter, extraction, a plan, a destination to start."""

    migration: Migration
    mains: tuple[CapturedChannel, ...]
    """Main channels; the first is the one that is read."""
    main: MainSurvey | None
    channels: tuple[SurveyedChannel, ...]
    """Multifd channels by name, and connections of unknown kind that carry packets."""
    ignored: tuple[CapturedChannel, ...] = ()
    """Connections behind the full set of channels, which a destination drops unread."""
    foreign: tuple[CapturedChannel, ...] = ()
    """Connections that start neither as main nor as a multifd channel."""
    short: tuple[CapturedChannel, ...] = ()
    """Connections that were closed before a destination could tell what they are."""
    page_size: int = DEFAULT_PAGE_SIZE
    """Target page size in bytes: as given, as main states it, or as the packets are framed."""

    @property
    def readable(self) -> bool:
        """Some channel is more than a TLS session without its keys or headers without their payload."""
        there = (c for c in self.migration.channels if not any(c is late for late in self.ignored))
        return any(channel.kind is not ChannelKind.TLS and not _is_cut(channel) for channel in there)

    @property
    def mapped_ram(self) -> bool:
        """Pages stand at fixed places of a file; nothing reads multifd channels beside it."""
        return self.main is not None and "mapped-ram" in self.main.capabilities

    @cached_property
    def surveys(self) -> tuple[ChannelSurvey, ...]:
        return tuple(channel.survey for channel in self.channels)

    @property
    def uuid(self) -> UUID | None:
        """The uuid that the channels state, the first one's if they differ."""
        return next((UUID(bytes=survey.init.uuid) for survey in self.surveys if survey.init is not None), None)

    @cached_property
    def compression(self) -> str:
        """The method of most packets with pages."""
        packets: Counter[int] = Counter()
        for survey in self.surveys:
            for number, hits in survey.compressions.items():
                packets[number] += hits.count
        return usual(packets).name

    @cached_property
    def missing(self) -> tuple[Missing, ...]:
        """What packets or records may be missing from, so that counting proves nothing."""
        return tuple(_missing(self))

    @property
    def partial(self) -> bool:
        return bool(self.missing)

    def over(self) -> Surveyed:
        """The same when nothing comes any more on connections that are still open."""
        channels = []
        for one in self.channels:
            survey = copy(one.survey)
            if isinstance(survey.source, SegmentSource):
                survey.source = survey.source.ending(StreamEnd.CLOSED)
            channels.append(one._replace(survey=survey))
        return replace(self, channels=tuple(channels))


def survey_migration(
    migration: Migration,
    *,
    page_size: int | None = None,
    channels: int | None = None,
    device_state: bool = True,
    progress: ProgressCallback | None = None,
) -> Surveyed:
    """Read all headers of a migration once.

    ``page_size`` in bytes and ``channels`` are the destination's, by default the stream's. Without ``device_state``
    packets are framed as destinations before 10.0 do, which do not know that flag, unless main has devices that mean
    it.
    """
    late = _ignored(migration.channels, channels)
    pairs = enumerate(zip(migration.names, migration.channels, strict=True))
    named = [pair for position, pair in pairs if position not in late]
    mains = tuple(channel for _, channel in named if channel.kind is ChannelKind.MAIN)
    done, total = 0, sum(channel.source.size for _, channel in named)

    def moved(what: str, offset: int, _: int) -> None:
        if progress is not None:
            progress(what, done + offset, total)

    given_up = migration.destination_gave_up_first or migration.destination_unheard
    main = None
    if mains:
        main = survey_main(mains[0].source, page_size=page_size, progress=moved)
        if main.eof is None and (given_up or main.postcopy):
            main = survey_main(_left_open(mains[0].source), page_size=page_size, progress=moved)
    cut = given_up and (main is None or main.eof is None)
    if main is not None:
        done += main.source.size
        if page_size is None and main.page_size_stated:
            page_size = main.page_size
    found: list[SurveyedChannel] = []
    for name, channel in named:
        if not isinstance(name, int) or channel.kind is ChannelKind.TLS:
            continue
        survey = survey_channel(
            _left_open(channel.source) if cut else channel.source,
            page_size=page_size,
            blocks=None if main is None else main.blocks,
            starts_with_init=channel.starts_with_init,
            device_state=device_state or main is None or bool(main.vfio),
            progress=moved,
        )
        done += channel.source.size
        found.append(SurveyedChannel(name, channel, survey))
    unknown = [one for one in found if one.captured.kind is ChannelKind.UNKNOWN]
    # The preempt channel starts with no magic, and stays empty where no page is asked for.
    has_preempt = main is not None and (main.postcopy or main.advised is not None)
    strange = [one for one in unknown if _starts(one.captured) and not has_preempt]
    known = [one for one in found if one.captured.kind is ChannelKind.MULTIFD or one.survey.packets]
    none_short = cut or has_preempt
    known.sort(key=lambda one: one.name)
    framed = next((one for one in known if one.survey.packets), known[0] if known else None)
    guessed = framed.survey.page_size if framed is not None else main.page_size if main is not None else None
    return Surveyed(
        migration=migration,
        mains=mains,
        main=main,
        channels=tuple(known),
        ignored=tuple(migration.channels[position] for position in sorted(late)),
        foreign=tuple(one.captured for one in strange if not one.survey.packets or one.survey.starts_late),
        short=tuple(
            one.captured for one in unknown if not (none_short or one.survey.packets) and _is_short(one.captured)
        ),
        page_size=page_size or guessed or DEFAULT_PAGE_SIZE,
    )


def _ignored(channels: Sequence[CapturedChannel], expected: int | None) -> frozenset[int]:
    """Positions of connections that arrive when main and every channel are there: a destination drops them unread
    (socket_accept_incoming_migration, migration/socket.c; measured with 7.2, 10.0 and 11.1).

    ``expected``: channels the destination has; by default all that are there. Without frame numbers the order of
    arrival is not known, and none is left out.
    """
    frames = [channel.source.frame_at(0) if channel.source.size else None for channel in channels]
    if None in frames:
        return frozenset()
    wanted = expected or sum(channel.kind is ChannelKind.MULTIFD for channel in channels)
    mains = taken = 0
    late = set()
    for position in sorted(range(len(channels)), key=lambda i: (frames[i] or 0, i)):
        if mains and taken >= wanted:
            late.add(position)
        elif channels[position].kind is ChannelKind.MAIN:
            mains += 1
        else:
            taken += 1
    return frozenset(late)


def _left_open(source: StreamSource) -> StreamSource:
    """Streams that a destination cut off by giving up might have gone on; a postcopy goes on over another one."""
    return source.ending(StreamEnd.OPEN) if isinstance(source, SegmentSource) else source


def _starts(channel: CapturedChannel) -> bool:
    """Whether the bytes a destination tells connections by are there."""
    return channel.start_captured and len(read_known(channel.source, 0, MAGIC_LENGTH)) == MAGIC_LENGTH


def _is_short(channel: CapturedChannel) -> bool:
    """Whether a connection was closed before a destination could tell what it is."""
    source = channel.source
    whole = channel.start_captured and source.end is StreamEnd.CLOSED and not source.holes()
    return whole and source.size < MAGIC_LENGTH


def _missing(surveyed: Surveyed) -> Iterator[Missing]:
    for note in surveyed.migration.notes:
        if note.kind is NoteKind.LIMIT:
            yield Missing(None, 0, note.message)
    if any(channel.kind is ChannelKind.TLS for channel in surveyed.migration.channels):
        yield Missing(None, 0, "TLS sessions cannot be read without the key log of this migration (--keylog)")
    read = {one.captured.label for one in surveyed.channels}
    for channel in surveyed.migration.channels:
        lost = channel.kind is ChannelKind.UNKNOWN and channel.label not in read and _is_lost(channel)
        if lost and not any(channel is late for late in surveyed.ignored):
            yield Missing(None, 0, f"what {channel.label} begins with is not in the recording")
    main = surveyed.main
    if main is None:
        yield Missing("main", 0, "the main channel is not in the recording")
    elif main.skipped is not None:
        yield Missing("main", main.skipped, f"main channel: bytes that could not be read from offset {main.skipped} on")
    elif main.eof is None and (main.end is not StreamEnd.CLOSED or main.source.holes()):
        text = f"main channel: the recording is understood up to offset {main.understood} only"
        yield Missing("main", main.understood, text)
    for name, _, survey in surveyed.channels:
        if survey.starts_late:
            yield Missing(name, 0, f"channel {name}: the start of the stream is not in the recording")
        holes = [item for item in survey.items if item.hole]
        if holes:
            first = holes[0].offset
            text = (
                f"channel {name}: {len(holes)} stretches with packet headers are missing, the first at offset {first}:"
                " pages they carried may be missing or of an earlier round, and SYNCs may be"
            )
            yield Missing(name, first, text)
        end = survey.end
        if end is not None and survey.source.end is StreamEnd.OPEN and not survey.ends_at_boundary:
            yield Missing(name, end.record, f"channel {name}: the stream ends {end.position}, at offset {end.offset}")
