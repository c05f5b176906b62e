"""Device state: MFD401 to MFD417."""

from __future__ import annotations

from analyzers.findings import Severity
from multifd_codec.draft.draft import Record
from multifd_codec.main import events as ev
from multifd_codec.wire.packet import PacketFlags
from multifd_codec.wire.vfio import VFIODeviceStatePacket, VfioTagId
from tests.analyzers.rule_cases.case import COMPLETES, CRASHES, FAILS, HANGS, LOSES, Case, Near
from tests.analyzers.rule_cases.sync import more_syncs
from tests.channel_records import DEVICES
from tests.migrations import like
from tests.streams import Stream

TWO = like(devices=2)
DEVICE_STATE = int(PacketFlags.DEVICE_STATE)
MIB = 1 << 20


def header(record: Record, **changes: int) -> Record:
    """Change the VFIO header of a packet."""
    size = VFIODeviceStatePacket.sizeof()
    values = dict(VFIODeviceStatePacket.parse(record.payload[:size])) | changes
    record.payload = VFIODeviceStatePacket.build(values) + record.payload[size:]
    return record


def of(stream: Stream, device: bytes, index: int) -> Record:
    """The packet of that device with that index."""
    for record in stream.states():
        parsed = VFIODeviceStatePacket.parse(record.payload)
        if record.event.idstr.startswith(device) and parsed.idx == index:
            return record
    raise LookupError(index)


def resized(record: Record, payload: bytes) -> Record:
    record.payload = payload
    return record.set(next_packet_size=len(payload), payload_length=len(payload))


def full_tag(stream: Stream, number: int = 0) -> Record:
    """The tag in the FULL section of the first device."""
    section = next(r for r in stream.main if isinstance(r.event, ev.SectionFull) and r.event.idstr == DEVICES[number])
    return stream.main[next(i for i, r in enumerate(stream.main) if r is section) + 1]


def ready(stream: Stream) -> Record:
    return full_tag(stream).set(tag=int(VfioTagId.DEV_CONFIG_LOAD_READY))


CASES = (
    Case("MFD401", "SYNC on a packet", FAILS | HANGS, near=Near(lambda s: more_syncs(s, 1)), make=TWO),
    Case("MFD402", "no payload", FAILS | HANGS, make=TWO),
    Case("MFD403", "a name that is not terminated", FAILS | HANGS, make=TWO),
    Case("MFD404", "a device without section", FAILS | HANGS, make=TWO),
    Case("MFD404", "a device that takes no buffers", FAILS | HANGS, make=TWO),
    Case("MFD405", "zlib on a device-state packet", COMPLETES, make=TWO),
    Case(
        "MFD405",
        "device state beside zlib",
        HANGS,
        near=Near(make=like(compression=int(PacketFlags.ZLIB))),
        make=like(devices=2, compression=int(PacketFlags.ZLIB)),
        severity=Severity.ERROR,
    ),
    Case(
        "MFD406",
        "one byte more than 1 MiB",
        COMPLETES,
        near=Near(lambda s: resized(s.state(0), s.state(0).payload.ljust(MIB + 12, b"x"))),
        make=TWO,
    ),
    Case("MFD407", "11 bytes", FAILS | HANGS, make=TWO),
    Case("MFD407", "version 1", FAILS | HANGS, make=TWO),
    Case("MFD408", "a gap", HANGS, make=TWO),
    Case("MFD408", "the invalid index", FAILS | HANGS, make=TWO),
    Case("MFD408", "a huge index", CRASHES, make=TWO),
    Case("MFD409", "an index twice", FAILS | HANGS, near=Near(lambda s: header(of(s, DEVICES[1], 0), idx=0)), make=TWO),
    Case("MFD410", "no config", HANGS, make=TWO),
    Case("MFD410", "a buffer behind the config", LOSES, make=TWO),
    Case("MFD410", "a second config behind", LOSES, make=TWO),
    Case("MFD410", "a second config in front", LOSES | CRASHES, make=TWO),
    Case("MFD410", "no packet at all", HANGS, make=TWO),
    Case("MFD411", "config data with another tag", FAILS, make=TWO),
    Case("MFD411", "config data without end", FAILS, make=TWO),
    Case(
        "MFD412",
        "no SWITCHOVER_START",
        LOSES,
        near=Near(lambda s: s.drop(s.on_main(ev.Command, 2)), make=like()),
        make=TWO,
    ),
    Case("MFD413", "config on main as well", FAILS, make=TWO),
    Case("MFD413", "data in END as well", LOSES, make=TWO),
    Case("MFD414", "LOAD_READY for 10.0", FAILS, near=Near(ready, options={"profile": "qemu-10.1"}), make=TWO),
    Case("MFD414", "LOAD_READY twice", FAILS, near=Near(ready), make=TWO, also=frozenset({"MFD413"})),
    Case("MFD416", "an unknown VFIO flag", COMPLETES, make=TWO),
    Case(
        "MFD417",
        "an older machine type",
        COMPLETES,
        near=Near(make=TWO),
        edit=lambda s: s.state(0),
        make=like(devices=2, machine=b"pc-q35-9.2"),
        name="flags",
    ),
    Case(
        "MFD417",
        "an older destination",
        FAILS,
        near=Near(options={"profile": "qemu-10.0"}),
        make=TWO,
        severity=Severity.ERROR,
        also=frozenset({"MFD515"}),
    ),
)
