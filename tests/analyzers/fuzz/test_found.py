"""What fuzzing found stays found: the outcomes of the small streams it led to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from analyzers.linter.judged import LintOptions
from analyzers.linter.linter import lint_recording
from captures.memory import recording_of
from captures.recording import open_recording
from captures.write.sent import write_sent
from multifd_codec.channel.framing import infer_page_size
from multifd_codec.dialect.releases import RELEASES, Mode, release
from multifd_codec.draft.draft import Draft
from multifd_codec.layout import layout
from multifd_codec.main.events import EndOfStream, SectionStart
from multifd_codec.plan.page_content import Pattern
from multifd_codec.plan.plan import Block, Device, Pages, Round
from multifd_codec.sender import draft
from multifd_codec.wire.handshake import ChannelInit
from multifd_codec.wire.packet import ram_packet
from tests.conftest import SAMPLES
from tests.helpers.found import FOUND, NEW, Found

ONE_PAGE = (Round((Pages("ram", 0, 1, Pattern(1)),)),)
TRUTH = SAMPLES / "truth"


def foreseen(found: Found, profile: str) -> set[str]:
    plan = found.plan
    options = LintOptions(
        profile=profile,
        mode=str(plan.mode),
        channels=plan.channels,
        machine="none",
        compression=plan.compression,
        uuid=plan.uuid,
    )
    (report,) = lint_recording(recording_of(found.stream()), options)
    return {str(outcome) for outcome in report.possible_outcomes}


@pytest.mark.parametrize("name", FOUND)
def test_outcomes(name: str) -> None:
    found = FOUND[name]
    assert {profile: foreseen(found, profile) for profile in found.expected} == found.expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a packet in front of main, nothing else", ["fails"]), ("the ChannelInit in front of main", ["hangs"])],
)
def test_a_capture_shows_which_connection_is_first(name: str, expected: list[str], tmp_path: Path) -> None:
    """Before 8.0 that one is main, and is read when no other is refused."""
    made = FOUND[name].stream()
    write_sent(tmp_path / "stream.pcap", made.sent(), len(made.channels))
    with open_recording(tmp_path / "stream.pcap") as recording:
        (report,) = lint_recording(recording, LintOptions(profile="qemu-7.2", channels=1))
    assert [str(outcome) for outcome in report.possible_outcomes] == expected


def with_device(edit: Callable[[Draft], None], profile: str) -> list[str]:
    made = draft(replace(NEW, devices=(Device("0000:00:05.0/vfio", 100, 40),)))
    edit(made)
    (report,) = lint_recording(recording_of(made), LintOptions(profile=profile, channels=2))
    return [str(outcome) for outcome in report.possible_outcomes]


@pytest.mark.parametrize("name", [b"0000:00:05.0/vfi\xff", bytes(17)])
def test_a_section_of_a_device_under_a_name_there_is_none_of(name: bytes) -> None:
    """Its other section is described: the load fails, whatever the name looks like."""

    def edit(made: Draft) -> None:
        section = next(r for r in made.main if isinstance(r.event, SectionStart) and b"vfio" in r.event.idstr)
        section.event = section.event._replace(idstr=name)

    assert with_device(edit, "qemu-10.0") == ["fails"]


def test_sections_behind_an_early_end_of_stream() -> None:
    """Device state that nothing reads any more may be that of a device which is there."""

    def edit(made: Draft) -> None:
        end = next(r for r in made.main if isinstance(r.event, EndOfStream))
        made.main.insert(2, replace(end))

    assert "loses-data" in with_device(edit, "qemu-11.1")


@pytest.mark.parametrize("page_size", [1024, 4096])
def test_a_packet_of_one_page_is_as_long_with_either_page_size(page_size: int) -> None:
    plan = replace(
        NEW, blocks=(Block("ram", page_size),), channels=1, page_size=page_size, rounds=ONE_PAGE, final=(Round(()),)
    )
    (migration,) = recording_of(draft(plan)).migrations
    behind_sync = layout(ChannelInit).size + layout(ram_packet(page_size)).size
    assert infer_page_size(migration.channels[1].source, behind_sync) == page_size


def test_stable_releases_take_over_checks() -> None:
    """10.0.13 has a check of 11.1 that 10.0.2 has not; both were measured."""
    path = TRUTH / "q10.0-measured" / "zlib_zero_pages_with_size.pcap.zst"
    seen = {}
    for profile in ("qemu-10.0", "qemu-10.0.2", "qemu-10.0.13", "qemu-10.0.14"):
        with open_recording(path) as recording:
            (report,) = lint_recording(recording, LintOptions(profile=profile, channels=2))
        seen[profile] = [str(outcome) for outcome in report.possible_outcomes]
    old, new = ["crashes"], ["hangs"]
    assert seen == {"qemu-10.0": old, "qemu-10.0.2": old, "qemu-10.0.13": new, "qemu-10.0.14": new}
    assert release("qemu-9.2.13") == RELEASES[9, 2]
    assert all(Mode(found.plan.mode) for found in FOUND.values())
