"""The loops themselves. Each does what the numpy code that calls it does without it, for frames of usual shape.

Positions are unsigned throughout: numba then leaves out what makes negative indices count from the end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from captures.links import (
    ACK,
    FIN,
    FRAGMENT_OFFSET,
    IPV4,
    IPV4_MIN,
    MORE_FRAGMENTS,
    RST,
    SYN,
    TCP,
    TCP_MIN,
    TCP_USUAL,
    VLAN_TAG_SIZE,
    VLAN_TAGS,
)

Bytes = NDArray[np.uint8]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
U32 = NDArray[np.uint32]
Mask = NDArray[np.bool_]

# Given beforehand, so that all is compiled when this module is imported, and nothing in the middle of a capture.
WORD, FLAG, DATA = types.int64, types.boolean, types.Array(types.uint8, 1, "C", readonly=True)
ROWS, HEADS, FLAGS = types.int64[::1], types.uint8[:, ::1], types.boolean[::1]
U8S, U16S, U32S, U64S = types.uint8[::1], types.uint16[::1], types.uint32[::1], types.uint64[::1]

AHEAD = np.uint64(16)
"""Records by which memory is asked for early: a record's place is known only when the one before was read, but most
are as long as that."""
LINE = np.uint64(64)
BLOCK_HEAD = np.uint64(8)
FRAGMENT = np.uint64(FRAGMENT_OFFSET | MORE_FRAGMENTS)
FIRST_TAG, SECOND_TAG, THIRD_TAG, FOURTH_TAG = (np.uint64(tag) for tag in sorted(VLAN_TAGS))
OPENING_OR_CLOSING = SYN | FIN | RST
SLOTS = 1 << 14
"""Of the table of flows in a batch: a power of two, twice as many as there are frames."""
HASH = np.uint64(0x9E3779B97F4A7C15)
HASH_SHIFT = np.uint64(64 - 14)
ZERO, ONE, TWO, FOUR = (np.uint64(number) for number in (0, 1, 2, 4))


@intrinsic  # type: ignore[untyped-decorator,unused-ignore]
def _prefetch(_: Any, array: Any, index: Any) -> Any:
    """Asks the memory for the byte at ``index``, which need not exist."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.gep(data, [arguments[1]])
        number = ir.IntType(32)
        form = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [place.type], form)
        builder.call(function, [place, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, index), generate


@njit(cache=True)
def _u16(data: Bytes, at: Any) -> Any:
    return np.uint64(data[at]) << np.uint64(8) | np.uint64(data[at + ONE])


@njit(cache=True)
def _u32(data: Bytes, at: Any) -> Any:
    return _u16(data, at) << np.uint64(16) | _u16(data, at + TWO)


@njit(cache=True)
def _length(data: Bytes, at: Any, big: bool) -> Any:
    value = np.uint32(_u32(data, at))
    if big:
        return np.uint64(value)
    swapped = (value & np.uint32(0xFF00FF)) << np.uint32(8) | (value >> np.uint32(8)) & np.uint32(0xFF00FF)
    return np.uint64(np.uint32(swapped << np.uint32(16) | swapped >> np.uint32(16)))


@njit(WORD(DATA, WORD, WORD, WORD, FLAG, ROWS, HEADS), cache=True)
def walk(data: Bytes, position: int, header: int, length_at: int, big: bool, records: I64, heads: Bytes) -> int:
    """Follows records by their lengths alone, as long as their headers are whole and ``records`` has room: fills in
    their positions and ``heads``, returns their number. ``big``: byte order of the length at ``length_at``
    in a ``header``."""
    here, size, field = np.uint64(position), np.uint64(header), np.uint64(length_at)
    head, whole, count = np.uint64(heads.shape[1]), np.uint64(len(data)), 0
    while count < len(records) and here + size <= whole:
        records[count] = here
        if here + head <= whole:
            for place in range(heads.shape[1]):
                heads[count, place] = data[here + np.uint64(place)]
        else:
            for place in range(heads.shape[1]):
                at = here + np.uint64(place)
                heads[count, place] = data[at] if at < whole else 0
        count += 1
        step = size + _length(data, here + field, big)
        soon = here + AHEAD * step
        _prefetch(data, soon)
        _prefetch(data, soon + LINE)
        _prefetch(data, soon + LINE + LINE // TWO)
        here += step
    return count


@njit(types.UniTuple(WORD, 2)(DATA, WORD, FLAG, types.UniTuple(WORD, 3), ROWS), cache=True)
def walk_blocks(data: Bytes, position: int, big: bool, kinds: tuple[int, int, int], records: I64) -> tuple[int, int]:
    """The same for consecutive blocks of three ``kinds`` in a pcapng file: their number, the position behind them."""
    here, whole, count = np.uint64(position), np.uint64(len(data)), 0
    while count < len(records) and here + BLOCK_HEAD <= whole:
        kind = np.int64(_length(data, here, big))
        if kind not in kinds:
            break
        records[count] = here
        count += 1
        step = _length(data, here + FOUR, big)
        soon = here + AHEAD * step
        _prefetch(data, soon)
        _prefetch(data, soon + LINE)
        here += step
    return count, int(here)


@njit(
    types.UniTuple(WORD, 2)(
        HEADS, ROWS, ROWS, ROWS, ROWS, WORD, WORD,
        ROWS, ROWS, U32S, U32S, U8S, U16S, ROWS, ROWS, ROWS, U64S, U32S,
    ),
    cache=True,
)  # fmt: skip
def dissect(
    heads: Bytes,
    record: I64,
    start: I64,
    end: I64,
    original: I64,
    link_header: int,
    link_protocol: int,
    row: I64,
    flow: I64,
    sequence: U32,
    acknowledgement: U32,
    flags: Bytes,
    window: NDArray[np.uint16],
    position: I64,
    length: I64,
    captured: I64,
    addresses: U64,
    ports: U32,
) -> tuple[int, int]:
    """TCP headers in frames of a link layer that names an ethertype, behind up to two VLAN tags and IPv4.

    ``heads``, ``record``, ``start`` and ``original`` as in FrameBatch, ``end`` of each frame. From ``row`` on what is
    filled in, as in SegmentColumns but for ``flow``, which says where in ``addresses`` and ``ports`` the flow stands,
    and ``length``, negative where the header is none. Returns how many rows and how many flows; frames not among the
    rows are of another shape.
    """
    slots = np.full(SLOTS, -1, np.int16)
    count = flows = 0
    data, head = heads.reshape(-1), heads.shape[1]
    for index in range(len(start)):
        base = record[index] - head * index
        first = np.uint64(start[index] - base)
        stop = np.uint64(min(end[index] - base, head * (index + 1)))
        at = first + np.uint64(link_header)
        if at + np.uint64(IPV4_MIN) > stop:
            continue
        protocol = _u16(data, first + np.uint64(link_protocol))
        for _ in range(2):
            tagged = protocol in (FIRST_TAG, SECOND_TAG, THIRD_TAG, FOURTH_TAG)
            if tagged and at + np.uint64(VLAN_TAG_SIZE + IPV4_MIN) <= stop:
                protocol = _u16(data, at + TWO)
                at += np.uint64(VLAN_TAG_SIZE)
        version = np.uint64(data[at])
        header = (version & np.uint64(15)) * FOUR
        usual = protocol == np.uint64(IPV4) and version >> FOUR == FOUR and header >= np.uint64(IPV4_MIN)
        if not usual or data[at + np.uint64(9)] != TCP or _u16(data, at + np.uint64(6)) & FRAGMENT != ZERO:
            continue
        left = np.int64(_u16(data, at + TWO))
        if left == 0:  # segmentation offload
            left = original[index] - np.int64(at - first)
        left -= np.int64(header)
        pair = _u32(data, at + np.uint64(12)) << np.uint64(32) | _u32(data, at + np.uint64(16))
        at += header
        if at + np.uint64(TCP_USUAL) > stop:
            continue
        both = np.uint32(_u32(data, at))
        slot = ((pair ^ np.uint64(both) << np.uint64(16)) * HASH) >> HASH_SHIFT
        while slots[slot] >= 0 and (addresses[slots[slot]] != pair or ports[slots[slot]] != both):
            slot = (slot + ONE) & np.uint64(SLOTS - 1)
        if slots[slot] < 0:
            slots[slot], addresses[flows], ports[flows] = flows, pair, both
            flows += 1
        row[count], flow[count] = index, slots[slot]
        sequence[count] = _u32(data, at + FOUR)
        acknowledgement[count] = _u32(data, at + np.uint64(8))
        header = (np.uint64(data[at + np.uint64(12)]) >> FOUR) * FOUR
        flags[count] = data[at + np.uint64(13)]
        window[count] = _u16(data, at + np.uint64(14))
        payload = np.int64(at + header) + base
        position[count] = payload
        length[count] = left - np.int64(header) if header >= np.uint64(TCP_MIN) else -1
        captured[count] = min(max(end[index] - payload, 0), length[count])
        count += 1
    return count, flows


@njit(
    WORD(
        ROWS, ROWS, U32S, U8S, U16S, ROWS, ROWS, ROWS, FLAGS, ROWS, HEADS, WORD, WORD, FLAGS, FLAGS,
        U32S, U32S, U32S, U32S, ROWS, U32S, U32S, FLAGS, FLAGS,
    ),
    cache=True,
)  # fmt: skip
def collect(
    row: I64,
    flow: I64,
    sequence: U32,
    flags: Bytes,
    window: NDArray[np.uint16],
    position: I64,
    length: I64,
    captured: I64,
    fragment: Mask,
    record: I64,
    heads: Bytes,
    first_frame: int,
    base: int,
    marks: Mask,
    shut: Mask,
    keys: U32,
    data_sequence: U32,
    data_length: U32,
    data_captured: U32,
    data_position: I64,
    data_back: U32,
    data_frame: U32,
    marked: Mask,
    wanted: Mask,
) -> int:
    """What SegmentCollector keeps of the segments of a batch. Returns how many have payload.

    From ``keys`` on what is filled in: the flows of segments with payload, their DataColumns, which segments may
    start with a mark (their first byte is one of ``marks``, or not in ``heads``), and which are for ControlColumns.
    ``shut``: flows with a closed window, kept up to date.
    """
    newest, opens = np.zeros(len(shut), np.int64), np.zeros(len(shut), np.bool_)
    for index in range(len(flow)):
        if flags[index] & SYN:
            opens[flow[index]] = True
    count = 0
    for index in range(len(flow)):
        here, flag = flow[index], flags[index]
        keep = flag & OPENING_OR_CLOSING != 0 or fragment[index]
        if flag & ACK:
            newest[here] = index
            keep = keep or opens[here]
            if flag & OPENING_OR_CLOSING == 0 and shut[here] != (window[index] == 0):
                shut[here] = not shut[here]
                keep = True
        wanted[index], marked[index] = keep, False
        if length[index] > 0:
            back = position[index] - record[row[index]]
            marked[index] = back >= heads.shape[1] or marks[heads[row[index], np.uint64(back)]]
            keys[count], data_length[count], data_captured[count] = here, length[index], captured[index]
            data_sequence[count] = sequence[index] + np.uint32(1 if flag & SYN else 0)
            data_position[count], data_back[count] = position[index] + base, back
            data_frame[count] = first_frame + row[index]
            count += 1
    for index in range(len(flow)):
        if flags[index] & ACK:
            wanted[newest[flow[index]]] = True
    return count
