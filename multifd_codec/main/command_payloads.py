"""Payloads of COMMAND sections: parsed on demand, and what is wrong with them.

Source: loadvm_process_command and the loadvm_*_handle_* functions it calls, migration/savevm.c (10.0).
"""

from __future__ import annotations

from typing import NamedTuple

from multifd_codec.errors import FormatError
from multifd_codec.layout import compile_struct
from multifd_codec.wire import qemufile as wire
from multifd_codec.wire.qemufile import COMMAND_LENGTHS, CommandId

RANGE = compile_struct(wire.DiscardRange)
DISCARD = compile_struct(wire.DiscardHead)
SHORTEST_DISCARD = 20
"""Bytes of payload with a name of one character and one range."""


class Ping(NamedTuple):
    """PING: answered with PONG and the same value."""

    value: int


class PostcopyAdvise(NamedTuple):
    """POSTCOPY_ADVISE: all block page sizes or-ed together, and the target page size; None without RAM postcopy."""

    page_sizes: int | None
    target_page_size: int | None


class RamDiscard(NamedTuple):
    """POSTCOPY_RAM_DISCARD: (start, length) in bytes of one RAM block."""

    version: int
    block: bytes
    terminator: int
    ranges: tuple[tuple[int, int], ...]


class Packaged(NamedTuple):
    """PACKAGED: bytes of the section stream that follows."""

    length: int


class RecvBitmap(NamedTuple):
    """RECV_BITMAP: asks for the received-bitmap of a RAM block."""

    block: bytes


Arguments = Ping | PostcopyAdvise | RamDiscard | Packaged | RecvBitmap


def arguments(command: int, payload: bytes) -> Arguments | None:
    """What the payload says; None for a command without arguments. Raises FormatError when it has another form."""
    expected = COMMAND_LENGTHS.get(command)
    if expected is not None and len(payload) not in expected:
        wanted = " or ".join(map(str, expected))
        raise FormatError(f"payload of {len(payload)} bytes, must be {wanted}", field="length")
    match command:
        case CommandId.PING:
            return Ping(*compile_struct(wire.Ping).unpack(payload))
        case CommandId.POSTCOPY_ADVISE:
            return PostcopyAdvise(*(compile_struct(wire.PostcopyAdvise).unpack(payload) if payload else (None, None)))
        case CommandId.PACKAGED:
            return Packaged(*compile_struct(wire.Packaged).unpack(payload))
        case CommandId.RECV_BITMAP:
            block = payload[1 : 1 + payload[0]] if payload else b""
            if len(payload) != 1 + len(block):
                raise FormatError(f"payload of {len(payload)} bytes, its name takes {1 + len(block)}", field="length")
            return RecvBitmap(block)
        case CommandId.POSTCOPY_RAM_DISCARD:
            return _ram_discard(payload)
    return None


def _ram_discard(payload: bytes) -> RamDiscard:
    if len(payload) < SHORTEST_DISCARD:
        raise FormatError(f"payload of {len(payload)} bytes, must be {SHORTEST_DISCARD} or more", field="length")
    # Without Construct: a stream may hold a hundred thousand of these.
    version, size = DISCARD.unpack_from(payload)
    behind = DISCARD.size + size + 1
    if behind > len(payload):
        raise FormatError(f"payload of {len(payload)} bytes, its name takes {size}", field="length")
    block, terminator = payload[DISCARD.size : behind - 1], payload[behind - 1]
    ranges, rest = divmod(len(payload) - behind, RANGE.size)
    if rest:
        raise FormatError(f"{rest} bytes are left over behind {ranges} ranges", field="ranges")
    if version:
        raise FormatError(f"version {version}, must be 0", field="version")
    if terminator:
        raise FormatError(f"byte {terminator:#04x} behind the name, must be 0", field="terminator")
    return RamDiscard(version, block, terminator, tuple(RANGE.iter_unpack(payload[behind:])))
