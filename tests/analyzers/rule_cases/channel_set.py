"""The set of connections and their first bytes: MFD601 to MFD610."""

from __future__ import annotations

from captures.memory import MemorySource
from captures.model import CapturedChannel, ChannelKind
from multifd_codec.main import events as ev
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


def without(stream: Stream, channel: int) -> None:
    del stream.channels[channel]


def beside(stream: Stream) -> None:
    stream.channels.append([init(0), ram(0)])


CASES = (
    Case(
        "MFD601",
        "another magic",
        FAILS,
        near=Near(with_subsections),
        edit=lambda s: s.on_main(ev.FileHeader).set(magic=0x5145564E),
        name="magic",
    ),
    Case("MFD601", "version 2", FAILS),
    Case("MFD602", "another magic", FAILS),
    Case("MFD602", "version 2", FAILS),
    Case(
        "MFD602",
        "version 2 for 7.2",
        HANGS,
        near=Near(reversed_channels),
        edit=lambda s: s.init(1).set(version=2),
        make=like(V72),
        name="version",
    ),
    Case("MFD602", "an init of 54 bytes", FAILS),
    Case("MFD602", "first bytes of something else", FAILS),
    Case("MFD603", "two uuids", FAILS, near=Near(lambda s: all_inits(s, uuid=OTHER_UUID))),
    Case("MFD604", "the id behind the last", FAILS | CRASHES | HANGS, near=Near(make=THREE)),
    Case("MFD604", "an id far behind", FAILS, near=Near(make=THREE)),
    Case("MFD604", "the id behind the last for 11.1", FAILS, near=Near(make=THREE)),
    Case("MFD605", "an id twice", FAILS),
    Case("MFD606", "a channel less", HANGS, near=Near(options={"channels": 3}), make=THREE, options={"channels": 3}),
    Case(
        "MFD606",
        "a channel more",
        FAILS | LOSES | CRASHES,
        near=Near(options={"channels": 3}),
        make=THREE,
        options={"channels": 2},
    ),
    Case("MFD607", "an unused byte", COMPLETES, near=Near(lambda s: all_inits(s, uuid=bytes(16)))),
    Case("MFD607", "an unused word", COMPLETES, near=Near(lambda s: all_inits(s, uuid=bytes(16)))),
    Case("MFD608", "two main channels", CRASHES, near=Near(preempt_channel, make=POSTCOPY), edit=second_main),
    Case(
        "MFD608",
        "two main channels for 11.1",
        CRASHES,
        near=Near(preempt_channel, make=POSTCOPY),
        edit=second_main,
        options={"profile": "qemu-11.1"},
    ),
    Case("MFD608", "two main channels for 7.2", HANGS, near=Near(), edit=second_main, make=like(V72)),
    Case("MFD609", "multifd is off", FAILS | LOSES, near=Near(make=single_channel, options={"channels": 0})),
    Case("MFD609", "multifd is off for 10.1", CRASHES, near=Near(make=single_channel, options={"channels": 0})),
    Case("MFD610", "channels beside mapped-ram", COMPLETES, make=mapped_ram),
)
