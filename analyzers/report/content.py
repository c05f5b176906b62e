"""What a text report says, independent of how it is shown: the plain and the coloured renderer print the same."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from analyzers.findings import ChannelSummary, DeviceSummary, Outcome, Report, Severity
from analyzers.findings.recorded import Ended
from analyzers.findings.report import ConnectionSummary
from analyzers.report.texts import (
    counted,
    elsewhere_text,
    evidence_text,
    grouped,
    message_text,
    ordered_findings,
    outcome_text,
    place_text,
    printable,
    profile_text,
    recorded_text,
    tally_text,
)


class Style(enum.Enum):
    """What a piece of text is; only the coloured renderer makes a difference."""

    PLAIN = ""
    HEADING = "heading"
    QUIET = "quiet"
    GOOD = "good"
    BAD = "bad"
    DOUBTFUL = "doubtful"


class Span(NamedTuple):
    text: str
    style: Style = Style.PLAIN


class Line(NamedTuple):
    spans: tuple[Span, ...]

    @property
    def text(self) -> str:
        return "".join(span.text for span in self.spans)


class Table(NamedTuple):
    columns: tuple[str, ...]
    left: int
    """How many of the first columns are aligned left; the rest are numbers."""
    rows: tuple[tuple[str, ...], ...]


Block = tuple[Line, ...] | Table
"""Lines that stand together, or a table. Blocks are separated by an empty line."""

SEVERITY_STYLE = {Severity.ERROR: Style.BAD, Severity.WARNING: Style.DOUBTFUL, Severity.INFO: Style.QUIET}
SEEN_STYLE = {Ended.COMPLETED: Style.GOOD, Ended.RUNNING: Style.DOUBTFUL, Ended.CANCELLED: Style.DOUBTFUL}
OUTCOME_STYLE = {Outcome.COMPLETES: Style.GOOD, Outcome.UNDECIDED: Style.DOUBTFUL}

CHANNEL_COLUMNS = (
    "channel",
    "bytes",
    "rendezvous",
    "packets",
    "SYNC",
    "RAM",
    "device state",
    "normal pages",
    "zero pages",
    "complete",
)
ELSEWHERE_COLUMNS = ("destination", "mode", "outcomes", "why")
CONNECTION_COLUMNS = ("connection", "first frame", "bytes sent", "acknowledged", "received")
"""Where nothing else is known."""
DEVICE_COLUMNS = ("device", "instance", "packets", "bytes", "complete")


def line(text: str, style: Style = Style.PLAIN) -> Line:
    return Line((Span(text, style),))


def yes(value: bool) -> str:
    return "yes" if value else "no"


def report_blocks(report: Report, *, witness: bool = False, what_if: bool = False) -> Iterator[Block]:
    """The report top to bottom: input, channels, devices, verdict, explanation, findings, witness."""
    yield from summary_blocks(report)
    style = OUTCOME_STYLE.get(report.outcome, Style.BAD)
    verdict = Line((Span(outcome_text(report), style), Span(f"; {profile_text(report.profile)}")))
    seen = recorded_text(report)
    lines = [line(seen, SEEN_STYLE.get(report.recorded.ended, Style.BAD))] if seen else []
    quiet = (evidence_text(report.profile), elsewhere_text(report))
    yield (*lines, verdict, *(line(f"  {text}", Style.QUIET) for text in quiet if text))
    if report.reasons:
        yield tuple(line(printable(sentence)) for sentence in report.explanation)
    yield (*_findings(report), line(tally_text(report), Style.QUIET))
    if what_if and report.elsewhere:
        yield Table(ELSEWHERE_COLUMNS, 4, tuple(_elsewhere_rows(report)))
    if witness and report.witness:
        steps = (line(f"  {number}. {printable(step.text)}") for number, step in enumerate(report.witness, 1))
        yield (line(f"witness, a schedule that ends in {report.outcome}:", Style.HEADING), *steps)


def summary_blocks(report: Report) -> Iterator[Block]:
    """What was read, without a verdict: input, facts, channels, devices."""
    yield _input(report)
    if report.main is not None or report.channels:
        yield Table(CHANNEL_COLUMNS, 1, tuple(_channel_rows(report)))
    elif report.connections:
        yield Table(CONNECTION_COLUMNS, 1, tuple(map(_connection_row, report.connections)))
    if report.devices:
        yield Table(DEVICE_COLUMNS, 1, tuple(map(_device_row, report.devices)))


def _input(report: Report) -> tuple[Line, ...]:
    info = report.input
    size = f": {info.kind}, {grouped(info.bytes)} bytes"
    if info.frames:
        size += f", {counted(info.frames, 'frame')}"
    size += f", {counted(info.gaps, 'gap')}" if info.gaps else ", no gaps"
    if info.files:
        size += f", in {len(info.files)} files"
    lines = [Line((Span(printable(info.path), Style.HEADING), Span(size)))]
    behind = 0
    for name, frames in info.files:
        lines.append(line(f"  frames {behind + 1} to {behind + frames}: {printable(name)}", Style.QUIET))
        behind += frames
    lines += [
        line(f"  {printable(name)}: {printable(value)}", Style.QUIET) for name, value in report.facts.shown().items()
    ]
    return tuple(lines)


def _channel_rows(report: Report) -> Iterator[tuple[str, ...]]:
    main = report.main
    if main is not None:
        state = yes(main.complete) if main.complete else f"understood to {main.understood}"
        yield ("main", grouped(main.bytes), grouped(main.rendezvous), *[""] * 6, state)
    ids = [channel.id for channel in report.channels]
    for channel in report.channels:
        counts = (channel.packets, channel.sync, channel.ram, channel.device_state)
        pages = (channel.normal_pages, channel.zero_pages)
        numbers = [grouped(number) for number in counts + pages]
        name = _channel_name(channel, ids.count(channel.id) > 1)
        yield (name, grouped(channel.bytes), "", *numbers, yes(channel.complete))


def _connection_row(one: ConnectionSummary) -> tuple[str, ...]:
    numbers = (one.sent, 0 if one.acknowledged is None else min(one.acknowledged, one.sent), one.received)
    return (f"{one.source} > {one.destination}", str(one.frame), *map(grouped, numbers))


def _device_row(device: DeviceSummary) -> tuple[str, ...]:
    numbers = (str(device.instance_id), grouped(device.packets), grouped(device.bytes))
    return (printable(device.idstr), *numbers, yes(device.complete))


def _elsewhere_rows(report: Report) -> Iterator[tuple[str, ...]]:
    """Releases that follow one another and end alike are one row."""
    by_mode = sorted(report.elsewhere, key=lambda one: one.mode)
    for (mode, outcomes, why), run in groupby(by_mode, key=lambda one: (one.mode, one.possible_outcomes, one.why)):
        names = [one.profile for one in run]
        span = names[0] if len(names) == 1 else f"{names[0]} to {names[-1].removeprefix('qemu-')}"
        yield (span, mode, ", ".join(outcomes), printable(why))


def _channel_name(channel: ChannelSummary, ambiguous: bool) -> str:
    """The id; with a question mark and its label where the id alone does not tell which connection it is."""
    name = str(channel.id) if channel.stated else f"{channel.id}?"
    return f"{name} {printable(channel.label)}" if channel.label and (ambiguous or not channel.stated) else name


def _findings(report: Report) -> Iterator[Line]:
    for finding in ordered_findings(report):
        place = place_text(finding)
        inside = report.input.file_of(finding.frame)
        if inside is not None:
            place += f" ({printable(inside[0])}: {inside[1]})"
        code = Span(f"{finding.rule} {finding.severity}", SEVERITY_STYLE[finding.severity])
        yield Line((Span(f"{place} " if place else ""), code, Span(message_text(finding))))
