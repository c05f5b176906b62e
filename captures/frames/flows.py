"""Numbers for flows: one direction between two endpoints is a small integer, given to whole columns at once."""

from __future__ import annotations

import ipaddress
import struct

import numpy as np
from numpy.typing import NDArray

from captures.conduct import Endpoint
from multifd_codec.arrays import distinct

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]


class Interner:
    """Gives each distinct 64-bit value a number, from 0 in order of (batchwise) appearance."""

    def __init__(self) -> None:
        self._sorted = np.empty(0, np.uint64)
        self._numbers = np.empty(0, np.int64)
        self._values: U64 | None = None

    def __len__(self) -> int:
        return len(self._sorted)

    def numbers(self, values: U64) -> I64:
        places, known = self._find(values)
        if not known.all():
            self._add(distinct(values[~known]))
            places, _ = self._find(values)
        return self._numbers[places]

    def lookup(self, values: U64) -> I64:
        """Their numbers, -1 for values that have none."""
        places, known = self._find(values)
        return np.where(known, self._numbers[places], -1) if len(self) else np.full(len(values), -1, np.int64)

    def values(self) -> U64:
        """The value of each number."""
        if self._values is None:
            self._values = np.empty_like(self._sorted)
            self._values[self._numbers] = self._sorted
        return self._values

    def _find(self, values: U64) -> tuple[I64, NDArray[np.bool_]]:
        if not len(self._sorted):
            return np.zeros(len(values), np.int64), np.zeros(len(values), np.bool_)
        places = self._sorted.searchsorted(values)
        places[places == len(self._sorted)] = 0
        return places, self._sorted[places] == values

    def _add(self, new: U64) -> None:
        places = self._sorted.searchsorted(new)
        numbers = np.arange(len(self), len(self) + len(new), dtype=np.int64)
        self._sorted = np.insert(self._sorted, places, new)
        self._numbers = np.insert(self._numbers, places, numbers)
        self._values = None


class FlowTable:
    """Numbers flows by addresses and ports, exactly: nothing is hashed.

    Ports are given as one 32-bit value, source port in the upper half, as they stand in a TCP header.
    """

    def __init__(self) -> None:
        self._pairs4 = Interner()
        self._halves6 = Interner()
        self._addresses6 = Interner()
        self._pairs6 = Interner()
        self._flows = Interner()

    def __len__(self) -> int:
        return len(self._flows)

    def numbers4(self, addresses: U64, ports: NDArray[np.uint32]) -> I64:
        """``addresses``: source in the upper, destination in the lower 32 bits."""
        return self._with_ports(self._pairs4.numbers(addresses) << 1, ports)

    def numbers6(self, source: tuple[U64, U64], destination: tuple[U64, U64], ports: NDArray[np.uint32]) -> I64:
        """Addresses as upper and lower halves."""
        pairs = self._pairs6.numbers(_join(self._address6(*source), self._address6(*destination)))
        return self._with_ports(pairs << 1 | 1, ports)

    def endpoints(self, flow: int) -> tuple[Endpoint, Endpoint]:
        """Source and destination of one flow."""
        pair, ports = divmod(int(self._flows.values()[flow]), 1 << 32)
        source, destination = divmod(int((self._pairs6 if pair & 1 else self._pairs4).values()[pair >> 1]), 1 << 32)
        name = self._name6 if pair & 1 else self._name4
        return Endpoint(name(source), ports >> 16), Endpoint(name(destination), ports & 0xFFFF)

    def reverse(self) -> I64:
        """For each flow the number of the opposite direction, -1 when no frame of it was seen."""
        pairs, ports = _split(self._flows.values())
        turned = np.full(len(pairs), -1, np.int64)
        for kind, interner in enumerate((self._pairs4, self._pairs6)):
            rows = np.flatnonzero(pairs & 1 == kind)
            back = interner.lookup(_join(*reversed(_split(interner.values()))))[pairs[rows] >> 1]
            known, rows = back[back >= 0], rows[back >= 0]
            swapped = ports[rows] >> 16 | (ports[rows] & 0xFFFF) << 16
            turned[rows] = self._flows.lookup(_join(known << 1 | kind, swapped))
        return turned

    def flows_to(self, endpoint: Endpoint) -> I64:
        """The flows with this destination."""
        return self._flows_of(endpoint, 1, 0)

    def flows_from(self, endpoint: Endpoint) -> I64:
        """The flows with this source."""
        return self._flows_of(endpoint, 0, 16)

    def _flows_of(self, endpoint: Endpoint, side: int, shift: int) -> I64:
        packed = ipaddress.ip_address(endpoint.address).packed
        if len(packed) == 4:
            address, pairs, kind = int.from_bytes(packed, "big"), self._pairs4, 0
        else:
            halves = self._halves6.lookup(np.array(struct.unpack(">QQ", packed), np.uint64))
            address, pairs, kind = int(self._addresses6.lookup(_join(halves[:1], halves[1:]))[0]), self._pairs6, 1
        wanted: NDArray[np.bool_] = _split(pairs.values())[side] == address
        flow_pairs, ports = _split(self._flows.values())
        rows: I64 = np.flatnonzero((flow_pairs & 1 == kind) & (ports >> shift & 0xFFFF == endpoint.port))
        found: I64 = rows[wanted[flow_pairs[rows] >> 1]]
        return found

    def _name4(self, address: int) -> str:
        return str(ipaddress.IPv4Address(address))

    def _name6(self, number: int) -> str:
        halves = divmod(int(self._addresses6.values()[number]), 1 << 32)
        high, low = (int(self._halves6.values()[half]) for half in halves)
        return str(ipaddress.IPv6Address(high << 64 | low))

    def _address6(self, high: U64, low: U64) -> I64:
        return self._addresses6.numbers(_join(self._halves6.numbers(high), self._halves6.numbers(low)))

    def _with_ports(self, pairs: I64, ports: NDArray[np.uint32]) -> I64:
        return self._flows.numbers(_join(pairs, ports))


def _split(values: U64) -> tuple[I64, I64]:
    """Upper and lower 32 bits."""
    return (values >> np.uint64(32)).astype(np.int64), (values & np.uint64(0xFFFFFFFF)).astype(np.int64)


def _join(upper: I64, lower: I64 | NDArray[np.uint32]) -> U64:
    return upper.astype(np.uint64) << np.uint64(32) | lower.astype(np.uint64)
