"""Pages that stand twice in one round, on two channels or on main as well."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analyzers.judge.content import locate
from analyzers.judge.memory import Overlap
from analyzers.linter.context import Context
from analyzers.linter.found import Found
from analyzers.linter.pairing import header_length


def overlaps(context: Context, *, on_main: bool) -> Iterator[tuple[Overlap, Found]]:
    """Each with the packet that carries its first page; the message only says which pages.

    None where a SYNC may not have been recorded: what is one round cannot be told then.
    """
    for overlap in context.memory.overlaps if not context.reduced else ():
        first, second = overlap.channels
        if (first == "main") is not on_main:
            continue
        number = second if on_main else int(first)
        survey = next(survey for channel, survey in context.channels if channel == number)
        wanted = {overlap.block: np.array([overlap.first_page], np.int64)}
        place = locate(survey, wanted, overlap.round, overlap.round).get((overlap.block, overlap.first_page))
        offset, length = (None, None) if place is None else (place.packet, header_length(survey))
        more = f" and {overlap.pages - 1} more" if overlap.pages > 1 else ""
        pages = f"page {overlap.first_page:#x}{more} of {overlap.block!r}"
        yield overlap, Found(pages, number, offset, length, "offset")
