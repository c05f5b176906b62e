"""Sections, commands and the vmdescription of the main channel: MFD501 to 507, 515 to 520, 523, 524."""

from __future__ import annotations

from analyzers.findings import Severity
from multifd_codec.draft.draft import Record
from multifd_codec.main import events as ev
from multifd_codec.wire.qemufile import CommandId
from tests.analyzers.rule_cases.case import COMPLETES, CRASHES, FAILS, Case, Near
from tests.main_records import command, description, eos, section
from tests.migrations import V90, like
from tests.streams import Stream

OLD = like(V90)
"""No SWITCHOVER_START."""
TWO = like(devices=2)
POSTCOPY = like(machine=b"pc-q35-10.1", postcopy=True)
RUN = CommandId.POSTCOPY_RUN


def commands(stream: Stream, number: int) -> list[Record]:
    return [r for r in stream.main if isinstance(r.event, ev.Command) and r.event.command == number]


def with_subsections(stream: Stream) -> None:
    parts = ev.TargetPageBits(0, 0, 1, 12), ev.ConfigurationUuid(0, 0, 1, bytes(range(16)))
    stream.on_main(ev.Configuration).set(subsections=parts)


def described(stream: Stream, *devices: bytes) -> Record:
    """Replace the vmdescription."""
    stream.main[-1] = description(devices)
    return stream.main[-1]


def part_in_front_of_end(stream: Stream) -> None:
    stream.before(stream.on_main(ev.SectionEnd), *section(ev.SectionPart, 2, eos()))


def ping_behind_switchover(stream: Stream) -> None:
    (start,) = commands(stream, CommandId.SWITCHOVER_START)
    stream.behind(start, command(CommandId.PING, b"\0\0\0\5"))


CASES = (
    Case("MFD501", "no configuration", FAILS),
    Case("MFD502", "an unknown section type", FAILS, near=Near(part_in_front_of_end, make=OLD)),
    Case("MFD503", "PART of a section never started", FAILS, near=Near(part_in_front_of_end, make=OLD)),
    Case("MFD504", "a footer with another id", FAILS, near=Near(part_in_front_of_end, make=OLD)),
    Case("MFD504", "no footer", FAILS, near=Near(part_in_front_of_end, make=OLD)),
    Case(
        "MFD505",
        "an id introduced twice",
        COMPLETES,
        near=Near(
            lambda s: (s.on_main(ev.SectionFull).set(section_id=9), s.on_main(ev.SectionFooter, 3).set(section_id=9))
        ),
    ),
    Case("MFD506", "PART behind END", COMPLETES, make=OLD),
    Case("MFD506", "no END", COMPLETES, make=OLD),
    Case(
        "MFD507",
        "ram version 3",
        FAILS,
        edit=lambda s: s.on_main(ev.SectionStart).set(version_id=3),
        name="version_id",
    ),
    Case("MFD515", "SWITCHOVER_START with a payload", FAILS),
    Case(
        "MFD515",
        "an unknown command",
        FAILS,
        near=Near(lambda s: s.before(s.on_main(ev.SectionPart), command(CommandId.PING, b"\0\0\0\5"))),
    ),
    Case("MFD515", "LISTEN without ADVISE", FAILS, near=Near(make=POSTCOPY)),
    Case("MFD515", "SWITCHOVER_START for 9.2", FAILS, near=Near(options={"profile": "qemu-10.0"})),
    Case(
        "MFD515", "postcopy beside multifd for 10.0", FAILS, near=Near(options={"profile": "qemu-10.1"}), make=POSTCOPY
    ),
    Case("MFD516", "SWITCHOVER_START twice", COMPLETES),
    Case(
        "MFD516",
        "SWITCHOVER_START twice with device state",
        CRASHES,
        near=Near(ping_behind_switchover),
        edit=lambda s: s.before(s.on_main(ev.SectionEnd), command(CommandId.SWITCHOVER_START)),
        make=TWO,
        name="command",
        severity=Severity.ERROR,
    ),
    Case("MFD516", "SWITCHOVER_START behind END", COMPLETES, make=TWO),
    Case("MFD517", "no EOF", FAILS, near=Near(make=POSTCOPY)),
    Case("MFD517", "an end inside END", FAILS, near=Near(make=POSTCOPY)),
    Case("MFD518", "no vmdescription", COMPLETES, near=Near(make=POSTCOPY)),
    Case("MFD518", "a vmdescription that is no JSON", COMPLETES),
    Case("MFD518", "a vmdescription that is cut", COMPLETES),
    Case(
        "MFD519", "a device that was not sent", COMPLETES, near=Near(lambda s: described(s, b"timer", b"globalstate"))
    ),
    Case("MFD519", "another order", COMPLETES),
    Case("MFD520", "bytes behind the vmdescription", COMPLETES, near=Near(make=POSTCOPY)),
    Case(
        "MFD523",
        "PING without return path",
        FAILS,
        near=Near(lambda s: [s.drop(commands(s, n)[0]) for n in (CommandId.OPEN_RETURN_PATH, CommandId.PING)]),
    ),
    Case("MFD524", "a package without RUN", FAILS, make=POSTCOPY),
    Case("MFD524", "a package that is cut", FAILS, make=POSTCOPY),
)
