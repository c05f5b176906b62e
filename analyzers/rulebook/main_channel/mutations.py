"""Sections and commands of the main channel, and the vmdescription behind its EOF byte."""

from __future__ import annotations

import json
import struct
from random import Random
from typing import Any

from analyzers.findings import Severity
from analyzers.mutation.edits import Demand, Finder, before, behind, drops, having, multifd, one, sets
from analyzers.mutation.legal import another_part, more_syncs, with_subsections
from analyzers.mutation.main_edits import configuration, eof, first, fulls, last_iteration, part_section
from analyzers.mutation.mutation import COMPLETES, FAILS, Mutation, Place, same, untouched
from analyzers.mutation.shape import Section, Shape, avoid, is_command, need, pick
from multifd_codec.draft.draft import Draft, Record, raw
from multifd_codec.draft.main_records import command, end_of_ram
from multifd_codec.main import events as ev
from multifd_codec.wire.qemufile import CommandId

PACKAGE_LENGTH = struct.Struct(">I")
PING = b"\0\0\0\5"
UNKNOWN_SECTION, UNKNOWN_COMMAND = 0x09, 0x20


def commands(number: CommandId, *demands: Demand) -> Finder:
    """The first command of a kind."""
    return one(lambda s: s.commands(number)[:1], f"{number.name} on main", *demands)


SWITCHOVER = commands(CommandId.SWITCHOVER_START)
ADVISED = commands(
    CommandId.POSTCOPY_ADVISE,
    having(lambda s: s.commands(CommandId.POSTCOPY_ADVISE), "POSTCOPY_ADVISE on main"),
    multifd(),
)


def no_configuration(draft: Draft, random: Random) -> Place:
    sections = Shape(draft).sections
    need(sections, "sections on main")
    draft.drop(configuration(draft))
    # Whatever command stands in front of it, the first section is where it is missed.
    return sections[0].header


def a_full_section(draft: Draft, random: Random) -> Record:
    return random.choice(fulls(draft)).header


def never_started(draft: Draft, random: Random) -> Place:
    shape = Shape(draft)
    section = pick(random, shape.ram_sections(ev.SectionPart), "a PART section of RAM on main")
    used = {s.header.event.section_id for s in shape.sections}
    wrong = next(number for number in range(77, 77 + len(used) + 1) if number not in used)
    if section.footer is not None:
        section.footer.set(section_id=wrong)
    return section.header.set(section_id=wrong, idstr=None, instance_id=None)


def footers(*kinds: type) -> Finder:
    """Of sections of RAM, whose length is known without it."""
    return one(lambda s: [p.footer for p in s.ram_sections(*kinds) if p.footer is not None], "section footers")


def id_twice(draft: Draft, random: Random) -> Place:
    """The last FULL section gets the id of RAM."""
    return renamed(fulls(draft)[-1], Shape(draft).ram_id)


def renamed(section: Section, number: int) -> Record:
    if section.footer is not None:
        section.footer.set(section_id=number)
    return section.header.set(section_id=number)


def another_id(draft: Draft, random: Random) -> None:
    """A FULL section has an id of its own, whichever it is."""
    used = {s.header.event.section_id for s in Shape(draft).sections}
    section = fulls(draft)[-1]
    if any(isinstance(record.event, ev.VfioRecord) for record in section.records):
        return
    renamed(section, max(used) + 1)


def part_behind_end(draft: Draft, random: Random) -> Place:
    """A PART of a device that has ended: per section it would take a SYNC as well, so a round more is sent."""
    shape = Shape(draft)
    end = shape.ram_section(ev.SectionEnd)
    lines = part_section(shape, end_of_ram())
    if draft.channels and not shape.per_round:
        avoid(shape.states, "device state: it would stand behind another SYNC")
        more_syncs(draft, 1)
    draft.behind(end.last, *lines)
    return lines[0]


def no_end(draft: Draft, random: Random) -> Place:
    """The END section is called PART."""
    header = ram_header(ev.SectionEnd)(draft, random)
    place = eof(draft)
    header.event = ev.SectionPart(0, 5, header.event.section_id)
    return place


def ram_header(kind: type) -> Finder:
    return lambda draft, random: Shape(draft).ram_section(kind).header


def between_sections(draft: Draft, random: Random) -> Record:
    """The last section of RAM in front of the switchover: a command may follow it."""
    return last_iteration(Shape(draft)).last


def ping(draft: Draft, random: Random) -> None:
    """A PING more; the return path that it needs is opened where it is not."""
    place = between_sections(draft, random)
    opened = Shape(draft).commands(CommandId.OPEN_RETURN_PATH)
    draft.behind(place, *([] if opened else [command(CommandId.OPEN_RETURN_PATH)]), a_ping())


def a_ping() -> Record:
    return command(CommandId.PING, PING)


def switchover_late(draft: Draft, random: Random) -> Place:
    """Behind the END of RAM, and of all other devices."""
    return draft.move(SWITCHOVER(draft, random), before=fulls(draft)[0].header)


def cut_at(draft: Draft, place: Record) -> Place:
    """The main channel ends in front of a record."""
    offset = draft.place(place)[1]
    at = next(i for i, record in enumerate(draft.main) if record is place)
    del draft.main[at:]
    return "main", offset


def no_eof(draft: Draft, random: Random) -> Place:
    avoid(Shape(draft).postcopy, "a postcopy phase")
    return cut_at(draft, eof(draft))


def end_inside_end(draft: Draft, random: Random) -> Place:
    section = Shape(draft).ram_section(ev.SectionEnd)
    ends = [record for record in section.records if isinstance(record.event, ev.EndOfRam)]
    need(ends, "an EOS in its RAM sections")
    return cut_at(draft, ends[-1])


def unopened(draft: Draft, random: Random) -> Place:
    """A request on a return path that was not opened."""
    shape = Shape(draft)
    opened, pings = shape.commands(CommandId.OPEN_RETURN_PATH), shape.commands(CommandId.PING)
    avoid(shape.commands(CommandId.POSTCOPY_ADVISE), "POSTCOPY_ADVISE")
    if not pings:
        pings = [draft.behind(between_sections(draft, random), a_ping())]
    for record in opened:
        draft.drop(record)
    return pings[0]


def never_opened(draft: Draft, random: Random) -> None:
    """Neither opened nor used."""
    shape = Shape(draft)
    if shape.commands(CommandId.POSTCOPY_ADVISE):
        return
    for number in (CommandId.OPEN_RETURN_PATH, CommandId.PING):
        for record in shape.commands(number):
            draft.drop(record)


PART, PING_MORE = same(another_part), same(ping)


def package(draft: Draft) -> tuple[Record, int, int]:
    """PACKAGED, and from where to where its records stand on main."""
    found = Shape(draft).commands(CommandId.PACKAGED)
    need(found, "a package on main")
    start = next(i for i, record in enumerate(draft.main) if record is found[0]) + 1
    length, end = PACKAGE_LENGTH.unpack(found[0].event.payload)[0], start
    while end < len(draft.main) and length > 0:
        length -= draft.main[end].size()
        end += 1
    return found[0], start, end


def restated(draft: Draft, opening: Record, start: int, end: int) -> None:
    """PACKAGED says again how long its records are."""
    length = sum(record.size() for record in draft.main[start:end])
    opening.set(payload=PACKAGE_LENGTH.pack(length))


def repacked(draft: Draft, random: Random) -> None:
    """A PING more in the package."""
    opening, start, end = package(draft)
    draft.main.insert(start, a_ping())
    restated(draft, opening, start, end + 1)


def last_run(draft: Draft) -> Record:
    """The last POSTCOPY_RUN of the package."""
    _, start, end = package(draft)
    runs = [record for record in draft.main[start:end] if is_command(record, CommandId.POSTCOPY_RUN)]
    need(runs, "POSTCOPY_RUN in its package")
    return runs[-1]


def no_run(draft: Draft, random: Random) -> Place:
    run, (opening, start, end) = last_run(draft), package(draft)
    draft.drop(run)
    restated(draft, opening, start, end - 1)
    return next(record for record in draft.main[end - 1 :] if not isinstance(record.event, ev.PackageEnd))


def cut_package(draft: Draft, random: Random) -> Place:
    return cut_at(draft, last_run(draft))


def listen_early(draft: Draft, random: Random) -> Place:
    """LISTEN without ADVISE."""
    avoid(Shape(draft).commands(CommandId.POSTCOPY_ADVISE), "POSTCOPY_ADVISE")
    return draft.behind(between_sections(draft, random), command(CommandId.POSTCOPY_LISTEN))


def described(draft: Draft) -> Record:
    return first(draft, ev.VmDescription, "a vmdescription")


def no_description(draft: Draft, random: Random) -> Place:
    record, place = described(draft), eof(draft)
    at = next(i for i, other in enumerate(draft.main) if other is record)
    del draft.main[at:]
    return place


def no_json(draft: Draft, random: Random) -> Place:
    """Only where all bodies are known without it."""
    record = described(draft)
    text = b"{page: 1}"
    record.event = ev.VmDescription(0, 5, len(text), 0, len(text))
    record.payload = text
    return record


def cut_description(draft: Draft, random: Random) -> Place:
    record = described(draft)
    record.payload = bytes(record.payload)[:-3]
    at = next(i for i, other in enumerate(draft.main) if other is record)
    del draft.main[at + 1 :]
    return record


def rewritten(draft: Draft, value: Any) -> Record:
    """The vmdescription says ``value``."""
    record = described(draft)
    text = json.dumps(value).encode()
    record.event = ev.VmDescription(0, 5, len(text), 0, len(text))
    record.payload = text
    return record


def description(draft: Draft) -> dict[str, Any]:
    try:
        value = json.loads(bytes(described(draft).payload))
        devices = value["devices"]
    except (ValueError, TypeError, KeyError):
        devices = None
    need(isinstance(devices, list) and devices, "a vmdescription with devices")
    return dict(value)


def another_key(draft: Draft, random: Random) -> None:
    """The text may say more than is known."""
    rewritten(draft, {"comment": [1, {}]} | description(draft))


def not_sent(draft: Draft, random: Random) -> Place:
    value = description(draft)
    fields = [{"name": "data", "size": 8, "type": "buffer"}]
    more = {"name": "cpu_extra", "instance_id": 0, "size": 8, "fields": fields}
    return rewritten(draft, value | {"devices": [*value["devices"], more]})


def another_order(draft: Draft, random: Random) -> Place:
    value = description(draft)
    devices = value["devices"]
    need(len(devices) > 1, "several devices in its vmdescription")
    at = random.randrange(len(devices) - 1)
    swapped = [*devices[:at], devices[at + 1], devices[at], *devices[at + 2 :]]
    need(swapped != devices, "several devices in its vmdescription")
    return rewritten(draft, value | {"devices": swapped})


def both_orders(draft: Draft, random: Random) -> None:
    """The last two FULL sections and their descriptions change places."""
    value = description(draft)
    sections, devices = fulls(draft), value["devices"]
    if len(sections) < 2 or len(devices) != len(sections):
        return
    before, last = sections[-2], sections[-1]
    for record in last.records:
        draft.drop(record)
    draft.before(before.header, *last.records)
    rewritten(draft, value | {"devices": [*devices[:-2], devices[-1], devices[-2]]})


def trailing(draft: Draft, random: Random) -> Place:
    need(draft.main and isinstance(draft.main[-1].event, ev.VmDescription), "a vmdescription at the end of main")
    return draft.behind(draft.main[-1], raw(bytes(4)))


def introducing(name: bytes) -> Finder:
    """The first section of that name, or of a device's part of that name."""

    def find(draft: Draft, random: Random) -> Record:
        introduced = [r for r in draft.main if isinstance(r.event, ev.SectionStart | ev.SectionFull)]
        found = [r for r in introduced if r.event.idstr.rpartition(b"/")[2] == name]
        need(found, f"a section {name.decode()} on main")
        return found[0]

    return find


UNKNOWN_TYPE = before(a_full_section, lambda: raw(bytes([UNKNOWN_SECTION])))
WRONG_FOOTER = sets(footers(), section_id=lambda e, s, r: e.section_id + 100)
NO_FOOTER = drops(footers(ev.SectionStart, ev.SectionPart))
RAM_VERSION = sets(ram_header(ev.SectionStart), version_id=lambda e, s, r: r.choice((2, 3, 5)))
TIMER_VERSION = sets(introducing(b"timer"), version_id=lambda e, s, r: r.choice((0, 1, 3)))
DEVICE_VERSION = sets(introducing(b"vfio"), version_id=lambda e, s, r: r.choice((2, 0xFFFFFFFF)))
OLD_DEVICE_VERSION = same(sets(introducing(b"vfio"), version_id=0))
COMMAND_MORE = behind(between_sections, lambda: command(UNKNOWN_COMMAND))
PAYLOAD_OF_SWITCHOVER = sets(SWITCHOVER, payload=b"x", declared_length=1)
SWITCHOVER_TWICE = behind(SWITCHOVER, lambda: command(CommandId.SWITCHOVER_START))

MUTATIONS = (
    Mutation("MFD501", "no configuration", FAILS, no_configuration, same(with_subsections)),
    Mutation("MFD502", "an unknown section type", FAILS, UNKNOWN_TYPE, PART, "type"),
    Mutation("MFD503", "PART of a section never started", FAILS, never_started, PART, "section_id"),
    Mutation("MFD504", "a footer with another id", FAILS, WRONG_FOOTER, PART, "section_id"),
    Mutation("MFD504", "no footer", FAILS, NO_FOOTER, PART, "type"),
    Mutation("MFD505", "an id introduced twice", COMPLETES, id_twice, same(another_id), "section_id"),
    Mutation("MFD506", "PART behind END", COMPLETES, part_behind_end, PART, "section_id", also=frozenset({"MFD516"})),
    Mutation("MFD506", "no END", COMPLETES, no_end, PART, "type", also=frozenset({"MFD516"})),
    Mutation("MFD507", "another ram version", FAILS, RAM_VERSION, name="version_id"),
    Mutation("MFD507", "another timer version", FAILS, TIMER_VERSION, name="version_id"),
    Mutation("MFD507", "another version of a device", FAILS, DEVICE_VERSION, OLD_DEVICE_VERSION, "version_id"),
    Mutation("MFD515", "an unknown command", FAILS, COMMAND_MORE, PING_MORE, "command"),
    Mutation("MFD515", "SWITCHOVER_START with a payload", FAILS, PAYLOAD_OF_SWITCHOVER, PING_MORE, "length"),
    Mutation("MFD515", "LISTEN without ADVISE", FAILS, listen_early, PING_MORE, "command"),
    Mutation("MFD515", "SWITCHOVER_START for 9.2", FAILS, SWITCHOVER, SWITCHOVER, "command", {"profile": "qemu-9.2"},
        {"profile": "qemu-10.0"}, also=frozenset({"MFD417"})),
    Mutation("MFD515", "postcopy beside multifd for 10.0", FAILS, ADVISED, ADVISED, "command", {"profile": "qemu-10.0"},
        {"profile": "qemu-10.1"}),
    Mutation("MFD516", "SWITCHOVER_START twice", COMPLETES, SWITCHOVER_TWICE, PING_MORE, "command"),
    Mutation("MFD516", "SWITCHOVER_START behind END", COMPLETES, switchover_late, PING_MORE, "command"),
    Mutation("MFD517", "no EOF", FAILS, no_eof, untouched),
    Mutation("MFD517", "an end inside END", FAILS, end_inside_end, untouched),
    Mutation("MFD523", "PING without return path", FAILS, unopened, same(never_opened), "command"),
    Mutation("MFD524", "a package without RUN", FAILS, no_run, same(repacked), "command"),
    Mutation("MFD524", "a package that is cut", FAILS, cut_package, same(repacked), "length"),
    Mutation("MFD518", "no vmdescription", COMPLETES, no_description, same(another_key), severity=Severity.INFO),
    Mutation("MFD518", "a vmdescription that is no JSON", COMPLETES, no_json, same(another_key), "json"),
    Mutation("MFD518", "a vmdescription that is cut", COMPLETES, cut_description, same(another_key), "length"),
    Mutation("MFD519", "a device that was not sent", COMPLETES, not_sent, same(both_orders), "devices"),
    Mutation("MFD519", "another order", COMPLETES, another_order, same(both_orders), "devices"),
    Mutation("MFD520", "bytes behind the vmdescription", COMPLETES, trailing, untouched),
)  # fmt: skip
