"""How long the guest stood still, as far as the wire tells."""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

from analyzers.survey.main import RecordKind
from analyzers.survey.migration import Surveyed
from analyzers.survey.vfio import SectionKind
from captures.conduct import Moment
from captures.model import StreamSource
from multifd_codec.wire.qemufile import CommandId


class Downtime(NamedTuple):
    """From the last byte of RAM packets in front of the switchover to the EOF byte."""

    since: Moment
    until: Moment

    @property
    def seconds(self) -> float:
        return (self.until.seconds or 0.0) - (self.since.seconds or 0.0)


def downtime(surveyed: Surveyed) -> Downtime | None:
    """None without times, for postcopy, and when switchover or EOF were not recorded.

    SWITCHOVER_START is sent as soon as the guest stands still. The header of the END section, where there is none,
    stays in a buffer until its pages are sent: the guest still ran when the section in front of it ended.
    """
    main = surveyed.main
    if main is None or main.eof is None or main.postcopy or not surveyed.mains:
        return None
    source = surveyed.mains[0].source
    switchover = [command.offset for command in main.commands if command.number == CommandId.SWITCHOVER_START]
    if switchover:
        place = switchover[0]
    else:
        ends = [record for record in main.records if record.kind is RecordKind.EOS]
        before = [record.offset for record in ends if record.section in (SectionKind.START, SectionKind.PART)]
        if not before:
            return None
        place = before[-1]
    frame, until = source.frame_at(place), _moment(source, main.eof)
    if frame is None or until is None:
        return None
    last = (_last_before(one.captured.source, frame) for one in surveyed.channels if one.survey.ram)
    since = max((moment for moment in last if moment is not None), default=None) or _moment(source, place)
    return None if since is None or until.seconds is None or since.seconds is None else Downtime(since, until)


def _moment(source: StreamSource, offset: int) -> Moment | None:
    frame = source.frame_at(offset)
    return None if frame is None else Moment(frame, source.time_at(offset))


def _last_before(source: StreamSource, frame: int) -> Moment | None:
    """When the last byte in front of a frame was recorded."""

    def at(offset: int) -> int:
        found = source.frame_at(offset)
        if found is None:
            hole = source.next_hole(offset)
            found = source.frame_at(hole.start - 1) if hole is not None and hole.start else None
        return found or 0

    behind = bisect_left(range(source.size), frame, key=at)
    hole = source.next_hole(behind - 1) if behind else None
    last = hole.start - 1 if hole is not None and hole.start < behind else behind - 1
    return _moment(source, last) if last >= 0 else None
