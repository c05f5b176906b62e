"""COMMAND sections: their order, their lengths, and the package that PACKAGED opens.

Source: loadvm_process_command and loadvm_handle_cmd_packaged, migration/savevm.c (10.0).
"""

from __future__ import annotations

from collections.abc import Iterator

from multifd_codec.channel.framing import PAGE_SIZES, Fit
from multifd_codec.errors import FormatError
from multifd_codec.layout import compile_struct, layout
from multifd_codec.main.command_payloads import Packaged, PostcopyAdvise, arguments
from multifd_codec.main.events import Command, MainEvent, PackageEnd, Skipped
from multifd_codec.main.problems import Problem, ProblemKind, Problems
from multifd_codec.main.search import COMMAND, section_fit
from multifd_codec.main.state import MainState, NeedBytesError, Package, Phase, PostcopyState, problem
from multifd_codec.wire import qemufile as wire
from multifd_codec.wire.qemufile import COMMAND_LENGTHS, CommandId

LENGTH = compile_struct(wire.Packaged)
_COMMAND = layout(wire.Command).span("command").offset
_LENGTH = layout(wire.Command).span("length").offset
MAX_PACKAGES = 16
"""Packages inside packages that are looked into."""

_ORDER: dict[int, tuple[frozenset[PostcopyState], PostcopyState]] = {
    CommandId.POSTCOPY_ADVISE: (frozenset({PostcopyState.NONE}), PostcopyState.ADVISE),
    CommandId.POSTCOPY_RAM_DISCARD: (frozenset({PostcopyState.ADVISE, PostcopyState.DISCARD}), PostcopyState.DISCARD),
    CommandId.POSTCOPY_LISTEN: (frozenset({PostcopyState.ADVISE, PostcopyState.DISCARD}), PostcopyState.LISTENING),
    CommandId.POSTCOPY_RUN: (frozenset({PostcopyState.LISTENING}), PostcopyState.RUNNING),
}
"""Command to the states in which a destination accepts it and the state it leads to."""
_ANSWERED = frozenset({CommandId.PING, CommandId.POSTCOPY_RESUME, CommandId.RECV_BITMAP})
"""Commands that are answered on the return path."""
_KNOWN = frozenset(int(command) for command in CommandId if command is not CommandId.INVALID)


def command(state: MainState) -> Iterator[MainEvent]:
    """The COMMAND section at the position; behind PACKAGED the sections of its blob come next."""
    reader, offset = state.reader, state.position
    _, number, declared = COMMAND.unpack(reader.take(offset, COMMAND.size))
    length = _payload_length(state, number, declared)
    payload = bytes(reader.take(offset + COMMAND.size, length))
    found: list[Problem] = []
    parsed = None
    if number not in _KNOWN:
        found += problem(
            ProblemKind.COMMAND_UNKNOWN, offset + _COMMAND, "command", f"command {number:#x}, length {declared}"
        )
    elif declared != length:
        message = f"length {declared}, but the next section stands behind {length} bytes of payload"
        found += problem(ProblemKind.COMMAND_LENGTH, offset + _LENGTH, "length", message)
    try:
        parsed = arguments(number, payload)
    except FormatError as error:
        kind = ProblemKind.COMMAND_LENGTH if error.field == "length" else ProblemKind.COMMAND_PAYLOAD
        name = error.field or "payload"
        found += problem(kind, offset + (_LENGTH if name == "length" else COMMAND.size), name, error.message)
    found += _order_problems(state, number)
    if isinstance(parsed, PostcopyAdvise):
        state.advised_page_sizes = parsed.page_sizes or 0
        if parsed.target_page_size in PAGE_SIZES and not state.page_size_given:
            state.page_size = parsed.target_page_size
    if number == CommandId.OPEN_RETURN_PATH:
        state.return_path = True
    if number == CommandId.SWITCHOVER_START:
        state.switchovers += 1
    state.position = offset + COMMAND.size + length
    if isinstance(parsed, Packaged):
        found += _enter_package(state, parsed.length)
    yield Command(offset, COMMAND.size + length, number, declared, payload, tuple(found))
    if isinstance(parsed, Packaged) and len(state.packages) > MAX_PACKAGES:
        package = state.packages[-1]
        too_deep = problem(ProblemKind.LIMIT, state.position, "length", f"more than {MAX_PACKAGES} packages nested")
        begin, state.position = state.position, package.end
        yield Skipped(begin, package.end - begin, False, too_deep)


def _payload_length(state: MainState, command: int, declared: int) -> int:
    """Bytes of payload: as declared, unless only the prescribed length leads to another section."""
    expected = COMMAND_LENGTHS.get(command)
    if expected is None or declared in expected:
        return declared
    for length in (declared, *expected):
        fit = section_fit(state, state.position + COMMAND.size + length)
        if fit is Fit.UNKNOWN and state.reader.waits:
            raise NeedBytesError(state.reader.end + 1)
        if fit is Fit.YES:
            return length
    return declared


def _enter_package(state: MainState, length: int) -> Problems:
    reader, begin = state.reader, state.position
    end = begin + length
    found: Problems = ()
    if reader.limit is not None and end > reader.limit:
        message = f"package of {length} bytes, {reader.limit - begin} are left of the package around it"
        found = problem(ProblemKind.PACKAGE_INCOMPLETE, begin - LENGTH.size, "length", message)
        end = reader.limit
    state.packages.append(Package(end, reader.limit))
    reader.limit = end
    return found


def leave_package(state: MainState, inside: str) -> PackageEnd:
    """Close the innermost package, at whose end the position is; ``inside`` says what would come next otherwise."""
    package = state.packages.pop()
    state.reader.limit = package.outer
    found: Problems = ()
    if state.phase not in (Phase.SECTION, Phase.TRAILING):
        found = problem(ProblemKind.PACKAGE_INCOMPLETE, state.position, "length", f"the package ends {inside}")
    elif not package.runs and not state.lost:
        message = "the package has no POSTCOPY_RUN"
        found = problem(ProblemKind.PACKAGE_WITHOUT_RUN, state.position, "command", message)
    state.phase = Phase.SECTION
    return PackageEnd(state.position, 0, found)


def _order_problems(state: MainState, command: int) -> Problems:
    """What is wrong with a command because of what came before it."""
    offset = state.position
    found: list[Problem] = []
    if command in _ORDER:
        allowed, leads_to = _ORDER[command]
        if state.postcopy not in allowed and not state.lost:
            message = f"{CommandId(command).name} in postcopy state {state.postcopy.name}"
            found += problem(ProblemKind.COMMAND_ORDER, offset + _COMMAND, "command", message)
        state.postcopy = leads_to
    if command == CommandId.POSTCOPY_RUN:
        for package in state.packages:
            package.runs = True
    if command in _ANSWERED and not state.return_path and not state.lost:
        message = f"{CommandId(command).name} without OPEN_RETURN_PATH"
        found += problem(ProblemKind.RETURN_PATH_CLOSED, offset + _COMMAND, "command", message)
    if command == CommandId.SWITCHOVER_START:
        if state.switchovers:
            message = "SWITCHOVER_START was sent before"
            found += problem(ProblemKind.SWITCHOVER_START_REPEATED, offset + _COMMAND, "command", message)
        if state.ended:
            message = "SWITCHOVER_START behind an END section"
            found += problem(ProblemKind.SWITCHOVER_START_ORDER, offset + _COMMAND, "command", message)
    return tuple(found)
