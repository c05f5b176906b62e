"""The set of connections and their first bytes: MFD601 to 610."""

from __future__ import annotations

from random import Random

from analyzers.mutation.edits import MISSING, asks, multifd, one, sets
from analyzers.mutation.legal import with_subsections
from analyzers.mutation.mutation import (
    COMPLETES,
    CRASHES,
    FAILS,
    HANGS,
    LOSES,
    NOWHERE,
    Edit,
    Mutation,
    Place,
    same,
    untouched,
)
from analyzers.mutation.shape import Shape, avoid, need
from multifd_codec.channel.events import ChannelInit
from multifd_codec.draft.channel_records import channel_init, ram_record
from multifd_codec.draft.draft import Draft, Record, raw
from multifd_codec.main import events as ev
from multifd_codec.wire.handshake import MULTIFD_MAGIC

STRANGER = b"GET / HTTP/1.1\r\n".ljust(64, b" ")


def inits_of(shape: Shape) -> list[Record]:
    """The ChannelInits, by id."""
    found = [line[0] for line in shape.draft.channels if line and isinstance(line[0].event, ChannelInit)]
    return sorted(found, key=lambda record: record.event.id)


def inits(draft: Draft) -> list[Record]:
    """The same. Raises LacksError without any."""
    shape = Shape(draft)
    shape.multifd()
    need(inits_of(shape), "a ChannelInit")
    return inits_of(shape)


AN_INIT = one(inits_of, "a ChannelInit", multifd())


def short_init(draft: Draft, random: Random) -> Place:
    """54 bytes of the last channel's, and nothing behind them."""
    shape = Shape(draft)
    record = inits(draft)[-1]
    place = record.event.id, 0
    line = draft.line(record)
    avoid(any(r is p.record for p in shape.states for r in line), MISSING)
    data = record.encoded()[:-10]
    line[:] = [raw(data)]
    return place


def stranger(draft: Draft, random: Random) -> Place:
    """The last channel's first bytes are those of something else: it is called by the id that no other channel has."""
    record = inits(draft)[-1]
    place = record.event.id, 0
    record.event, record.payload = None, STRANGER
    return place


def another_uuid(draft: Draft, random: Random) -> Place:
    """The last channel's differs; of two, the one that the others do not carry."""
    found = inits(draft)
    need(len(found) > 1, "2 multifd channels")
    return found[-1].set(uuid=bytes(255 - byte for byte in found[-1].event.uuid))


def all_uuids(draft: Draft, random: Random) -> None:
    uuid = random.randbytes(16)
    for record in inits(draft):
        record.set(uuid=uuid)
    configurations = [record for record in draft.main if isinstance(record.event, ev.Configuration)]
    for record in configurations:
        parts = (p._replace(uuid=uuid) if isinstance(p, ev.ConfigurationUuid) else p for p in record.event.subsections)
        record.set(subsections=tuple(parts))


def file_header(draft: Draft, random: Random) -> Record:
    need(draft.main and isinstance(draft.main[0].event, ev.FileHeader), "a file header on main")
    return draft.main[0]


def id_beyond(distance: int) -> Edit:
    """The last channel's id is not below the number of channels."""

    def edit(draft: Draft, random: Random) -> Place:
        found = inits(draft)
        return found[-1].set(id=len(found) + distance)

    return edit


def id_twice(draft: Draft, random: Random) -> Place:
    found = inits(draft)
    need(len(found) > 1, "2 multifd channels")
    found[-1].set(id=found[0].event.id)
    return found[0].event.id, 0


def reversed_channels(draft: Draft, random: Random) -> None:
    """Another channel connects first."""
    draft.channels.reverse()


def a_channel_less(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    shape.multifd(2)
    del draft.channels[random.randrange(len(draft.channels))]
    return NOWHERE


def second_main(draft: Draft, random: Random) -> Place:
    """The main channel is there twice."""
    Shape(draft).multifd()
    need(isinstance(draft.main[0].event, ev.FileHeader), "a file header on main")
    line = [record.copy() for record in draft.main]
    draft.channels.append(line)
    # Both connect first: behind the full set of channels a destination would not look at another connection.
    draft.order = [draft.main[0], line[0], *(record for record in draft.order if record is not draft.main[0])]
    return "main", 0


def beside_mapped_ram(draft: Draft, random: Random) -> Place:
    need(Shape(draft).mapped_ram, "the capability mapped-ram")
    draft.channels.append([channel_init(0), ram_record(0)])
    return NOWHERE


MULTIFD, SEVERAL = asks(multifd()), asks(multifd(2))
"""Of a destination with multifd off, or with fewer channels."""
WRONG_MAGIC = MULTIFD_MAGIC + 1
REVERSED, UUIDS = same(reversed_channels), same(all_uuids)
NEW = {"profile": "qemu-11.1"}

MUTATIONS = (
    Mutation("MFD601", "version 2", FAILS, sets(file_header, version=2), same(with_subsections), "version"),
    Mutation("MFD602", "version 2", FAILS, sets(AN_INIT, version=2), REVERSED, "version"),
    Mutation("MFD602", "another magic", FAILS, sets(AN_INIT, magic=WRONG_MAGIC), REVERSED, "magic"),
    Mutation("MFD602", "an init of 54 bytes", FAILS, short_init, REVERSED, "magic"),
    Mutation("MFD602", "first bytes of something else", FAILS, stranger, REVERSED, "magic"),
    Mutation("MFD603", "two uuids", FAILS, another_uuid, UUIDS, "uuid"),
    Mutation("MFD604", "the id behind the last", FAILS | HANGS | CRASHES, id_beyond(0), REVERSED, "id"),
    Mutation("MFD604", "an id far behind", FAILS, id_beyond(7), REVERSED, "id"),
    Mutation("MFD604", "the id behind the last for 11.1", FAILS, id_beyond(0), REVERSED, "id", NEW, {}),
    Mutation("MFD605", "an id twice", FAILS, id_twice, REVERSED, "id"),
    Mutation("MFD606", "a channel less", HANGS, a_channel_less, REVERSED, "id", {"channels": "all"}, {}),
    Mutation("MFD606", "a channel more", LOSES | FAILS | CRASHES | HANGS, SEVERAL, untouched, "id",
        {"channels": "fewer"}, {}),
    Mutation("MFD607", "an unused byte", COMPLETES, sets(AN_INIT, unused1=bytes(6) + b"\1"), UUIDS, "unused1"),
    Mutation("MFD607", "an unused word", COMPLETES, sets(AN_INIT, unused2=(0, 0, 0, 1)), UUIDS, "unused2"),
    Mutation("MFD608", "two main channels", CRASHES, second_main, untouched),
    Mutation("MFD608", "two main channels for 11.1", CRASHES, second_main, untouched, None, NEW, {}),
    Mutation("MFD609", "multifd is off", LOSES | FAILS, MULTIFD, untouched, None, {"channels": 0}, {}),
    Mutation("MFD609", "multifd is off for 10.1", CRASHES, MULTIFD, untouched, None,
        {"channels": 0, "profile": "qemu-10.1"}, {}),
    Mutation("MFD610", "channels beside mapped-ram", COMPLETES, beside_mapped_ram, untouched),
)  # fmt: skip
