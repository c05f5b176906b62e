"""A postcopy that is broken off: it hangs until it goes on over another connection."""

from __future__ import annotations

from pathlib import Path

import zstandard

from analyzers.evidence.ending import recorded
from analyzers.findings.kinds import Kind
from analyzers.findings.recorded import Ended, Side
from analyzers.survey.migration import survey_migration
from captures.recording import open_recording
from tests.conftest import SAMPLES
from tests.helpers.recorded_frames import ETHERNET, read_frames, write_frames

PORT = (50102).to_bytes(2, "big")
"""Of the source's side of the recovery."""
TCP = ETHERNET + 20


def test_paused_and_not_recovered(tmp_path: Path) -> None:
    packed = SAMPLES / "evidence" / "postcopy-pause-recover-q11.1.pcap.zst"
    whole = tmp_path / "whole.pcap"
    with packed.open("rb") as file, whole.open("wb") as out:
        zstandard.ZstdDecompressor().copy_stream(file, out)
    frames = [one for one in read_frames(whole) if PORT not in (one.data[TCP : TCP + 2], one.data[TCP + 2 : TCP + 4])]
    with open_recording(write_frames(tmp_path / "paused.pcap", frames)) as recording:
        (migration,) = recording.migrations
        happened = recorded(survey_migration(migration))
    assert (happened.ended, happened.gave_up_first) == (Ended.HUNG, Side.SOURCE)
    said = [fact.kind for fact in happened.evidence]
    assert Kind.PAUSED in said and Kind.RECOVERY not in said
