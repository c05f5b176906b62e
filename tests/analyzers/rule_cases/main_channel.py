"""Sections, commands and the vmdescription of the main channel: MFD501 to 507, 515 to 520, 523, 524."""

from __future__ import annotations

import struct

from analyzers.findings import Severity
from multifd_codec import main_events as ev
from multifd_codec.draft import Record, raw
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


def without_configuration(stream: Stream) -> Record:
    stream.drop(stream.on_main(ev.Configuration))
    return stream.on_main(ev.SectionStart)


def repacked(stream: Stream, change: int = 0) -> Record:
    """State the length of the package again, off by ``change``."""
    (opening,) = commands(stream, CommandId.PACKAGED)
    lines = stream.main
    first = next(i for i, r in enumerate(lines) if r is opening) + 1
    last = next(i for i, r in enumerate(lines) if r is commands(stream, CommandId.PING)[-1])
    length = sum(len(record.encoded()) for record in lines[first:last])
    return opening.set(payload=struct.pack(">I", length + change))


def without_run(stream: Stream) -> Record:
    (run,) = commands(stream, RUN)
    stream.drop(run)
    repacked(stream)
    return commands(stream, CommandId.PING)[-1]


def described(stream: Stream, *devices: bytes) -> Record:
    """Replace the vmdescription."""
    stream.main[-1] = description(devices)
    return stream.main[-1]


def trailing(stream: Stream, data: bytes) -> Record:
    return stream.behind(stream.main[-1], raw(data))


def part_behind_end(stream: Stream) -> Record:
    place = stream.on_main(ev.SectionFull)
    lines = section(ev.SectionPart, 2, eos())
    stream.before(place, *lines)
    return lines[0]


def part_in_front_of_end(stream: Stream) -> None:
    stream.before(stream.on_main(ev.SectionEnd), *section(ev.SectionPart, 2, eos()))


def without_end(stream: Stream) -> Record:
    """The END section is called PART."""
    end = stream.on_main(ev.SectionEnd)
    end.event = ev.SectionPart(0, 5, 2)
    return stream.on_main(ev.EndOfStream)


def cut_at(stream: Stream, place: Record) -> tuple[str, int]:
    """The main channel ends in front of a record."""
    offset = stream.place(place)[1]
    stream.cut["main"] = sum(len(record.encoded()) for record in stream.main) - offset
    return "main", offset


def cut_description(stream: Stream) -> Record:
    stream.cut["main"] = 3
    return stream.main[-1]


def another_key(stream: Stream) -> None:
    """The text may say more than is known."""
    (last,) = [r for r in stream.main if isinstance(r.event, ev.VmDescription)]
    data = b'{"comment": [1, {}], ' + last.payload[1:]
    last.payload = data
    last.set(declared_length=len(data), payload_length=len(data))


def both_orders(stream: Stream) -> None:
    """Sections and description in another order."""
    first = stream.on_main(ev.SectionFull)
    at = next(i for i, record in enumerate(stream.main) if record is first)
    stream.main[at : at + 6] = stream.main[at + 3 : at + 6] + stream.main[at : at + 3]
    described(stream, b"globalstate", b"timer")


def ping_behind_switchover(stream: Stream) -> None:
    (start,) = commands(stream, CommandId.SWITCHOVER_START)
    stream.behind(start, command(CommandId.PING, b"\0\0\0\5"))


def misplaced_switchover(stream: Stream) -> Record:
    (start,) = commands(stream, CommandId.SWITCHOVER_START)
    return stream.move(start, before=stream.on_main(ev.SectionFull))


def never_started(stream: Stream) -> Record:
    stream.on_main(ev.SectionFooter, 1).set(section_id=77)
    return stream.on_main(ev.SectionPart).set(section_id=77)


def listen_early(stream: Stream) -> Record:
    """LISTEN without ADVISE."""
    return stream.before(stream.on_main(ev.SectionPart), command(CommandId.POSTCOPY_LISTEN))


CASES = (
    Case("MFD501", "no configuration", without_configuration, FAILS, Near(with_subsections)),
    Case(
        "MFD502",
        "an unknown section type",
        lambda s: s.before(s.on_main(ev.SectionFull), raw(b"\x09")),
        FAILS,
        Near(part_in_front_of_end, make=OLD),
        name="type",
    ),
    Case(
        "MFD503",
        "PART of a section never started",
        never_started,
        FAILS,
        Near(part_in_front_of_end, make=OLD),
        name="section_id",
    ),
    Case(
        "MFD504",
        "a footer with another id",
        lambda s: s.on_main(ev.SectionFooter).set(section_id=3),
        FAILS,
        Near(part_in_front_of_end, make=OLD),
        name="section_id",
    ),
    Case(
        "MFD504",
        "no footer",
        lambda s: (s.drop(s.on_main(ev.SectionFooter, 1)), s.on_main(ev.Command, 2))[1],
        FAILS,
        Near(part_in_front_of_end, make=OLD),
        name="type",
    ),
    Case(
        "MFD505",
        "an id introduced twice",
        lambda s: (s.on_main(ev.SectionFull), s.on_main(ev.SectionFooter, 3).set(section_id=2))[0].set(section_id=2),
        COMPLETES,
        Near(lambda s: (s.on_main(ev.SectionFull).set(section_id=9), s.on_main(ev.SectionFooter, 3).set(section_id=9))),
        name="section_id",
    ),
    Case(
        "MFD506", "PART behind END", part_behind_end, COMPLETES, Near(part_in_front_of_end), make=OLD, name="section_id"
    ),
    Case("MFD506", "no END", without_end, COMPLETES, Near(part_in_front_of_end), make=OLD, name="type"),
    Case(
        "MFD507",
        "ram version 3",
        lambda s: s.on_main(ev.SectionStart).set(version_id=3),
        FAILS,
        Near(lambda s: s.on_main(ev.SectionFull).set(version_id=1)),
        name="version_id",
    ),
    Case(
        "MFD515",
        "SWITCHOVER_START with a payload",
        lambda s: commands(s, CommandId.SWITCHOVER_START)[0].set(payload=b"x", declared_length=1),
        FAILS,
        Near(ping_behind_switchover),
        name="length",
    ),
    Case(
        "MFD515",
        "an unknown command",
        lambda s: s.before(s.on_main(ev.SectionPart), command(0x20)),
        FAILS,
        Near(lambda s: s.before(s.on_main(ev.SectionPart), command(CommandId.PING, b"\0\0\0\5"))),
        name="command",
    ),
    Case("MFD515", "LISTEN without ADVISE", listen_early, FAILS, Near(make=POSTCOPY), name="command"),
    Case(
        "MFD515",
        "SWITCHOVER_START for 9.2",
        lambda s: commands(s, CommandId.SWITCHOVER_START)[0],
        FAILS,
        Near(options={"profile": "qemu-10.0"}),
        name="command",
        options={"profile": "qemu-9.2"},
    ),
    Case(
        "MFD515",
        "postcopy beside multifd for 10.0",
        lambda s: commands(s, CommandId.POSTCOPY_ADVISE)[0],
        FAILS,
        Near(options={"profile": "qemu-10.1"}),
        make=POSTCOPY,
        name="command",
        options={"profile": "qemu-10.0"},
    ),
    Case(
        "MFD516",
        "SWITCHOVER_START twice",
        lambda s: s.before(s.on_main(ev.SectionEnd), command(CommandId.SWITCHOVER_START)),
        COMPLETES,
        Near(ping_behind_switchover),
        name="command",
    ),
    Case(
        "MFD516",
        "SWITCHOVER_START twice with device state",
        lambda s: s.before(s.on_main(ev.SectionEnd), command(CommandId.SWITCHOVER_START)),
        CRASHES,
        Near(ping_behind_switchover),
        make=TWO,
        name="command",
        severity=Severity.ERROR,
    ),
    Case(
        "MFD516",
        "SWITCHOVER_START behind END",
        misplaced_switchover,
        COMPLETES,
        Near(ping_behind_switchover),
        make=TWO,
        name="command",
    ),
    Case("MFD517", "no EOF", lambda s: cut_at(s, s.on_main(ev.EndOfStream)), FAILS, Near(make=POSTCOPY)),
    Case("MFD517", "an end inside END", lambda s: cut_at(s, s.on_main(ev.EndOfRam, 2)), FAILS, Near(make=POSTCOPY)),
    Case("MFD518", "no vmdescription", lambda s: (s.drop(s.main[-1]), s.main[-1])[1], COMPLETES, Near(make=POSTCOPY)),
    Case(
        "MFD518",
        "a vmdescription that is no JSON",
        lambda s: (s.drop(s.main[-1]), s.behind(s.main[-1], Record(ev.VmDescription(0, 5, 9, 0, 9), b"{page: 1}")))[1],
        COMPLETES,
        Near(another_key),
        name="json",
    ),
    Case(
        "MFD518",
        "a vmdescription that is cut",
        cut_description,
        COMPLETES,
        Near(another_key),
        name="length",
    ),
    Case(
        "MFD519",
        "a device that was not sent",
        lambda s: described(s, b"timer", b"globalstate", b"cpu"),
        COMPLETES,
        Near(lambda s: described(s, b"timer", b"globalstate")),
        name="devices",
    ),
    Case(
        "MFD519",
        "another order",
        lambda s: described(s, b"globalstate", b"timer"),
        COMPLETES,
        Near(both_orders),
        name="devices",
    ),
    Case("MFD520", "bytes behind the vmdescription", lambda s: trailing(s, bytes(4)), COMPLETES, Near(make=POSTCOPY)),
    Case(
        "MFD523",
        "PING without return path",
        lambda s: (s.drop(commands(s, CommandId.OPEN_RETURN_PATH)[0]), commands(s, CommandId.PING)[0])[1],
        FAILS,
        Near(lambda s: [s.drop(commands(s, n)[0]) for n in (CommandId.OPEN_RETURN_PATH, CommandId.PING)]),
        name="command",
    ),
    Case("MFD524", "a package without RUN", without_run, FAILS, Near(repacked), make=POSTCOPY, name="command"),
    Case(
        "MFD524",
        "a package that is cut",
        lambda s: cut_at(s, commands(s, RUN)[0]),
        FAILS,
        Near(repacked),
        make=POSTCOPY,
        name="length",
    ),
)
