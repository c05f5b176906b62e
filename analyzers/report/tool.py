"""This tool, as formats that name it say."""

from __future__ import annotations


def tool_version() -> str:
    """The installed version; empty when the package is not installed."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        return version("multifd-codec")
    except PackageNotFoundError:
        return ""
