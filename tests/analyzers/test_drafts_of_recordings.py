"""A recording as a draft: every record, its bytes and their order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analyzers.mutation.recorded import draft_of_migration
from captures.recording import open_recording

SAMPLES = Path(__file__).parents[2] / "captures" / "samples"
MANIFEST = json.loads((SAMPLES / "manifest.json").read_text())


@pytest.mark.parametrize("name", MANIFEST)
def test_unedited(name: str) -> None:
    with open_recording(SAMPLES / name) as recording:
        (migration,) = recording.migrations
        draft = draft_of_migration(migration)
        for channel, (name_, _) in zip(migration.channels, draft.lines(), strict=True):
            source = channel.source
            assert draft.encoded(name_) == bytes(source.read(0, source.size))
