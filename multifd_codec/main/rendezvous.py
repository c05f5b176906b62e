"""Which records of the main channel are a rendezvous: what one SYNC of every channel pairs with.

Per-round mode: FLUSH. Per-section mode: the end (EOS) of every RAM section, and FLUSH just as well
(ram_load_precopy, migration/ram.c, 8.1 and later; before, FLUSH is not known and every EOS is one). Behind
POSTCOPY_LISTEN a source sends no SYNC, and destinations from 10.0 on wait for none; earlier ones go on waiting.
"""

from __future__ import annotations

from collections.abc import Iterable

from multifd_codec.dialect.releases import Mode
from multifd_codec.main.events import Command, EndOfRam, Flush
from multifd_codec.wire.qemufile import CommandId


def is_rendezvous(mode: Mode, *, flush: bool, over: bool) -> bool:
    """Whether a FLUSH, else an EOS, of RAM is one. ``over``: postcopy has begun, for whom that ends them."""
    return not over and (flush or mode is Mode.PER_SECTION)


class Rendezvous:
    """The same for one walk over main: call it with every event. ``in_postcopy``: POSTCOPY_LISTEN ends nothing."""

    def __init__(self, mode: Mode, *, in_postcopy: bool = False) -> None:
        self._mode, self._in_postcopy = mode, in_postcopy
        self._over = False

    def __call__(self, event: object) -> bool:
        if isinstance(event, Flush | EndOfRam):
            return is_rendezvous(self._mode, flush=isinstance(event, Flush), over=self._over)
        if isinstance(event, Command) and event.command == CommandId.POSTCOPY_LISTEN:
            self._over = not self._in_postcopy
        return False


def mode_of_records(events: Iterable[object]) -> Mode:
    """The mode of a stream by its records alone: a source sends FLUSH per round only."""
    return Mode.PER_ROUND if any(isinstance(event, Flush) for event in events) else Mode.PER_SECTION


def ends_unpaired(channels: Iterable[tuple[int, bool]], records: int) -> bool:
    """Whether every channel ends in a SYNC more than main has rendezvous, as 9.1, 9.2 and rfc-v3 send it.

    ``channels``: the number of SYNCs of each, and whether the last one is the last thing on it.
    """
    ends = list(channels)
    return records > 0 and bool(ends) and all(syncs == records + 1 and last for syncs, last in ends)
