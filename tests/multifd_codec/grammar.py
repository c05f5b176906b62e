"""What a stream says, as letters of the protocol reference (section E), and what memory it makes: by decoding it."""

from __future__ import annotations

from collections.abc import Iterable

from multifd_codec import main_events as ev
from multifd_codec.channel import ChannelDecoder
from multifd_codec.compression import decompressor
from multifd_codec.dialect import Mode
from multifd_codec.events import ChannelEnd, ChannelInit, DeviceStatePacket, EndPosition, RamPacket
from multifd_codec.mainstream import MainDecoder
from multifd_codec.source import BufferSource, ByteSource
from multifd_codec.wire.qemufile import CommandId

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
                unpack = unpack or decompressor(event.compression)
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
