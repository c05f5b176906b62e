"""Where a section can start, and the searches that rest on it: the end of a body without length, the way out of damage.

A footer is only five bytes, so a candidate counts only when something that can follow a section stands behind it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from multifd_codec.channel.framing import Fit
from multifd_codec.layout import compile_struct
from multifd_codec.main.state import InHoleError, MainState, NeedBytesError
from multifd_codec.names import is_printable
from multifd_codec.source import pieces
from multifd_codec.wire import qemufile as wire
from multifd_codec.wire.qemufile import COMMAND_LENGTHS, CommandId, SectionType

PART = compile_struct(wire.SectionPart)
VERSION = compile_struct(wire.SectionVersion)
COMMAND = compile_struct(wire.Command)
DESCRIPTION = compile_struct(wire.VmDescription)
MAX_NAME = 256
SECTION_START_MAX = PART.size + MAX_NAME + VERSION.size
LARGEST_PLAUSIBLE = 0xFFFF
"""Section ids and version ids found by searching are not larger."""

_STARTING = frozenset((SectionType.START, SectionType.FULL))
_CONTINUING = frozenset((SectionType.PART, SectionType.END))
_FOOTER_BYTE = bytes([SectionType.FOOTER])
_BEHIND = rb"(?:[\x00-\x04\x08]|\Z)"
"""The first byte of what section_fit accepts, or the end of what is there."""
_ANY_FOOTER = re.compile(rb"\x7e\x00\x00.." + _BEHIND, re.DOTALL)
_ANY_START = re.compile(rb"[\x01\x04]\x00\x00|\x00\x06", re.DOTALL)
_ANY_RESUMPTION = re.compile(_ANY_FOOTER.pattern + rb"|\x00\x06", re.DOTALL)
OVERLAP = 8
"""Bytes looked at again in the next piece: no pattern is longer."""
MAX_FRUITLESS = 8
"""Searches of one kind that may run to the end in vain: a crafted stream must not make every section do so."""


def section_fit(state: MainState, offset: int, *, strong: bool = False) -> Fit:
    """Whether something that can follow a section stands at ``offset``: a section, a command, EOF, a package's end.

    UNKNOWN: what is there fits so far, then the recording ends or has a hole. With ``strong`` only what is recognised
    by more than an id counts.
    """
    reader = state.reader
    if reader.limit is not None and offset == reader.limit:
        return Fit.YES
    try:
        kind = reader.take(offset, 1)[0]
        if kind in _STARTING:
            return _start_fit(state, offset)
        if kind in _CONTINUING and not strong:
            section_id = PART.unpack(reader.take(offset, PART.size))[1]
            known = state.bound(section_id) or (state.lost and section_id <= LARGEST_PLAUSIBLE)
            return Fit.YES if known else Fit.NO
        if kind == SectionType.COMMAND:
            return command_fit(*COMMAND.unpack(reader.take(offset, COMMAND.size))[1:])
        if kind == SectionType.EOF:
            return _eof_fit(state, offset)
    except (NeedBytesError, InHoleError):
        return Fit.UNKNOWN
    return Fit.NO


def command_fit(command: int, length: int) -> Fit:
    """Whether a command's id and length go together."""
    if command in (CommandId.POSTCOPY_RAM_DISCARD, CommandId.RECV_BITMAP):
        return Fit.YES if length else Fit.NO
    return Fit.YES if length in COMMAND_LENGTHS.get(command, ()) else Fit.NO


def footer_fit(state: MainState, offset: int, section_id: int | None) -> Fit:
    """Whether a footer stands at ``offset``, with something behind it that can follow a section.

    Behind a footer with an id nobody bound it must be something with a name.
    """
    found = state.reader.peek(offset, PART.size)
    if len(found) < PART.size:
        return Fit.UNKNOWN if found[:1] in (b"", _FOOTER_BYTE) else Fit.NO
    kind, found_id = PART.unpack(found)
    if kind != SectionType.FOOTER:
        return Fit.NO
    trusted = found_id == section_id or state.lost or state.bound(found_id)
    return section_fit(state, offset + PART.size, strong=not trusted)


def find_footer(state: MainState, begin: int, section_id: int | None) -> int | None:
    """Offset of the first footer from ``begin`` on, as ``footer_fit`` has it; None when there is none.

    Raises NeedBytesError while bytes that are still to come could decide.
    """
    pattern = _ANY_FOOTER
    if section_id is not None and section_id > LARGEST_PLAUSIBLE:
        own = re.escape(PART.pack(SectionType.FOOTER, section_id)) + _BEHIND
        pattern = re.compile(b"|".join((own, _ANY_FOOTER.pattern)), re.DOTALL)
    return find_match(state, "footer", begin, pattern, lambda offset: footer_fit(state, offset, section_id))


def find_section(state: MainState, begin: int) -> int | None:
    """Offset of the first section header, or EOF with vmdescription, from ``begin`` on: for streams without footers."""
    return find_match(state, "section", begin, _ANY_START, lambda offset: section_fit(state, offset, strong=True))


def find_resumption(state: MainState, begin: int, stop: int | None = None) -> int | None:
    """Where decoding can go on behind damage: a footer, or EOF with vmdescription; without footers, any section.

    Places from ``stop`` on are not looked at.
    """
    if state.footers is False:
        return find_match(state, "section", begin, _ANY_START, lambda at: section_fit(state, at, strong=True), stop)

    def fit(offset: int) -> Fit:
        is_footer = bytes(state.reader.peek(offset, 1)) == _FOOTER_BYTE
        return footer_fit(state, offset, None) if is_footer else section_fit(state, offset, strong=True)

    return find_match(state, "resumption", begin, _ANY_RESUMPTION, fit, stop)


def find_match(
    state: MainState,
    name: str,
    begin: int,
    pattern: re.Pattern[bytes],
    fit: Callable[[int], Fit],
    stop: int | None = None,
) -> int | None:
    """The first match of ``pattern`` that fits, over all that is recorded from ``begin`` on."""
    reader = state.reader
    if state.fruitless.get(name, 0) >= MAX_FRUITLESS and not reader.waits:
        return None
    position, reached = state.searched.get(name, (-1, 0))
    offset = max(begin, reached) if position == state.position else begin
    for piece_offset, piece in pieces(reader.source, offset, reader.end, overlap=OVERLAP):
        if stop is not None and piece_offset >= stop:
            return None
        for match in pattern.finditer(piece):
            candidate = piece_offset + match.start()
            if stop is not None and candidate >= stop:
                return None
            found = fit(candidate)
            if found is Fit.UNKNOWN and reader.waits:
                state.searched[name] = (state.position, candidate)
                raise NeedBytesError(reader.end + 1)
            if found is not Fit.NO:
                return candidate
    if reader.waits and stop is None:
        state.searched[name] = (state.position, max(begin, reader.end - OVERLAP))
        raise NeedBytesError(reader.end + 1)
    if stop is None:
        state.fruitless[name] = state.fruitless.get(name, 0) + 1
    return None


def _start_fit(state: MainState, offset: int) -> Fit:
    head = bytes(state.reader.peek(offset, SECTION_START_MAX))
    if len(head) <= PART.size:
        return Fit.UNKNOWN
    name = head[PART.size + 1 : PART.size + 1 + head[PART.size]]
    if PART.unpack_from(head)[1] > LARGEST_PLAUSIBLE or head[PART.size] == 0 or not is_printable(name):
        return Fit.NO
    behind = PART.size + 1 + head[PART.size]
    if len(head) < behind + VERSION.size:
        return Fit.UNKNOWN
    return Fit.YES if VERSION.unpack_from(head, behind)[1] <= LARGEST_PLAUSIBLE else Fit.NO


def _eof_fit(state: MainState, offset: int) -> Fit:
    """EOF is one zero byte, far too common: only at the very end, or with a vmdescription behind it."""
    head = bytes(state.reader.peek(offset + 1, DESCRIPTION.size + 1))
    if not head or (head[0] == SectionType.VMDESCRIPTION and len(head) <= DESCRIPTION.size):
        return Fit.UNKNOWN
    return Fit.YES if head[0] == SectionType.VMDESCRIPTION and head.endswith(b"{") else Fit.NO
