"""The fuzz targets: each reads bytes as one reader does, and raises nothing but what its reader documents.

Where a target renders, what is rendered is checked too: nothing of the input may reach a terminal raw, and JSON is
JSON.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from analyzers.extraction.manifest import manifest, text_lines
from analyzers.extraction.output import Folder
from analyzers.extraction.rebuild import RebuildOptions, rebuild
from analyzers.fuzz.campaign import STATE, Campaign, Task
from analyzers.fuzz.case import Habitat
from analyzers.linter.facts_file import with_facts
from analyzers.linter.judged import LintOptions
from analyzers.linter.linter import lint_recording
from analyzers.produce.destination_for import Wishes, destination_for
from analyzers.produce.draft_of_recording import draft_of_migration
from analyzers.produce.mutate import mutate
from analyzers.produce.plan_of_recording import plan_of
from analyzers.report import FORMATS, render
from analyzers.report.decoding import Filter, Order, decoded, json_lines
from analyzers.report.decoding import text_lines as decoded_lines
from analyzers.report.exit_codes import exit_code
from analyzers.report.info_document import render_info
from analyzers.report.overview import Overview, overview_blocks
from analyzers.report.text import blocks_lines
from analyzers.report.texts import printable, printable_lines
from analyzers.rulebook.mutation_registry import MUTATIONS
from captures.identity import identify
from captures.memory import MemorySource, recording_of
from captures.model import CapturedChannel, InputForm, Migration, Recording
from captures.qemu import Qemu
from captures.recording import open_recording
from captures.tls import is_client_hello, is_tls, names_application, read_records
from captures.wireshark.decrypt import check_key_log
from multifd_codec.channel.decoder import ChannelDecoder
from multifd_codec.errors import FormatError, InputError, MultifdError
from multifd_codec.main.decoder import MainDecoder
from multifd_codec.main.device_fields import device_fields
from multifd_codec.main.return_path import ReturnPathMessage, decode_return_path
from multifd_codec.main.vmdescription import parse_description
from multifd_codec.plan.file import plan_from_json, plan_to_json
from multifd_codec.plan.plan import check, dirty, least_bytes
from multifd_codec.sender import draft
from multifd_codec.source import BufferSource, Hole, HoleReason, StreamEnd, recorded

Target = Callable[[bytes], object]

NEXT = b"=NEXT="
"""Between the channels of a folder."""
LOST = b"=LOST="
"""Stands for as many bytes that are not in the recording."""
BACK = b"=BACK="
"""Begins a return path."""
MOST_CHANNELS = 12
MOST_PAGES, MOST_BYTES = 200, 1 << 20
"""Of plans that are sent."""


@contextmanager
def place() -> Iterator[Path]:
    """A folder for files that nobody keeps, in memory where the machine has that."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as made:
        yield Path(made)


def folder(data: bytes) -> Recording:
    """The channels in ``data`` as a recording, recognised as those of a folder are."""
    channels, back = [], None
    for number, part in enumerate(data.split(NEXT)[:MOST_CHANNELS]):
        source = source_of(part.removeprefix(BACK))
        if part.startswith(BACK):
            back = source
            continue
        identity = identify(source)
        channels.append(CapturedChannel(identity.kind, identity.channel_id, source, f"part-{number}"))
    return Recording(Path("fuzzed"), InputForm.FOLDER, len(data), 0, (Migration(tuple(channels), back),))


def source_of(data: bytes) -> MemorySource:
    """A stream with a hole at each LOST; it ends open where it ends in one."""
    holes, at = [], data.find(LOST)
    while at >= 0:
        holes.append(Hole(at, at + len(LOST), HoleReason.LOST))
        at = data.find(LOST, at + len(LOST))
    source = MemorySource(data, end=StreamEnd.OPEN if data.endswith(LOST) else StreamEnd.CLOSED, holes=holes)
    source.frames = tuple((offset, 1 + offset // 1000) for offset in range(0, len(data), 1000))
    return source


def shown(lines: Iterator[str] | list[str]) -> None:
    """Lines as they go to a terminal: nothing in them is a control character of any kind."""
    for line in lines:
        assert line.removesuffix("\n").isprintable(), ascii(line)


def lint_and_render(recording: Recording) -> None:
    """Judged, and rendered as text and in one other format, which the input's size chooses: executions are dear."""
    other = list(FORMATS)[recording.bytes % len(FORMATS)]
    reports = lint_recording(recording, LintOptions(witness=True, elsewhere=other == "text"))
    exit_code(reports)
    for form in {"text", other}:
        rendered = render(reports, form, witness=True, what_if=True)
        if form != "text":  # JSON leaves one control character as it is
            rendered = printable_lines(rendered)
        shown(rendered.split("\n"))
        if form in ("json", "sarif"):
            json.loads(rendered)
    if recording.migrations:
        overviews = [
            Overview(migration, report, None) for migration, report in zip(recording.migrations, reports, strict=True)
        ]
        json.loads(render_info(overviews))
        shown(list(blocks_lines(overview_blocks(overviews))))


def decode_and_render(recording: Recording) -> None:
    """Decoded to a table or to JSON, as the input's size has it, with the bytes of every field."""
    order = Order.TIME if recording.frames else Order.CHANNEL
    with suppress(InputError):  # there is nothing to decode
        events = decoded(recording.migrations, Filter(), None, order)
        if recording.bytes % 2:
            shown(decoded_lines(events, hexadecimal=True))
            return
        for line in json_lines(events, hexadecimal=True):
            json.loads(printable_lines(line))


def reader(data: bytes) -> None:
    """A capture or any other file: what is read of it can be read through."""
    try:
        recording = open_recording(data, reader="native")
    except InputError as error:
        assert "\n" not in str(error)
        return
    with recording:
        for migration in recording.migrations:
            repr((migration.names, migration.span, migration.destination_gave_up_first))
            sources = [channel.source for channel in migration.channels]
            for source in [*sources, *([] if migration.return_path is None else [migration.return_path])]:
                for offset, length in recorded(source, 0, source.size):
                    assert len(source.read(offset, length)) == length
                    repr((source.frame_at(offset), source.time_at(offset)))


def capture(data: bytes) -> None:
    """A capture: judged, and decoded by time."""
    with suppress(InputError), open_recording(data, reader="native") as recording:
        lint_and_render(recording)
        decode_and_render(recording)


def mapped_ram(data: bytes) -> None:
    """A file with guest RAM in it: read, judged, extracted."""
    with suppress(InputError), open_recording(data, reader="native") as recording:
        lint_and_render(recording)
        extracted(recording)


def channel(data: bytes) -> None:
    """A multifd channel, as events and as batches."""
    for starts in (True, False):
        for event in ChannelDecoder(source_of(data), starts_with_init=starts).events():
            repr(event)
        for item in ChannelDecoder(source_of(data), page_size=4096, starts_with_init=starts).scan():
            repr(item)


def main(data: bytes) -> None:
    """The main channel: records, problems, fields of devices; then as ``decode --hex`` shows it."""
    for event in MainDecoder(source_of(data)).events():
        repr(event)
    growing = BufferSource(end=StreamEnd.OPEN)
    decoder = MainDecoder(growing, growing=True)
    for start in range(0, len(data), 1 + len(data) // 4):
        growing.feed(data[start : start + 1 + len(data) // 4])
        list(decoder.events())
    growing.close()
    list(decoder.events())
    decode_and_render(folder(b"QEVM" + data.removeprefix(b"QEVM")))


def vmdescription(data: bytes) -> None:
    """The JSON of a vmdescription, and behind NEXT the body of its first devices."""
    text, _, body = data.partition(NEXT)
    with suppress(FormatError):
        description = parse_description(text)
        repr((description.described(), description.skips_pages))
        for device in description.devices[:20]:
            with suppress(FormatError):
                for field in device_fields(device, body, 100):
                    repr(field)


def plan_file(data: bytes) -> None:
    """A plan: one that is taken can be written and taken again, and a small one is sent, by sources of any release."""
    with suppress(MultifdError):
        plan = plan_from_json(data)
        assert plan_from_json(plan_to_json(plan)) == plan
        check(plan)
        pages = sum(pages.count for pages, _ in dirty(plan))
        sections = sum(one.sections for one in (*plan.rounds, *plan.final))
        if max(pages, sections, plan.channels * len(plan.rounds)) < MOST_PAGES and least_bytes(plan) < MOST_BYTES:
            recording_of(draft(plan))


def key_log(data: bytes) -> None:
    """A TLS key log."""
    with place() as files, suppress(InputError):
        (files / "keys").write_bytes(data)
        check_key_log(files / "keys")


def return_path(data: bytes) -> None:
    """Messages of the return path, and their arguments."""
    for message in decode_return_path(source_of(data)):
        if isinstance(message, ReturnPathMessage):
            with suppress(FormatError):
                repr((message.name, message.arguments()))


def tls(data: bytes) -> None:
    """TLS records without keys."""
    repr((is_tls(data), is_client_hello(data), names_application(data)))
    records = read_records(source_of(data))
    repr((records, records.may_end_with_alert))


def lint(data: bytes) -> None:
    """A folder of channels: judged, and rendered in every format."""
    lint_and_render(folder(data))


def decode(data: bytes) -> None:
    """A folder of channels: decoded, with the bytes of each field."""
    decode_and_render(folder(data))


def extract(data: bytes) -> None:
    """A folder of channels: RAM and device state rebuilt in files."""
    extracted(folder(data))


def extracted(recording: Recording) -> None:
    for everything in (False, True):
        for number, migration in enumerate(recording.migrations, 1):
            with suppress(InputError), place() as files, Folder(files) as filled:
                options = RebuildOptions(apply_all=everything, provenance=everything)
                rebuilt = rebuild(migration, options, folder=filled.place())
                json.loads(json.dumps(manifest(rebuilt, recording, number)))
                shown([printable(line) for line in text_lines(rebuilt, recording, number, "files")])


def produce(data: bytes) -> None:
    """What makes new streams of one: its plan, and a mutation, chosen by the first byte. Each says no, or does it."""
    rules = list(MUTATIONS)
    code, near, data = rules[data[0] % len(rules)] if data else rules[0], data[:1] > b"\x80", data[1:]
    recording = folder(data)
    with suppress(MultifdError):
        plan_to_json(plan_of(recording.migrations[0]))
    with suppress(MultifdError):
        asked = destination_for(recording.migrations[0], Qemu(("qemu",), (10, 0), 0), Wishes())
        assert not set(", ") & set(asked.options.machine)
    for mutation in MUTATIONS[code]:
        with suppress(MultifdError):
            done = mutate(draft_of_migration(recording.migrations[0]), code, way=mutation.way, near=near)
            recording_of(done.draft)


def command(data: bytes) -> None:
    """Any command on a folder or file; the first two bytes choose which."""
    from tests.fuzz.commands import COMMANDS, try_command

    try_command(COMMANDS[int.from_bytes(data[:2], "big") % len(COMMANDS)], data[2:])


def facts(data: bytes) -> None:
    """The facts beside a capture."""
    with place() as files:
        (files / "x.json").write_bytes(data)
        repr(with_facts(LintOptions(), files / "x"))


def campaign(data: bytes) -> None:
    """The state of a fuzz campaign."""
    with place() as files, suppress(InputError):
        (files / STATE).write_bytes(data)
        repr(Campaign(Task(Habitat()), files).totals.as_json())


TARGETS: dict[str, Target] = {
    "pcap": reader,
    "pcapng": reader,
    "capture": capture,
    "channel": channel,
    "main": main,
    "vmdescription": vmdescription,
    "mapped-ram": mapped_ram,
    "image": reader,
    "plan": plan_file,
    "key-log": key_log,
    "return-path": return_path,
    "tls": tls,
    "lint": lint,
    "decode": decode,
    "extract": extract,
    "produce": produce,
    "command": command,
    "facts": facts,
    "campaign": campaign,
}
