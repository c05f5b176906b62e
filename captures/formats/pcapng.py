"""pcapng files: several sections and interfaces, both byte orders, any timestamp resolution.

Format (draft-ietf-opsawg-pcapng): blocks of type, total length, body, total length again. Frames are in enhanced,
simple and (obsolete) packet blocks; what else there is gets skipped. Behind a damaged block nothing can be read.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from captures import compiled
from captures.formats.mapped import MappedFile
from captures.formats.records import BATCH_FRAMES, COOKED_V2, COOKED_V2_INTERFACE, HEAD, PACKET_KINDS, FrameBatch
from captures.model import CaptureNote, InputForm, NoteKind

I64 = NDArray[np.int64]

SECTION_HEADER, INTERFACE = 0x0A0D0D0A, 1
OBSOLETE_PACKET, SIMPLE_PACKET, ENHANCED_PACKET = PACKET_KINDS
MAGIC = b"\x0a\x0d\x0d\x0a"
BYTE_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
BLOCK_OVERHEAD = 12
OPTION_END, OPTION_TIME_RESOLUTION, OPTION_TIME_OFFSET = 0, 9, 14
HIGHEST_SNAPLEN = 1 << 24
UNSIGNED = {2: "H", 4: "I"}


class PacketBlock(NamedTuple):
    """Where a kind of packet block has its fields: offset and bytes. None: the field is not there."""

    data: int
    interface: tuple[int, int] | None
    captured: int | None
    original: int
    time: int | None


PACKET_BLOCKS = {
    ENHANCED_PACKET: PacketBlock(28, (8, 4), 20, 24, 12),
    OBSOLETE_PACKET: PacketBlock(28, (8, 2), 20, 24, 12),
    SIMPLE_PACKET: PacketBlock(12, None, None, 8, None),
}


class Interface(NamedTuple):
    """``snaplen`` 0: none. Timestamps have ``ticks`` a second and start ``offset`` seconds after the epoch."""

    link: int
    snaplen: int
    ticks: int = 10**6
    offset: int = 0


NO_INTERFACE = Interface(-1, 0)
"""Stands for the interfaces that frames name, but the file does not describe."""


class Section(NamedTuple):
    """``position``: file offset of its header block. ``order`` as in struct. ``first_interface``: where in the list of
    the whole file its interfaces start."""

    position: int
    order: str
    first_interface: int

    def unpack(self, form: str, view: memoryview, position: int) -> tuple[int, ...]:
        return struct.unpack_from(self.order + form, view, position)


class PcapngFile:
    """Frames of a pcapng file (CaptureFormat). ``file`` must start with MAGIC."""

    kind = InputForm.PCAPNG

    def __init__(self, file: MappedFile) -> None:
        self.frames = 0
        self.notes: list[CaptureNote] = []
        self.position = 0
        self._file = file
        self._sections: list[Section] = []
        self._interfaces: list[Interface] = []
        self._loops: ModuleType | None = None

    def batches(self) -> Iterator[FrameBatch]:
        damage = None
        while damage is None and self.position < self._file.size:
            walked, damage = self._walk()
            blocks = np.array(walked, np.int64)
            sound = self._sound(blocks)
            if len(sound) < len(blocks):
                damage = int(blocks[len(sound)])
            if len(sound):
                yield self._batch(sound)
        if damage is not None:
            self._note_damage(damage)
        self.position = self._file.size

    def time(self, record: int) -> float | None:
        index = self._section_at(record)
        section, view = self._sections[index], self._file.view
        form = PACKET_BLOCKS[section.unpack("I", view, record)[0]]
        if form.interface is None or form.time is None:
            return None
        at, size = form.interface
        (number,) = section.unpack(UNSIGNED[size], view, record + at)
        number += section.first_interface
        if number >= self._last_interface(index):
            return None
        interface = self._interfaces[number]
        high, low = section.unpack("II", view, record + form.time)
        return float(interface.offset + (high << 32 | low) / interface.ticks)

    def interface(self, record: int) -> int | None:
        index = self._section_at(record)
        section, view = self._sections[index], self._file.view
        form = PACKET_BLOCKS[section.unpack("I", view, record)[0]]
        if form.interface is None:
            return None
        at, size = form.interface
        (number,) = section.unpack(UNSIGNED[size], view, record + at)
        number += section.first_interface
        at = record + form.data + COOKED_V2_INTERFACE
        cooked = number < self._last_interface(index) and self._interfaces[number].link == COOKED_V2
        if not cooked or at + 4 > self._file.size:
            return int(number)
        return int(number) << 32 | int.from_bytes(view[at : at + 4], "big")

    def _section_at(self, position: int) -> int:
        return bisect_right(self._sections, position, key=lambda section: section.position) - 1

    def _last_interface(self, index: int) -> int:
        """Where in the list of the whole file the interfaces of a section end."""
        following = self._sections[index + 1 : index + 2]
        return following[0].first_interface if following else len(self._interfaces)

    def _walk(self) -> tuple[list[int], int | None]:
        """File offsets of the next packet blocks, by their lengths alone, not beyond a section with another byte order.
        And where the first damaged block is, if any."""
        view, position, blocks = self._file.view, self.position, list[int]()
        left = self.frames * (self._file.size - self.position) // max(1, self.position)
        loops = self._loops = self._loops or compiled.loops_for(left)
        unpack = struct.Struct((self._sections[-1].order if self._sections else "<") + "II").unpack_from
        try:
            while len(blocks) < BATCH_FRAMES:
                if loops is not None and self._sections:
                    room, big = np.empty(BATCH_FRAMES - len(blocks), np.int64), self._sections[-1].order == ">"
                    count, position = loops.walk_blocks(self._file.array(), position, big, PACKET_KINDS, room)
                    blocks += room[:count].tolist()
                    if len(blocks) == BATCH_FRAMES:
                        break
                kind, length = unpack(view, position)
                if kind in PACKET_BLOCKS:
                    blocks.append(position)
                    position += length
                    continue
                if kind == SECTION_HEADER:
                    order = BYTE_ORDERS.get(bytes(view[position + 8 : position + 12]))
                    if order is None:
                        return blocks, position
                    if blocks and order != self._sections[-1].order:
                        break
                    self._sections.append(Section(position, order, len(self._interfaces)))
                    unpack = struct.Struct(order + "II").unpack_from
                    length = unpack(view, position)[1]
                if length < BLOCK_OVERHEAD or unpack(view, position + length - 8)[1] != length:
                    return blocks, position
                if kind == INTERFACE:
                    self._interfaces.append(self._interface(position, length))
                position += length
        except struct.error:
            if position < self._file.size:
                return blocks, position
        self.position = position
        return blocks, None

    def _interface(self, position: int, length: int) -> Interface:
        section, view = self._sections[-1], self._file.view
        link, _, snaplen = section.unpack("HHI", view, position + 8)
        ticks, offset = 10**6, 0
        option, stop = position + 16, position + length - 4
        while option + 4 <= stop:
            code, size = section.unpack("HH", view, option)
            if code == OPTION_END:
                break
            if code == OPTION_TIME_RESOLUTION and size >= 1:
                exponent = view[option + 4]
                ticks = 2 ** (exponent & 0x7F) if exponent & 0x80 else 10**exponent
            elif code == OPTION_TIME_OFFSET and size >= 8:
                (offset,) = section.unpack("q", view, option + 4)
            option += 4 + (size + 3) // 4 * 4
        return Interface(link, snaplen, ticks, offset)

    def _sound(self, blocks: I64) -> I64:
        """The blocks up to the first one that is damaged or cut short."""
        if not len(blocks):
            return blocks
        order = self._sections[-1].order
        form = np.dtype({"names": ["kind", "length"], "formats": [f"{order}u4"] * 2, "itemsize": 8})
        heads = self._file.gather(blocks, form)
        length = heads["length"].astype(np.int64)
        good = (length >= np.where(heads["kind"] == SIMPLE_PACKET, 16, 32)) & (blocks + length <= self._file.size)
        trailer = self._file.gather(np.where(good, blocks + length - 4, blocks), f"{order}u4")
        good &= trailer == length
        return blocks if good.all() else blocks[: int(good.argmin())]

    def _batch(self, blocks: I64) -> FrameBatch:
        order = self._sections[-1].order
        heads = self._file.heads(blocks, HEAD)

        def number(rows: I64 | slice, at: int, size: int = 4) -> I64:
            field = np.ndarray((len(blocks),), f"{order}u{size}", heads, at, (HEAD,))
            return field[rows].astype(np.int64)

        kinds = number(slice(None), 0)
        named, data, captured, original = (np.zeros(len(blocks), np.int64) for _ in range(4))
        for kind, form in PACKET_BLOCKS.items():
            rows = np.flatnonzero(kinds == kind)
            data[rows] = form.data
            original[rows] = captured[rows] = number(rows, form.original)
            if form.interface is not None:
                named[rows] = number(rows, *form.interface)
            if form.captured is not None:
                captured[rows] = number(rows, form.captured)
        links, snaplen = self._interfaces_of(blocks, named)
        captured = np.where((kinds == SIMPLE_PACKET) & (snaplen > 0), np.minimum(captured, snaplen), captured)
        room = number(slice(None), 4) - data - 4
        first = self.frames + 1
        self.frames += len(blocks)
        return FrameBatch(first, blocks, blocks + data, np.minimum(captured, room), original, links, heads, self._loops)

    def _interfaces_of(self, blocks: I64, named: I64) -> tuple[I64, I64]:
        """Link type and snaplen of the interface that each block names."""
        first = self._section_at(int(blocks[0]))
        sections = self._sections[first:]
        starts = [section.first_interface for section in sections]
        bounds = np.array([*starts, len(self._interfaces)]) - starts[0]
        section = np.searchsorted([section.position for section in sections], blocks, "right") - 1
        interface = bounds[section] + named
        known = [*self._interfaces[starts[0] :], NO_INTERFACE]
        interface = np.where(interface < bounds[section + 1], interface, len(known) - 1)
        table = np.array([(interface.link, interface.snaplen) for interface in known])
        return table[interface, 0], table[interface, 1]

    def _note_damage(self, position: int) -> None:
        order = self._sections[-1].order if self._sections else "<"
        head = bytes(self._file.view[position : position + 8])
        length = struct.unpack(f"{order}4xI", head)[0] if len(head) == 8 else 0
        left = self._file.size - position
        if len(head) < 8 or left < length <= HIGHEST_SNAPLEN:
            text = f"the file ends inside a block, behind frame {self.frames}"
            self.notes.append(CaptureNote(NoteKind.TRUNCATED_FILE, text, offset=position))
        else:
            text = f"damaged block at file offset {position}: the {left} bytes from there on cannot be read"
            self.notes.append(CaptureNote(NoteKind.DAMAGED_FILE, text, offset=position))
