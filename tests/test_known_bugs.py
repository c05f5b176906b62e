"""docs/known-bugs.md names streams that are there."""

from __future__ import annotations

import re

from analyzers.produce.mutate import mutations_of
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "known-bugs.md").read_text()


def test_streams_exist() -> None:
    ways = set(re.findall(r"`(MFD\d{3})/([a-z0-9-]+)`", TEXT))
    assert len(ways) > 8
    for code, way in ways:
        assert mutations_of(code, way)
    paths = set(re.findall(r"`(captures/samples/[^`]+)`", TEXT))
    assert paths and all((ROOT / path).exists() for path in paths)
