"""Device state: MFD401 to MFD417."""

from __future__ import annotations

import struct

from analyzers.findings import Severity
from multifd_codec import main_events as ev
from multifd_codec.draft import Record
from multifd_codec.wire.packet import PacketFlags
from multifd_codec.wire.vfio import CONFIG_STATE, VFIODeviceStatePacket, VfioTagId
from tests.analyzers.rule_cases.case import COMPLETES, CRASHES, FAILS, HANGS, LOSES, Case, Edit, Near
from tests.analyzers.rule_cases.sync import more_syncs
from tests.channel_records import DEVICES, bare_state, config, state
from tests.main_records import tag
from tests.migrations import like
from tests.streams import Stream

TWO = like(devices=2)
DEVICE_STATE = int(PacketFlags.DEVICE_STATE)
MIB = 1 << 20


def further(record: Record) -> Edit:
    """An edit that adds a packet on channel 1, in front of one a loader waits for."""
    return lambda stream: stream.before(stream.channels[1][-1], record.copy())


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


def dropped(stream: Stream, device: bytes, index: int, seen_at: int) -> Record:
    """Without that packet; the finding is at the one with the highest index."""
    stream.drop(of(stream, device, index))
    return of(stream, device, seen_at)


def header_only(stream: Stream) -> None:
    """A buffer without data: 12 bytes, which is just enough."""
    record = of(stream, DEVICES[0], 1)
    resized(record, record.payload[:12])


def stale_name(stream: Stream) -> None:
    """Bytes behind the NUL of a name do not count."""
    record = stream.state(0)
    record.set(idstr=(DEVICES[0] + b"\0stale").ljust(256, b"\0"))


def many_buffers(stream: Stream) -> None:
    """A thousand buffers more, the config behind them."""
    last = header(of(stream, DEVICES[0], 3), idx=1003)
    stream.before(last, *(state(index, b"x") for index in range(3, 1003)))


def shuffled(stream: Stream) -> None:
    """All device state on channel 0, in reverse."""
    records = stream.states()[::-1]
    for record in records:
        stream.drop(record)
    stream.channels[0] += records


def with_tags(record: Record, first: int, last: int) -> Record:
    return resized(
        record, record.payload[:12] + struct.pack(">Q", first) + record.payload[20:-8] + struct.pack(">Q", last)
    )


def full_tag(stream: Stream, number: int = 0) -> Record:
    """The tag in the FULL section of the first device."""
    section = next(r for r in stream.main if isinstance(r.event, ev.SectionFull) and r.event.idstr == DEVICES[number])
    return stream.main[next(i for i, r in enumerate(stream.main) if r is section) + 1]


def end_tag(stream: Stream) -> Record:
    section = next(r for r in stream.main if isinstance(r.event, ev.SectionEnd) and r.event.section_id == 3)
    return stream.main[next(i for i, r in enumerate(stream.main) if r is section) + 1]


def config_on_main(stream: Stream) -> Record:
    return stream.before(full_tag(stream), tag(VfioTagId.DEV_CONFIG_STATE, b"pci config"))


def only_on_main(stream: Stream) -> None:
    """One device transfers its state on main as before 10.0, the other on channels."""
    for record in stream.states():
        if record.event.idstr.startswith(DEVICES[0]):
            stream.drop(record)
    stream.before(end_tag(stream), tag(VfioTagId.DEV_DATA_STATE, b"state" * 20))
    config_on_main(stream)


def ready(stream: Stream) -> Record:
    return full_tag(stream).set(tag=int(VfioTagId.DEV_CONFIG_LOAD_READY))


def no_packets_of(stream: Stream) -> Record:
    for record in stream.states():
        if record.event.idstr.startswith(DEVICES[0]):
            stream.drop(record)
    return next(r for r in stream.main if isinstance(r.event, ev.VfioRecord))


CASES = (
    Case(
        "MFD401",
        "SYNC on a packet",
        lambda s: s.state(1).set(flags=DEVICE_STATE | 1),
        FAILS | HANGS,
        Near(lambda s: more_syncs(s, 1)),
        make=TWO,
        name="flags",
    ),
    Case(
        "MFD402",
        "no payload",
        further(bare_state(b"")),
        FAILS | HANGS,
        Near(header_only),
        make=TWO,
        name="next_packet_size",
    ),
    Case(
        "MFD403",
        "a name that is not terminated",
        further(bare_state(b"x" * 20, b"a" * 256)),
        FAILS | HANGS,
        Near(stale_name),
        make=TWO,
        name="idstr",
    ),
    Case(
        "MFD404",
        "a device without section",
        further(state(0, b"x", device=b"0000:00:09.0/vfio")),
        FAILS | HANGS,
        Near(shuffled),
        make=TWO,
        name="idstr",
    ),
    Case(
        "MFD404",
        "a device that takes no buffers",
        further(state(0, b"x", device=b"timer")),
        FAILS | HANGS,
        Near(shuffled),
        make=TWO,
        name="idstr",
    ),
    Case(
        "MFD405",
        "zlib on a device-state packet",
        lambda s: s.state(0).set(flags=DEVICE_STATE | PacketFlags.ZLIB),
        COMPLETES,
        Near(shuffled),
        make=TWO,
        name="flags",
    ),
    Case(
        "MFD405",
        "device state beside zlib",
        lambda s: s.state(0),
        HANGS,
        Near(make=like(compression=int(PacketFlags.ZLIB))),
        make=like(devices=2, compression=int(PacketFlags.ZLIB)),
        name="flags",
        severity=Severity.ERROR,
    ),
    Case(
        "MFD406",
        "one byte more than 1 MiB",
        lambda s: resized(s.state(0), s.state(0).payload.ljust(MIB + 13, b"x")),
        COMPLETES,
        Near(lambda s: resized(s.state(0), s.state(0).payload.ljust(MIB + 12, b"x"))),
        make=TWO,
        name="next_packet_size",
    ),
    Case(
        "MFD407", "11 bytes", further(bare_state(b"x" * 11)), FAILS | HANGS, Near(header_only), make=TWO, name="payload"
    ),
    Case(
        "MFD407",
        "version 1",
        further(state(4, b"x", version=1)),
        FAILS | HANGS,
        Near(header_only),
        make=TWO,
        name="version",
    ),
    Case("MFD408", "a gap", lambda s: dropped(s, DEVICES[0], 1, 3), HANGS, Near(shuffled), make=TWO, name="idx"),
    Case(
        "MFD408",
        "the invalid index",
        further(state(0xFFFFFFFF, b"x")),
        FAILS | HANGS,
        Near(many_buffers),
        make=TWO,
        name="idx",
    ),
    Case("MFD408", "a huge index", further(state(1 << 30, b"x")), CRASHES, Near(many_buffers), make=TWO, name="idx"),
    Case(
        "MFD409",
        "an index twice",
        further(state(0, b"x")),
        FAILS | HANGS,
        Near(lambda s: header(of(s, DEVICES[1], 0), idx=0)),
        make=TWO,
        name="idx",
    ),
    Case(
        "MFD410",
        "no config",
        lambda s: header(of(s, DEVICES[0], 3), flags=0),
        HANGS,
        Near(shuffled),
        make=TWO,
        name="flags",
    ),
    Case(
        "MFD410",
        "a buffer behind the config",
        lambda s: (s.behind(s.channels[0][-1], state(4, b"x")), of(s, DEVICES[0], 3))[1],
        LOSES,
        Near(shuffled),
        make=TWO,
        name="idx",
    ),
    Case("MFD410", "a second config behind", further(config(4)), LOSES, Near(shuffled), make=TWO, name="flags"),
    Case(
        "MFD410",
        "a second config in front",
        lambda s: with_tags(
            header(of(s, DEVICES[0], 2), flags=CONFIG_STATE), VfioTagId.DEV_CONFIG_STATE, VfioTagId.END_OF_STATE
        ),
        LOSES | CRASHES,
        Near(shuffled),
        make=TWO,
        name="flags",
    ),
    Case("MFD410", "no packet at all", no_packets_of, HANGS, Near(only_on_main), make=TWO),
    Case(
        "MFD411",
        "config data with another tag",
        lambda s: with_tags(of(s, DEVICES[0], 3), 0, VfioTagId.END_OF_STATE),
        FAILS,
        Near(shuffled),
        make=TWO,
        name="payload",
    ),
    Case(
        "MFD411",
        "config data without end",
        lambda s: with_tags(of(s, DEVICES[1], 3), VfioTagId.DEV_CONFIG_STATE, 0),
        FAILS,
        Near(shuffled),
        make=TWO,
        name="payload",
    ),
    Case(
        "MFD412",
        "no SWITCHOVER_START",
        lambda s: (s.drop(s.on_main(ev.Command, 2)), s.on_main(ev.EndOfStream))[1],
        LOSES,
        Near(lambda s: s.drop(s.on_main(ev.Command, 2)), make=like()),
        make=TWO,
    ),
    Case("MFD413", "config on main as well", config_on_main, FAILS, Near(only_on_main), make=TWO, name="tag"),
    Case(
        "MFD413",
        "data in END as well",
        lambda s: s.before(end_tag(s), tag(VfioTagId.DEV_DATA_STATE, b"state" * 20)),
        LOSES,
        Near(only_on_main),
        make=TWO,
        name="tag",
    ),
    Case(
        "MFD414",
        "LOAD_READY for 10.0",
        ready,
        FAILS,
        Near(ready, options={"profile": "qemu-10.1"}),
        make=TWO,
        name="tag",
    ),
    Case(
        "MFD414",
        "LOAD_READY twice",
        lambda s: (end_tag(s).set(tag=int(VfioTagId.DEV_CONFIG_LOAD_READY)), ready(s))[1],
        FAILS,
        Near(ready),
        make=TWO,
        name="tag",
        options={"profile": "qemu-11.1"},
        also=frozenset({"MFD413"}),
    ),
    Case(
        "MFD416",
        "an unknown VFIO flag",
        lambda s: header(s.state(0), flags=2),
        COMPLETES,
        Near(shuffled),
        make=TWO,
        name="flags",
    ),
    Case(
        "MFD417",
        "an older machine type",
        lambda s: s.state(0),
        COMPLETES,
        Near(make=TWO),
        make=like(devices=2, machine=b"pc-q35-9.2"),
        name="flags",
    ),
    Case(
        "MFD417",
        "an older destination",
        lambda s: s.state(0),
        FAILS,
        Near(options={"profile": "qemu-10.0"}),
        make=TWO,
        name="flags",
        severity=Severity.ERROR,
        options={"profile": "qemu-9.2"},
        also=frozenset({"MFD515"}),
    ),
)
