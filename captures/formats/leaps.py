"""Finds the records of a classic pcap in many places of the file at once.

Records are a chain: each says where the next one starts. Walking it takes a Python step a record and, worse, waits for
memory at each. So a stretch of the file is cut into strips, a place that looks like a record is searched at the head of
each, and the chains from all of these places are walked together, one numpy step for all. Chains count only if the one
before ends exactly where they start: what comes out is the one chain from the first record on, whatever it looked like.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from captures.formats.mapped import MappedFile

I64 = NDArray[np.int64]

STRIPS = 256
STRIP_RECORDS = 512
"""How many records a strip has, about."""
MAX_STEPS = 8 * STRIP_RECORDS
LONGEST_RECORD = 1 << 13
"""Where records are longer there are few of them, and it takes longer to find one than to walk to it."""
CONFIRMATIONS = 2
"""How many plausible records must follow a place that looks like one."""
SECONDS_APART = 86400
CAPTURED_OFFSET = 8
"""Of the captured length in a record header."""


class RecordForm(NamedTuple):
    """``header``: a record's first bytes, with fields seconds, fraction, captured, original. ``fraction``: parts of a
    second; ``longest``: the most bytes that a frame can have."""

    header: np.dtype[np.void]
    fraction: int
    longest: int

    def plausible(self, headers: np.ndarray, seconds: int | None) -> NDArray[np.bool_]:
        """Which headers look like one of a frame recorded at about ``seconds`` since the epoch."""
        captured, original = headers["captured"], headers["original"]
        good = (captured > 0) & (captured <= self.longest) & (original >= captured)
        good &= headers["fraction"] < self.fraction
        if seconds is not None:
            good &= np.abs(headers["seconds"].astype(np.int64) - seconds) < SECONDS_APART
        return np.asarray(good)


class Typical(NamedTuple):
    """What records lately were like: ``average`` and ``longest`` length, and ``seconds`` when they were recorded."""

    average: int
    longest: int
    seconds: int


def leap(file: MappedFile, form: RecordForm, position: int, typical: Typical) -> I64:
    """File offsets of records, the first one at ``position`` (its header is whole), without a gap; at least that one,
    up to STRIPS * MAX_STEPS of them if records are as is typical."""
    strip = STRIP_RECORDS * typical.average
    strips = min(STRIPS, (file.size - position - 2 * typical.longest) // strip)
    starts = np.concatenate([[position], _heads(file, form, position + strip, strip, strips - 1, typical)])
    stop = min(position + max(1, strips) * strip, file.size)
    chains, ends = _walk(file, form, starts, np.append(starts[1:], stop))
    joined = ends[:-1] == starts[1:]
    count = len(starts) if joined.all() else int(joined.argmin()) + 1
    chains = chains[:, :count].T
    return np.asarray(chains[chains >= 0])


def _heads(file: MappedFile, form: RecordForm, position: int, strip: int, strips: int, typical: Typical) -> I64:
    """The first place in each strip that looks like a record, for strips that have one."""
    if strips <= 0:
        return np.empty(0, np.int64)
    lengths = file.windows(position, strip, strips, typical.longest, form.header)["captured"]
    rows, columns = np.nonzero((lengths > 0) & (lengths <= form.longest))
    places = position + rows * strip + columns
    good = np.ones(len(places), np.bool_)
    following = places
    for _ in range(1 + CONFIRMATIONS):
        good &= following + form.header.itemsize <= file.size
        headers = file.gather(np.where(good, following, places), form.header)
        good &= form.plausible(headers, typical.seconds)
        following = following + form.header.itemsize + headers["captured"]
    rows, places = rows[good], places[good]
    first = np.ones(len(rows), np.bool_)
    first[1:] = rows[1:] != rows[:-1]
    return np.asarray(places[first])


def _walk(file: MappedFile, form: RecordForm, starts: I64, stops: I64) -> tuple[I64, I64]:
    """The chain of records from each of ``starts`` up to its stop: a row a step, -1 behind the end; and where they
    end."""
    size = form.header.itemsize
    here, steps = starts.copy(), list[I64]()
    walking = np.arange(len(starts))
    while len(walking) and len(steps) < MAX_STEPS:
        at = here[walking]
        step = np.full(len(starts), -1)
        step[walking] = at
        steps.append(step)
        at = at + size + file.gather(at + CAPTURED_OFFSET, form.header["captured"])
        here[walking] = at
        walking = walking[(at < stops[walking]) & (at <= file.size - size)]
    return np.array(steps), here
