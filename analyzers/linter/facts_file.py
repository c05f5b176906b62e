"""The facts that ``multifd record`` writes beside a capture: how the destination was configured."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any
from uuid import UUID

from analyzers.linter.judged import LintOptions
from multifd_codec.dialect.compression import COMPRESSIONS
from multifd_codec.dialect.releases import Mode, release
from multifd_codec.errors import InputError

SCHEMA = "multifd-recording/1"
MOST_BYTES = 1 << 20
"""Of a facts file; what is longer is none."""


def with_facts(options: LintOptions, path: Path) -> LintOptions:
    """What ``PATH.json`` says of the destination, where the options leave it open; unchanged without such a file."""
    beside = Path(f"{path}.json")
    try:
        if not beside.is_file() or beside.stat().st_size > MOST_BYTES:
            return options
    except (OSError, ValueError):
        return options
    facts = _read(beside)
    found = {name: value for name, value in _known(facts).items() if getattr(options, name) is None}
    known: LintOptions = options._replace(**found)
    return known


def _read(path: Path) -> dict[str, Any]:
    import json  # noqa: PLC0415 -- few inputs have such a file

    try:
        facts = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) and facts.get("schema") == SCHEMA else {}


def _known(facts: dict[str, Any]) -> dict[str, Any]:
    """Those of its values that make sense."""
    found: dict[str, Any] = {}
    destination = facts.get("destination")
    version = re.match(r"\d+\.\d+", str(destination.get("version"))) if isinstance(destination, dict) else None
    if version is not None:
        with contextlib.suppress(InputError):
            found["profile"] = release(f"qemu-{version[0]}").name
    if facts.get("mode") in list(Mode):
        found["mode"] = Mode(facts["mode"])
    channels = facts.get("channels")
    if isinstance(channels, int) and 0 < channels < 256:
        found["channels"] = channels
    if facts.get("compression") in COMPRESSIONS:
        found["compression"] = facts["compression"]
    uuid = facts.get("uuid")
    if isinstance(uuid, str) and re.fullmatch(r"[0-9a-fA-F-]{32,36}", uuid):
        with contextlib.suppress(ValueError):
            found["uuid"] = UUID(uuid)
    return found
