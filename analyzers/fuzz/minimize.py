"""Any stream made small: records are left out as long as the destination still does the same.

Delta debugging (Zeller and Hildebrandt, ddmin) over the records of one channel after the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from analyzers.findings import Kind, Report
from analyzers.linter.judged import LintOptions
from analyzers.linter.linter import lint_recording
from captures.memory import recording_of
from captures.qemu import DestinationOptions, DestinationPool, Expected, Observation, feed_of_migration
from multifd_codec.draft.draft import Draft, Line
from multifd_codec.errors import EncodeError, InputError

Judge = Callable[[Draft], bool]
"""Whether a stream still does it."""
SURE = 2
"""Runs that must all do it: some outcomes are races."""
_PARTICULAR = re.compile(r"0x[0-9a-f]+|\d+", re.IGNORECASE)


class Minimized(NamedTuple):
    draft: Draft
    tries: int
    complete: bool
    """Nothing more can be left out; False when it was stopped."""


def cause(words: str) -> str:
    """What a destination said, without the numbers in it: the same for the same cause."""
    return _PARTICULAR.sub("N", words).strip()


def minimize(
    draft: Draft,
    judge: Judge,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] | None = None,
    connections: bool = False,
) -> Minimized:
    """The smallest stream found that ``judge`` takes; with ``connections`` these may go, too, which makes most
    destinations hang. Raises InputError when it does not take the one given."""
    if not judge(draft):
        raise InputError("the stream does not do that, so that it cannot be made smaller")
    search = _Search(draft, judge, stop, progress, connections)
    complete = search.run()
    return Minimized(search.best, search.tries, complete)


class _StoppedError(Exception):
    """Nothing more is tried."""


class _Search:
    def __init__(
        self,
        draft: Draft,
        judge: Judge,
        stop: Callable[[], bool],
        progress: Callable[[int, int], None] | None,
        connections: bool,
    ) -> None:
        self.best = draft
        self.tries = 0
        self._judge, self._stop, self._progress = judge, stop, progress
        self._connections_too = connections

    def run(self) -> bool:
        try:
            before = -1
            while before != (before := _size(self.best)):
                if self._connections_too:
                    self._connections()
                for number in range(-1, len(self.best.channels)):
                    self._line(number)
        except _StoppedError:
            return False
        return True

    def _try(self, draft: Draft) -> bool:
        if self._stop():
            raise _StoppedError
        self.tries += 1
        if self._progress is not None:
            self._progress(_size(self.best), self.tries)
        try:
            better = self._judge(draft)
        except EncodeError:
            return False
        if better:
            self.best = draft
        return better

    def _connections(self) -> None:
        for number in reversed(range(len(self.best.channels))):
            self._try(_with(self.best, [line for n, line in enumerate(self.best.channels) if n != number]))

    def _line(self, number: int) -> None:
        """ddmin on one channel, -1 for main: chunks of half, a quarter ... a record are left out."""
        size = max(1, len(_line(self.best, number)) // 2)
        while True:
            at = 0
            while at < len(line := _line(self.best, number)):
                if not self._try(_replaced(self.best, number, line[:at] + line[at + size :])):
                    at += size
            if size == 1:
                return
            size = max(1, size // 2)


def _size(draft: Draft) -> int:
    return len(draft.main) + sum(map(len, draft.channels))


def _line(draft: Draft, number: int) -> Line:
    return draft.main if number < 0 else draft.channels[number]


def _with(draft: Draft, channels: list[Line]) -> Draft:
    return Draft(draft.main, channels, draft.order)


def _replaced(draft: Draft, number: int, line: Line) -> Draft:
    if number < 0:
        return Draft(line, draft.channels, draft.order)
    return _with(draft, [line if n == number else other for n, other in enumerate(draft.channels)])


class ModelJudge:
    """The receiver model: the outcome is among those it reaches, for the same kinds of reasons as at first."""

    def __init__(self, outcome: str, options: LintOptions, *, any_cause: bool) -> None:
        self._outcome, self._options, self._any = outcome, options, any_cause
        self._kinds: frozenset[Kind] | None = None

    def __call__(self, draft: Draft) -> bool:
        report = self._report(draft)
        return self._is_so(report) and self.same_kinds(report)

    def same_cause(self, draft: Draft) -> bool:
        """Whether its reasons are those of the first stream asked for, whatever the outcome."""
        return self.same_kinds(self._report(draft))

    def same_kinds(self, report: Report) -> bool:
        kinds = frozenset(reason.kind for reason in report.reasons)
        if self._kinds is None:
            self._kinds = kinds
        return self._any or kinds == self._kinds

    def _report(self, draft: Draft) -> Report:
        (report,) = lint_recording(recording_of(draft), self._options)
        return report

    def _is_so(self, report: Report) -> bool:
        return any(str(one) == self._outcome for one in report.possible_outcomes)


class RealJudge:
    """A real destination, the same for all. What it says, whether its monitor answers, and the model's reasons tell the
    cause, unless any will do."""

    def __init__(
        self,
        pool: DestinationPool,
        options: DestinationOptions,
        expected: Expected,
        outcome: str,
        model: ModelJudge,
        *,
        any_cause: bool,
    ) -> None:
        self._pool, self._options, self._expected = pool, options, expected
        self._outcome, self._model, self._any = outcome, model, any_cause
        self.last: Observation | None = None
        self._cause: tuple[str, bool] | None = None

    def __call__(self, draft: Draft) -> bool:
        (migration,) = recording_of(draft).migrations
        if not migration.channels or not (self._any or self._model.same_cause(draft)):
            return False
        for _ in range(SURE):
            seen = self._pool.replay(feed_of_migration(migration), self._options, expected=self._expected)
            if seen.outcome != self._outcome or seen.timed_out:
                return False
            said = (cause(seen.words), seen.monitor_alive)
            if self._cause is None:
                self._cause = said
            if said != self._cause and not self._any:
                return False
            self.last = seen
        return True
