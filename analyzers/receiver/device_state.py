"""When a device's state is complete: the one answer, for the machine, the solver, reports and extraction.

Source: vfio_load_bufs_thread, hw/vfio/migration-multifd.c (10.0).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class StateBuffers(NamedTuple):
    """What the buffers of one device amount to."""

    config: int | None
    """Index of the config, of the highest if there are several: there the loader stops. None: it waits for one."""
    loadable: bool
    """The loader gets done: the config is there, and every buffer in front of it."""
    more: bool
    """Something stands behind the config, or a config in front of it: the loader leaves it out or loads it wrong."""

    @property
    def complete(self) -> bool:
        """The loader gets done, with all of the state."""
        return self.loadable and not self.more


def state_buffers(buffers: Iterable[tuple[int, bool]]) -> StateBuffers:
    """From (index, is the config) of each buffer, in any order, repeats allowed."""
    by_index: dict[int, bool] = {}
    for index, config in buffers:
        by_index[index] = config or by_index.get(index, False)
    configs = [index for index, config in by_index.items() if config]
    last = max(configs, default=None)
    if last is None:
        return StateBuffers(None, loadable=False, more=False)
    # Counted, not listed: an index is whatever 32 bits say.
    loadable = sum(index <= last for index in by_index) == last + 1
    return StateBuffers(last, loadable, more=len(configs) > 1 or max(by_index) > last)
