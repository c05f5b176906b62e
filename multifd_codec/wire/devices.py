"""Bodies of the two devices that every machine has, ``-machine none`` included, and of one that is iterated.

Sources: vmstate_timers (cpus.c up to 4.x, softmmu/cpus.c, system/cpu-timers.c), vmstate_globalstate
(migration/global_state.c), htab_load (hw/ppc/spapr.c). All integers big-endian.
"""

from __future__ import annotations

from construct import Bytes, Default, GreedyBytes, Int8ub, Int16ub, Int32ub, Int64sb, Int64ub, Padded, Struct

RUNSTATE_SIZE = 32

Timers = Struct("cpu_ticks_offset" / Int64sb, "unused" / Default(Int64ub, 0), "cpu_clock_offset" / Int64sb)
"""timer, version 2: nanoseconds and ticks."""

GlobalState = Struct(
    "size" / Int32ub,
    "runstate" / Padded(RUNSTATE_SIZE, GreedyBytes),
    "has_vm_was_suspended" / Int8ub,
    "vm_was_suspended" / Default(Int8ub, 0),
    "unused" / Default(Bytes(66), bytes(66)),
)
"""globalstate, version 1: ``runstate`` is the run state's name, NUL-padded; ``size`` counts its NUL. Up to 8.2 the 100
bytes behind ``size`` were one buffer, the rest of it zero."""

HtabHeader = Struct("shift" / Int32ub)
"""spapr/htab, version 1: 0 where chunks follow, up to a chunk of zeros. Else nothing follows: it is the logarithm to
base 2 of the table's size, or all ones for a guest without such a table."""

HtabChunk = Struct("index" / Int32ub, "valid" / Int16ub, "invalid" / Int16ub)
"""``valid`` entries follow."""

HTAB_ENTRY_SIZE = 16
