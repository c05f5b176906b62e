"""Whether frames are missing from a recording, so that what is not in it proves nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analyzers.survey.channel import ChannelSurvey, numbers_of
from analyzers.survey.migration import Surveyed
from captures.conduct import Half
from captures.model import Migration, MigrationConnection, StreamSource
from multifd_codec.source import HoleReason

LONGEST_WAIT = 2.0
"""Seconds after which a TCP sends nothing but what was not acknowledged (RFC 6298 begins with 1)."""
MOST_CHANNELS = 256
"""Numbers further apart than so many channels explain are wild."""


def frames_lost(migration: Migration) -> bool:
    """Whether frames that were on the wire are not in the recording: bytes between others or that were acknowledged, or
    all that one side sent."""
    return any(_lost(connection) for connection in migration.connections)


def _lost(connection: MigrationConnection) -> bool:
    sent, answered = connection.to_destination, connection.to_source
    spoke = bool(sent.segments or sent.fin or answered.segments or answered.fin) or connection.went_on
    unheard = sent.last is None or answered.last is None or (bool(connection.attempts) and not connection.answered)
    torn = not connection.answered and answered.reset is not None and not answered.refuses
    halves = any(half.lacks or _goes_on_unheard(half) for half in (sent, answered))
    unconfirmed = any(attempt.answers for attempt in connection.attempts) and not connection.went_on
    return halves or unconfirmed or torn or (spoke and unheard) or any(_lacks(source) for source in connection.wire)


def _goes_on_unheard(half: Half) -> bool:
    """Whether new bytes are sent so long behind some that were never acknowledged that they must have been."""
    first, last = half.stuck, half.last_new
    if first is None or last is None or first.seconds is None or last.seconds is None:
        return False
    return last.seconds - first.seconds > LONGEST_WAIT


def _lacks(source: StreamSource | None) -> bool:
    return source is not None and any(hole.reason is not HoleReason.SNAPLEN for hole in source.holes())


def undecidable(surveyed: Surveyed) -> bool:
    """Whether a verdict may rest on something that is not there and may only not have been recorded."""
    return surveyed.partial or any(_content_missing(survey) for survey in surveyed.surveys)


def _content_missing(survey: ChannelSurvey) -> bool:
    """Whether what is missing decides: compressed pages, which depend on each other, or headers of device state."""
    if any(not item.buffer.recorded for item in survey.items if item.buffer is not None):
        return True
    return bool(survey.source.holes()) and any(survey.compressions)


def connection_missing(surveys: Sequence[ChannelSurvey], *, dense: bool, expected: int) -> bool:
    """Whether the recording lacks a whole connection: an id is left out, or the packet numbers that a channel takes,
    one for each SYNC. Numbers are missing for other reasons, too, where a stream that is there breaks off.

    ``dense``: the sender uses every number. ``expected``: channels there are, as far as the streams tell.
    """
    if surveys and (len(surveys) < expected or not any(survey.items for survey in surveys)):
        return True
    numbers = numbers_of(surveys)
    gaps = int(numbers[-1]) + 1 - len(numbers) if len(numbers) else 0
    whole = all(_is_whole(survey) for survey in surveys)
    ids = {survey.init.id for survey in surveys if survey.init is not None}
    if ids and len(ids) == len(surveys) <= max(ids) and (gaps > 0 or not whole):
        return True
    return dense and lacks_numbers(surveys)


def lacks_numbers(surveys: Sequence[ChannelSurvey]) -> bool:
    """Whether the numbers of one more channel's SYNCs are missing, though all streams that are there are whole. For a
    sender that uses every number."""
    numbers = numbers_of(surveys)
    gaps = int(numbers[-1]) + 1 - len(numbers) if len(numbers) else 0
    possible = all(_is_whole(survey) for survey in surveys) and 0 < gaps < MOST_CHANNELS * len(numbers)
    return possible and _misses_syncs(numbers, [survey.sync_numbers() for survey in surveys])


def _misses_syncs(numbers: NDArray[np.int64], syncs: Sequence[NDArray[np.int64]]) -> bool:
    """Whether a number is missing in each rendezvous, as that of a SYNC on one more channel would: behind all SYNCs of
    the rendezvous before it, in front of all of the next. In the last it may be the highest number of all.

    ``numbers``: ascending; ``syncs``: those of SYNCs, channel by channel.
    """
    rounds = min(len(channel) for channel in syncs)
    if rounds < 2:
        return False
    table = np.stack([channel[:rounds] for channel in syncs])
    before = np.concatenate(([-1], table.max(axis=0)[:-2]))
    behind = table.min(axis=0)[1:]
    there = np.searchsorted(numbers, behind) - np.searchsorted(numbers, before, side="right")
    return bool((there < behind - before - 1).all())


def _is_whole(survey: ChannelSurvey) -> bool:
    return survey.init is not None and survey.ends_at_boundary and not survey.stops_being_packets


def misses_numbers(surveys: Sequence[ChannelSurvey]) -> bool:
    """Whether packet numbers are missing below the highest one."""
    numbers = numbers_of(surveys)
    return bool(len(numbers)) and len(numbers) <= int(numbers[-1])
