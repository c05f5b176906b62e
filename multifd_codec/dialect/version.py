"""Release numbers."""

from __future__ import annotations

Version = tuple[int, int]
"""A QEMU release: ``(8, 1)``."""


def dotted(version: Version) -> str:
    """``8.1``."""
    return f"{version[0]}.{version[1]}"
