"""Thousands of frames dissected at once, column by column; frames of unusual shape go to ``frame.py`` one by one.

Both ways give the same segments (a property test says so). The usual shape: a link type of the table, at most two VLAN
tags, IPv4 with any options or IPv6 without extension headers, not fragmented, captured up to the TCP window.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from captures.formats.mapped import MappedFile
from captures.formats.records import FrameBatch
from captures.frames.columns import concatenate, empty, take
from captures.frames.flows import FlowTable
from captures.frames.frame import Segment, Skip, dissect
from captures.links import (
    CARRIER_ETHERTYPES,
    CARRIER_PROTOCOLS,
    CARRIER_UDP_PORTS,
    FAMILIES,
    FRAGMENT_OFFSET,
    IPV4,
    IPV4_HEADER,
    IPV4_MIN,
    IPV6,
    IPV6_EXTENSIONS,
    IPV6_HEADER,
    IPV6_SIZE,
    LINKS,
    MAX_PAYLOAD,
    MORE_FRAGMENTS,
    TCP,
    TCP_HEADER,
    TCP_MIN,
    TCP_USUAL,
    UDP,
    VLAN_TAG_SIZE,
    VLAN_TAGS,
    Link,
    Names,
)
from multifd_codec.arrays import distinct

I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
FAST_VLAN_TAGS = 2


class SegmentColumns(NamedTuple):
    """TCP segments as columns. ``row``: which frame of the batch; ``flow``: number of the flow; ``position``: file
    offset of the payload; ``length`` and ``captured``: payload on the wire and in the file."""

    row: I64
    flow: I64
    sequence: U32
    acknowledgement: U32
    flags: NDArray[np.uint8]
    window: NDArray[np.uint16]
    position: I64
    length: I64
    captured: I64
    fragment: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.row)


NO_SEGMENTS = empty(
    SegmentColumns,
    row=np.int64,
    flow=np.int64,
    sequence=np.uint32,
    acknowledgement=np.uint32,
    flags=np.uint8,
    window=np.uint16,
    position=np.int64,
    length=np.int64,
    captured=np.int64,
    fragment=np.bool_,
)


def dissect_batch(
    file: MappedFile, batch: FrameBatch, flows: FlowTable, *, fast: bool = True
) -> tuple[SegmentColumns, Counter[Skip]]:
    """The TCP segments of a batch in frame order, and how many frames are none, by reason.

    UNRELATED and SHORT frames are only counted where that costs nothing. ``fast=False`` dissects frame by frame.
    """
    dissection = _Dissection(file, batch, flows)
    everything = np.arange(len(batch.record))
    if not fast:
        dissection.slow(everything)
    else:
        dissection.skipped[Skip.LINK] = len(everything)
        for number in LINKS.keys() & set(distinct(batch.link).tolist()):
            rows = np.flatnonzero(batch.link == number)
            dissection.skipped[Skip.LINK] -= len(rows)
            dissection.link(dissection.compiled(rows, LINKS[number]), LINKS[number])
    return dissection.result(), dissection.skipped


class _Dissection:
    """Works on columns that get shorter on the way: ``rows`` of the batch still of interest, and where in the file
    their next header is. What is not of the usual shape is put aside for ``slow``."""

    def __init__(self, file: MappedFile, batch: FrameBatch, flows: FlowTable) -> None:
        self.skipped: Counter[Skip] = Counter()
        self._file = file
        self._batch = batch
        self._flows = flows
        self._end = batch.start + batch.captured
        self._unusual: list[I64] = []
        self._parts: list[SegmentColumns] = []

    def result(self) -> SegmentColumns:
        if self._unusual:
            self.slow(np.concatenate(self._unusual))
        if len(self._parts) == 1:
            return self._parts[0]
        joined = concatenate([NO_SEGMENTS, *self._parts])
        return take(joined, joined.row.argsort(kind="stable"))

    def compiled(self, rows: I64, link: Link) -> I64:
        """Takes what the compiled loop takes, if there is one for this file; returns the other rows."""
        loops = self._batch.loops
        if loops is None or link.names is not Names.ETHERTYPE:
            return rows
        count = len(rows)
        columns = SegmentColumns(*(np.empty(count, column.dtype) for column in NO_SEGMENTS))
        addresses, ports = np.empty(count, np.uint64), np.empty(count, np.uint32)
        batch = self._batch
        places: tuple[np.ndarray, ...] = (batch.head, batch.record, batch.start, self._end, batch.original)
        if count < len(batch.record):
            places = tuple(column[rows] for column in places)
        found, flows = loops.dissect(*places, link.header, link.protocol, *columns[:-1], addresses, ports)
        left = np.ones(count, np.bool_)
        left[columns.row[:found]] = False
        columns = take(columns, slice(found))
        numbers = self._flows.numbers4(addresses[:flows], ports[:flows])
        columns.fragment[:] = False
        self._segments(SegmentColumns(rows[columns.row], numbers[columns.flow], *columns[2:]))
        return rows[left]

    def link(self, rows: I64, link: Link) -> None:
        start = self._batch.start[rows]
        rows, start = self._captured(link.header + IPV4_MIN, start, rows, start)
        position = start + link.header
        if link.names is Names.ETHERTYPE:
            position, protocol = self._ethertypes(rows, position, start + link.protocol)
            is4, is6 = protocol == IPV4, protocol == IPV6
        elif link.names is Names.FAMILY:
            little = self._read(rows, start, "<u4").astype(np.uint32)
            family = np.where(little > 0xFFFF, little.byteswap(), little)
            is4, is6 = (np.isin(family, [name for name in FAMILIES if FAMILIES[name] == ip]) for ip in (IPV4, IPV6))
        else:
            version = self._read(rows, position, "u1") >> 4
            is4, is6 = version == 4, version == 6
        self._ipv4(*_keep(is4, rows, position))
        self._ipv6(*_keep(is6, rows, position))

    def _ethertypes(self, rows: I64, position: I64, named: I64) -> tuple[I64, NDArray[np.uint16]]:
        """Where the network packets start, behind VLAN tags, and their protocols; 0 for rows put aside."""
        protocol = self._read(rows, named, ">u2").astype(np.uint16)
        if (protocol == IPV4).all():
            return position, protocol
        for _ in range(FAST_VLAN_TAGS):
            tagged = np.flatnonzero(np.isin(protocol, list(VLAN_TAGS)))
            there = position[tagged] + VLAN_TAG_SIZE + IPV4_MIN <= self._end[rows[tagged]]
            self._put_aside(rows[tagged[~there]])
            protocol[tagged[~there]] = 0
            tagged = tagged[there]
            protocol[tagged] = self._read(rows[tagged], position[tagged] + 2, ">u2")
            position[tagged] += VLAN_TAG_SIZE
        tagged = np.flatnonzero(np.isin(protocol, list(VLAN_TAGS)))
        self._put_aside(rows[tagged])
        protocol[tagged] = 0
        self.skipped[Skip.CARRIER] += int(np.isin(protocol, list(CARRIER_ETHERTYPES)).sum())
        return position, protocol

    def _ipv4(self, rows: I64, position: I64) -> None:
        if not len(rows):
            return
        ip = self._read(rows, position, IPV4_HEADER)
        version, protocol = ip["version"], ip["protocol"]
        header = (version & 15).astype(np.int64) * 4
        valid = (version >> 4 == 4) & (header >= IPV4_MIN)
        fragment = ip["fragment"].astype(np.uint16) & (FRAGMENT_OFFSET | MORE_FRAGMENTS)
        usual = valid & (protocol == TCP) & (fragment == 0)
        total = ip["total"].astype(np.int64)
        if not usual.all():
            later = (fragment & FRAGMENT_OFFSET) != 0
            self.skipped[Skip.FRAGMENT] += int((valid & later & (protocol == TCP)).sum())
            self._put_aside(rows[valid & ~later & (protocol == TCP) & (fragment != 0)])
            self._others(*_keep(valid & ~later & (protocol != TCP), rows, position + header, protocol))
        # Segmentation offload leaves 0 in packets that are larger than the field can say.
        total = np.where(total == 0, self._batch.original[rows] - (position - self._batch.start[rows]), total)
        rows, position, left, addresses = _keep(usual, rows, position + header, total - header, ip["addresses"])
        rows, position, left, addresses = self._captured(TCP_USUAL, position, rows, position, left, addresses)
        tcp = self._read(rows, position, TCP_HEADER)
        flow = self._flows.numbers4(addresses.astype(np.uint64), tcp["ports"].astype(np.uint32))
        self._tcp(rows, position, left, tcp, flow)

    def _ipv6(self, rows: I64, position: I64) -> None:
        if not len(rows):
            return
        rows, position = self._captured(IPV6_SIZE, position, rows, position)
        ip = self._read(rows, position, IPV6_HEADER)
        valid, protocol = ip["version"] >> 4 == 6, ip["next"]
        usual = valid & (protocol == TCP)
        length = ip["length"].astype(np.int64)
        position = position + IPV6_SIZE
        if not usual.all():
            extended = np.isin(protocol, list(IPV6_EXTENSIONS))
            self._put_aside(rows[valid & extended])
            self._others(*_keep(valid & ~extended & (protocol != TCP), rows, position, protocol))
        left = np.where(length == 0, self._batch.original[rows] - (position - self._batch.start[rows]), length)
        rows, position, left, ip = _keep(usual, rows, position, left, ip)
        rows, position, left, ip = self._captured(TCP_USUAL, position, rows, position, left, ip)
        tcp = self._read(rows, position, TCP_HEADER)
        words = [
            ip[name].astype(np.uint64) for name in ("source_high", "source_low", "destination_high", "destination_low")
        ]
        flow = self._flows.numbers6((words[0], words[1]), (words[2], words[3]), tcp["ports"].astype(np.uint32))
        self._tcp(rows, position, left, tcp, flow)

    def _others(self, rows: I64, position: I64, protocol: NDArray[np.uint8]) -> None:
        """Packets that are not TCP."""
        self.skipped[Skip.CARRIER] += int(np.isin(protocol, list(CARRIER_PROTOCOLS)).sum())
        rows, position = _keep(protocol == UDP, rows, position)
        rows, position = self._captured(4, position, rows, position)
        ports = self._read(rows, position + 2, ">u2").astype(np.uint16)
        self.skipped[Skip.CARRIER] += int(np.isin(ports, list(CARRIER_UDP_PORTS)).sum())

    def _tcp(self, rows: I64, position: I64, left: I64, tcp: np.ndarray, flow: I64) -> None:
        header = (tcp["offset"] >> 4).astype(np.int64) * 4
        length = left - header
        start = position + header
        columns = SegmentColumns(
            row=rows,
            flow=flow,
            sequence=tcp["sequence"].astype(np.uint32),
            acknowledgement=tcp["acknowledgement"].astype(np.uint32),
            flags=tcp["flags"].copy(),
            window=tcp["window"].astype(np.uint16),
            position=start,
            length=length,
            captured=np.minimum(np.maximum(self._end[rows] - start, 0), length),
            fragment=np.zeros(len(rows), np.bool_),
        )
        self._segments(columns, header >= TCP_MIN)

    def _segments(self, columns: SegmentColumns, whole: NDArray[np.bool_] | bool = True) -> None:
        """Keeps those that make sense, of the ``whole`` ones."""
        good = whole & (columns.length >= 0) & (columns.length <= MAX_PAYLOAD)
        self._parts.append(columns if good.all() else take(columns, good))

    def slow(self, rows: I64) -> None:
        """Dissects frame by frame."""
        batch, view = self._batch, self._file.view
        found: dict[int, list[tuple[int, int, Segment]]] = {4: [], 16: []}
        columns = (column[rows].tolist() for column in (batch.start, self._end, batch.original, batch.link))
        for row, start, end, original, link in zip(rows.tolist(), *columns, strict=True):
            segment = dissect(view[start:end], original, link)
            if isinstance(segment, Skip):
                self.skipped[segment] += 1
            else:
                found[len(segment.source)].append((row, start + segment.start, segment))
        self._parts += [self._columns(*zip(*items, strict=True)) for items in found.values() if items]

    def _columns(self, rows: Sequence[int], positions: Sequence[int], segments: Sequence[Segment]) -> SegmentColumns:
        """Segments of one IP version as columns."""
        ports = np.array([segment.source_port << 16 | segment.destination_port for segment in segments], np.uint32)
        addresses = np.frombuffer(b"".join(segment.source + segment.destination for segment in segments), ">u8")
        words = addresses.astype(np.uint64).reshape(len(segments), -1)
        return SegmentColumns(
            row=np.array(rows, np.int64),
            flow=self._flows.numbers4(words[:, 0], ports)
            if words.shape[1] == 1
            else self._flows.numbers6((words[:, 0], words[:, 1]), (words[:, 2], words[:, 3]), ports),
            sequence=np.array([segment.sequence for segment in segments], np.uint32),
            acknowledgement=np.array([segment.acknowledgement for segment in segments], np.uint32),
            flags=np.array([segment.flags for segment in segments], np.uint8),
            window=np.array([segment.window for segment in segments], np.uint16),
            position=np.array(positions, np.int64),
            length=np.array([segment.length for segment in segments], np.int64),
            captured=np.array([segment.captured for segment in segments], np.int64),
            fragment=np.array([segment.fragment for segment in segments], np.bool_),
        )

    def _captured(self, needed: int, position: I64, rows: I64, *columns: np.ndarray) -> tuple[np.ndarray, ...]:
        """What is left of the columns when frames that end within ``needed`` bytes from ``position`` are put aside."""
        there = position + needed <= self._end[rows]
        if there.all():
            return rows, *columns
        self._put_aside(rows[~there])
        return _keep(there, rows, *columns)

    def _read(self, rows: I64, position: I64, dtype: DTypeLike) -> Any:
        return self._batch.read(self._file, rows, position, dtype)

    def _put_aside(self, rows: I64) -> None:
        if len(rows):
            self._unusual.append(rows)


def _keep(mask: NDArray[np.bool_], *columns: np.ndarray) -> tuple[np.ndarray, ...]:
    return columns if mask.all() else tuple(column[mask] for column in columns)
