"""All mutations, one module a family as in ``analyzers.rulebook.registry``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

from analyzers.mutation.catalogue import (
    capture,
    channel_set,
    description,
    device_packets,
    device_state,
    framing,
    headers,
    main_channel,
    main_ram,
    packets,
    payloads,
    postcopy,
    sync,
)
from analyzers.mutation.mutation import Mutation

_MODULES = (
    framing, headers, packets, payloads, sync, postcopy, device_packets, device_state, main_channel, main_ram,
    description,    channel_set, capture,
)  # fmt: skip

MUTATIONS: Mapping[str, tuple[Mutation, ...]] = {
    code: tuple(ways)
    for code, ways in groupby(
        sorted((m for module in _MODULES for m in module.MUTATIONS), key=lambda mutation: mutation.code),
        key=lambda mutation: mutation.code,
    )
}
"""Code to the ways to violate that rule, the default first."""

WITHOUT: Mapping[str, str] = capture.WITHOUT
"""Rules no mutation can violate, and why."""
