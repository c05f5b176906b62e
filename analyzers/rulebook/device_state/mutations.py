"""Device state: whole devices, and what main says of them; finding and changing single packets in packet_edits.py."""

from __future__ import annotations

from random import Random

from analyzers.findings import Severity
from analyzers.mutation.edits import Finder, before, refills, sets
from analyzers.mutation.legal import another_round
from analyzers.mutation.main_edits import configuration
from analyzers.mutation.mutation import COMPLETES, CRASHES, FAILS, HANGS, LOSES, Edit, Mutation, Place, same
from analyzers.mutation.shape import Shape, is_config, need, vfio_header
from analyzers.rulebook.device_state.packet_edits import (
    BESIDE_COMPRESSION,
    FIRST,
    a_buffer,
    a_packet,
    adds,
    append,
    header,
    name_of,
    nobody,
    of_a_device,
    shuffled,
    states,
    takes_none,
    twice,
    unknown_flag,
    version_1,
    with_data,
)
from multifd_codec.draft.channel_records import VFIO_HEADER, device_state_packet, vfio_buffer
from multifd_codec.draft.draft import Draft, Record
from multifd_codec.layout import compile_struct
from multifd_codec.main import events as ev
from multifd_codec.names import until_nul
from multifd_codec.plan.pci import pci_config
from multifd_codec.wire.packet import MULTIFD_PACKET_SIZE, PacketFlags
from multifd_codec.wire.qemufile import CommandId
from multifd_codec.wire.vfio import CONFIG_STATE, INVALID_IDX, VfioTag, VfioTagId

LARGEST = 2 * MULTIFD_PACKET_SIZE + VFIO_HEADER.size
"""The largest payload that upstream sends."""
HUGE = 1 << 30
"""An index that makes the destination allocate more memory than it has."""
REFUSED = FAILS | HANGS | CRASHES
"""A packet that is refused, and the device's loader may not have begun."""
TAG = compile_struct(VfioTag)
NO_TAG = TAG.pack(0)


def a_device(draft: Draft, random: Random) -> list[Record]:
    """The packets of one device by their index."""
    model = a_packet(draft, random).event
    mine = [r for r in states(draft) if (r.event.idstr, r.event.instance_id) == (model.idstr, model.instance_id)]
    return sorted(mine, key=lambda record: vfio_header(record)[1])


def last_of_device(draft: Draft, random: Random) -> Record:
    """The packet with the highest index: its config."""
    return a_device(draft, random)[-1]


def gap(draft: Draft, random: Random) -> Place:
    """A buffer is missing; the finding is at the one with the highest index."""
    packets = a_device(draft, random)
    need(len(packets) > 2, "a device with several buffers")
    draft.drop(random.choice(packets[:-1]))
    return packets[-1]


def many_buffers(draft: Draft, random: Random) -> None:
    """A hundred buffers more in front of the config."""
    last = last_of_device(draft, random)
    number = vfio_header(last)[1]
    header(last, idx=number + 100)
    model = last.event
    more = [vfio_buffer(number + extra, b"x", name_of(last), model.instance_id) for extra in range(100)]
    draft.before(last, *more)


def no_config(draft: Draft, random: Random) -> Place:
    return header(last_of_device(draft, random), flags=0)


def behind_config(draft: Draft, random: Random, *, again: bool = False) -> Place:
    """A buffer more behind the config; ``again``: it is a config as well."""
    last = last_of_device(draft, random)
    data, flags = (bytes(last.payload[VFIO_HEADER.size :]), CONFIG_STATE) if again else (b"x", 0)
    more = vfio_buffer(vfio_header(last)[1] + 1, data, name_of(last), last.event.instance_id, flags=flags)
    append(draft, random, more)
    return last


def second_config_behind(draft: Draft, random: Random) -> Place:
    return behind_config(draft, random, again=True)


def second_config_in_front(draft: Draft, random: Random) -> Place:
    packets = a_device(draft, random)
    need(len(packets) > 1, "a device with several buffers")
    config, buffer = packets[-1], packets[-2]
    return header(with_data(buffer, bytes(config.payload[VFIO_HEADER.size :])), flags=CONFIG_STATE)


def no_packets_of(draft: Draft, random: Random) -> Place:
    """No channel carries state of a device, main no config of it."""
    packets = a_device(draft, random)
    tag = tags_of(draft, ev.SectionStart, packets[-1])[0]
    for record in packets:
        draft.drop(record)
    return tag


def tags_of(draft: Draft, kind: type, packet: Record) -> list[Record]:
    """The tags in a section of that packet's device; the last one ends its body. Raises LacksError."""
    shape = Shape(draft)
    started = [s for s in shape.sections if getattr(s.header.event, "idstr", None) == name_of(packet)]
    need(started, "a section of the device on main")
    ids = {section.header.event.section_id for section in started}
    found = [s for s in shape.sections if isinstance(s.header.event, kind) and s.number in ids]
    need(found, f"a {kind.__name__.removeprefix('Section').upper()} section of the device on main")
    tags = [record for record in found[-1].records if isinstance(record.event, ev.VfioRecord)]
    need(tags, "VFIO tags in the sections of the device")
    return tags


def ending(kind: type) -> Finder:
    """The tag that ends a section of some device."""
    return lambda draft, random: tags_of(draft, kind, last_of_device(draft, random))[-1]


def data_tag() -> Record:
    return tag(VfioTagId.DEV_DATA_STATE, b"state" * 20)


def config_tag() -> Record:
    return tag(VfioTagId.DEV_CONFIG_STATE, pci_config())


def tag(value: int, data: bytes) -> Record:
    return Record(ev.VfioRecord(0, 0, value, 0, len(data)), data)


def a_config(draft: Draft, random: Random) -> Record:
    record = last_of_device(draft, random)
    fits = len(record.payload) >= VFIO_HEADER.size + 2 * TAG.size
    need(is_config(record) and fits, "a config in its device state")
    return record


def no_switchover(draft: Draft, random: Random) -> Place:
    states(draft)
    found = Shape(draft).commands(CommandId.SWITCHOVER_START)
    ends = [record for record in draft.main if isinstance(record.event, ev.EndOfStream)]
    need(found and ends, "SWITCHOVER_START and EOF on main")
    for record in found:
        draft.drop(record)
    return ends[0]


def all_on_main(draft: Draft, random: Random) -> None:
    only_on_main(draft, random, every=True)


def no_switchover_for_nobody(draft: Draft, random: Random) -> None:
    """All device state is left out with it."""
    all_on_main(draft, random)
    for record in Shape(draft).commands(CommandId.SWITCHOVER_START):
        draft.drop(record)


def only_on_main(draft: Draft, random: Random, *, every: bool = False) -> None:
    """A device transfers its state on main as before 10.0, others on channels."""
    packets = a_device(draft, random)
    while packets:
        draft.before(tags_of(draft, ev.SectionEnd, packets[-1])[-1], data_tag())
        draft.before(tags_of(draft, ev.SectionFull, packets[-1])[-1], config_tag())
        for record in packets:
            draft.drop(record)
        packets = a_device(draft, random) if every and draft.states() else []


def ready_twice(draft: Draft, random: Random) -> Place:
    packet = last_of_device(draft, random)
    for kind in (ev.SectionEnd, ev.SectionFull):
        place = tags_of(draft, kind, packet)[-1].set(tag=int(VfioTagId.DEV_CONFIG_LOAD_READY))
    return place


def first_in_start(draft: Draft, random: Random) -> Record:
    """Where a device is first spoken of."""
    return tags_of(draft, ev.SectionStart, last_of_device(draft, random))[0]


def in_start(data: bytes) -> Edit:
    """Device data in the START section, in place of DEV_SETUP_STATE."""

    def edit(draft: Draft, random: Random) -> Record:
        first = first_in_start(draft, random)
        draft.before(first, tag(VfioTagId.DEV_DATA_STATE, data))
        place = draft.line(first)
        added = place[next(i for i, other in enumerate(place) if other is first) - 1]
        draft.drop(first)
        return added

    return edit


def acknowledges(draft: Draft, random: Random, times: int = 1) -> Place:
    """PART sections with DEV_INIT_DATA_SENT of a device in front of SWITCHOVER_START; the last of them."""
    packet, shape = last_of_device(draft, random), Shape(draft)
    switchover = shape.commands(CommandId.SWITCHOVER_START)
    need(switchover, "SWITCHOVER_START on main")
    section = next(s for s in shape.sections if getattr(s.header.event, "idstr", None) == name_of(packet))
    need(section.footer, "section footers")
    if not shape.commands(CommandId.OPEN_RETURN_PATH):
        draft.before(shape.sections[0].header, Record(ev.Command(0, 5, CommandId.OPEN_RETURN_PATH, 0, b"")))
    for _ in range(times):
        sent, footer = tag(VfioTagId.DEV_INIT_DATA_SENT, b""), Record(ev.SectionFooter(0, 5, section.number))
        draft.before(switchover[0], Record(ev.SectionPart(0, 5, section.number)), sent, footer)
    return sent


def acknowledges_twice(draft: Draft, random: Random) -> Place:
    return acknowledges(draft, random, 2)


def acknowledges_unheard(draft: Draft, random: Random) -> Place:
    place = acknowledges(draft, random)
    shape = Shape(draft)
    for record in (*shape.commands(CommandId.OPEN_RETURN_PATH), *shape.commands(CommandId.PING)):
        draft.drop(record)
    return place


def all_ready(draft: Draft, random: Random) -> None:
    for packet in states(draft):
        if is_config(packet):
            tags_of(draft, ev.SectionFull, packet)[-1].set(tag=int(VfioTagId.DEV_CONFIG_LOAD_READY))


def behind_full(draft: Draft, random: Random) -> Place:
    """The last device-state packet is sent behind everything else, all others in front of the first FULL section."""
    in_front_of_full(draft, random)
    late = states(draft)[-1]
    draft.order = [record for record in draft.order if record is not late] + [late]
    return late


def in_front_of_full(draft: Draft, random: Random) -> None:
    """All of main from the first FULL section on is sent behind everything else."""
    states(draft)
    at = next((i for i, record in enumerate(draft.main) if isinstance(record.event, ev.SectionFull)), None)
    need(at is not None and draft.order, "FULL sections on main")
    last = draft.main[at:]
    late = {id(record) for record in last}
    draft.order = [record for record in draft.order if id(record) not in late] + last


def older_machine(draft: Draft, random: Random) -> Place:
    found = states(draft)
    configuration(draft).set(name=b"pc-q35-9.2")
    return found[0]


SYNC_FLAG = sets(a_packet, flags=lambda e, s, r: e.flags | PacketFlags.SYNC)
ZLIB_FLAG = sets(a_packet, flags=lambda e, s, r: e.flags | PacketFlags.ZLIB)
NO_PAYLOAD = of_a_device(lambda name, instance: device_state_packet(b"", name, instance))
SHORT_PAYLOAD = of_a_device(lambda name, instance: device_state_packet(b"x" * (VFIO_HEADER.size - 1), name, instance))
UNTERMINATED = adds(lambda draft, random: device_state_packet(b"x" * 20, b"a" * 256))
STALE_NAME = same(sets(a_packet, idstr=lambda e, s, r: (until_nul(e.idstr) + b"\0stale").ljust(256, b"\0")))
TOO_LARGE = refills(a_buffer, lambda payload, s, r: payload.ljust(LARGEST + 1, b"x"))
AS_LARGE_AS_MAY_BE = refills(a_buffer, lambda payload, s, r: payload.ljust(LARGEST, b"x"))
# A buffer without data: 12 bytes, which is just enough.
BARE = same(refills(a_buffer, lambda payload, s, r: payload[: VFIO_HEADER.size]))
INVALID = of_a_device(lambda name, instance: vfio_buffer(INVALID_IDX, b"x", name, instance))
FAR = of_a_device(lambda name, instance: vfio_buffer(HUGE, b"x", name, instance))
OTHER_TAG = refills(
    a_config, lambda payload, s, r: payload[: VFIO_HEADER.size] + NO_TAG + payload[VFIO_HEADER.size + TAG.size :]
)
WITHOUT_END = refills(a_config, lambda payload, s, r: payload[: -TAG.size] + NO_TAG)
CONFIG_ON_MAIN, DATA_IN_END = before(ending(ev.SectionFull), config_tag), before(ending(ev.SectionEnd), data_tag)
UNKNOWN_IN_START = sets(first_in_start, tag=0xFFFF)
DATA_IN_START, DATA_0_IN_START = in_start(b"state" * 20), same(in_start(b""))
ACKNOWLEDGES = same(acknowledges)
READY = sets(ending(ev.SectionFull), tag=int(VfioTagId.DEV_CONFIG_LOAD_READY))
ROUND, SHUFFLED = same(another_round), same(shuffled)
MANY, ON_MAIN = same(many_buffers), same(only_on_main)

MUTATIONS = (
    Mutation("MFD401", "SYNC on a packet", COMPLETES | REFUSED, SYNC_FLAG, ROUND, "flags"),
    Mutation("MFD402", "no payload", REFUSED, NO_PAYLOAD, BARE, "next_packet_size"),
    Mutation("MFD403", "a name that is not terminated", REFUSED, UNTERMINATED, STALE_NAME, "idstr"),
    Mutation("MFD404", "a device without section", REFUSED, adds(nobody), SHUFFLED, "idstr"),
    Mutation("MFD404", "a device that takes no buffers", REFUSED, adds(takes_none), SHUFFLED, "idstr"),
    Mutation("MFD405", "zlib on a device-state packet", COMPLETES, ZLIB_FLAG, SHUFFLED, "flags"),
    Mutation("MFD406", "one byte more than 1 MiB", COMPLETES, TOO_LARGE, AS_LARGE_AS_MAY_BE, "next_packet_size"),
    Mutation("MFD407", "11 bytes", REFUSED, SHORT_PAYLOAD, BARE, "payload"),
    Mutation("MFD407", "version 1", REFUSED, adds(version_1), BARE, "version"),
    Mutation("MFD416", "an unknown VFIO flag", COMPLETES, unknown_flag, SHUFFLED, "flags"),
    Mutation("MFD405", "device state beside zlib", HANGS, BESIDE_COMPRESSION, same(all_on_main), "flags",
        severity=Severity.ERROR),
    Mutation("MFD408", "a gap", HANGS, gap, SHUFFLED, "idx"),
    Mutation("MFD408", "the invalid index", REFUSED, INVALID, MANY, "idx"),
    Mutation("MFD408", "a huge index", CRASHES, FAR, MANY, "idx"),
    Mutation("MFD409", "an index twice", REFUSED, adds(twice), SHUFFLED, "idx"),
    Mutation("MFD410", "no config", HANGS, no_config, SHUFFLED, "flags"),
    Mutation("MFD410", "a buffer behind the config", LOSES, behind_config, SHUFFLED, "idx"),
    Mutation("MFD410", "a second config behind", COMPLETES | LOSES, second_config_behind, SHUFFLED, "flags"),
    Mutation("MFD410", "a second config in front", COMPLETES | LOSES, second_config_in_front, SHUFFLED, "flags"),
    Mutation("MFD410", "no packet at all", HANGS, no_packets_of, ON_MAIN),
    Mutation("MFD411", "config data with another tag", FAILS, OTHER_TAG, SHUFFLED, "payload"),
    Mutation("MFD411", "config data without end", FAILS, WITHOUT_END, SHUFFLED, "payload"),
    Mutation("MFD412", "no SWITCHOVER_START", LOSES, no_switchover, same(no_switchover_for_nobody)),
    Mutation("MFD413", "config on main as well", FAILS | CRASHES, CONFIG_ON_MAIN, ON_MAIN, "tag"),
    Mutation("MFD413", "data in END as well", COMPLETES | LOSES, DATA_IN_END, ON_MAIN, "tag"),
    Mutation("MFD414", "LOAD_READY for 10.0", FAILS | CRASHES, READY, READY, "tag", {"profile": "qemu-10.0"},
        {"profile": "qemu-10.1"}),
    Mutation("MFD413", "an unknown tag in START", FAILS, UNKNOWN_IN_START, DATA_0_IN_START, "tag"),
    Mutation("MFD413", "data in START as well", COMPLETES | LOSES, DATA_IN_START, DATA_0_IN_START, "tag"),
    Mutation("MFD414", "LOAD_READY that is not expected", FAILS | CRASHES, READY, READY, "tag",
        {"profile": "qemu-11.1", "config_after_iter": False}, {"profile": "qemu-11.1"}),
    Mutation("MFD414", "no LOAD_READY", HANGS, first_in_start, same(all_ready), None,
        {"profile": "qemu-11.1", "config_after_iter": True}),
    Mutation("MFD414", "LOAD_READY twice", FAILS | CRASHES, ready_twice, READY, "tag", {"profile": "qemu-11.1"},
        also=frozenset({"MFD413"})),
    Mutation("MFD415", "device state behind a FULL section", COMPLETES, behind_full, same(in_front_of_full),
        captured=True),
    Mutation("MFD417", "an older destination", FAILS, FIRST, FIRST, "flags", {"profile": "qemu-9.2"}, {},
        also=frozenset({"MFD515"}), severity=Severity.ERROR),
    Mutation("MFD417", "multifd transfer is off", HANGS, FIRST, FIRST, "flags", {"device_transfer": False},
        {"device_transfer": True}, severity=Severity.ERROR),
    Mutation("MFD418", "switchover-ack is off", FAILS, acknowledges, ACKNOWLEDGES, "tag", {"switchover_ack": False},
        {"switchover_ack": True}),
    Mutation("MFD418", "no return path", FAILS, acknowledges_unheard, ACKNOWLEDGES, "tag",
        near_options={"switchover_ack": True}),
    Mutation("MFD418", "twice", FAILS, acknowledges_twice, ACKNOWLEDGES, "tag",
        {"profile": "qemu-10.0", "switchover_ack": True}),
    Mutation("MFD417", "an older machine type", COMPLETES, older_machine, SHUFFLED, "flags"),
)  # fmt: skip
