"""Which pages were sent most often."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np

from analyzers.survey.pages import Runs
from analyzers.survey.rounds import SegmentPages

MOST = 10


class SentPage(NamedTuple):
    """``offset`` in its RAM block, in bytes."""

    block: str
    offset: int
    times: int


class SentPages(NamedTuple):
    """``total``: as often as they were sent; ``most``: those sent more than once, at most ten. What a channel sends
    twice between two SYNCs, as a source may that sends them per section, is counted once there, in ``most``."""

    total: int
    distinct: int
    most: tuple[SentPage, ...]


def sent_pages(pages: SegmentPages, page_size: int, total: int) -> SentPages:
    """``page_size`` in bytes; ``total``: how many pages all packets and records name."""
    blocks: dict[str, list[Runs]] = {}
    for segment in pages.values():
        for block, runs in segment.items():
            blocks.setdefault(block, []).extend(runs)
    depths = {block: _depths(runs) for block, runs in blocks.items()}
    distinct = sum(int((ends - starts)[times > 0].sum()) for starts, ends, times in depths.values())
    often = chain.from_iterable(_often(block, *stretches, page_size) for block, stretches in depths.items())
    most = sorted(often, key=lambda page: (-page.times, page.block, page.offset))[:MOST]
    return SentPages(total, distinct, tuple(most))


def _depths(parts: Iterable[Runs]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(first page, page behind the last, how many parts have them) of stretches in rising order."""
    runs = np.concatenate(list(parts))
    edges = np.concatenate((runs[:, 0], runs[:, 1]))
    steps = np.repeat(np.array([1, -1]), len(runs))
    order = np.argsort(edges, kind="stable")
    edges, depths = edges[order], np.cumsum(steps[order])
    wide = np.flatnonzero(edges[1:] > edges[:-1])
    return edges[wide], edges[wide + 1], depths[wide]


def _often(block: str, starts: np.ndarray, ends: np.ndarray, times: np.ndarray, page_size: int) -> Iterator[SentPage]:
    """The first of those sent most often."""
    left = MOST
    for index in np.argsort(-times, kind="stable").tolist():
        if not left or times[index] < 2:
            return
        first, behind = int(starts[index]), int(ends[index])
        for page in range(first, min(behind, first + left)):
            yield SentPage(block, page * page_size, int(times[index]))
        left -= min(left, behind - first)
