"""What each release sends, as regular expressions over the letters of the protocol reference (section E); what a stream
says in these letters, and what memory it makes, by decoding it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from multifd_codec.channel.decoder import ChannelDecoder
from multifd_codec.channel.events import ChannelEnd, ChannelInit, DeviceStatePacket, EndPosition, RamPacket
from multifd_codec.compression import decompressor_of_flags
from multifd_codec.dialect.releases import RFC_V3, Mode, Release, release
from multifd_codec.dialect.version import Version
from multifd_codec.main import events as ev
from multifd_codec.main.decoder import MainDecoder
from multifd_codec.source import BufferSource, ByteSource
from multifd_codec.strategies import DIALECTS
from multifd_codec.wire.qemufile import CommandId

L, M = Mode.PER_SECTION, Mode.PER_ROUND


class Row(NamedTuple):
    """Releases that send alike: protocol reference, E.1, E.2, E.6."""

    first: Version
    last: Version
    mode: Mode
    end: str
    """The END section of RAM."""
    channel: str
    """Behind ``IS``; every other S (or M0) has a rendezvous record."""
    device_state: str | None = None
    """The same with device state; None: there is none."""
    unmatched: int = 0
    """SYNCs without a rendezvous record."""


OLD, NEW = "(D*(S|M0))*", "(D*S)*"
ROWS = (
    Row((4, 0), (8, 2), L, r"p*E", OLD),
    Row((9, 0), (9, 2), L, r"p*E", NEW),
    Row((10, 0), (11, 1), L, r"p*E", NEW, "([DV]*S)*V*"),
    Row((8, 1), (8, 2), M, r"(p*F)+FE", OLD),
    Row((9, 0), (9, 0), M, r"(p*F)+FE", NEW),
    Row((9, 1), (9, 2), M, r"(p*F)+E", f"{NEW}S", unmatched=1),
    Row((10, 0), (11, 1), M, r"(p*F)+E", NEW, "([DV]*S)*V*"),
)
RFC_ROWS = (
    Row((9, 2), (9, 2), L, r"p*E", NEW, "([DV]*S)*"),
    Row((9, 2), (9, 2), M, r"(p*F)+E", f"{NEW}S", "([DV]*S)*[DV]*S", unmatched=1),
)


def rows() -> Iterable[tuple[str, Row]]:
    """Every dialect in every mode it has."""
    for name in DIALECTS:
        yield from ((name, row) for row in ROWS if name != RFC_V3 and row.first <= release(name).version <= row.last)
    yield from ((RFC_V3, row) for row in RFC_ROWS)


def missing(releases: Mapping[Version, Release]) -> list[tuple[str, str]]:
    """Release and mode of the table that no row is about, or more than one."""
    return [
        (row.name, mode)
        for version, row in releases.items()
        for mode in (L, M)
        if (mode is L or row.sender.per_round) != sum(r.mode is mode and r.first <= version <= r.last for r in ROWS)
    ]


COMMANDS = {CommandId.OPEN_RETURN_PATH: "O", CommandId.PING: "P", CommandId.SWITCHOVER_START: "X"}
MAIN = {
    ev.SectionFooter: "]",
    ev.BlockList: "B",
    ev.Flush: "F",
    ev.EndOfRam: "E",
    ev.ZeroPage: "p",
    ev.VfioRecord: "t",
    ev.EndOfStream: ".",
    ev.VmDescription: "J",
    ev.FileHeader: "",
    ev.Configuration: "",
    ev.DeviceBody: "",
}
SECTIONS = {ev.SectionStart: "START[", ev.SectionPart: "PART[", ev.SectionEnd: "END[", ev.SectionFull: "FULL["}
"""Of other devices than RAM in lower case."""


def channel_letters(source: ByteSource, page_size: int) -> str:
    """One letter a packet: I ChannelInit, D data, S SYNC, M data with SYNC, 0 nothing at all, V device state."""
    return "".join(_letter(event) for event in ChannelDecoder(source, page_size=page_size).events())


def _letter(event: object) -> str:
    match event:
        case ChannelInit():
            return "I"
        case DeviceStatePacket():
            return "V"
        case RamPacket():
            data = bool(event.normal_pages + event.zero_pages)
            return ("M" if data else "S") if event.sync else ("D" if data else "0")
        case ChannelEnd(position=EndPosition.BOUNDARY):
            return ""
    raise AssertionError(event)


def main_letters(source: ByteSource) -> str:
    """Sections, records and commands; anything a healthy precopy migration has not fails."""
    result = ""
    for event in MainDecoder(source).events():
        assert not event.problems, event
        match event:
            case ev.SectionStart() | ev.SectionPart() | ev.SectionEnd() | ev.SectionFull():
                word = SECTIONS[type(event)]
                result += word if event.device == "ram" or word == "FULL[" else word.lower()
            case ev.Command():
                result += COMMANDS[CommandId(event.command)]
            case ev.MainEnd():
                assert event.position is ev.MainPosition.COMPLETE
            case _:
                result += MAIN[type(event)]  # type: ignore[index]
    return result


def rebuilt(main: bytes, channels: Iterable[bytes], page_size: int, mode: Mode) -> dict[str, bytearray]:
    """RAM as a destination has it: pages of all channels and of main in rendezvous order."""
    rounds: dict[int, list[tuple[str, int, bytes]]] = {}
    result: dict[str, bytearray] = {}
    zero, passed = bytes(page_size), 0
    for item in MainDecoder(BufferSource(main)).events():
        match item:
            case ev.BlockList():
                result = {block.block: bytearray(block.used_length) for block in item.blocks}
            case ev.ZeroPage():
                assert item.block is not None
                rounds.setdefault(passed, []).append((item.block, item.addr, zero))
        passed += isinstance(item, ev.Flush if mode is Mode.PER_ROUND else ev.EndOfRam)
    for data in channels:
        source, unpack, passed = BufferSource(data), None, 0
        for event in ChannelDecoder(source, page_size=page_size).events():
            if not isinstance(event, RamPacket):
                continue
            pages = rounds.setdefault(passed, [])
            content = source.read(event.payload_offset, event.payload_length)
            if event.normal_pages and event.compression:
                unpack = unpack or decompressor_of_flags(event.compression)
                assert unpack is not None
                content, _ = unpack.pages(content, event.normal_pages, page_size)
            for index, offset in enumerate(event.pages[: event.normal_pages + event.zero_pages]):
                page = bytes(content[index * page_size :][:page_size]) if index < event.normal_pages else zero
                pages.append((event.block, offset, page))
            passed += event.sync
    for _, entries in sorted(rounds.items()):
        where = [entry[:2] for entry in entries]
        assert len(set(where)) == len(where), "a page stands twice between two rendezvous"
        for block, offset, page in entries:
            result[block][offset : offset + page_size] = page
    return result
