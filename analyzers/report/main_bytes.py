"""Fields of main channel records with their bytes, taken from the declarations in ``multifd_codec.wire``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from construct import SizeofError, Struct

from analyzers.report.event_record import flag_names
from multifd_codec.main import events
from multifd_codec.names import text
from multifd_codec.wire import qemufile, ram, vfio
from multifd_codec.wire.ram import RamFlags

NAME = Struct("name" / qemufile.Str8)
LARGEST_INTEGER = 8

DECLARATIONS: dict[type, tuple[Struct, ...]] = {
    events.FileHeader: (qemufile.FileHeader,),
    events.Configuration: (qemufile.ConfigurationFixed,),
    events.SectionStart: (qemufile.SectionStart,),
    events.SectionFull: (qemufile.SectionStart,),
    events.SectionPart: (qemufile.SectionPart,),
    events.SectionEnd: (qemufile.SectionPart,),
    events.SectionFooter: (qemufile.SectionFooter,),
    events.BlockList: (ram.RamWord,),
    events.ZeroPage: (ram.RamWord, NAME, ram.ZeroFill),
    events.Page: (ram.RamWord, NAME),
    events.XbzrlePage: (ram.RamWord, NAME, ram.XbzrlePage),
    events.CompressedPage: (ram.RamWord, NAME, ram.CompressedPage),
    events.Flush: (ram.RamWord,),
    events.EndOfRam: (ram.RamWord,),
    events.Hook: (ram.RamWord,),
    events.UnknownRamRecord: (ram.RamWord,),
    events.VfioRecord: (vfio.VfioTag,),
    events.Command: (qemufile.Command,),
    events.EndOfStream: (qemufile.Type,),
    events.VmDescription: (qemufile.VmDescription,),
}
"""What a record starts with. NAME is left out with CONTINUE. Bytes behind it are shown without a name."""


class Piece(NamedTuple):
    """``length`` bytes at ``start`` of the record."""

    name: str
    start: int
    length: int
    value: str


def main_pieces(event: Any, head: bytes) -> Iterator[Piece]:
    """The fields of a record whose first bytes are ``head``; the last one may reach behind what is there."""
    position = 0
    for declaration in DECLARATIONS.get(type(event), ()):
        if declaration is NAME and getattr(event, "idstr", None) is None:
            continue
        for subcon in declaration.subcons:
            try:
                length = int(subcon.sizeof())
            except SizeofError:  # a Str8: one byte of length, then the text
                length = 1 + (head[position] if position < len(head) else 0)
            data = head[position : position + length]
            yield Piece(subcon.name, position, length, _value(subcon.name, data, event))
            position += length


def _value(name: str, data: bytes, event: Any) -> str:
    if name == "word":
        address = getattr(event, "addr", getattr(event, "total", 0))
        return f"{address:#x} {'|'.join(flag_names(event.flags, RamFlags))}"
    if name in ("idstr", "name"):
        return f'"{text(data[1:])}"'
    if name == "tag":
        return str(event.name)
    if len(data) > LARGEST_INTEGER:
        return ""
    number = int.from_bytes(data, "big")
    return f"{number} ({number:#x})" if number > 9 else str(number)
