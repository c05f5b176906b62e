"""The section loop of the main channel: headers and footers of sections, EOF.

Source: qemu_loadvm_state_main and what it calls, migration/savevm.c (10.0).
"""

from __future__ import annotations

from collections.abc import Iterator

from multifd_codec.channel.framing import Fit
from multifd_codec.layout import layout
from multifd_codec.main import events as ev
from multifd_codec.main.commands import command
from multifd_codec.main.device import is_vfio, section_key
from multifd_codec.main.problems import Problem, ProblemKind, Problems
from multifd_codec.main.ram import ram_fit
from multifd_codec.main.search import (
    LARGEST_PLAUSIBLE,
    MAX_NAME,
    PART,
    VERSION,
    section_fit,
)
from multifd_codec.main.state import (
    MAX_SECTIONS,
    Current,
    Damage,
    MainState,
    NeedBytesError,
    Phase,
    PostcopyState,
    Section,
    problem,
)
from multifd_codec.names import text
from multifd_codec.wire import qemufile as wire
from multifd_codec.wire.qemufile import SectionType
from multifd_codec.wire.ram import RAM_IDSTR, RAM_VERSION
from multifd_codec.wire.vfio import VFIO_VERSION, is_vfio_name

_ID = layout(wire.SectionPart).span("section_id").offset
_VERSION_FROM_END = VERSION.size - layout(wire.SectionVersion).span("version_id").offset
VERSIONS = {RAM_IDSTR: (RAM_VERSION, RAM_VERSION), b"timer": (2, 2), b"globalstate": (1, 1)}
"""Sections whose version is the same in all releases: the lowest and the highest that a destination loads (timer,
1: its fields are fewer; measured with 10.0 and 11.1)."""
MAX_VERSION = 0xFFFFFFFF
ENDLESS = frozenset({b"dirty-bitmap"})
"""Handlers that end only when they have something to send (dirty_bitmap_save_complete, block-dirty-bitmap.c)."""
FOOTER_LOOKAHEAD = 1 << 16
"""Bytes searched for a footer before a stream counts as one without footers."""


def section(state: MainState) -> Iterator[ev.MainEvent]:
    """One section header, command or EOF."""
    offset = state.position
    kind = state.reader.take(offset, 1)[0]
    match kind:
        case SectionType.START | SectionType.FULL:
            yield from _introduced(state)
        case SectionType.PART | SectionType.END:
            yield _continued(state)
        case SectionType.COMMAND:
            yield from command(state)
        case SectionType.EOF:
            yield _eof(state)
        case SectionType.FOOTER:
            section_id = PART.unpack(state.reader.take(offset, PART.size))[1]
            found = problem(ProblemKind.SECTION_TYPE, offset, "type", "a section footer where a section must start")
            state.position += PART.size
            yield ev.SectionFooter(offset, PART.size, section_id, found)
        case _:
            found = problem(ProblemKind.SECTION_TYPE, offset, "type", f"section type {kind:#04x}")
            state.damaged(Damage(offset + 1, f"unknown section type {kind:#04x}", problems=found))


def _introduced(state: MainState) -> Iterator[ev.MainEvent]:
    reader, offset = state.reader, state.position
    kind, section_id = PART.unpack(reader.take(offset, PART.size))
    size = reader.take(offset + PART.size, 1)[0]
    length = PART.size + 1 + size + VERSION.size
    head = bytes(reader.take(offset, length))
    idstr = head[PART.size + 1 : PART.size + 1 + size]
    instance_id, version_id = VERSION.unpack_from(head, length - VERSION.size)
    full = kind == SectionType.FULL
    found: list[Problem] = []
    if not idstr:
        found += problem(ProblemKind.SECTION_IDSTR, offset + PART.size, "idstr", "the name is empty")
    before = state.sections.get(section_id)
    again = before is not None and (before.idstr, before.instance_id) == (idstr, instance_id)
    if before is not None and (not again or (before.full if full else before.iterable)):
        message = f"section {section_id} was introduced before, for {text(before.idstr)}"
        found += problem(ProblemKind.SECTION_ID_REUSED, offset + _ID, "section_id", message)
    least, most = _versions(idstr)
    if not least <= version_id <= most:
        message = f"version {version_id}, must be {most}"
        found += problem(ProblemKind.SECTION_VERSION, offset + length - _VERSION_FROM_END, "version_id", message)
    if len(state.sections) >= MAX_SECTIONS or len(state.fulls) >= MAX_SECTIONS:
        found += problem(ProblemKind.LIMIT, offset, "section_id", f"more than {MAX_SECTIONS} sections")
        state.damaged(Damage(state.reader.end, f"more than {MAX_SECTIONS} sections", problems=tuple(found)))
        return
    # A VFIO device has both under one id: START, PART, END, later FULL.
    bound = before if before is not None and again else Section(section_id, idstr, instance_id, version_id)
    bound.full |= full
    bound.iterable |= not full
    state.sections[section_id] = bound
    state.current = Current(SectionType(kind), section_id, bound)
    if full:
        key = section_key(state.current)
        state.fulls.append(key)
        state.full_counts[key] = state.full_counts.get(key, 0) + 1
    state.position, state.phase = offset + length, Phase.BODY
    event = ev.SectionFull if full else ev.SectionStart
    yield event(offset, length, section_id, idstr, instance_id, version_id, tuple(found))


def _versions(idstr: bytes) -> tuple[int, int]:
    """The lowest and the highest version of a section of that name, as far as it is known."""
    return VERSIONS.get(idstr, (0, VFIO_VERSION if is_vfio_name(idstr) else MAX_VERSION))


def _continued(state: MainState) -> ev.MainEvent:
    offset = state.position
    kind, section_id = PART.unpack(state.reader.take(offset, PART.size))
    bound = state.sections.get(section_id)
    found: list[Problem] = []
    idstr = instance_id = None
    if bound is not None:
        idstr, instance_id = bound.idstr, bound.instance_id
        if bound.ended and state.postcopy is PostcopyState.NONE:
            message = f"{SectionType(kind).name} of section {section_id} behind its END"
            found += problem(ProblemKind.PART_AFTER_END, offset + _ID, "section_id", message)
    elif not state.lost:
        message = f"section {section_id} was never started"
        found += problem(ProblemKind.SECTION_UNKNOWN, offset + _ID, "section_id", message)
    if kind == SectionType.PART and state.switchovers and state.postcopy is PostcopyState.NONE:
        message = "a PART section behind SWITCHOVER_START"
        found += problem(ProblemKind.SWITCHOVER_START_ORDER, offset, "type", message)
    if bound is not None and kind == SectionType.END:
        bound.ended = state.ended = True
    state.current = Current(SectionType(kind), section_id, bound)
    state.position, state.phase = offset + PART.size, Phase.BODY
    event = ev.SectionEnd if kind == SectionType.END else ev.SectionPart
    return event(offset, PART.size, section_id, idstr, instance_id, tuple(found))


def body(state: MainState) -> Iterator[ev.MainEvent]:
    """Decide by name and first bytes what kind of body stands at the position. Yields nothing."""
    current = state.current
    assert current is not None
    state.vfio_tag = 0
    if current.section is not None and current.section.idstr == RAM_IDSTR:
        state.phase = Phase.RAM
    elif is_vfio(state):
        state.phase = Phase.VFIO
    elif current.section is None and current.type is not SectionType.FULL and _is_ram(state):
        state.phase = Phase.RAM
    else:
        state.phase = Phase.DEVICE
    yield from ()


def _is_ram(state: MainState) -> bool:
    fit = ram_fit(state, state.position)
    if fit is Fit.UNKNOWN and state.reader.waits:
        raise NeedBytesError(state.position + MAX_NAME)
    return fit is Fit.YES


def footer(state: MainState) -> Iterator[ev.MainEvent]:
    """The footer behind a body, or what stands in its place."""
    reader, offset, current = state.reader, state.position, state.current
    head = reader.take(offset, PART.size if state.footers else 1)
    is_footer = bytes(head[:1]) == bytes([SectionType.FOOTER])
    if state.footers is None:
        state.footers = is_footer or _footers_expected(state)
    if not state.footers and not is_footer:
        state.phase = Phase.SECTION
        return
    if is_footer:
        section_id = PART.unpack(reader.take(offset, PART.size))[1]
        found: Problems = ()
        if current is not None and section_id != current.section_id:
            message = f"footer of section {section_id:#x}, must be {current.section_id:#x}"
            found = problem(ProblemKind.FOOTER_ID, offset + _ID, "section_id", message)
        state.position, state.phase, state.current = offset + PART.size, Phase.SECTION, None
        yield ev.SectionFooter(offset, PART.size, section_id, found)
        return
    byte = reader.take(offset, 1)[0]
    name = "this section" if current is None or current.section is None else text(current.section.idstr)
    if current is not None and current.section is not None and current.section.idstr == RAM_IDSTR and _is_ram(state):
        found = problem(ProblemKind.RECORD_AFTER_EOS, offset, "flags", "RAM records go on behind EOS")
        state.phase = Phase.RAM
        yield ev.Missing(offset, 0, found)
        return
    found = problem(ProblemKind.FOOTER_MISSING, offset, "type", f"byte {byte:#04x} where the footer of {name} must be")
    fit = section_fit(state, offset)
    if fit is Fit.UNKNOWN and reader.waits:
        raise NeedBytesError(reader.end + 1)
    if fit is Fit.NO:
        state.damaged(Damage(offset, f"no footer behind {name}", problems=found))
        return
    state.phase, state.current = Phase.SECTION, None
    yield ev.Missing(offset, 0, found)


def _footers_expected(state: MainState) -> bool:
    """Whether this stream has footers, though none stands at the end of the first body.

    Without a configuration it has none (both came with machine type 2.4). Otherwise the body may be damaged, the footer
    lost, or footers switched off: then there are none further on, either.
    """
    reader, offset = state.reader, state.position
    if not state.configured and not state.lost:
        return False
    fit = section_fit(state, offset)
    if fit is Fit.UNKNOWN and reader.waits:
        raise NeedBytesError(reader.end + 1)
    if fit is Fit.NO:
        return True
    if reader.known(offset) < FOOTER_LOOKAHEAD and reader.waits:
        raise NeedBytesError(offset + FOOTER_LOOKAHEAD)
    if reader.source.next_hole(offset) is not None:
        return True  # as every machine type with a configuration has
    ahead = bytes(reader.source.read(offset, min(reader.known(offset), FOOTER_LOOKAHEAD)))
    position = ahead.find(_ANY_FOOTER)
    while position >= 0:
        if section_fit(state, offset + position + PART.size, strong=True) is not Fit.NO:
            return True
        position = ahead.find(_ANY_FOOTER, position + 1)
    return False


_ANY_FOOTER = PART.pack(SectionType.FOOTER, LARGEST_PLAUSIBLE)[: PART.size - 2]


def _eof(state: MainState) -> ev.MainEvent:
    offset = state.position
    found: list[Problem] = []
    if not state.lost and not state.packages:
        for section_id, bound in state.sections.items():
            if bound.iterable and not bound.ended and bound.idstr not in ENDLESS:
                message = f"section {section_id} ({text(bound.idstr)}) has no END"
                found += problem(ProblemKind.END_MISSING, offset, "type", message)
    state.position += 1
    state.phase = Phase.TRAILING if state.packages else Phase.BEHIND_EOF
    return ev.EndOfStream(offset, 1, tuple(found))
