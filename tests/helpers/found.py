"""Small streams on which fuzzing found the model and a real destination of another opinion (docs/fidelity.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from analyzers.produce.mutate import mutate
from multifd_codec.channel.events import RamPacket
from multifd_codec.dialect.releases import Mode
from multifd_codec.draft.draft import Draft
from multifd_codec.draft.edits import Edit, EditKind, apply, apply_all
from multifd_codec.main.events import DeviceBody, EndOfStream, SectionFull, VmDescription
from multifd_codec.plan.page_content import Pattern, Zero
from multifd_codec.plan.plan import Block, MigrationPlan, Pages, Round
from multifd_codec.sender import draft
from multifd_codec.wire.packet import pages_per_packet

PAGE = 4096
COUNT = 16
CAPACITY = pages_per_packet(PAGE)


def rounds(*rounds: Pages) -> dict[str, tuple[Round, ...]]:
    """The last one is sent while the guest is stopped."""
    made = tuple(Round((pages,)) for pages in rounds)
    return {"rounds": made[:-1], "final": made[-1:]}


OLD = MigrationPlan(
    blocks=(Block("ram", COUNT * PAGE),),
    dialect="qemu-5.2",
    mode=Mode.PER_SECTION,
    channels=2,
    **rounds(Pages("ram", 0, COUNT, Pattern(1)), Pages("ram", 2, 2, Pattern(2))),
)
NEW = replace(OLD, dialect="qemu-10.0", mode=Mode.PER_ROUND)


@dataclass(frozen=True)
class Found:
    """``expected``: destination (its profile) to the outcomes that are possible there."""

    plan: MigrationPlan
    edit: Callable[[Draft], Draft]
    expected: dict[str, set[str]] = field(default_factory=dict)

    def stream(self) -> Draft:
        return self.edit(draft(self.plan))


def with_pages(made: Draft) -> RamPacket:
    """The first packet with pages, on the channel that has it."""
    return next(r for line in made.channels for r in line if isinstance(r.event, RamPacket) and r.event.normal_pages)


def zero_pages_on_a_sync(made: Draft) -> Draft:
    sync = made.rams(0)[-1]
    sync.event = sync.event._replace(zero_pages=1, next_packet_size=1)
    return made


def channel_cut_and_its_rest_in_front_of_main(made: Draft) -> Draft:
    return apply_all(made, [Edit(EditKind.CUT, 1, 0, 3), Edit(EditKind.TRANSFER, 1, 0, 0, "main")])


def another_uuid(made: Draft) -> Draft:
    init = made.init(1)
    init.event = init.event._replace(uuid=b"\1" * 16)
    return made


def another_uuid_and_main_without_its_header(made: Draft) -> Draft:
    made = another_uuid(made)
    del made.main[0]
    return made


def two_that_are_refused(made: Draft) -> Draft:
    """One is told by its first bytes; of the other they never come."""
    return apply(another_uuid(made), Edit(EditKind.CUT, 0, 0, 3))


def footer_twice_and_no_description(made: Draft) -> Draft:
    footer = next(i for i, r in enumerate(made.main) if isinstance(r.event, DeviceBody)) + 1
    made.main.insert(footer, replace(made.main[footer]))
    description = next(i for i, r in enumerate(made.main) if isinstance(r.event, VmDescription))
    return apply(made, Edit(EditKind.FLIP, "main", description, 1779))


def fields_twice_and_no_description(made: Draft) -> Draft:
    body = next(i for i, r in enumerate(made.main) if isinstance(r.event, DeviceBody))
    made.main.insert(body, replace(made.main[body]))
    made.main[:] = [record for record in made.main if not isinstance(record.event, VmDescription)]
    return made


def packet_in_front_of_main(made: Draft) -> Draft:
    """And another channel is refused."""
    made = another_uuid(made)
    made.main.insert(0, made.rams(0)[0])
    return made


def in_front_of_main(record: int) -> Callable[[Draft], Draft]:
    """That record of the only channel, which is then taken for main before 8.0."""
    return lambda made: apply(made, Edit(EditKind.TRANSFER, 0, record, 0, "main"))


def last_pages_again(made: Draft) -> Draft:
    """Nothing waits for the last round, for a SYNC is there twice; a copy of its pages is never read."""
    (line,) = made.channels
    line.append(replace(next(r for r in reversed(line) if isinstance(r.event, RamPacket) and r.event.normal_pages)))
    line.insert(1, replace(line[1]))
    return made


def cut_in_its_pages(made: Draft) -> Draft:
    """A channel that starts with pages, and ends in them."""
    (line,) = made.channels
    record = next(i for i, r in enumerate(line) if isinstance(r.event, RamPacket) and r.event.normal_pages)
    made = apply(made, Edit(EditKind.CUT, 0, record, 2000))
    del made.channels[0][1:record]
    return made


def any_instance(made: Draft) -> Draft:
    """The number by which a device is found that has fields."""
    section = next(r for r in made.main if isinstance(r.event, SectionFull))
    section.event = section.event._replace(instance_id=0xFFFFFFFF)
    return made


def nothing_on_the_channel(made: Draft) -> Draft:
    made.channels[0].clear()
    return made


def misaligned(page: int) -> Callable[[Draft], Draft]:
    """That page of the first packet that has it lies over the next one, too."""

    def edit(made: Draft) -> Draft:
        record = with_pages(made)
        pages = list(record.event.pages)
        pages[pages.index(page * PAGE)] += 64
        record.event = record.event._replace(pages=tuple(pages))
        return made

    return edit


def offsets_beyond_the_packet(made: Draft) -> Draft:
    record = with_pages(made)
    count = CAPACITY + 72
    record.event = record.event._replace(pages_alloc=count, normal_pages=count)
    record.payload = (bytes(record.payload) * count)[: count * PAGE]
    return made


def eof_in_front_of_the_last_device(made: Draft, version: int) -> Draft:
    devices = [i for i, r in enumerate(made.main) if isinstance(r.event, SectionFull)]
    timer = made.main[devices[0]]
    timer.event = timer.event._replace(version_id=version)
    end = next(r for r in made.main if isinstance(r.event, EndOfStream))
    made.main.insert(devices[-1], replace(end))
    return made


def a_compressed_page_on_two_channels(made: Draft) -> Draft:
    """The contents differ, and neither stands where an old sender repeats a page."""
    mutate(made, "MFD216", way="a-page-on-two-channels-in-one-round", seed=5)
    return made


HANGS, FAILS, COMPLETES = {"hangs"}, {"fails"}, {"completes"}
ANY = {"completes", "crashes", "hangs", "loses-data"}
FOUND = {
    "zero_pages on a SYNC": Found(
        replace(OLD, compression="zlib"), zero_pages_on_a_sync, {"qemu-5.2": COMPLETES, "qemu-7.2": COMPLETES}
    ),
    "a channel cut, its rest in front of main": Found(
        OLD, channel_cut_and_its_rest_in_front_of_main, {"qemu-5.2": HANGS, "qemu-7.2": HANGS, "qemu-10.0": FAILS}
    ),
    "another uuid, and main without its header": Found(
        OLD, another_uuid_and_main_without_its_header, {"qemu-5.2": HANGS, "qemu-7.2": HANGS, "qemu-10.0": FAILS}
    ),
    "another uuid, and a packet in front of main": Found(
        OLD, packet_in_front_of_main, {"qemu-5.2": HANGS, "qemu-7.2": HANGS, "qemu-10.0": FAILS}
    ),
    "another uuid, and a channel of three bytes": Found(
        NEW, two_that_are_refused, {"qemu-10.0": {"fails", "hangs"}, "qemu-10.2": {"fails", "hangs"}}
    ),
    "zero in between": Found(
        replace(
            OLD,
            dialect="qemu-9.0",
            channels=1,
            zero_page_detection="multifd",
            **rounds(Pages("ram", 0, COUNT, Pattern(1)), Pages("ram", 2, 1, Zero()), Pages("ram", 2, 1, Pattern(2))),
        ),
        lambda made: made,
        {"qemu-5.2": COMPLETES, "qemu-7.2": COMPLETES},
    ),
    "a footer twice, no description": Found(
        OLD,
        footer_twice_and_no_description,
        {"qemu-5.2": {"completes", "fails"}, "qemu-7.2": {"completes", "fails"}},
    ),
    "the only channel closed without a byte": Found(
        replace(NEW, channels=1), nothing_on_the_channel, {"qemu-10.0": FAILS, "qemu-10.2": FAILS, "qemu-11.1": FAILS}
    ),
    "a page over two, the next zeroed on main later": Found(
        replace(
            OLD,
            channels=1,
            **rounds(Pages("ram", 0, COUNT, Pattern(1)), Pages("ram", 2, 1, Pattern(2)), Pages("ram", 3, 1, Zero())),
        ),
        misaligned(2),
        {"qemu-5.2": COMPLETES, "qemu-7.2": COMPLETES},
    ),
    "zeros over two pages without content": Found(
        replace(
            NEW,
            channels=1,
            zero_page_detection="none",
            **rounds(Pages("ram", 0, COUNT, Zero()), Pages("ram", 3, 1, Pattern(2))),
        ),
        misaligned(2),
        {"qemu-10.0": COMPLETES, "qemu-10.2": COMPLETES},
    ),
    "a page over two, the packet's next page there": Found(
        replace(
            OLD,
            channels=1,
            **rounds(
                Pages("ram", 0, COUNT, Pattern(1)), Pages("ram", 2, 2, Pattern(2)), Pages("ram", 2, 1, Pattern(2))
            ),
        ),
        misaligned(2),
        {"qemu-5.2": COMPLETES, "qemu-7.2": COMPLETES, "qemu-10.0": COMPLETES},
    ),
    "pages that race with main, and again behind a SYNC": Found(
        replace(OLD, channels=1), last_pages_again, {"qemu-7.2": {"completes", "loses-data"}}
    ),
    "zeros over two pages, the packet's next page there": Found(
        replace(
            NEW,
            blocks=(Block("ram", 2 * PAGE),),
            channels=1,
            zero_page_detection="none",
            rounds=(Round((Pages("ram", 0, 1, Zero()), Pages("ram", 1, 1, Pattern(2)))),),
            final=(Round(()),),
        ),
        misaligned(0),
        {"qemu-10.0": COMPLETES, "qemu-11.1": COMPLETES},
    ),
    "pages in front of RAM setup, cut": Found(
        replace(NEW, channels=1), cut_in_its_pages, {"qemu-10.0": {"hangs", "crashes"}}
    ),
    "any instance of a device": Found(
        OLD, any_instance, {"qemu-7.2": {"completes", "fails"}, "qemu-10.0": {"completes", "fails"}}
    ),
    "a packet in front of main, nothing else": Found(
        replace(OLD, channels=1), in_front_of_main(2), {"qemu-7.2": {"fails", "hangs"}, "qemu-10.0": FAILS}
    ),
    "the ChannelInit in front of main": Found(
        replace(OLD, channels=1), in_front_of_main(0), {"qemu-7.2": {"fails", "hangs"}, "qemu-10.0": FAILS}
    ),
    "more pages than offsets": Found(
        replace(OLD, channels=1), offsets_beyond_the_packet, {"qemu-5.2": ANY, "qemu-7.2": HANGS, "qemu-10.0": HANGS}
    ),
    "a version not described, EOF too early": Found(
        OLD,
        lambda made: eof_in_front_of_the_last_device(made, 9),
        {"qemu-5.2": {"fails"}, "qemu-7.2": {"fails"}},
    ),
    "fields twice, no description": Found(
        OLD,
        fields_twice_and_no_description,
        {"qemu-7.2": {"completes", "fails"}, "qemu-10.0": {"completes", "fails"}},
    ),
    "EOF too early": Found(
        OLD, lambda made: eof_in_front_of_the_last_device(made, 2), {"qemu-5.2": COMPLETES, "qemu-7.2": COMPLETES}
    ),
    "a compressed page on two channels": Found(
        replace(OLD, compression="zlib"),
        a_compressed_page_on_two_channels,
        {"qemu-5.2": {"completes", "loses-data"}, "qemu-7.2": {"completes", "loses-data"}},
    ),
}
