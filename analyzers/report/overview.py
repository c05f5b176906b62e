"""What ``multifd info`` shows of a migration: who, what, how much, when. Nothing is judged."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from analyzers.findings import Report
from analyzers.report.content import Block, Line, Style, Table, line, summary_blocks
from analyzers.report.texts import printable
from analyzers.survey.downtime import Downtime
from analyzers.survey.repeats import SentPages
from analyzers.survey.rounds import Round
from captures.model import CapturedChannel, ChannelKind, Migration, MigrationConnection
from multifd_codec.errors import ChannelName
from multifd_codec.source import StreamEnd

CONNECTIONS = ("connection", "from", "end", "opened s", "first byte s", "last byte s", "bytes", "MB/s")
ROUNDS = (
    "round",
    "start s",
    "seconds",
    "main bytes",
    "channel bytes",
    "RAM packets",
    "normal pages",
    "zero pages",
    "pages on main",
    "MB/s",
)
PAGES = ("page sent most often", "offset", "times")


class Rounds(NamedTuple):
    """What ``--rounds`` adds."""

    rounds: tuple[Round, ...]
    downtime: Downtime | None
    pages: SentPages


class Overview(NamedTuple):
    """One migration."""

    migration: Migration
    report: Report
    rounds: Rounds | None = None


class Carrier(NamedTuple):
    """A connection, or a channel file. Times in seconds since the epoch, None where they are not known."""

    name: ChannelName
    """For what is no channel, the port on the source's side."""
    kind: ChannelKind
    stated: bool
    """The name of a multifd channel is the id that it states."""
    label: str
    end: str
    """``closed``, ``open``; ``refused``, ``unanswered`` or ``silent`` for what carried nothing."""
    opened: float | None
    first: float | None
    last: float | None
    bytes: int

    @property
    def rate(self) -> float | None:
        """MB/s from the first to the last byte."""
        seconds = 0.0 if self.first is None or self.last is None else self.last - self.first
        return self.bytes / seconds / 1e6 if seconds > 0 else None


def carriers(migration: Migration) -> Iterator[Carrier]:
    """In the order in which they were opened; without packets, of channels: main, then by id."""
    named = {pair[1].label: pair for pair in zip(migration.names, migration.channels, strict=True)}
    for connection in migration.connections:
        name, channel = named.pop(connection.label, (connection.source.port, None))
        yield _carrier(name, channel, connection)
    for name, channel in named.values():
        yield _carrier(name, channel, None)


def _carrier(name: ChannelName, channel: CapturedChannel | None, connection: MigrationConnection | None) -> Carrier:
    kind = channel.kind if channel is not None else ChannelKind.UNKNOWN
    label = channel.label if channel is not None else "" if connection is None else connection.label
    opened = None
    if connection is not None and connection.attempts:
        opened = connection.attempts[0].moment.seconds
    size = 0 if channel is None else channel.source.size
    first, last = (None, None) if channel is None else _times(channel)
    stated = channel is not None and (kind is not ChannelKind.MULTIFD or channel.stated_id is not None)
    return Carrier(name, kind, stated, label, _end(channel, connection), opened, first, last, size)


def _end(channel: CapturedChannel | None, connection: MigrationConnection | None) -> str:
    if connection is not None and not connection.answered:
        return "unanswered" if connection.refused is None else "refused"
    if connection is not None and not connection.to_destination.segments:
        return "silent"
    return str(StreamEnd.OPEN if channel is None else channel.source.end)


def _times(channel: CapturedChannel) -> tuple[float | None, float | None]:
    """When the first and the last recorded byte were recorded."""
    source = channel.source
    if source.size == 0:
        return None, None
    last = source.size - 1
    for hole in reversed(source.holes()):
        if not hole.start <= last < hole.end:
            break
        last = hole.start - 1
    return source.time_at(0), source.time_at(max(0, last))


def overview_blocks(overviews: list[Overview]) -> Iterator[Block]:
    """Per migration: input and facts, counts a channel and a device, connections with their times, rounds."""
    for number, overview in enumerate(overviews, 1):
        if len(overviews) > 1:
            yield (line(f"migration {number} of {len(overviews)}", Style.HEADING),)
        yield from summary_blocks(overview.report)
        span = overview.migration.span
        begin = None if span is None else span.begin
        found = list(carriers(overview.migration))
        yield Table(CONNECTIONS, 3, tuple(_connection(carrier, begin) for carrier in found))
        yield tuple(_when(overview.migration, found))
        if overview.rounds is not None:
            yield from _rounds(overview.rounds, begin)


def _connection(carrier: Carrier, begin: float | None) -> tuple[str, ...]:
    name = str(carrier.name) if carrier.stated and carrier.kind is ChannelKind.MULTIFD else f"{carrier.name}?"
    if carrier.kind in (ChannelKind.MAIN, ChannelKind.TLS):
        name = str(carrier.kind)
    times = (_since(time, begin) for time in (carrier.opened, carrier.first, carrier.last))
    return (name, printable(carrier.label), carrier.end, *times, f"{carrier.bytes:,}", _number(carrier.rate, 1))


def _when(migration: Migration, found: list[Carrier]) -> Iterator[Line]:
    size = sum(carrier.bytes for carrier in found)
    total = f"{len(found):,} connection{'' if len(found) == 1 else 's'}, {size:,} bytes"
    span = migration.span
    if span is None:
        yield line(f"{total}; the input has no times")
        return
    rate = f", {size / span.seconds / 1e6:.1f} MB/s" if span.seconds > 0 else ""
    yield line(f"{total} in {span.seconds:.3f} s{rate}, from {_clock(span.begin)} to {_clock(span.end)}")


def _rounds(found: Rounds, begin: float | None) -> Iterator[Block]:
    yield Table(ROUNDS, 1, tuple(_round(one, begin) for one in found.rounds))
    down = found.downtime
    text = "downtime: not known" if down is None else f"downtime: {down.seconds:.6f} s"
    if down is not None:
        text += f", from the last RAM byte in front of the switchover (frame {down.since.frame})"
        text += f" to the EOF byte (frame {down.until.frame})"
    pages = found.pages
    yield (line(text), line(f"pages: {pages.total:,} sent, {pages.distinct:,} different ones"))
    if pages.most:
        rows = ((printable(page.block), f"{page.offset:#x}", f"{page.times:,}") for page in pages.most)
        yield Table(PAGES, 1, tuple(rows))


def _round(one: Round, begin: float | None) -> tuple[str, ...]:
    name = "rest" if one.number is None else "0 (setup)" if one.number == 0 else str(one.number)
    counts = (one.main_bytes, one.channel_bytes, one.ram_packets, one.normal_pages, one.zero_pages, one.main_pages)
    numbers = (f"{count:,}" for count in counts)
    return (name, _since(one.begin, begin), _number(one.seconds, 6), *numbers, _number(one.rate, 1))


def _since(time: float | None, begin: float | None) -> str:
    return "" if time is None or begin is None else f"{time - begin:.6f}"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _clock(seconds: float) -> str:
    """UTC; a capture may hold times no calendar has."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f UTC")
    except (OverflowError, OSError, ValueError):
        return f"{seconds:.6f} s"
