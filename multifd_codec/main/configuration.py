"""The configuration section: machine type and, where they apply, target page bits, capabilities, UUID.

Source: vmstate_configuration and its subsections, migration/savevm.c (2.4 to 11.1).
"""

from __future__ import annotations

from collections.abc import Iterator

from multifd_codec.channel.framing import PAGE_SIZES
from multifd_codec.layout import compile_struct, parse_declared
from multifd_codec.main import events as ev
from multifd_codec.main.problems import Problem, ProblemKind, Problems
from multifd_codec.main.state import Damage, MainState, Phase, problem
from multifd_codec.main.vmdescription import SUBSECTION_EMPTY
from multifd_codec.wire import qemufile as wire
from multifd_codec.wire.qemufile import CONFIGURATION_PREFIX, SectionType

CONFIGURATION = compile_struct(wire.ConfigurationFixed)
COUNT = compile_struct(wire.CapabilityCount)
MAX_MACHINE_NAME = 4096
MAX_CAPABILITIES = 1024
PAGE_BITS = frozenset(size.bit_length() - 1 for size in PAGE_SIZES)


def configuration(state: MainState) -> Iterator[ev.MainEvent]:
    """The configuration section if there is one; the phase then is SECTION."""
    reader, offset = state.reader, state.position
    if reader.take(offset, 1)[0] != SectionType.CONFIGURATION:
        state.phase = Phase.SECTION
        return
    size = CONFIGURATION.unpack(reader.take(offset, CONFIGURATION.size))[1]
    if size > MAX_MACHINE_NAME:
        found = problem(ProblemKind.CONFIGURATION_FORM, offset + 1, "name_length", f"machine name of {size} bytes")
        state.damaged(Damage(offset + 1, "configuration malformed", problems=found))
        return
    name = bytes(reader.take(offset + CONFIGURATION.size, size))
    position = offset + CONFIGURATION.size + size
    subsections: list[ev.ConfigurationSubsection] = []
    while (found_here := _subsection(state, position)) is not None:
        subsections.append(found_here)
        position += found_here.length
    event = ev.Configuration(offset, position - offset, name, tuple(subsections), _configuration_problems(subsections))
    state.position, state.phase, state.configured = position, Phase.SECTION, True
    state.capabilities = frozenset(event.capabilities)
    bits = next((part.bits for part in subsections if isinstance(part, ev.TargetPageBits)), 0)
    if bits in PAGE_BITS and not state.page_size_given:
        state.page_size, state.page_size_given = 1 << bits, True
    yield event


def _subsection(state: MainState, offset: int) -> ev.ConfigurationSubsection | None:
    """The configuration's subsection at ``offset``; None where something else stands."""
    reader = state.reader
    if not reader.known(offset) and not reader.waits:
        return None
    if reader.take(offset, 1)[0] != SectionType.SUBSECTION:
        return None
    size = reader.take(offset + 1, 1)[0]
    name = bytes(reader.take(offset + 2, size))
    if not name.startswith(CONFIGURATION_PREFIX):
        return None
    head = parse_declared(wire.Subsection, reader.take(offset, SUBSECTION_EMPTY + size))
    begin = offset + SUBSECTION_EMPTY + size
    match name.removeprefix(CONFIGURATION_PREFIX):
        case b"target-page-bits":
            body = reader.take(begin, wire.TargetPageBits.sizeof())
            values = parse_declared(wire.TargetPageBits, body)
            return ev.TargetPageBits(offset, begin + len(body) - offset, head.version_id, values.bits)
        case b"uuid":
            body = reader.take(begin, wire.ConfigurationUuid.sizeof())
            return ev.ConfigurationUuid(offset, begin + len(body) - offset, head.version_id, bytes(body))
        case b"capabilities":
            (count,) = COUNT.unpack(reader.take(begin, COUNT.size))
            end, names = begin + COUNT.size, []
            for _ in range(min(count, MAX_CAPABILITIES)):
                length = reader.take(end, 1)[0]
                names.append(bytes(reader.take(end + 1, length)))
                end += 1 + length
            if count > MAX_CAPABILITIES:
                return None
            return ev.CapabilityList(offset, end - offset, head.version_id, tuple(names))
    return None


def _configuration_problems(subsections: list[ev.ConfigurationSubsection]) -> Problems:
    found: list[Problem] = []
    for part in subsections:
        if part.version_id != 1:
            message = f"version {part.version_id} of {type(part).__name__}, must be 1"
            found += problem(ProblemKind.CONFIGURATION_FORM, part.offset, "version_id", message)
        if isinstance(part, ev.TargetPageBits) and part.bits not in PAGE_BITS:
            found += problem(ProblemKind.CONFIGURATION_FORM, part.offset, "bits", f"{part.bits} target page bits")
    return tuple(found)
