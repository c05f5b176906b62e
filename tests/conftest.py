"""Tests marked with a program's marker are skipped, loudly, on machines that have not got it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

PROGRAMS = {"tshark": "tshark", "qemu": "qemu-system-x86_64"}
"""Marker -> program."""
SAMPLES = Path(__file__).parent.parent / "captures" / "samples"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for marker, program in PROGRAMS.items():
        if shutil.which(program) is None:
            skip = pytest.mark.skip(reason=f"{program} IS NOT INSTALLED: install it, or run `make test` as root")
            for item in items:
                if item.get_closest_marker(marker):
                    item.add_marker(skip)


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of recorded migrations."""
    return SAMPLES
