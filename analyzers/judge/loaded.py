"""Which pages are loaded for certain before main ends, and what they hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analyzers.judge.content import Channels, NamedPage, Pages, Place, content, locate
from analyzers.survey.channel import ChannelSurvey
from analyzers.survey.main import MainSurvey
from analyzers.survey.pages import EMPTY, Runs, contains, merge


class Loaded:
    """Pages that are loaded for certain before main ends: segments below ``reached``, and main's own."""

    def __init__(self, channels: Channels, main: MainSurvey | None, reached: int) -> None:
        self.channels = channels
        self.reached = reached
        self.blocks = main.blocks if main is not None else None
        normal: dict[str, list[Runs]] = defaultdict(list)
        for _, survey in channels:
            for (segment, block, zero), pages in survey.pages.items():
                if segment < reached and not zero:
                    normal[block].append(pages.runs())
        if main is not None:
            for (_, _, block, zero), pages in main.pages.items():
                if not zero:
                    normal[block].append(pages.runs())
        self._normal = {block: merge(np.concatenate(runs)) for block, runs in normal.items()}
        self._last: dict[tuple[str, int], tuple[ChannelSurvey, Place]] = {}
        self._looked_up: set[tuple[str, int]] = set()

    def has_content(self, block: str, page: int) -> bool:
        """Whether the page was loaded as a normal page."""
        runs = self._normal.get(block, EMPTY)
        at = int(np.searchsorted(runs[:, 0], page, side="right")) - 1
        return at >= 0 and page < runs[at, 1]

    def stays_zero(self, block: str, pages: Pages, zero: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which pages of a block change nothing: no receiver has them, or they are zero and were not loaded."""
        if self.blocks and block not in self.blocks:
            return np.ones(len(pages), np.bool_)
        return zero & ~contains(self._normal.get(block, EMPTY), pages)

    def look_up(self, pages: Sequence[NamedPage]) -> None:
        """Find where these pages were loaded last."""
        wanted: dict[str, set[int]] = defaultdict(set)
        for named in pages:
            if (named.block, named.page) not in self._looked_up:
                wanted[named.block].add(named.page)
                self._looked_up.add((named.block, named.page))
        if not wanted or self.reached == 0:
            return
        arrays: dict[str, Pages] = {block: np.array(sorted(mine), np.int64) for block, mine in wanted.items()}
        for _, survey in self.channels:
            for key, place in locate(survey, arrays, 0, self.reached - 1).items():
                before = self._last.get(key)
                if before is None or before[1].segment <= place.segment:
                    self._last[key] = survey, place

    def same(self, survey: ChannelSurvey, named: NamedPage) -> bool:
        """Whether the page already holds, for certain, what this packet would load."""
        new = content(survey, named.place)
        if not self.has_content(named.block, named.page):
            return new == b""
        before = self._last.get((named.block, named.page))
        if new is None or before is None:
            return False
        return content(*before) == new
