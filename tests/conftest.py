"""How many examples the properties try; tests marked with a program's marker are skipped, loudly, where it is missing.

Wall-clock time is no property of the code on a machine that does something else too: no profile has a deadline.
"""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from captures.qemu import find_qemus

PROGRAMS = {"tshark": "tshark", "qemu": "qemu-system-x86_64"}
"""Marker -> program."""
ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "captures" / "samples"

settings.register_profile("timeless", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("short", settings.get_profile("timeless"), max_examples=20, derandomize=True)
"""The same few examples in every run, so that what fails is what was changed."""
settings.register_profile("long", settings.get_profile("timeless"), max_examples=1000)
"""Others in every run, and many: ``make test-long``."""
settings.load_profile("short")


@cache
def qemu_releases() -> frozenset[str]:
    """Releases of QEMU that can be had: ``7.2``."""
    return frozenset(one.name.removeprefix("qemu-") for one in find_qemus())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if config.pluginmanager.hasplugin("xdist") and item.get_closest_marker("qemu") is not None:
            # One at a time: they start several processes each, and wait for them.
            item.add_marker(pytest.mark.xdist_group("qemu"))
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
