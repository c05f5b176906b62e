"""Single device-state packets: MFD401 to 407 and 416."""

from __future__ import annotations

from random import Random

from analyzers.mutation.mutation import Edit, Place
from analyzers.mutation.shape import Shape, is_config, need, pick, vfio_header
from multifd_codec.draft.channel_records import VFIO_HEADER, device_state_packet, vfio_buffer
from multifd_codec.draft.draft import Draft, Record
from multifd_codec.main import events as ev
from multifd_codec.wire.packet import MULTIFD_PACKET_SIZE
from multifd_codec.wire.vfio import CONFIG_STATE

LARGEST = 2 * MULTIFD_PACKET_SIZE + VFIO_HEADER.size
"""The largest payload that upstream sends."""
NOBODY = (b"0000:00:09.0/vfio", b"0000:7f:1f.7/vfio")


def states(draft: Draft) -> list[Record]:
    """All device-state packets. Raises LacksError without any."""
    found = [p.record for p in Shape(draft).states]
    need(found, "device state (multifd generate --device makes some)")
    return found


def name_of(record: Record) -> bytes:
    """Name of a packet's device."""
    return bytes(record.event.idstr).split(b"\0", 1)[0]


def further(record: Record, draft: Draft) -> Record:
    """Add a packet in front of the last one, which a loader waits for."""
    return draft.before(states(draft)[-1], record)


def data_buffers(draft: Draft) -> list[Record]:
    """Those that carry no config."""
    found = [record for record in states(draft) if not is_config(record)]
    need(found, "a device-state packet that is no config")
    return found


def header(record: Record, **changes: int) -> Record:
    """Change the VFIO header of a packet."""
    version, index, flags = vfio_header(record)
    values = {"version": version, "idx": index, "flags": flags} | changes
    record.payload = VFIO_HEADER.struct.pack(*values.values()) + bytes(record.payload[VFIO_HEADER.size :])
    return record


def resized(record: Record, payload: bytes) -> Record:
    """Replace the payload."""
    record.payload = payload
    return record.set(next_packet_size=len(payload), payload_length=len(payload))


def flags(bits: int) -> Edit:
    def edit(draft: Draft, random: Random) -> Place:
        record = random.choice(states(draft))
        return record.set(flags=record.event.flags | bits)

    return edit


def payload_of(data: bytes) -> Edit:
    """A packet more with that payload."""

    def edit(draft: Draft, random: Random) -> Place:
        model = random.choice(states(draft))
        return further(device_state_packet(data, name_of(model), model.event.instance_id), draft)

    return edit


def unterminated(draft: Draft, random: Random) -> Place:
    return further(device_state_packet(b"x" * 20, b"a" * 256), draft)


def stale_name(draft: Draft, random: Random) -> None:
    """Bytes behind the NUL of a name do not count."""
    record = random.choice(states(draft))
    record.set(idstr=(name_of(record) + b"\0stale").ljust(256, b"\0"))


def nobody(draft: Draft, random: Random) -> Place:
    known = {r.event.idstr for r in draft.main if isinstance(r.event, ev.SectionStart | ev.SectionFull)}
    name = next(name for name in NOBODY if name not in known)
    return further(vfio_buffer(0, b"x", name), draft)


def takes_none(draft: Draft, random: Random) -> Place:
    """A device of which main has a section, but nothing that takes buffers."""
    states(draft)
    taken = {name_of(record) for record in states(draft)}
    others = [r.event.idstr for r in draft.main if isinstance(r.event, ev.SectionFull) and r.event.idstr not in taken]
    name = pick(random, others, "a device without state on channels")
    return further(vfio_buffer(0, b"x", name), draft)


def zlib_beside(draft: Draft, random: Random) -> Place:
    """No edit: pages are compressed, and there is device state."""
    found = states(draft)
    need(Shape(draft).compression, "compressed pages beside its device state")
    return found[0]


def long_payload(length: int) -> Edit:
    def edit(draft: Draft, random: Random) -> Place:
        record = random.choice(data_buffers(draft))
        return resized(record, bytes(record.payload).ljust(length, b"x"))

    return edit


def version_1(draft: Draft, random: Random) -> Place:
    model = random.choice(data_buffers(draft))
    index = 1 + max(vfio_header(record)[1] for record in states(draft) if name_of(record) == name_of(model))
    return further(vfio_buffer(index, b"x", name_of(model), model.event.instance_id, version=1), draft)


def header_only(draft: Draft, random: Random) -> None:
    """A buffer without data: 12 bytes, which is just enough."""
    record = random.choice(data_buffers(draft))
    resized(record, bytes(record.payload[: VFIO_HEADER.size]))


def unknown_flag(draft: Draft, random: Random) -> Place:
    record = random.choice(states(draft))
    _, _, own = vfio_header(record)
    return header(record, flags=own | CONFIG_STATE << random.randrange(1, 32))


def shuffled(draft: Draft, random: Random) -> None:
    """All device state on one channel, in reverse."""
    records = states(draft)[::-1]
    for record in records:
        draft.drop(record)
    append(draft, random, *records)


def append(draft: Draft, random: Random, *records: Record) -> None:
    """Device state behind all else on a channel, but for a SYNC that main does not release."""
    shape = Shape(draft)
    channel = random.randrange(len(draft.channels))
    if shape.tail:
        draft.before(shape.syncs[channel][-1], *records)
    else:
        draft.channels[channel].extend(records)
