"""Streams that did something to a real destination, kept: one folder each, grouped by cause."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

from analyzers.fuzz.against import Trial, destination_options, said_of_devices
from analyzers.fuzz.case import Case, Habitat
from analyzers.fuzz.minimize import cause
from captures.memory import recording_of
from captures.qemu import Observation, Qemu, feed_of_migration, replay
from captures.qemu.observation import CRASHES, HANGS
from captures.qemu.stack import LONGEST, with_debugger
from captures.write.replacing import added
from captures.write.sent import write_sent
from multifd_codec.errors import MultifdError
from multifd_codec.plan.file import plan_to_json

SCHEMA = "multifd-kept/1"
EACH = 5
"""Streams kept of one cause."""
FOLDER = "kept"
_SLUG = re.compile(r"[^a-z0-9]+")
_SLUG_LENGTH = 60


class Kept(NamedTuple):
    """One stream and what it did."""

    case: Case
    outcome: str
    cause: str
    seen: Observation
    stack: str = ""
    """Of all threads, when it crashed or hung and gdb is there."""


def keep(result: Trial, habitat: Habitat, qemu: Qemu, *, stack: bool) -> Kept | None:
    """What is to be kept of a trial; with ``stack`` it is run again for that."""
    if result.seen is None:
        return None
    stacks = _stack(result.case, habitat, qemu, result.observed) if stack else ""
    said = cause(result.seen.words) or (_frozen_in(stacks) if result.observed == HANGS else "")
    return Kept(result.case, result.observed, said, result.seen, stacks)


def _stack(case: Case, habitat: Habitat, qemu: Qemu, outcome: str) -> str:
    own: Qemu | None = qemu
    if outcome == CRASHES:
        own = with_debugger(qemu)
    elif outcome != HANGS:
        return ""
    if own is None:
        return ""
    try:
        (migration,) = recording_of(case.stream()).migrations
        options = destination_options(case, habitat, said_of_devices(case, migration, qemu.release))
        seen = replay(own, feed_of_migration(migration), options, stack=outcome == HANGS)
    except (MultifdError, OSError):
        return ""
    if outcome == HANGS:
        return seen.stack
    at = seen.printed.find("\nThread ")
    return seen.printed[at + 1 :][:LONGEST] if at >= 0 else ""


def _frozen_in(stack: str) -> str:
    """The functions of QEMU that its threads wait in, as far as gdb knows their names."""
    names = re.findall(r"#\d+ .*? in ((?:multifd|migration|vfio|qio|qemu_load|load|process_incoming)\w*)", stack)
    return " ".join(dict.fromkeys(names))


class Keeper:
    """The folder in which streams are kept."""

    def __init__(self, folder: Path, qemu: Qemu) -> None:
        self._folder, self._qemu = folder / FOLDER, qemu

    def take(self, kept: Kept) -> Path | None:
        """Write one; None when there are enough of its cause. Raises OSError."""
        group = self._folder / f"{kept.outcome}-{_slug(kept.cause) or 'without-a-word'}"
        own = group / f"seed-{kept.case.seed}"
        if own.exists() or (group.is_dir() and sum(1 for _ in group.iterdir()) >= EACH):
            return None
        group.mkdir(parents=True, exist_ok=True)
        made = kept.case.stream()
        seen = kept.seen
        facts = {
            "schema": SCHEMA,
            "seed": kept.case.seed,
            "qemu": self._qemu.full_version,
            "outcome": kept.outcome,
            "cause": kept.cause,
            "words": seen.words,
            "exit_code": seen.exit_code,
            "signal": -seen.exit_code if seen.exit_code is not None and seen.exit_code < 0 else None,
            "monitor_alive": seen.monitor_alive,
            "edits": kept.case.said(),
            "plan": json.loads(plan_to_json(kept.case.plan)),
        }
        with added(own) as part:
            write_sent(part / "stream.pcap", made.sent(), len(made.channels))
            (part / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
            (part / "stderr.txt").write_text(seen.printed)
            if kept.stack:
                (part / "stack.txt").write_text(kept.stack)
        return own


def _slug(text: str) -> str:
    return _SLUG.sub("-", text.lower()).strip("-")[:_SLUG_LENGTH].strip("-")
