"""What the frames of a connection show beside its bytes: attempts, acknowledgements, windows, retransmissions, ends.

Worked out from the columns that one pass over the capture collected. Acknowledgements are a sample (the last one of a
flow in each batch of frames, and those around a window that shuts), so what was acknowledged is exact, and the moment
at which a byte was is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from captures.conduct import Attempt, Conduct, Half, Moment, Pause, Retransmissions, Window
from captures.links import ACK, FIN, RST, SYN
from captures.tcp.collect import ControlColumns, DataColumns
from captures.tcp.reassembly import MAX_JUMP, distance, unwrap

I64 = NDArray[np.int64]
LEAST_PAUSE = 0.5
"""Seconds."""
Time = Callable[[int], float | None]
"""Seconds since the epoch of the frame whose record is at that file offset."""


Interface = Callable[[int], int | None]
"""The same of the interface on which it was seen."""


class Side(NamedTuple):
    """What one side sent, in frame order. ``first``: sequence number of its first byte, None when no SYN said."""

    data: DataColumns
    control: ControlColumns
    first: int | None


def observe(client: Side, server: Side, time: Time, interface: Interface) -> Conduct:
    """How the two sides of one connection behaved."""
    sides = (client, server)
    halves = [_half(side, peer, time, interface) for side, peer in (sides, sides[::-1])]
    attempts = [Attempt(moment, answers) for side in sides for moment, answers in _syns(side, time, interface)]
    attempts.sort(key=lambda attempt: attempt.moment.frame)
    return Conduct(tuple(attempts), *halves)


def _moments(frame: NDArray[np.uint32], record: I64, rows: Sequence[int] | I64, time: Time) -> list[Moment]:
    return [Moment(int(frame[row]), time(int(record[row]))) for row in rows]


def _control_moment(control: ControlColumns, rows: I64, time: Time, which: int = 0) -> Moment | None:
    if not len(rows):
        return None
    return _moments(control.frame, control.record, rows[[which]], time)[0]


def _data_moment(data: DataColumns, row: int, time: Time) -> Moment:
    return Moment(int(data.frame[row]), time(int(data.position[row]) - int(data.back[row])))


def _syns(side: Side, time: Time, interface: Interface) -> Iterator[tuple[Moment, bool]]:
    rows = np.flatnonzero(side.control.flags & SYN)
    if len(rows) > 1:
        rows = rows[_not_copies(side.control.record[rows], int(side.control.record[rows[0]]), interface)]
    moments = _moments(side.control.frame, side.control.record, rows, time)
    for moment, flags in zip(moments, side.control.flags[rows].tolist(), strict=True):
        yield moment, bool(flags & ACK)


def _not_copies(records: I64, first: int, interface: Interface) -> NDArray[np.bool_]:
    """Which frames are no copies, seen on their way through another interface than the ``first`` frame of its kind."""
    home = interface(first)
    if home is None:
        return np.ones(len(records), np.bool_)
    return np.array([interface(record) == home for record in records.tolist()], np.bool_)


def _half(side: Side, peer: Side, time: Time, interface: Interface) -> Half:
    data, control = side.data, side.control
    offset, base = unwrap(data.sequence, side.first)
    end = offset + data.length
    reached = end if (end[1:] >= end[:-1]).all() else np.maximum.accumulate(end)
    sent = int(reached[-1]) if len(reached) else 0
    newest = int(np.argmax(reached == sent)) if len(reached) else None
    known = side.first is not None or bool(len(data.sequence))
    acknowledged = _acknowledged(peer, base, known)
    ends = control.flags & (FIN | RST)
    fins, resets = np.flatnonzero(ends & FIN), np.flatnonzero(ends & RST)
    fin, reset = (_behind(control.end[rows], base, sent) if known else 0 for rows in (fins, resets))
    refusing = (peer.control.flags & (ACK | RST)) == ACK | RST
    refused = _behind(peer.control.acknowledgement[refusing], base, sent) if known else 0
    return Half(
        segments=len(data.sequence),
        sent=sent,
        first_data=_data_moment(data, 0, time) if len(end) else None,
        last_new=_data_moment(data, newest, time) if newest is not None else None,
        pauses=tuple(_pauses(data, reached, time)),
        last=_last(side, time),
        acknowledged=acknowledged,
        stuck=_stuck(data, offset, end, acknowledged, time),
        retransmissions=_retransmissions(data, offset, end, reached, acknowledged, time, interface),
        shut=tuple(_windows(peer.control, base, time)),
        fin=_control_moment(control, fins, time),
        reset=_control_moment(control, resets, time),
        resets=len(resets),
        shown=max(sent, fin, *(at - bool(len(fins) and at == fin + 1) for at in (reset, refused, acknowledged or 0))),
        refuses=bool((control.acknowledgement[(control.flags & (ACK | RST)) == ACK | RST] == peer.first).any())
        if peer.first is not None
        else False,
    )


def _behind(numbers: NDArray[np.uint32], base: int, sent: int) -> int:
    """The highest offset that these sequence numbers stand for, near what was ``sent``; 0: there is none."""
    last = (base + sent) % 0x1_0000_0000
    steps = [distance(number, last) for number in numbers.tolist()]
    return max((sent + step for step in steps if step <= MAX_JUMP), default=0)


def _pauses(data: DataColumns, reached: I64, time: Time) -> Iterator[Pause]:
    """Found by halving: stretches that took less than a pause are not looked into, so that few frames are asked for
    their time."""
    rows = _rising(reached)
    stretches = [(0, len(rows) - 1)] if len(rows) > 1 else []
    moments: dict[int, Moment] = {}

    def moment(index: int) -> Moment:
        if index not in moments:
            moments[index] = _data_moment(data, int(rows[index]), time)
        return moments[index]

    while stretches:
        first, last = stretches.pop()
        since, until = moment(first), moment(last)
        if since.seconds is None or until.seconds is None or until.seconds - since.seconds < LEAST_PAUSE:
            continue
        if last == first + 1:
            yield Pause(since, until)
            continue
        middle = (first + last) // 2
        stretches += [(middle, last), (first, middle)]


def _rising(reached: I64) -> I64:
    """Rows that are higher than the one before; columns of a large capture are not copied without need."""
    new = np.ones(len(reached), np.bool_)
    np.greater(reached[1:], reached[:-1], out=new[1:])
    return np.flatnonzero(new)


def _last(side: Side, time: Time) -> Moment | None:
    """The last frame that is known of this side."""
    moments = []
    if len(side.data.frame):
        moments.append(_data_moment(side.data, -1, time))
    if len(side.control.frame):
        moments.append(_moments(side.control.frame, side.control.record, [-1], time)[0])
    return max(moments, default=None)


def _acknowledged(peer: Side, base: int, known: bool) -> int | None:
    """The highest offset that the peer acknowledged, FIN included; None when it acknowledged nothing."""
    control = peer.control
    rows = np.flatnonzero((control.flags & (ACK | RST)) == ACK)
    if not len(rows) or not known:
        return None
    numbers = control.acknowledgement[rows]
    steps = np.empty(len(numbers), np.int64)
    steps[0] = distance(int(numbers[0]), base)
    steps[1:] = (numbers[1:] - numbers[:-1]).view(np.int32)
    return max(0, int(steps.cumsum().max()))


def _stuck(data: DataColumns, offset: I64, end: I64, acknowledged: int | None, time: Time) -> Moment | None:
    """When the first byte that was never acknowledged was sent first; None when there is none, or nobody can say."""
    if acknowledged is None or not len(end):
        return None
    rows = np.flatnonzero((end > acknowledged) & (offset <= acknowledged + MAX_JUMP))
    return _data_moment(data, int(rows[0]), time) if len(rows) else None


def _retransmissions(
    data: DataColumns,
    offset: I64,
    end: I64,
    reached: I64,
    acknowledged: int | None,
    time: Time,
    interface: Interface,
) -> Retransmissions | None:
    """Segments that bring nothing new. A single byte in front of what was sent is a keep-alive or window probe."""
    if len(end) < 2:
        return None
    again = np.zeros(len(end), np.bool_)
    again[1:] = (end[1:] <= reached[:-1]) & (data.length[1:] > 1)
    rows = np.flatnonzero(again)
    if len(rows):
        records = data.position[rows] - data.back[rows]
        rows = rows[_not_copies(records, int(data.position[0]) - int(data.back[0]), interface)]
    if not len(rows):
        return None
    return Retransmissions(
        number=len(rows),
        behind=0 if acknowledged is None else int((end[rows] > acknowledged).sum()),
        first=_data_moment(data, int(rows[0]), time),
        last=_data_moment(data, int(rows[-1]), time),
        offset=int(offset[rows[-1]]),
        head=0 if acknowledged is None else int(((offset[rows] <= acknowledged) & (end[rows] > acknowledged)).sum()),
    )


def _windows(control: ControlColumns, base: int, time: Time) -> Iterator[Window]:
    """Stretches in which the receiver, whose segments these are, has advertised a window of 0."""
    rows = np.flatnonzero((control.flags & (ACK | SYN | RST | FIN)) == ACK)
    if len(rows):  # what is acknowledged later is the newer one, whatever is recorded first
        steps = np.diff(control.acknowledgement[rows], prepend=control.acknowledgement[rows[0]]).view(np.int32)
        offset = steps.cumsum(dtype=np.int64)
        rows = rows[offset >= np.maximum.accumulate(offset)]
    shut = control.window[rows] == 0
    turns = np.flatnonzero(shut != np.concatenate([[False], shut[:-1]]))
    moments = _moments(control.frame, control.record, rows[turns], time)
    for index in range(0, len(turns), 2):
        until = moments[index + 1] if index + 1 < len(turns) else None
        number = int(control.acknowledgement[rows[turns[index]]])
        yield Window(moments[index], until, max(0, distance(number, base)))
