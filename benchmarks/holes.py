"""What one missing byte costs the decoder of the main channel, against the same stream whole."""

from __future__ import annotations

import random
import time

from benchmarks.table import Table
from multifd_codec.draft import main_records as make
from multifd_codec.main.decoder import MainDecoder
from multifd_codec.main.events import RamBlock
from multifd_codec.source import BufferSource, Hole, HoleReason

DEVICES, SIZE = 1000, 2000
"""Devices on main, and bytes of each."""
PLACES = 24
AT_MOST = 3.0
"""Times what the intact stream takes, wherever the byte is."""


def bench_holes(table: Table) -> None:
    """Without the vmdescription, which the last place hits, the end of every device body must be searched."""
    data = main_channel(DEVICES)
    intact = _seconds(data, ())
    places = [number * (len(data) - 1) // (PLACES - 1) for number in range(PLACES)]
    places[-1] -= 20
    worst = max(_seconds(data, (Hole(at, at + 1, HoleReason.LOST),)) for at in places)
    what = f"main of {len(data) >> 10:,} KiB {intact * 1e3:.1f} ms, a byte missing: at worst {worst / intact:.1f} times"
    table.verdict("holes", what, f"at most {AT_MOST:g} times", kept=worst <= AT_MOST * intact)


def _seconds(data: bytes, holes: tuple[Hole, ...]) -> float:
    best = float("inf")
    for _ in range(3):
        begin = time.process_time()
        for _event in MainDecoder(BufferSource(data, holes=holes)).walk():
            pass
        best = min(best, time.process_time() - begin)
    return best


def main_channel(devices: int) -> bytes:
    """A healthy main channel with so many devices, each of SIZE bytes that say nothing."""
    chance = random.Random(1)
    ram = make.block_list([RamBlock(b"pc.ram", 1 << 30, None, None)])
    items: list[make.MainRecord] = [
        make.file_header(),
        make.configuration("none"),
        make.section_start(2, "ram"),
        ram,
        make.end_of_ram(),
    ]
    items += [ram, make.end_of_ram(), make.footer(2), make.section_end(2, "ram"), make.end_of_ram(), make.footer(2)]
    for number in range(devices):
        items += make.device(10 + number, "timer", chance.randbytes(SIZE), instance_id=number)
    described = [make.buffer_device("timer", SIZE, number) for number in range(devices)]
    items += [make.end_of_stream(), make.vmdescription({"page_size": 4096, "devices": described})]
    return b"".join(record.encoded() for record in items)
