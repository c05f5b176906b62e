"""Ways in which a recording loses frames, or parts of them. Places and shares are in thousandths; connections and their
sides go by number. All are values, so that what a property finds can be read."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol

import zstandard

from captures.links import ACK, FIN, RST, SYN
from tests.helpers.recorded_frames import ETHERNET, FILE_HEADER, RECORD, Frame, cut

THOUSAND = 1000
LARGEST = 3 << 20
"""Bytes of a recording that is damaged again and again."""
SPREAD = 7919
"""A prime: frames of a share are spread by it."""


class Seen(NamedTuple):
    """A frame, and what TCP says in it. ``payload``: its length on the wire."""

    frame: Frame
    connection: int
    from_client: bool
    flags: int
    payload: int


class Way(Protocol):
    """One way to damage a recording."""

    def __call__(self, seen: list[Seen]) -> list[Seen]: ...


def _tcp(frame: Frame) -> int:
    return ETHERNET + (frame.data[ETHERNET] & 15) * 4


def _ends(frame: Frame) -> tuple[int, int]:
    source, target = struct.unpack_from(">HH", frame.data, _tcp(frame))
    return source, target


@cache
def frames_of(path: Path) -> tuple[Seen, ...] | None:
    """All frames of a classic pcap of IPv4 over Ethernet; None: it is none, or too large."""
    data = path.read_bytes()
    if path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    if len(data) > LARGEST or data[:4] != b"\xd4\xc3\xb2\xa1" or int.from_bytes(data[20:24], "little") != 1:
        return None
    frames, position = [], FILE_HEADER
    while position < len(data):
        seconds, fraction, captured, original = RECORD.unpack_from(data, position)
        position += RECORD.size
        frames.append(Frame(seconds, fraction, original, data[position : position + captured]))
        position += captured
    return tuple(_seen(frames))


def _seen(frames: list[Frame]) -> list[Seen]:
    clients: dict[frozenset[int], int] = {}
    found = []
    for frame in frames:
        ends, tcp = _ends(frame), _tcp(frame)
        client = clients.setdefault(frozenset(ends), ends[0])
        number = list(clients).index(frozenset(ends))
        headers = tcp - ETHERNET + (frame.data[tcp + 12] >> 4) * 4
        payload = int.from_bytes(frame.data[ETHERNET + 2 : ETHERNET + 4], "big") - headers
        found.append(Seen(frame, number, ends[0] == client, frame.data[tcp + 13], payload))
    return found


def in_segments(seen: tuple[Seen, ...], size: int) -> list[Seen]:
    """The same recorded without segmentation offload: payloads of ``size`` bytes at most."""
    found = []
    for one in seen:
        data, tcp = one.frame.data, _tcp(one.frame)
        start = tcp + (data[tcp + 12] >> 4) * 4
        for at in range(0, max(one.payload, 1), size):
            length = min(size, one.payload - at)
            head = bytearray(data[:start])
            struct.pack_into(">H", head, ETHERNET + 2, start - ETHERNET + length)
            struct.pack_into(">I", head, tcp + 4, (int.from_bytes(data[tcp + 4 : tcp + 8], "big") + at) % (1 << 32))
            flags = one.flags if at + length == one.payload else one.flags & ~(FIN | RST)
            head[tcp + 13] = flags
            whole = bytes(head) + data[start + at : start + at + length]
            frame = one.frame._replace(data=whole, original=start + length)
            found.append(one._replace(frame=frame, flags=flags, payload=length))
    return found


KINDS: dict[str, Callable[[Seen], bool]] = {
    "any": lambda one: True,
    "data": lambda one: one.payload > 0,
    "acknowledgements": lambda one: not one.payload and not one.flags & (SYN | FIN | RST),
    "SYN": lambda one: bool(one.flags & SYN),
    "answers to SYN": lambda one: one.flags & (SYN | ACK) == SYN | ACK,
    "ends": lambda one: bool(one.flags & (FIN | RST)),
    "RST": lambda one: bool(one.flags & RST),
    "all but handshakes": lambda one: bool(one.payload or one.flags & (FIN | RST)),
    "all but SYN": lambda one: not one.flags & SYN,
    "all but data": lambda one: not one.payload,
}


class Without(NamedTuple):
    """Without frames of a kind, of one connection (None: of all) or all others, one side (None: both)."""

    kind: str
    connection: int | None = None
    from_client: bool | None = None
    others: bool = False

    def __call__(self, seen: list[Seen]) -> list[Seen]:
        return [one for one in seen if not (self._is_its(one) and KINDS[self.kind](one))]

    def _is_its(self, one: Seen) -> bool:
        here = self.connection is None or (one.connection == self.connection) is not self.others
        return here and self.from_client in (None, one.from_client)


class Between(NamedTuple):
    """Only what is between two places, or all but that; of all connections or of one, whose places are its own."""

    first: int
    last: int
    lost: bool
    connection: int | None = None

    def __call__(self, seen: list[Seen]) -> list[Seen]:
        mine = [place for place, one in enumerate(seen) if self.connection in (None, one.connection)]
        first, last = sorted(len(mine) * place // THOUSAND for place in (self.first, self.last))
        dropped = set(mine[first:last] if self.lost else mine[:first] + mine[last:])
        return [one for place, one in enumerate(seen) if place not in dropped]


class Share(NamedTuple):
    """A share of the frames is dropped, spread over all."""

    share: int
    start: int

    def __call__(self, seen: list[Seen]) -> list[Seen]:
        return [one for place, one in enumerate(seen) if (self.start + place * SPREAD) % THOUSAND >= self.share]


class Every(NamedTuple):
    """Each ``step``-th frame is dropped, or only these are left."""

    step: int
    start: int
    left: bool

    def __call__(self, seen: list[Seen]) -> list[Seen]:
        return [one for place, one in enumerate(seen) if ((place + self.start) % self.step == 0) is self.left]


class Snapped(NamedTuple):
    """A share of the frames is cut."""

    length: int
    share: int

    def __call__(self, seen: list[Seen]) -> list[Seen]:
        cuts = (place * SPREAD % THOUSAND < self.share for place in range(len(seen)))
        pairs = zip(seen, cuts, strict=True)
        return [one._replace(frame=cut(one.frame, self.length)) if is_cut else one for one, is_cut in pairs]


class Late(NamedTuple):
    """A frame is recorded ``behind`` frames later than it was sent."""

    place: int
    behind: int

    def __call__(self, seen: list[Seen]) -> list[Seen]:
        if not seen:
            return seen
        at = self.place * (len(seen) - 1) // THOUSAND
        to = min(at + self.behind, len(seen) - 1)
        frame = seen[at].frame._replace(seconds=seen[to].frame.seconds, fraction=seen[to].frame.fraction)
        return [*seen[:at], *seen[at + 1 : to + 1], seen[at]._replace(frame=frame), *seen[to + 1 :]]


class Twice(NamedTuple):
    """A share of the frames is recorded twice, as on two interfaces."""

    share: int

    def __call__(self, seen: list[Seen]) -> list[Seen]:
        both = ([one, one] if place * SPREAD % THOUSAND < self.share else [one] for place, one in enumerate(seen))
        return [one for pair in both for one in pair]


class Stray(NamedTuple):
    """A SYN, or an answer to one, of another connection between the same ends."""

    place: int
    like: int
    sequence: int
    answers: bool

    def __call__(self, seen: list[Seen]) -> list[Seen]:
        if not seen:
            return seen
        at, like = (place * (len(seen) - 1) // THOUSAND for place in (self.place, self.like))
        frame, tcp = seen[like].frame, _tcp(seen[like].frame)
        head = bytearray(frame.data[: tcp + 20])
        struct.pack_into(">H", head, ETHERNET + 2, tcp + 20 - ETHERNET)
        flags = SYN | ACK if self.answers else SYN
        struct.pack_into(">IIBBHHH", head, tcp + 4, self.sequence, self.sequence ^ 77, 0x50, flags, 64240, 0, 0)
        when = seen[at].frame
        stray = when._replace(data=bytes(head), original=len(head))
        return [*seen[:at], seen[like]._replace(frame=stray, flags=flags, payload=0), *seen[at:]]
