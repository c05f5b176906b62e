"""All rules with their texts, one module a family. The texts stand alone: ``multifd explain`` prints nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from analyzers.rulebook.capture import rules as capture
from analyzers.rulebook.channel_set import rules as channel_set
from analyzers.rulebook.device_state import rules as device_state
from analyzers.rulebook.framing import rules as framing
from analyzers.rulebook.main_channel import rules as main_channel
from analyzers.rulebook.main_ram import rules as main_ram
from analyzers.rulebook.packets import rules as packets
from analyzers.rulebook.payloads import rules as payloads
from analyzers.rulebook.rule import Rule
from analyzers.rulebook.sync import rules as sync

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
