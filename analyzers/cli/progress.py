"""A progress bar on stderr for work that takes longer than a moment."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from rich.status import Status

PATIENCE = 0.5
"""Seconds before a bar appears."""


class ProgressBar:
    """Call it like a ``captures.model.ProgressCallback``.

    Nothing is shown, nor rich imported, unless stderr is a terminal and the work takes longer than PATIENCE.
    """

    def __init__(self) -> None:
        self._visible = sys.stderr.isatty()
        self._start = time.monotonic()
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._what = ""

    def __enter__(self) -> Self:
        return self

    def __call__(self, what: str, done: int, total: int) -> None:
        if not self._visible or (self._progress is None and time.monotonic() - self._start < PATIENCE):
            return
        if self._progress is None:
            self._progress = _bar()
            self._progress.start()
        if what != self._what or self._task is None:
            from analyzers.report.texts import printable  # noqa: PLC0415 -- start-up time

            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task, self._what = self._progress.add_task(printable(what), total=total), what
        self._progress.update(self._task, completed=done, total=total)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()


class StatusLine:
    """A line on stderr that changes while work goes on without a known end; nothing unless stderr is a terminal."""

    def __init__(self) -> None:
        self._status: Status | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console  # noqa: PLC0415

            self._status = Console(stderr=True).status("starting")
            self._status.start()
        return self

    def __call__(self, text: str) -> None:
        if self._status is not None:
            from rich.text import Text  # noqa: PLC0415

            from analyzers.report.texts import printable  # noqa: PLC0415

            self._status.update(Text(printable(text)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()


def _bar() -> Progress:
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
