"""Pages that packets name: MFD212 to 216."""

from __future__ import annotations

from random import Random

from analyzers.mutation.edits import LISTED, one_or_resent, sets
from analyzers.mutation.legal import fresh_page, resend, resend_zero
from analyzers.mutation.mutation import Edit, Place
from analyzers.mutation.shape import Segmented, Shape, block_of, need, pick, records, used_pages
from multifd_codec.draft.draft import Draft

CACHE_LINE = 64
"""How far a page is moved: any amount that is no multiple of the page size will do."""


behind_the_last = sets(
    one_or_resent(lambda s: records(s.paired_data), LISTED),
    pages=lambda e, s, r: replaced(e.pages, r.randrange(len(used_pages(e))), s.blocks[block_of(e)]),
)
"""A packet names the page behind the last one of its block."""


def replaced(pages: tuple[int, ...], number: int, offset: int) -> tuple[int, ...]:
    """Another offset in the place of one."""
    return (*pages[:number], offset, *pages[number + 1 :])


def _misaligned(draft: Draft, random: Random, packets: list[Segmented], what: str) -> Place:
    shape = Shape(draft)
    choices = []
    for packet in packets:
        event = packet.record.event
        limit = shape.blocks.get(block_of(event), 0) - 2 * shape.page_size
        normal = range(event.normal_pages)
        numbers = normal if what == "normal" else range(len(normal), len(normal) + event.zero_pages)
        choices += [(packet.record, number) for number in numbers if event.pages[number] <= limit]
    record, number = pick(random, choices, f"a {what} page in a packet")
    moved = record.event.pages[number] + CACHE_LINE * random.randrange(1, shape.page_size // CACHE_LINE)
    return record.set(pages=replaced(record.event.pages, number, moved))


def misaligned_normal(draft: Draft, random: Random) -> Place:
    return _misaligned(draft, random, Shape(draft).content, "normal")


def misaligned_zero(draft: Draft, random: Random) -> Place:
    return _misaligned(draft, random, Shape(draft).zeros, "zero")


def misaligned_again(draft: Draft, random: Random) -> Place:
    """Without a page in any packet: one that is sent again."""
    shape = Shape(draft)
    block, offset = fresh_page(shape, random)
    need(offset + 2 * shape.page_size <= shape.blocks[block], "a RAM block of several pages")
    return resend(draft, random, page=(block, offset + CACHE_LINE))


def page_twice(draft: Draft, random: Random) -> Place:
    """The same content twice: whichever is written last, the page is right."""
    return resend(draft, random, count=2)


def zero_page_twice(draft: Draft, random: Random) -> Place:
    need(Shape(draft).zero_pages_in_packets, "zero pages in its packets")
    return resend_zero(draft, random, 2)


def on_two_channels(*, same_content: bool) -> Edit:
    def edit(draft: Draft, random: Random) -> Place:
        shape = Shape(draft)
        shape.multifd(2)
        page = fresh_page(shape, random)
        lower = random.randrange(len(draft.channels) - 1)
        first, second = shape.by_id[lower : lower + 2]
        content = random.randbytes(shape.page_size)
        other = content if same_content else random.randbytes(shape.page_size)
        resend(draft, random, channel=second, page=page, content=content)
        # The packet on the channel with the lower id is the one that is found.
        return resend(draft, random, channel=first, page=page, content=other)

    return edit
