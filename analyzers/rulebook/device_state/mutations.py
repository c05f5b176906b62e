"""Device state: of a whole device, and what main says of it; the edits of single packets are in packet_edits.py."""

from __future__ import annotations

import struct
from random import Random

from analyzers.mutation.legal import another_round
from analyzers.mutation.mutation import Edit, Mutation, Place, same
from analyzers.mutation.shape import Shape, is_config, need, pick, vfio_header
from analyzers.rulebook.device_state.packet_edits import (
    LARGEST,
    append,
    data_buffers,
    flags,
    further,
    header,
    header_only,
    long_payload,
    name_of,
    nobody,
    payload_of,
    resized,
    shuffled,
    stale_name,
    states,
    takes_none,
    unknown_flag,
    unterminated,
    version_1,
    zlib_beside,
)
from captures.write.tap import Tap
from multifd_codec.draft.channel_records import VFIO_HEADER, vfio_buffer
from multifd_codec.draft.draft import Draft, Record
from multifd_codec.main import events as ev
from multifd_codec.wire.packet import PacketFlags
from multifd_codec.wire.qemufile import CommandId
from multifd_codec.wire.vfio import CONFIG_STATE, INVALID_IDX, VfioTag, VfioTagId

TAG = struct.Struct(">Q")
assert TAG.size == VfioTag.sizeof()
HUGE = 1 << 30
"""An index that makes the destination allocate more memory than it has."""


def a_device(draft: Draft, random: Random) -> list[Record]:
    """The packets of one device by their index."""
    model = random.choice(states(draft)).event
    mine = [r for r in states(draft) if (r.event.idstr, r.event.instance_id) == (model.idstr, model.instance_id)]
    return sorted(mine, key=lambda record: vfio_header(record)[1])


def gap(draft: Draft, random: Random) -> Place:
    """A buffer is missing; the finding is at the one with the highest index."""
    packets = a_device(draft, random)
    need(len(packets) > 2, "a device with several buffers")
    draft.drop(random.choice(packets[:-1]))
    return packets[-1]


def another(index: int) -> Edit:
    """A buffer more with that index."""

    def edit(draft: Draft, random: Random) -> Place:
        model = random.choice(states(draft))
        return further(vfio_buffer(index, b"x", name_of(model), model.event.instance_id), draft)

    return edit


def twice(draft: Draft, random: Random) -> Place:
    """An index that is there already; the packet that comes second on channels in order is found."""
    packets = [record for record in data_buffers(draft) if record is not states(draft)[-1]]
    model = pick(random, packets, "a device with several buffers")
    last = states(draft)[-1]
    index = vfio_header(model)[1]
    return draft.before(last, vfio_buffer(index, b"x", name_of(model), model.event.instance_id))


def many_buffers(draft: Draft, random: Random) -> None:
    """A hundred buffers more in front of the config."""
    packets = a_device(draft, random)
    last = packets[-1]
    number = vfio_header(last)[1]
    header(last, idx=number + 100)
    model = last.event
    more = [vfio_buffer(number + extra, b"x", name_of(last), model.instance_id) for extra in range(100)]
    draft.before(last, *more)


def no_config(draft: Draft, random: Random) -> Place:
    return header(a_device(draft, random)[-1], flags=0)


def behind_config(draft: Draft, random: Random) -> Place:
    packets = a_device(draft, random)
    last = packets[-1]
    more = vfio_buffer(vfio_header(last)[1] + 1, b"x", name_of(last), last.event.instance_id)
    append(draft, random, more)
    return last


def second_config_behind(draft: Draft, random: Random) -> Place:
    packets = a_device(draft, random)
    last = packets[-1]
    number, data = vfio_header(last)[1] + 1, bytes(last.payload[VFIO_HEADER.size :])
    more = vfio_buffer(number, data, name_of(last), last.event.instance_id, flags=CONFIG_STATE)
    append(draft, random, more)
    return last


def second_config_in_front(draft: Draft, random: Random) -> Place:
    packets = a_device(draft, random)
    need(len(packets) > 1, "a device with several buffers")
    config, buffer = packets[-1], packets[-2]
    resized(buffer, bytes(buffer.payload[: VFIO_HEADER.size]) + bytes(config.payload[VFIO_HEADER.size :]))
    return header(buffer, flags=CONFIG_STATE)


def no_packets_of(draft: Draft, random: Random) -> Place:
    """No channel carries state of a device, main no config of it."""
    packets = a_device(draft, random)
    tag = tag_of(draft, ev.SectionStart, packets[-1])
    for record in packets:
        draft.drop(record)
    return tag


def section_of(draft: Draft, kind: type, packet: Record) -> list[Record]:
    """The section of that packet's device. Raises LacksError."""
    shape = Shape(draft)
    started = [s for s in shape.sections if getattr(s.header.event, "idstr", None) == name_of(packet)]
    need(started, "a section of the device on main")
    ids = {section.header.event.section_id for section in started}
    found = [s for s in shape.sections if isinstance(s.header.event, kind) and s.number in ids]
    need(found, f"a {kind.__name__.removeprefix('Section').upper()} section of the device on main")
    return found[-1].records


def tag_of(draft: Draft, kind: type, packet: Record) -> Record:
    """The first tag in that section."""
    found = [record for record in section_of(draft, kind, packet) if isinstance(record.event, ev.VfioRecord)]
    need(found, "VFIO tags in the sections of the device")
    return found[0]


def ending_tag(draft: Draft, kind: type, packet: Record) -> Record:
    """The tag that ends the section's body."""
    found = [record for record in section_of(draft, kind, packet) if isinstance(record.event, ev.VfioRecord)]
    need(found, "VFIO tags in the sections of the device")
    return found[-1]


def tag(value: int, data: bytes = b"") -> Record:
    return Record(ev.VfioRecord(0, 0, value, 0, len(data)), data)


def config_tag(position: int) -> Edit:
    """The first or last tag of a config is another."""

    def edit(draft: Draft, random: Random) -> Place:
        record = a_device(draft, random)[-1]
        data = bytes(record.payload[VFIO_HEADER.size :])
        need(is_config(record) and len(data) >= 2 * TAG.size, "a config in its device state")
        data = TAG.pack(0) + data[TAG.size :] if position == 0 else data[: -TAG.size] + TAG.pack(0)
        return resized(record, bytes(record.payload[: VFIO_HEADER.size]) + data)

    return edit


def no_switchover(draft: Draft, random: Random) -> Place:
    states(draft)
    shape = Shape(draft)
    found = shape.commands(CommandId.SWITCHOVER_START)
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


def config_on_main(draft: Draft, random: Random) -> Place:
    packet = a_device(draft, random)[-1]
    return draft.before(ending_tag(draft, ev.SectionFull, packet), tag(VfioTagId.DEV_CONFIG_STATE, b"pci config"))


def data_in_end(draft: Draft, random: Random) -> Place:
    packet = a_device(draft, random)[-1]
    return draft.before(ending_tag(draft, ev.SectionEnd, packet), tag(VfioTagId.DEV_DATA_STATE, b"state" * 20))


def only_on_main(draft: Draft, random: Random, *, every: bool = False) -> None:
    """A device transfers its state on main as before 10.0, others on channels."""
    packets = a_device(draft, random)
    while packets:
        last = packets[-1]
        draft.before(ending_tag(draft, ev.SectionEnd, last), tag(VfioTagId.DEV_DATA_STATE, b"state" * 20))
        draft.before(ending_tag(draft, ev.SectionFull, last), tag(VfioTagId.DEV_CONFIG_STATE, b"pci config"))
        for record in packets:
            draft.drop(record)
        packets = a_device(draft, random) if every and draft.states() else []


def ready(draft: Draft, random: Random) -> Place:
    packet = a_device(draft, random)[-1]
    return ending_tag(draft, ev.SectionFull, packet).set(tag=int(VfioTagId.DEV_CONFIG_LOAD_READY))


def ready_twice(draft: Draft, random: Random) -> Place:
    packet = a_device(draft, random)[-1]
    for kind in (ev.SectionEnd, ev.SectionFull):
        place = ending_tag(draft, kind, packet).set(tag=int(VfioTagId.DEV_CONFIG_LOAD_READY))
    return place


def behind_full(draft: Draft, random: Random) -> Place:
    """The last device-state packet is sent behind everything else, all others in front of the first FULL section."""
    in_front_of_full(draft, random)
    return _reordered(draft, states(draft)[-1])


def _reordered(draft: Draft, late: Record) -> Record:
    full = [record for record in draft.main if isinstance(record.event, ev.SectionFull)]
    need(full and draft.order, "FULL sections on main")
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


def ordered(draft: Draft, place: Place) -> Tap:
    """Only a capture tells what was sent when."""
    return Tap()


def first_state(draft: Draft, random: Random) -> Place:
    """No edit: the question is what an older destination makes of it."""
    return states(draft)[0]


def older_machine(draft: Draft, random: Random) -> Place:
    found = states(draft)
    machines = [record for record in draft.main if isinstance(record.event, ev.Configuration)]
    need(machines, "a configuration on main")
    machines[0].set(name=b"pc-q35-9.2")
    return found[0]


IN_FRONT = same(in_front_of_full)
AS_LONG_AS_MAY_BE = long_payload(LARGEST)
ROUND, BARE = same(another_round), same(header_only)
SHUFFLED, MANY, ON_MAIN = same(shuffled), same(many_buffers), same(only_on_main)

MUTATIONS = (
    Mutation("MFD401", "SYNC on a packet", flags(PacketFlags.SYNC), ROUND, "flags"),
    Mutation("MFD402", "no payload", payload_of(b""), BARE, "next_packet_size"),
    Mutation("MFD403", "a name that is not terminated", unterminated, same(stale_name), "idstr"),
    Mutation("MFD404", "a device without section", nobody, SHUFFLED, "idstr"),
    Mutation("MFD404", "a device that takes no buffers", takes_none, SHUFFLED, "idstr"),
    Mutation("MFD405", "zlib on a device-state packet", flags(PacketFlags.ZLIB), SHUFFLED, "flags"),
    Mutation("MFD406", "one byte more than 1 MiB", long_payload(LARGEST + 1), AS_LONG_AS_MAY_BE, "next_packet_size"),
    Mutation("MFD407", "11 bytes", payload_of(b"x" * (VFIO_HEADER.size - 1)), BARE, "payload"),
    Mutation("MFD407", "version 1", version_1, BARE, "version"),
    Mutation("MFD416", "an unknown VFIO flag", unknown_flag, SHUFFLED, "flags"),
    Mutation("MFD405", "device state beside zlib", zlib_beside, same(all_on_main), "flags"),
    Mutation("MFD408", "a gap", gap, SHUFFLED, "idx"),
    Mutation("MFD408", "the invalid index", another(INVALID_IDX), MANY, "idx"),
    Mutation("MFD408", "a huge index", another(HUGE), MANY, "idx"),
    Mutation("MFD409", "an index twice", twice, SHUFFLED, "idx"),
    Mutation("MFD410", "no config", no_config, SHUFFLED, "flags"),
    Mutation("MFD410", "a buffer behind the config", behind_config, SHUFFLED, "idx"),
    Mutation("MFD410", "a second config behind", second_config_behind, SHUFFLED, "flags"),
    Mutation("MFD410", "a second config in front", second_config_in_front, SHUFFLED, "flags"),
    Mutation("MFD410", "no packet at all", no_packets_of, ON_MAIN),
    Mutation("MFD411", "config data with another tag", config_tag(0), SHUFFLED, "payload"),
    Mutation("MFD411", "config data without end", config_tag(-1), SHUFFLED, "payload"),
    Mutation("MFD412", "no SWITCHOVER_START", no_switchover, same(no_switchover_for_nobody)),
    Mutation("MFD413", "config on main as well", config_on_main, ON_MAIN, "tag"),
    Mutation("MFD413", "data in END as well", data_in_end, ON_MAIN, "tag"),
    Mutation("MFD414", "LOAD_READY for 10.0", ready, ready, "tag", near_options={"profile": "qemu-10.1"}),
    Mutation(
        "MFD414",
        "LOAD_READY twice",
        ready_twice,
        ready,
        "tag",
        {"profile": "qemu-11.1"},
        also=frozenset({"MFD413"}),
    ),
    Mutation(
        "MFD415", "device state behind a FULL section", behind_full, IN_FRONT, tap=ordered, near_tap=ordered,
    ),
    Mutation(
        "MFD417", "an older destination", first_state, first_state, "flags",
        {"profile": "qemu-9.2"}, {}, also=frozenset({"MFD515"}),
    ),
    Mutation("MFD417", "an older machine type", older_machine, SHUFFLED, "flags"),
)  # fmt: skip
