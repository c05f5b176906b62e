"""The set of connections and their first bytes: MFD601 to MFD610."""

from __future__ import annotations

from captures.memory import MemorySource
from captures.model import CapturedChannel, ChannelKind
from multifd_codec import main_events as ev
from multifd_codec.draft import raw
from tests.analyzers.rule_cases.case import COMPLETES, CRASHES, FAILS, HANGS, LOSES, Case, Near
from tests.analyzers.rule_cases.main_channel import with_subsections
from tests.channel_records import UUID, init, ram
from tests.migrations import V72, like, mapped_ram, single_channel
from tests.streams import Stream

OTHER_UUID = bytes(reversed(UUID))
THREE = like(channels=3)
POSTCOPY = like(machine=b"pc-q35-10.1", postcopy=True)


def second_main(stream: Stream) -> tuple[str, int]:
    stream.more = (CapturedChannel(ChannelKind.MAIN, None, stream.source("main"), "another"),)
    return "main", 0


def preempt_channel(stream: Stream) -> None:
    """A connection of postcopy-preempt: page records, without any magic."""
    data = b"\0" * 6 + b"\x10\x08" + b"\x06pc.ram" + b"page" * 1024
    stream.more = (CapturedChannel(ChannelKind.UNKNOWN, None, MemorySource(data), "preempt"),)


def reversed_channels(stream: Stream) -> None:
    """The channel with id 1 is the first in the recording."""
    stream.channels.reverse()


def all_inits(stream: Stream, **changes: object) -> None:
    for channel in range(len(stream.channels)):
        stream.init(channel).set(**changes)


def as_unknown(stream: Stream, data: bytes) -> tuple[int, int]:
    """What a capture reader makes of a channel whose first bytes are wrong."""
    stream.kinds[1] = ChannelKind.UNKNOWN
    stream.channels[1][0] = raw(data)
    return 3, 0


def without(stream: Stream, channel: int) -> None:
    del stream.channels[channel]


def beside(stream: Stream) -> None:
    stream.channels.append([init(0), ram(0)])


def short_init(stream: Stream) -> tuple[int, int]:
    """54 bytes: too few to tell the id, so that the channel is numbered behind all others."""
    stream.channels[1] = stream.channels[1][:1]
    stream.cut[1] = 10
    return 3, 0


CASES = (
    Case(
        "MFD601",
        "another magic",
        lambda s: s.on_main(ev.FileHeader).set(magic=0x5145564E),
        FAILS,
        Near(with_subsections),
        name="magic",
    ),
    Case(
        "MFD601",
        "version 2",
        lambda s: s.on_main(ev.FileHeader).set(version=2),
        FAILS,
        Near(with_subsections),
        name="version",
    ),
    Case(
        "MFD602",
        "another magic",
        lambda s: s.init(0).set(magic=0x11223345),
        FAILS,
        Near(reversed_channels),
        name="magic",
    ),
    Case("MFD602", "version 2", lambda s: s.init(1).set(version=2), FAILS, Near(reversed_channels), name="version"),
    Case(
        "MFD602",
        "version 2 for 7.2",
        lambda s: s.init(1).set(version=2),
        HANGS,
        Near(reversed_channels),
        make=like(V72),
        name="version",
    ),
    Case("MFD602", "an init of 54 bytes", short_init, FAILS, Near(), name="magic"),
    Case(
        "MFD602",
        "first bytes of something else",
        lambda s: as_unknown(s, b"GET / HTTP/1.1\r\n".ljust(64, b" ")),
        FAILS,
        Near(),
        name="magic",
    ),
    Case(
        "MFD603",
        "two uuids",
        lambda s: s.init(1).set(uuid=OTHER_UUID),
        FAILS,
        Near(lambda s: all_inits(s, uuid=OTHER_UUID)),
        name="uuid",
    ),
    Case(
        "MFD604",
        "the id behind the last",
        lambda s: s.init(1).set(id=2),
        FAILS | CRASHES | HANGS,
        Near(make=THREE),
        name="id",
    ),
    Case("MFD604", "an id far behind", lambda s: s.init(1).set(id=9), FAILS, Near(make=THREE), name="id"),
    Case(
        "MFD604",
        "the id behind the last for 11.1",
        lambda s: s.init(1).set(id=2),
        FAILS,
        Near(make=THREE),
        name="id",
        options={"profile": "qemu-11.1"},
    ),
    Case("MFD605", "an id twice", lambda s: s.init(1).set(id=0), FAILS, Near(reversed_channels), name="id"),
    Case(
        "MFD606",
        "a channel less",
        lambda s: without(s, 1),
        HANGS,
        Near(options={"channels": 3}),
        make=THREE,
        name="id",
        options={"channels": 3},
    ),
    Case(
        "MFD606",
        "a channel more",
        lambda s: None,
        FAILS | LOSES | CRASHES,
        Near(options={"channels": 3}),
        make=THREE,
        name="id",
        options={"channels": 2},
    ),
    Case(
        "MFD607",
        "an unused byte",
        lambda s: s.init(0).set(unused1=b"\0\0\0\0\0\0\1"),
        COMPLETES,
        Near(lambda s: all_inits(s, uuid=bytes(16))),
        name="unused1",
    ),
    Case(
        "MFD607",
        "an unused word",
        lambda s: s.init(1).set(unused2=(0, 0, 0, 1)),
        COMPLETES,
        Near(lambda s: all_inits(s, uuid=bytes(16))),
        name="unused2",
    ),
    Case("MFD608", "two main channels", second_main, CRASHES, Near(preempt_channel, make=POSTCOPY)),
    Case(
        "MFD608",
        "two main channels for 11.1",
        second_main,
        CRASHES,
        Near(preempt_channel, make=POSTCOPY),
        options={"profile": "qemu-11.1"},
    ),
    Case("MFD608", "two main channels for 7.2", second_main, HANGS, Near(), make=like(V72)),
    Case(
        "MFD609",
        "multifd is off",
        lambda s: None,
        FAILS | LOSES,
        Near(make=single_channel, options={"channels": 0}),
        options={"channels": 0},
    ),
    Case(
        "MFD609",
        "multifd is off for 10.1",
        lambda s: None,
        CRASHES,
        Near(make=single_channel, options={"channels": 0}),
        options={"channels": 0, "profile": "qemu-10.1"},
    ),
    Case("MFD610", "channels beside mapped-ram", beside, COMPLETES, Near(), make=mapped_ram),
)
