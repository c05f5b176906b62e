"""Files with a main channel inside: virsh save images, ``file:PATH,offset=N``, internal snapshots of qcow2 images."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from captures.formats.mapped import MappedFile
from multifd_codec.wire.qemufile import FILE_MARK

VIRSH_MAGIC = (b"LibvirtQemudSave", b"LibvirtQemudPart")
VIRSH_LENGTHS = struct.Struct("=I")
VIRSH_HEADER = 92
"""Bytes in front of the domain's XML and cookie (virQEMUSaveHeader, src/qemu/qemu_saveimage.h)."""
VIRSH_DATA_LENGTH = 20
LARGEST_OFFSET = 1 << 24
"""Bytes of zeros in front of a stream at an offset; a stream that starts later is not looked for."""

QCOW_MAGIC = b"QFI\xfb"
QCOW_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
QCOW_SNAPSHOT = struct.Struct(">QIHHIIQII")
QCOW_EXTRA = struct.Struct(">QQ")
ENTRY = struct.Struct(">Q")
CLUSTER_BITS = range(9, 22)
OFFSET = 0x00FF_FFFF_FFFF_FE00
COMPRESSED = 1 << 62
MAX_SNAPSHOTS = 256


def stream_at(file: MappedFile) -> int | None:
    """Offset of the main channel in a save image of virsh, or behind nothing but zeros; None when there is none."""
    head = bytes(file.view[:VIRSH_HEADER])
    if head.startswith(VIRSH_MAGIC) and len(head) == VIRSH_HEADER:
        for order in ("<", ">"):
            (length,) = struct.unpack_from(order + "I", head, VIRSH_DATA_LENGTH)
            if _starts(file, VIRSH_HEADER + length):
                return int(VIRSH_HEADER + length)
        return None
    if head[:1] != b"\0":
        return None
    begin = bytes(file.view[: min(file.size, LARGEST_OFFSET)])
    at = len(begin) - len(begin.lstrip(b"\0"))
    return at if _starts(file, at) else None


def _starts(file: MappedFile, offset: int) -> bool:
    return bytes(file.view[offset : offset + len(FILE_MARK)]) == FILE_MARK


class Snapshot(NamedTuple):
    """An internal snapshot: its name, and where its table of clusters is."""

    name: str
    table: int
    entries: int
    size: int
    """Bytes of VM state."""


def is_qcow2(file: MappedFile) -> bool:
    """Whether it is a qcow2 image with a snapshot that holds VM state."""
    return bytes(file.view[: len(QCOW_MAGIC)]) == QCOW_MAGIC and next(_snapshots(file), None) is not None


def snapshots(file: MappedFile) -> Iterator[tuple[str, memoryview]]:
    """Name and VM state of each internal snapshot (docs/interop/qcow2.txt); what is beyond the file is left out."""
    _, _, _, _, bits, disk, *_ = QCOW_HEADER.unpack_from(file.view)
    per_table = 1 << (bits - 3)
    covered = per_table << bits
    first = -(-disk // covered)
    left = file.size
    for snapshot in _snapshots(file):
        if left <= 0:
            return  # the states together are larger than the file: they share their clusters
        left -= min(snapshot.size, file.size)
        state = bytearray()
        for number in range(first, snapshot.entries):
            if len(state) >= min(snapshot.size, file.size):
                break
            table = _entry(file, snapshot.table, number) & OFFSET
            for index in range(per_table):
                if len(state) >= min(snapshot.size, file.size):
                    break
                entry = _entry(file, table, index) if table else 0
                begin = entry & OFFSET
                there = begin and not entry & COMPRESSED and begin + (1 << bits) <= -(-file.size >> bits << bits)
                state += (
                    bytes(file.view[begin : begin + (1 << bits)]).ljust(1 << bits, b"\0") if there else bytes(1 << bits)
                )
        yield snapshot.name, memoryview(bytes(state[: snapshot.size]))


def _entry(file: MappedFile, table: int, number: int) -> int:
    offset = table + ENTRY.size * number
    return int(ENTRY.unpack_from(file.view, offset)[0]) if offset + ENTRY.size <= file.size else 0


def _snapshots(file: MappedFile) -> Iterator[Snapshot]:
    if file.size < QCOW_HEADER.size:
        return
    _, version, _, _, bits, _, _, _, _, _, _, count, position = QCOW_HEADER.unpack_from(file.view)
    if version not in (2, 3) or bits not in CLUSTER_BITS:
        return
    for _ in range(min(count, MAX_SNAPSHOTS)):
        if position + QCOW_SNAPSHOT.size > file.size:
            return
        table, entries, id_size, name_size, _, _, _, size, extra = QCOW_SNAPSHOT.unpack_from(file.view, position)
        behind = position + QCOW_SNAPSHOT.size
        if extra >= QCOW_EXTRA.size and behind + extra <= file.size:
            size = QCOW_EXTRA.unpack_from(file.view, behind)[0] or size
        name = bytes(file.view[behind + extra + id_size : behind + extra + id_size + name_size])
        if size:
            yield Snapshot(name.decode(errors="replace"), table, entries, size)
        position = -(-(behind + extra + id_size + name_size) // 8) * 8
