"""All rules with their texts, one module a family. The texts stand alone: ``multifd explain`` prints nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from analyzers.rules.catalogue import (
    capture,
    channel_set,
    device_state,
    framing,
    main_channel,
    main_ram,
    packets,
    payloads,
    sync,
)
from analyzers.rules.rule import Rule

_MODULES = (framing, packets, payloads, sync, device_state, main_channel, main_ram, channel_set, capture)

RULES: Mapping[str, Rule] = {
    rule.code: rule
    for rule in sorted((rule for module in _MODULES for rule in module.RULES), key=lambda rule: rule.code)
}
"""Code to rule, in code order."""

FAMILIES: Mapping[str, str] = {
    "MFD1": "framing",
    "MFD2": "packet fields",
    "MFD3": "synchronisation",
    "MFD4": "device state",
    "MFD5": "main channel",
    "MFD6": "channel set",
    "MFD9": "capture quality",
}
"""Code prefix to family name."""
