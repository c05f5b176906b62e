"""Single device-state packets: how mutations find them, change them and make more of them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from analyzers.mutation.edits import Finder, having, one, resized
from analyzers.mutation.mutation import Edit, Place
from analyzers.mutation.shape import Shape, is_config, need, pick, records, vfio_header
from multifd_codec.draft.channel_records import VFIO_HEADER, vfio_buffer
from multifd_codec.draft.draft import Draft, Record
from multifd_codec.main import events as ev
from multifd_codec.names import until_nul
from multifd_codec.wire.vfio import CONFIG_STATE

STATE = "device state (multifd generate --device makes some)"
NOBODY = (b"0000:00:09.0/vfio", b"0000:7f:1f.7/vfio")

# What to find.

FIRST: Finder = one(lambda s: records(s.states)[:1], STATE)
BESIDE_COMPRESSION: Finder = one(
    lambda s: records(s.states)[:1],
    STATE,
    having(lambda s: s.states, STATE),
    having(lambda s: s.compression, "compressed pages beside its device state"),
)


def states(draft: Draft) -> list[Record]:
    """All device-state packets. Raises LacksError without any."""
    found = records(Shape(draft).states)
    need(found, STATE)
    return found


def name_of(record: Record) -> bytes:
    """Name of a packet's device."""
    return until_nul(record.event.idstr)


def a_packet(draft: Draft, random: Random) -> Record:
    return random.choice(states(draft))


def data_buffers(draft: Draft) -> list[Record]:
    """Those that carry no config."""
    found = [record for record in states(draft) if not is_config(record)]
    need(found, "a device-state packet that is no config")
    return found


def a_buffer(draft: Draft, random: Random) -> Record:
    return random.choice(data_buffers(draft))


# What to change.


def header(record: Record, **changes: int) -> Record:
    """Change the VFIO header of a packet."""
    version, index, flags = vfio_header(record)
    values = {"version": version, "idx": index, "flags": flags} | changes
    record.payload = VFIO_HEADER.struct.pack(*values.values()) + bytes(record.payload[VFIO_HEADER.size :])
    return record


def with_data(record: Record, data: bytes) -> Record:
    """Replace what stands behind the VFIO header of a packet."""
    return resized(record, bytes(record.payload[: VFIO_HEADER.size]) + data)


def unknown_flag(draft: Draft, random: Random) -> Place:
    record = a_packet(draft, random)
    return header(record, flags=vfio_header(record)[2] | CONFIG_STATE << random.randrange(1, 32))


def shuffled(draft: Draft, random: Random) -> None:
    """All device state on one channel, in reverse."""
    found = states(draft)[::-1]
    for record in found:
        draft.drop(record)
    append(draft, random, *found)


def append(draft: Draft, random: Random, *added: Record) -> None:
    """Device state behind all else on a channel, but for a SYNC that main does not release."""
    shape = Shape(draft)
    channel = random.randrange(len(draft.channels))
    if shape.tail:
        draft.before(shape.syncs[channel][-1], *added)
    else:
        draft.channels[channel].extend(added)


# What to add.


def adds(make: Callable[[Draft, Random], Record]) -> Edit:
    """A packet more in front of the last one, which a loader waits for."""
    return lambda draft, random: draft.before(states(draft)[-1], make(draft, random))


def of_a_device(make: Callable[[bytes, int], Record]) -> Edit:
    """A packet more of some device: ``make`` gets its name and instance."""

    def made(draft: Draft, random: Random) -> Record:
        model = a_packet(draft, random)
        return make(name_of(model), model.event.instance_id)

    return adds(made)


def nobody(draft: Draft, random: Random) -> Record:
    """A packet of a device that main does not have."""
    known = {r.event.idstr for r in draft.main if isinstance(r.event, ev.SectionStart | ev.SectionFull)}
    return vfio_buffer(0, b"x", next(name for name in NOBODY if name not in known))


def takes_none(draft: Draft, random: Random) -> Record:
    """One of a device of which main has a section, but nothing that takes buffers."""
    taken = {name_of(record) for record in states(draft)}
    others = [r.event.idstr for r in draft.main if isinstance(r.event, ev.SectionFull) and r.event.idstr not in taken]
    return vfio_buffer(0, b"x", pick(random, others, "a device without state on channels"))


def version_1(draft: Draft, random: Random) -> Record:
    """A buffer more, with that version in its header."""
    model = a_buffer(draft, random)
    index = 1 + max(vfio_header(record)[1] for record in states(draft) if name_of(record) == name_of(model))
    return vfio_buffer(index, b"x", name_of(model), model.event.instance_id, version=1)


def twice(draft: Draft, random: Random) -> Record:
    """An index that is there already; the packet that comes second on channels in order is found."""
    packets = [record for record in data_buffers(draft) if record is not states(draft)[-1]]
    model = pick(random, packets, "a device with several buffers")
    return vfio_buffer(vfio_header(model)[1], b"x", name_of(model), model.event.instance_id)
