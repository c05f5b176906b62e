"""Reports as text, JSON, SARIF and JUnit, and the exit code they ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analyzers.findings import Report

FORMATS = {
    "text": ("text", "render_text"),
    "json": ("document", "render_json"),
    "jsonl": ("document", "render_jsonl"),
    "sarif": ("sarif", "render_sarif"),
    "junit": ("junit", "render_junit"),
}
"""Format to the module in this folder and its function, which makes the whole text of reports. A module is imported
when its format is asked for: start-up time is part of the contract."""


def render(reports: Sequence[Report], format: str, *, witness: bool = False, what_if: bool = False) -> str:  # noqa: A002
    """Reports in one of FORMATS. ``witness`` and ``what_if`` concern text only: the others always or never carry them.

    Raises ValueError for an unknown format.
    """
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}")
    module, function = FORMATS[format]
    write: Callable[..., str] = getattr(import_module(f"{__name__}.{module}"), function)
    return write(reports, witness=witness, what_if=what_if) if format == "text" else write(reports)
