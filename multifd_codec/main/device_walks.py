"""Bodies of iterated devices whose length follows from what stands in them.

No footer has to be searched, and streams of machine types without footers can be read.

Sources: htab_load (hw/ppc/spapr.c). All integers big-endian.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from multifd_codec.layout import compile_struct
from multifd_codec.main.state import InHoleError, MainState, NeedBytesError
from multifd_codec.wire import devices as wire

HEADER = compile_struct(wire.HtabHeader)
CHUNK = compile_struct(wire.HtabChunk)
_WALK = "walk"


def _htab(state: MainState, offset: int) -> int:
    """The hash page table of a pseries machine: its size in START, then chunks of entries up to one of zeros."""
    reader = state.reader
    (header,) = HEADER.unpack(reader.take(offset, HEADER.size))
    begun, reached = state.searched.get(_WALK, (-1, 0))
    position = reached if begun == offset else offset + HEADER.size
    while header == 0:
        state.searched[_WALK] = (offset, position)
        index, valid, invalid = CHUNK.unpack(reader.take(position, CHUNK.size))
        position += CHUNK.size + valid * wire.HTAB_ENTRY_SIZE
        if not (index or valid or invalid):
            break
    return position


def walked_end(state: MainState, name: bytes) -> int | None:
    """Where the body at the position ends by its own counts; None for other devices, and where it is not all there.

    Raises NeedBytesError and InHoleError while the stream still grows.
    """
    walk = WALKS.get(name)
    try:
        return None if walk is None else walk(state, state.position)
    except (NeedBytesError, InHoleError):
        if state.reader.waits:
            raise
        return None


WALKS: Mapping[bytes, Callable[[MainState, int], int]] = {b"spapr/htab": _htab}
"""Name of the device: a function of the state and of where the body begins, in bytes; it returns where the body ends.
Raises NeedBytesError and InHoleError."""
