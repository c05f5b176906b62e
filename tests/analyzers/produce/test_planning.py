"""The reference sender against real ones: what was recorded, planned and sent again."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

import pytest

from analyzers.findings import Outcome, Severity
from analyzers.linter.judged import LintOptions
from analyzers.linter.linter import lint_recording
from analyzers.produce.plan_of_recording import plan_of
from captures.memory import recording_of
from captures.model import ChannelKind, Migration
from captures.recording import open_recording
from multifd_codec.channel.decoder import ChannelDecoder
from multifd_codec.channel.events import DeviceStatePacket, RamPacket
from multifd_codec.dialect.releases import Mode
from multifd_codec.draft.draft import Draft
from multifd_codec.errors import InputError
from multifd_codec.layout import build_declared
from multifd_codec.main import events as ev
from multifd_codec.main.decoder import MainDecoder
from multifd_codec.plan.plan import MigrationPlan, memory
from multifd_codec.sender import draft
from multifd_codec.source import BufferSource, ByteSource
from multifd_codec.wire.devices import Timers
from tests.conftest import SAMPLES
from tests.multifd_codec.grammar import channel_letters, rows

KNOWN_RAM = "9cf67a50956458d3f5d0c1a3783f81891592d7cc1e3f12a56325965c19813ba3"
"""SHA-256 of ram0 in the recordings called known-ram."""
TIMER_CONTENTS = ("cpu_ticks_offset", "cpu_clock_offset")
"""What the source's clocks were: all that a plan of -machine none does not hold."""
LOST = "q10.0-none-device-state-lost.pcap"
RECORDINGS = sorted(path.name for path in SAMPLES.glob("q*.pcap*") if "-tls" not in path.name)
EVERY_RECORDING = pytest.mark.parametrize("name", RECORDINGS)

Streams = tuple[ByteSource, list[ByteSource]]


def sources(migration: Migration) -> Streams:
    """Main, and the channels by id."""
    (main,) = [c.source for c in migration.channels if c.kind is ChannelKind.MAIN]
    channels = {c.channel_id: c.source for c in migration.channels if c.kind is ChannelKind.MULTIFD}
    return main, [channels[number] for number in range(len(channels))]


@cache
def again(name: str) -> tuple[Streams, MigrationPlan, Draft, Streams]:
    """What was recorded, its plan, and what the sender makes of it."""
    with open_recording(SAMPLES / name) as recording:
        (migration,) = recording.migrations
        main, channels = sources(migration)
        recorded: list[ByteSource] = [BufferSource(bytes(s.read(0, s.size))) for s in (main, *channels)]
        plan = plan_of(migration)
        made = draft(plan)
    ours: list[ByteSource] = [BufferSource(made.encoded(number)) for number in ("main", *range(plan.channels))]
    return (recorded[0], recorded[1:]), plan, made, (ours[0], ours[1:])


def whole(source: ByteSource) -> bytes:
    return bytes(source.read(0, source.size))


@EVERY_RECORDING
def test_main_is_identical_to_the_byte_but_for_the_clocks(name: str) -> None:
    """With -machine pc the devices come from the recording: nothing differs."""
    (recorded, _), plan, _, (ours, _) = again(name)
    allowed: set[int] = set()
    if plan.sections is None:
        device = None
        for event in MainDecoder(recorded).events():
            device = event.device if isinstance(event, ev.SectionFull) else device
            if isinstance(event, ev.DeviceBody) and device == "timer":
                mask = build_declared(Timers, dict.fromkeys(TIMER_CONTENTS, -1) | {"unused": 0})
                allowed |= {event.offset + at for at, byte in enumerate(mask) if byte}
        assert len(allowed) == 16
    assert recorded.size == ours.size
    pairs = zip(whole(recorded), whole(ours), strict=True)
    assert {at for at, (theirs, mine) in enumerate(pairs) if theirs != mine} <= allowed
    assert bool(allowed) == ("-none" in name)


@EVERY_RECORDING
def test_channels_have_the_grammar_of_the_recording(name: str) -> None:
    """Both obey the release's row, with the same number of rendezvous."""
    (_, recorded), plan, _, (_, ours) = again(name)
    (row,) = [row for dialect, row in rows() if dialect == plan.dialect and row.mode is plan.mode]
    form = f"IS{row.device_state if plan.devices and row.device_state else row.channel}"
    assert len(recorded) == len(ours) == plan.channels
    for theirs, mine in zip(recorded, ours, strict=True):
        letters = [channel_letters(source, plan.page_size) for source in (theirs, mine)]
        assert all(re.fullmatch(form, text) for text in letters), letters
        assert len({len(re.findall("[SM]", text)) for text in letters}) == 1, letters


@EVERY_RECORDING
def test_every_round_carries_the_pages_of_the_recording(name: str) -> None:
    """The same pages between the same two rendezvous, zero or not; every device-state packet is the recorded one."""
    (_, recorded), plan, _, (_, ours) = again(name)
    theirs, mine = [_carried(channels, plan.page_size) for channels in (recorded, ours)]
    assert theirs[0] == mine[0]
    if name == LOST:  # buffer 3 of 0 to 3 and the config
        assert [len(sizes) for sizes in theirs[1].values()] == [4]
    else:
        assert theirs[1] == mine[1]


def _carried(
    channels: list[ByteSource], page_size: int
) -> tuple[dict[int, set[tuple[str, int, bool]]], dict[str, list[bytes]]]:
    """Pages by round: block, offset, whether it is zero; and the payloads of each device's packets, sorted."""
    pages: dict[int, set[tuple[str, int, bool]]] = {}
    state: dict[str, list[bytes]] = {}
    for source in channels:
        passed = 0
        for event in ChannelDecoder(source, page_size=page_size).events():
            if isinstance(event, DeviceStatePacket):
                payload = bytes(source.read(event.payload_offset, event.payload_length))
                state.setdefault(event.device, []).append(payload)
            if isinstance(event, RamPacket):
                used = event.pages[: event.normal_pages + event.zero_pages]
                here = pages.setdefault(passed, set())
                here |= {(event.block, offset, number >= event.normal_pages) for number, offset in enumerate(used)}
                passed += event.sync
    return {number: found for number, found in pages.items() if found}, {k: sorted(v) for k, v in state.items()}


@pytest.mark.parametrize("name", [name for name in RECORDINGS if "known-ram" in name])
def test_the_plan_holds_the_memory_of_the_source(name: str) -> None:
    _, plan, _, _ = again(name)
    held = memory(plan)
    assert {block: hashlib.sha256(data).hexdigest() for block, data in held.items()} == {"ram0": KNOWN_RAM}


@EVERY_RECORDING
def test_what_is_sent_again_completes(name: str) -> None:
    _, plan, made, _ = again(name)
    (report,) = lint_recording(recording_of(made))
    assert report.possible_outcomes == (Outcome.COMPLETES,)
    assert [finding for finding in report.findings if finding.severity is not Severity.INFO] == []
    assert report.profile is not None and (report.profile.destination.name, report.profile.destination.mode) == (
        plan.dialect,
        plan.mode,
    )


@pytest.mark.parametrize("name", ["q7.2-none-known-ram.pcap.zst", "q10.0-none-known-ram.pcap.zst"])
@pytest.mark.parametrize("dialect", ["qemu-4.0", "qemu-7.2", "qemu-8.1", "qemu-9.0", "qemu-9.2", "qemu-11.1", "rfc-v3"])
def test_another_release_sends_the_same_guest(name: str, dialect: str) -> None:
    with open_recording(SAMPLES / name) as recording:
        plan = plan_of(recording.migrations[0], dialect=dialect)
        (report,) = lint_recording(recording_of(draft(plan)), LintOptions(profile=dialect))
        assert hashlib.sha256(memory(plan)["ram0"]).hexdigest() == KNOWN_RAM
    assert plan.dialect == dialect and report.possible_outcomes == (Outcome.COMPLETES,)
    recorded = Mode.PER_SECTION if name.startswith("q7") else Mode.PER_ROUND
    assert plan.mode is (Mode.PER_SECTION if dialect in {"qemu-4.0", "qemu-7.2"} else recorded)
    assert [finding for finding in report.findings if finding.severity is not Severity.INFO] == []


NOT_PLANNED = {
    "main_compress_page": "no pages on the main channel",
    "main_truncated_in_ram": "recorded to its EOF byte",
    "data_flag_zlib": "pages that can be read",
    "unknown_ramblock": "RAM block zzzz",
    "offset_beyond_block": "ram0 has 1024",
    "end_section_dropped": "one when it has stopped",
}


@pytest.mark.parametrize(
    "path", sorted((SAMPLES / "truth").glob("*/*.pcap*")), ids=lambda p: f"{p.parent.name}-{p.name}"
)
def test_altered_streams_are_planned_or_refused_in_one_line(path: Path) -> None:
    with open_recording(path) as recording:
        try:
            draft(plan_of(recording.migrations[0]))
        except InputError as error:
            refused = str(error)
            assert "\n" not in refused and NOT_PLANNED.get(path.name.split(".")[0], "") in refused
        else:
            assert path.name.split(".")[0] not in NOT_PLANNED


def test_a_recording_that_is_not_readable_is_refused() -> None:
    with (
        open_recording(SAMPLES / "q10.0-none-known-ram-tls.pcap", reader="native") as recording,
        pytest.raises(InputError, match="one main channel and the multifd channels"),
    ):
        plan_of(recording.migrations[0])
