"""Makes the captures that are raced over: legal QEMU 10.0 migrations of one RAM block, so that lint says `completes`.

The main channel is a recorded one (-machine none, 10.0.2) whose RAM block has another size; the multifd channels hold
as many packets as it takes. Three rendezvous: in the RAM setup section, in the only iteration, and in the last one.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from captures.recording import open_recording
from captures.write.tcp_frames import MAX_SEGMENT
from multifd_codec.channel.decoder import encode_event
from multifd_codec.channel.events import ChannelInit, RamPacket
from multifd_codec.source import Hole, StreamEnd
from multifd_codec.wire.packet import MULTIFD_PACKET_SIZE, PacketFlags, pages_per_packet
from tests.helpers.writing import ETHERNET_SEGMENT, round_robin, write_pcap

PAGE_SIZE = 4096
CHANNELS = 2
PAGES = pages_per_packet(PAGE_SIZE)
HEADER_SIZE = 320 + 8 * PAGES
MAIN_TEMPLATE = "q10.0-none-known-ram-zlib.pcap"
BLOCK = b"ram0"
VERSION = 2
"""Part of the file names: raise it when what is made changes."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One capture to make: ``packets`` RAM packets over all channels, each with 128 normal or 128 zero pages."""

    name: str
    packets: int
    zero: bool
    segment_size: int


def specs(*, quick: bool) -> tuple[InputSpec, InputSpec, InputSpec]:
    """The large-segment, the small-segment and the zero-page capture."""
    share = 16 if quick else 1
    gib = (1 << 30) // (HEADER_SIZE + MULTIFD_PACKET_SIZE)

    def even(packets: int) -> int:
        # The same number on every channel, or a page would be missing.
        return packets // share // CHANNELS * CHANNELS

    return (
        InputSpec("segments-64k", even(4 * gib), False, MAX_SEGMENT),
        InputSpec("segments-1448", even(4 * gib), False, ETHERNET_SEGMENT),
        InputSpec("zero-pages", even(2_000_000), True, MAX_SEGMENT),
    )


def make_input(spec: InputSpec, folder: Path, samples: Path) -> Path:
    """The capture of ``spec`` in ``folder``, made unless it is there. Raises OSError, InputError."""
    path = folder / f"{spec.name}-{spec.packets}-v{VERSION}.pcap"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    main, setup = _main_channel(samples / MAIN_TEMPLATE, spec.packets * MULTIFD_PACKET_SIZE)
    channels = [_PacketStream(number, spec) for number in range(CHANNELS)]
    turn = (1 << 20) // spec.segment_size * spec.segment_size
    order = itertools.chain(
        [(0, 0, setup)],
        ((number + 1, start, end) for number, start, end in round_robin([c.size for c in channels], turn)),
        [(0, setup, len(main))],
    )
    unfinished = path.with_suffix(".part")
    write_pcap(unfinished, [main, *channels], order=order, segment_size=spec.segment_size, checksums=False)
    unfinished.rename(path)
    return path


def _main_channel(template: Path, ram_size: int) -> tuple[bytes, int]:
    """Bytes of the main channel for a RAM block of ``ram_size`` bytes; how many of them belong to RAM setup."""
    with open_recording(template) as recording:
        main = next(c.source for c in recording.migrations[0].channels if c.kind == "main")
        data = bytes(main.read(0, main.size))
    old = 4 << 20
    mem_size = 4
    for before, after in (
        ((old | mem_size).to_bytes(8), (ram_size | mem_size).to_bytes(8)),
        (BLOCK + old.to_bytes(8), BLOCK + ram_size.to_bytes(8)),
    ):
        if data.count(before) != 1:
            raise ValueError(f"{template.name} is not the recording this was written for")
        data = data.replace(before, after)
    next_section = b"\x7e\0\0\0\x01\x02"
    return data, data.index(next_section) + 5


class _PacketStream:
    """A multifd channel as a ByteSource that makes its bytes when they are read: init, SYNC, packets, SYNC, SYNC."""

    end = StreamEnd.CLOSED

    def __init__(self, channel: int, spec: InputSpec) -> None:
        self._channel, self._zero = channel, spec.zero
        self._count = spec.packets // CHANNELS
        init = ChannelInit(0, 64, 0x11223344, 1, bytes.fromhex("6f9619ff8b86d011b42d00c04fc964ff"), channel, bytes(7),
                           (0, 0, 0, 0))  # fmt: skip
        self._head = encode_event(init) + self._packet(channel, sync=True)
        last = CHANNELS * (self._count + 1) + channel
        self._tail = self._packet(last, sync=True) + self._packet(last + CHANNELS, sync=True)
        self._step = HEADER_SIZE + (0 if spec.zero else MULTIFD_PACKET_SIZE)

    @property
    def size(self) -> int:
        return len(self._head) + self._count * self._step + len(self._tail)

    @cached_property
    def _payload(self) -> bytes:
        # Text, not noise: in noise tshark's heuristics find protocols that want to see megabytes more, and it crawls.
        return b"".join((b"page %05d " % number * PAGE_SIZE)[:PAGE_SIZE] for number in range(PAGES))

    def _packet(self, number: int, *, sync: bool = False, index: int = 0) -> bytes:
        first = (index * CHANNELS + self._channel) * MULTIFD_PACKET_SIZE
        pages = (0,) * PAGES if sync else tuple(range(first, first + MULTIFD_PACKET_SIZE, PAGE_SIZE))
        normal = 0 if sync or self._zero else PAGES
        return encode_event(
            RamPacket(
                offset=0, length=HEADER_SIZE, magic=0x11223344, version=1, flags=PacketFlags.SYNC if sync else 0,
                pages_alloc=0 if sync else PAGES, normal_pages=normal, next_packet_size=normal * PAGE_SIZE,
                packet_num=number, zero_pages=0 if sync else PAGES - normal, unused32=0, unused64=(0, 0, 0),
                ramblock=(b"" if sync else BLOCK).ljust(256, b"\0"), pages=pages, payload_offset=0, payload_length=0,
                known=HEADER_SIZE,
            )
        )  # fmt: skip

    def _record(self, index: int) -> bytes:
        packet = self._packet(CHANNELS * (index + 1) + self._channel, index=index)
        return packet if self._zero else packet + self._payload

    def read(self, offset: int, length: int) -> bytes:
        """ByteSource: made for reading straight through, a record more or less at a time."""
        first = max(0, (offset - len(self._head)) // self._step)
        parts = [] if offset >= len(self._head) else [self._head]
        position = 0 if parts else len(self._head) + first * self._step
        skip = offset - position
        made = len(parts[0]) if parts else 0
        for index in range(first, self._count):
            if made >= skip + length:
                break
            parts.append(self._record(index))
            made += self._step
        else:
            parts.append(self._tail)
        return b"".join(parts)[skip : skip + length]

    def holes(self) -> tuple[Hole, ...]:
        return ()

    def next_hole(self, offset: int) -> Hole | None:
        return None
