"""When a source sends its final SYNC: one row for each answer the founding discussion considered.

The discussion is "Send final SYNC only after device state is complete" on qemu-devel (patch 16/24 of the third version
of the VFIO multifd series, 2024-11-17) and what followed. "Final" is the SYNC at the end of RAM (ram_save_complete,
migration/ram.c), behind all pages.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, NamedTuple

from multifd_codec.dialect.releases import Mode, SenderHabits
from multifd_codec.errors import InputError


class FinalSync(enum.Enum):
    """What a source does at the end of RAM."""

    NONE = "none"
    """No SYNC; the last one is that of the last round."""
    WITH_FLUSH = "with FLUSH"
    """A SYNC on every channel, then FLUSH on main: one round more."""
    AT_RAM_COMPLETE = "at RAM complete"
    """A SYNC on every channel, then EOS on main. Per section EOS is its rendezvous record; per round it has none."""
    BEHIND_ITERABLE = "behind all iterable device state"
    """EOS on main, the END sections of all other iterable devices and all device state, then the SYNC."""


class SyncPolicy(NamedTuple):
    """One answer: what to do without and with device state, in each mode."""

    name: str
    title: str
    per_section: FinalSync
    per_round: FinalSync
    per_section_device_state: FinalSync
    per_round_device_state: FinalSync

    def final_sync(self, mode: Mode, *, device_state: bool) -> FinalSync:
        """What a source of this policy does."""
        if mode is Mode.PER_SECTION:
            return self.per_section_device_state if device_state else self.per_section
        return self.per_round_device_state if device_state else self.per_round


_N, _F, _C, _B = FinalSync.NONE, FinalSync.WITH_FLUSH, FinalSync.AT_RAM_COMPLETE, FinalSync.BEHIND_ITERABLE

RAM_COMPLETE = SyncPolicy("ram-complete", "final SYNC when RAM is complete, before any patch", _C, _C, _C, _C)
RFC_V3 = SyncPolicy("rfc-v3", "with device state, final SYNC only behind all of it (v3 16/24)", _C, _C, _B, _B)
DEFER_ALWAYS = SyncPolicy("defer-always", "final SYNC behind all iterable devices, device state or not", _B, _B, _B, _B)
THREADS_ONLY = SyncPolicy("threads-only", "waits for its own threads only, sends no final SYNC", _N, _N, _N, _N)
UPSTREAM = SyncPolicy("upstream", "final SYNC per section only, none per round (10.0)", _C, _N, _C, _N)
POLICIES: dict[str, SyncPolicy] = {p.name: p for p in (RAM_COMPLETE, RFC_V3, DEFER_ALWAYS, THREADS_ONLY, UPSTREAM)}

FLUSHED = SyncPolicy("flush-at-complete", "final SYNC with a FLUSH of its own (8.1 to 9.0)", _C, _F, _C, _F)
"""Not one of the discussion's: what it all started from."""


def policy(name: str) -> SyncPolicy:
    """The row of that name. Raises InputError."""
    rows = {**POLICIES, FLUSHED.name: FLUSHED}
    if name not in rows:
        raise InputError(f"there is no sync policy {name!r}; there are {', '.join(rows)}")
    return rows[name]


def policy_of(sender: SenderHabits) -> SyncPolicy:
    """What a release does (1d457daf86, 637280aeb2)."""
    if sender.flush_at_complete:
        return FLUSHED
    if sender.unpaired_sync_at_complete:
        return RFC_V3 if sender.device_state else RAM_COMPLETE
    return UPSTREAM if sender.per_round else RAM_COMPLETE


_CASES = ("per-section", "per-round", "per-section-device-state", "per-round-device-state")
_ANSWERS = {answer.value: answer for answer in FinalSync}


def policy_as_data(one: SyncPolicy) -> dict[str, str]:
    """As ``policy_from_data`` reads it."""
    answers = zip(_CASES, one[2:], strict=True)
    return {"name": one.name, "title": one.title} | {case: answer.value for case, answer in answers}


def policy_from_data(value: Mapping[str, Any]) -> SyncPolicy:
    """An own policy: ``name``, perhaps ``title``, and for each mode, without and with device state, what a source does.

    With device state it is as without, unless said otherwise. Raises InputError.
    """
    name = value.get("name")
    if not isinstance(name, str) or not name:
        raise InputError("a sync policy needs a name")
    unknown = set(value) - {"name", "title", *_CASES}
    if unknown:
        raise InputError(f"policy {name}: there is no key {min(unknown)!r}; there are title, {', '.join(_CASES)}")
    answers = []
    for case in _CASES:
        said = value.get(case, value.get(case.removesuffix("-device-state")))
        if not isinstance(said, str) or said not in _ANSWERS:
            what = "is missing" if said is None else f"cannot be {said!r}"
            raise InputError(f"policy {name}: {case} {what}; it is one of: {', '.join(_ANSWERS)}")
        answers.append(_ANSWERS[said])
    return SyncPolicy(name, str(value.get("title", name)), *answers)


def policies_from_toml(text: str) -> list[SyncPolicy]:
    """A table a policy, its name the table's. Raises InputError."""
    import tomllib  # noqa: PLC0415 - rarely used

    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"not TOML: {error}") from None
    if not tables:
        raise InputError("there is no policy: give a table each, as [mine]")
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise InputError(f"{name} is no table; give a table a policy, as [mine]")
    return [policy_from_data({"name": name, **table}) for name, table in tables.items()]
