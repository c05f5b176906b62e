"""The first inputs of each target, made small: of the fuzzer's own migrations, and of the smallest recorded ones."""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from analyzers.fuzz.campaign import SCHEMA, Campaign, Task
from analyzers.fuzz.case import Case, Habitat, make_case
from analyzers.rulebook.mutation_registry import MUTATIONS
from captures.formats.mapped import MappedFile
from captures.model import Recording
from captures.native import capture_format
from captures.recording import open_recording
from captures.tls import APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, RECORD_HEADER
from captures.write.sent import write_draft
from multifd_codec.dialect.destination import Destination
from multifd_codec.dialect.releases import Mode
from multifd_codec.draft import main_records as make
from multifd_codec.draft.draft import Draft, Record
from multifd_codec.main import events as ev
from multifd_codec.main.decoder import MainDecoder
from multifd_codec.plan.file import plan_to_json
from multifd_codec.plan.page_content import Zero
from multifd_codec.plan.plan import Block, Device, MigrationPlan, Pages, Round
from multifd_codec.sender import draft
from multifd_codec.source import BufferSource
from multifd_codec.wire.ram import MappedRamHeader
from multifd_codec.wire.return_path import ReturnPathType
from tests.conftest import SAMPLES
from tests.fuzz.commands import COMMANDS
from tests.fuzz.targets import BACK, LOST, NEXT

PAGE = 4096
CASES = 8
DESTINATIONS = (
    Destination("qemu-10.0", Mode.PER_ROUND),
    Destination("qemu-10.0", Mode.PER_SECTION),
    Destination("qemu-7.2", Mode.PER_SECTION),
    Destination("qemu-11.1", Mode.PER_ROUND),
)
RECORDED = ("q10.0-measured/baseline", "q10.0-measured/command_packaged_empty", "q7.2-measured/main_section_byte")
MOST_BYTES = 48 << 10


@cache
def _drafts() -> tuple[Draft, ...]:
    """Small migrations, half of them edited; and one with device state."""
    habitats = (Habitat(destination, most_pages=2, most_channels=2) for destination in DESTINATIONS)
    made = []
    for habitat in habitats:
        for seed in range(CASES):
            case = make_case(seed, habitat)
            made.append((_light(case) if seed % 2 else case).stream())
    plan = MigrationPlan(
        blocks=(Block("ram", 2 * PAGE),),
        rounds=(Round((Pages("ram", 0, 2, Zero()),)),),
        devices=(Device("0000:00:05.0/vfio", 300, 200),),
        channels=2,
    )
    return (draft(plan), draft(replace(plan, compression="zlib", devices=())), *made)


def _light(case: Case) -> Case:
    """The case with zero pages only: most of its bytes mean something then."""

    def emptied(passes: tuple[Round, ...]) -> tuple[Round, ...]:
        return tuple(one._replace(pages=tuple(replace(some, content=Zero()) for some in one.pages)) for one in passes)

    return case._replace(plan=replace(case.plan, rounds=emptied(case.plan.rounds), final=emptied(case.plan.final)))


def _encoded(one: Draft) -> list[bytes]:
    return [bytes(one.encoded(name)) for name, _ in one.lines()]


def _streams(recording: Recording) -> list[bytes]:
    sources = [channel.source for migration in recording.migrations for channel in migration.channels]
    return [bytes(source.read(0, source.size)) for source in sources]


@cache
def _folders() -> tuple[tuple[bytes, ...], ...]:
    found = [tuple(_encoded(one)) for one in _drafts()]
    for name in RECORDED:
        with open_recording(SAMPLES / "truth" / f"{name}.pcap.zst") as recording:
            found.append(tuple(_streams(recording)))
    return tuple(found)


def folders() -> Iterator[bytes]:
    """Whole migrations, and some that lack something."""
    for streams in _folders():
        yield NEXT.join(streams)
    whole = _folders()[0]
    yield NEXT.join(whole[:1])
    yield NEXT.join(whole[1:])
    yield NEXT.join((*whole, BACK + next(return_paths())))
    yield NEXT.join(stream[: len(stream) // 2] + LOST + stream[len(stream) // 2 + 20 :] for stream in whole)


def mains() -> Iterator[bytes]:
    return (streams[0] for streams in _folders())


def channels() -> Iterator[bytes]:
    return (stream for streams in _folders() for stream in streams[1:])


@cache
def _captured() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as place:
        files = []
        for one in _drafts()[:12]:
            path = Path(place) / "made.pcap"
            write_draft(path, one)
            files.append(path.read_bytes())
    return tuple(files)


def captures() -> Iterator[bytes]:
    yield from _captured()
    yield (SAMPLES / "q7.2-none.pcap").read_bytes()


def blocks() -> Iterator[bytes]:
    """The same frames as pcapng."""
    for file in _captured():
        packets = [bytes(frame) for frame in _frames(file)]
        yield _pcapng(packets)


def _frames(file: bytes) -> Iterator[bytes]:
    capture = capture_format(MappedFile(file))
    for batch in capture.batches():
        for start, length in zip(batch.start, batch.captured, strict=True):
            yield file[int(start) : int(start) + int(length)]


def _pcapng(frames: list[bytes]) -> bytes:
    def block(kind: int, body: bytes) -> bytes:
        padded = body + bytes(-len(body) % 4)
        return struct.pack("<II", kind, 12 + len(padded)) + padded + struct.pack("<I", 12 + len(padded))

    comment = struct.pack("<HH", 1, 4) + b"note" + bytes(4)
    name = struct.pack("<HH", 2, 4) + b"eth0" + struct.pack("<HHI", 9, 1, 9) + bytes(4)
    written = [block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + comment)]
    written.append(block(1, struct.pack("<HHI", 1, 0, 1 << 18) + name))
    for number, frame in enumerate(frames):
        head = struct.pack("<IIIII", 0, 0, number, len(frame), len(frame))
        written.append(block(6, head + frame + bytes(-len(frame) % 4) + comment))
    return b"".join(written)


def descriptions() -> Iterator[bytes]:
    """What the recorded migrations describe, and a small one with everything in it."""
    inner = [{"name": "x", "type": "uint16 le", "size": 2}]
    fields = [
        {"name": "a", "type": "uint32", "size": 4},
        {"name": "b", "type": "bool", "size": 1, "array_len": 3},
        {"name": "s", "type": "struct", "size": 2, "index": 0, "struct": {"fields": inner}},
    ]  # fmt: skip
    inside = [{"vmsd_name": "d/sub", "version": 1, "fields": [{"name": "t", "type": "timer", "size": 8}]}]
    device = {"name": "d", "instance_id": 0, "vmsd_name": "d", "version": 1, "fields": fields, "subsections": inside}
    body = bytes(9) + b"\x05\x05d/sub\0\0\0\x01" + bytes(8)
    yield json.dumps({"page_size": 4096, "devices": [device]}).encode() + NEXT + body
    for stream in mains():
        decoder = MainDecoder(BufferSource(stream))
        texts = [event for event in decoder.events() if isinstance(event, ev.VmDescription)]
        for event in texts[:1]:
            yield stream[event.offset + 5 : event.offset + event.length] + NEXT + bytes(64)


def mapped_files() -> Iterator[bytes]:
    """Files of mapped-ram with a block of two pages, which begin much closer to their bitmap than QEMU's do."""
    for one in _drafts()[:1]:
        listed = next(at for at, record in enumerate(one.main) if isinstance(record.event, ev.BlockList))
        main = [record for record in one.main if not isinstance(record.event, (ev.ZeroPage, ev.ZeroPageRun))]
        main[1] = make.configuration("pc-q35-9.0", capabilities=("mapped-ram",))
        (block,) = main[listed].event.blocks[:1]
        offset = (
            sum(record.size() for record in main[:listed]) + 8 + 1 + len(block.idstr) + 8 + MappedRamHeader.sizeof()
        )
        bitmap = b"\xc0".ljust(8, b"\0")
        header = ev.MappedRam(1, PAGE, offset, offset + len(bitmap))
        payload = bitmap + b"\x5a" * (2 * PAGE)
        event = make.block_list([block._replace(mapped_ram=header, behind=len(payload))]).event
        main[listed] = Record(event, payload)
        yield bytes(Draft(main, []).encoded("main"))


def images() -> Iterator[bytes]:
    """virsh's save image, a stream at an offset, a qcow2 image with an internal snapshot."""
    (main, *_) = mains()
    head = b"LibvirtQemudSave" + struct.pack("<IIII", 2, 20, 1, 0)
    yield head.ljust(92, b"\0") + b"<domain/>".ljust(20, b"\0") + main
    yield bytes(512) + main
    bits, count = 9, -(-len(main) // 512)
    size = 1 << bits
    snapshot = struct.pack(">QIHHIIQII", size, 1, 1, 4, 0, 0, 0, 0, 16) + struct.pack(">QQ", len(main), 0) + b"1snap"
    header = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, bits, 0, 0, 0, 0, 0, 0, 1, 128).ljust(128, b"\0")
    table = b"".join(struct.pack(">Q", (3 + number) * size) for number in range(min(count, size // 8)))
    yield (
        (header + snapshot).ljust(size, b"\0")
        + struct.pack(">Q", 2 * size).ljust(size, b"\0")
        + table.ljust(size, b"\0")
        + main
    )


def plans() -> Iterator[bytes]:
    for seed in range(CASES):
        yield plan_to_json(make_case(seed, Habitat(most_pages=4)).plan).encode()


def key_logs() -> Iterator[bytes]:
    yield b"# a comment\nCLIENT_TRAFFIC_SECRET_0 " + b"ab" * 32 + b" " + b"cd" * 48 + b"\n"
    yield b"CLIENT_RANDOM " + b"00" * 32 + b" " + b"11" * 48 + b"\n"


def return_paths() -> Iterator[bytes]:
    def message(kind: ReturnPathType, body: bytes) -> bytes:
        return struct.pack(">HH", kind, len(body)) + body

    pong = message(ReturnPathType.PONG, struct.pack(">I", 1))
    yield pong + message(ReturnPathType.SHUT, bytes(4))
    pages = struct.pack(">QI", 4096, 4096)
    yield message(ReturnPathType.REQ_PAGES_ID, pages + b"\x03ram") + message(ReturnPathType.REQ_PAGES, pages) + pong
    yield message(ReturnPathType.RECV_BITMAP, b"\x03ram") + struct.pack(">Q", 8) + bytes(8) + b"\x01\x23" * 4


def tls_streams() -> Iterator[bytes]:
    hello = (
        b"\x01\0\0\x40" + b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0" + b"\0\x06" + b"\0\x10\0\2h2"
    )
    bodies = ((HANDSHAKE, hello), (CHANGE_CIPHER_SPEC, b"\1"), (APPLICATION_DATA, bytes(40)), (21, b"\2\x28"))
    yield b"".join(RECORD_HEADER.pack(kind, 0x0303, len(body)) + body for kind, body in bodies)


def produced() -> Iterator[bytes]:
    """A migration for each rule there is a mutation of."""
    some = list(folders())
    for number in range(len(MUTATIONS)):
        yield bytes((number,)) + some[number % len(some)]


def commanded() -> Iterator[bytes]:
    """Every command on a migration."""
    some = [*folders(), *_captured()[:4]]
    for number in range(len(COMMANDS)):
        yield number.to_bytes(2, "big") + some[number % len(some)]


def facts() -> Iterator[bytes]:
    yield json.dumps(
        {"schema": "multifd-recording/1", "destination": {"version": "10.0.3"}, "mode": "per-round", "channels": 2,
         "compression": "zlib", "uuid": "8a5ba76b-1c1e-4d38-ac2b-37c5f3b1a3f1"}
    ).encode()  # fmt: skip


def states() -> Iterator[bytes]:
    with tempfile.TemporaryDirectory() as place:
        Campaign(Task(Habitat()), Path(place))
        yield next(Path(place).iterdir()).read_bytes()
    yield json.dumps({"schema": SCHEMA, "task": {}, "totals": {}}).encode()


SEEDS: dict[str, Callable[[], Iterator[bytes]]] = {
    "pcap": captures,
    "pcapng": blocks,
    "capture": captures,
    "channel": channels,
    "main": mains,
    "vmdescription": descriptions,
    "mapped-ram": mapped_files,
    "image": images,
    "plan": plans,
    "key-log": key_logs,
    "return-path": return_paths,
    "tls": tls_streams,
    "lint": folders,
    "decode": folders,
    "extract": folders,
    "produce": produced,
    "command": commanded,
    "facts": facts,
    "campaign": states,
}


@cache
def seeds(target: str) -> tuple[bytes, ...]:
    """Inputs of a target, each once, none large."""
    return tuple(dict.fromkeys(seed for seed in SEEDS[target]() if len(seed) <= MOST_BYTES))
