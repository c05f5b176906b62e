"""One screen about a recording: who, what, how much, when. Nothing is judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from analyzers.findings import Report
from analyzers.report.content import Block, Line, Style, Table, line, summary_blocks
from analyzers.report.texts import counted, grouped, printable
from captures.model import CapturedChannel, ChannelKind, Migration, Recording
from multifd_codec.errors import ChannelName

COLUMNS = ("channel", "from", "end", "start s", "seconds", "MB/s")


def overview_blocks(recording: Recording, reports: Sequence[Report]) -> Iterator[Block]:
    """Per migration: input and facts, counts a channel and a device, connections with their times."""
    for number, (migration, report) in enumerate(zip(recording.migrations, reports, strict=False), 1):
        if len(recording.migrations) > 1:
            yield (line(f"migration {number} of {len(recording.migrations)}", Style.HEADING),)
        yield from summary_blocks(report)
        begin = min((t for c in migration.channels if (t := c.source.time_at(0)) is not None), default=None)
        named = zip(migration.names, migration.channels, strict=True)
        yield Table(COLUMNS, 3, tuple(_connection(name, channel, begin) for name, channel in named))
        yield tuple(_when(migration, begin))


def _connection(number: ChannelName, channel: CapturedChannel, begin: float | None) -> tuple[str, ...]:
    if channel.kind is ChannelKind.MULTIFD:
        name = f"{number}" if channel.stated_id is not None else f"{number}?"
    else:
        name = str(channel.kind)
    first, last = _times(channel)
    numbers = ("", "", "")
    if begin is not None and first is not None and last is not None:
        seconds = last - first
        rate = f"{channel.source.size / seconds / 1e6:.1f}" if seconds > 0 else ""
        numbers = (f"{first - begin:.6f}", f"{seconds:.6f}", rate)
    return (name, printable(channel.label), str(channel.source.end), *numbers)


def _when(migration: Migration, begin: float | None) -> Iterator[Line]:
    size = sum(channel.source.size for channel in migration.channels)
    total = f"{counted(len(migration.channels), 'connection')}, {grouped(size)} bytes"
    end = max((last for c in migration.channels if (last := _times(c)[1]) is not None), default=None)
    if begin is None or end is None:
        yield line(f"{total}; the input has no times")
        return
    rate = f", {size / (end - begin) / 1e6:.1f} MB/s" if end > begin else ""
    yield line(f"{total} in {end - begin:.3f} s{rate}, from {_clock(begin)} to {_clock(end)}")


def _times(channel: CapturedChannel) -> tuple[float | None, float | None]:
    """When the first and the last recorded byte were recorded."""
    source = channel.source
    if source.size == 0:
        return None, None
    last = source.size - 1
    for hole in reversed(source.holes()):
        if hole.start <= last < hole.end:
            last = hole.start - 1
    return source.time_at(0), source.time_at(max(0, last))


def _clock(seconds: float) -> str:
    """UTC; a capture may hold times no calendar has."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f UTC")
    except (OverflowError, OSError, ValueError):
        return f"{seconds:.6f} s"
