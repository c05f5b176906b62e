"""Tests marked with a program's marker are skipped, loudly, on machines that have not got it."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import pytest

from captures.qemu import find_qemus

PROGRAMS = {"tshark": "tshark", "qemu": "qemu-system-x86_64"}
"""Marker -> program."""
SAMPLES = Path(__file__).parent.parent / "captures" / "samples"


@cache
def qemu_releases() -> frozenset[str]:
    """Releases of QEMU that can be had: ``7.2``."""
    return frozenset(one.name.removeprefix("qemu-") for one in find_qemus())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for release in (name for mark in item.iter_markers("qemu") for name in mark.args):
            if release not in qemu_releases():
                reason = f"QEMU {release} IS NOT INSTALLED: run `make test` as root on Debian 12"
                item.add_marker(pytest.mark.skip(reason=reason))
    for marker, program in PROGRAMS.items():
        if shutil.which(program) is None:
            skip = pytest.mark.skip(reason=f"{program} IS NOT INSTALLED: install it, or run `make test` as root")
            for item in items:
                mark = item.get_closest_marker(marker)
                if mark is not None and not mark.args:
                    item.add_marker(skip)


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of recorded migrations."""
    return SAMPLES
