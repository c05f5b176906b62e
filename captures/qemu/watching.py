"""What a destination does with what it is given: asked, and watched from outside where it does not answer.

A QEMU that waits for ever for a semaphore in its main thread does not say so. It shows in this: it was given every
byte, none is on its way, its monitor has a question and does not answer, none of its threads has used any CPU time for
a while, and all of them sleep. A thread that is ready to run but gets no CPU is not asleep, so a busy machine makes
the verdict later, not wrong. What is left that could wake it are its own timers: none in an incoming migration is
longer than 10 ms (call_rcu_thread, util/rcu.c).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any, NamedTuple

from captures.qemu.destination import Destination
from captures.qemu.feeding import Feeder
from captures.qemu.observation import COMPLETES, CRASHES, FAILS, HANGS
from captures.qemu.process import Activity, GoneError
from multifd_codec.errors import InputError

FIRST_LOOK = 0.003
LONGEST_LOOK = 0.04
"""Seconds between two looks at it; they grow."""
GROWTH = 2.0
QUIET_LOOKS = 2
"""So many looks of the longest kind in a row without any activity make a hang."""
ANSWER_SECONDS = 0.02
REST_SECONDS = 0.005
"""After an answer, until its threads sleep again."""
STILL_SECONDS = 2.0
"""A thread that polls never rests: the channel peek every millisecond, or, with one to three bytes there, all the time.
Given all, silent, and not reading a byte for so long is a hang, too, ..."""
STILL_ASLEEP = 0.25
"""... if it was found asleep at so many of the looks: with work and no CPU it would be asleep at none, and one that
wakes every millisecond on a busy machine waits for its CPU at a third of them, ..."""
STILL_CPU = 1_000_000_000
"""... or has used so much CPU time in between (nanoseconds); a busy machine may withhold it."""
EXIT_SECONDS = 5.0


class Verdict(NamedTuple):
    """How it ended."""

    outcome: str
    status: str | None
    words: str
    monitor_alive: bool
    timed_out: bool = False


class _Question:
    """query-migrate, asked again once it is answered."""

    def __init__(self, destination: Destination, seconds: float) -> None:
        self.destination = destination
        self.seconds = seconds
        self.status: str | None = None
        self.error = ""
        self.gone = False
        self._asked: asyncio.Task[Any] | None = None

    @property
    def answered(self) -> bool:
        return self._asked is None and not self.gone

    def ask(self) -> bool:
        """False when the last question has no answer yet."""
        if self._asked is not None or self.gone:
            return False
        self._asked = asyncio.ensure_future(self.destination.execute("query-migrate", seconds=self.seconds))
        return True

    async def wait(self, seconds: float) -> None:
        """For an answer, if there was a question."""
        if self._asked is None:
            return
        await asyncio.wait({self._asked}, timeout=seconds)
        if not self._asked.done():
            return
        task, self._asked = self._asked, None
        try:
            answer = task.result()
        except (GoneError, InputError):
            self.gone = True
            return
        self.status = answer.get("status", self.status)
        self.error = answer.get("error-desc", self.error)

    async def close(self) -> None:
        if self._asked is not None:
            self._asked.cancel()
            with suppress(asyncio.CancelledError, GoneError, InputError):
                await self._asked


class _Stillness:
    """Whether a silent destination that is not at rest gets anywhere."""

    def __init__(self, feeder: Feeder) -> None:
        self._feeder = feeder
        self._since = time.monotonic()
        self._cpu = self._looks = self._asleep = 0
        self._unread: dict[int, int] | None = None

    def look(self, activity: Activity, *, still: bool) -> bool:
        """True when it will never get anywhere; ``still``: it is silent, and nothing was seen to move."""
        now = time.monotonic()
        if not still:
            self._since, self._cpu, self._looks, self._asleep, self._unread = now, activity.cpu, 0, 0, None
            return False
        self._looks += 1
        self._asleep += activity.asleep
        if self._unread is None and now - self._since > STILL_SECONDS / 2:
            self._unread = self._feeder.unread()
        if now - self._since < STILL_SECONDS or self._unread is None:
            return False
        if self._unread != self._feeder.unread():
            return self.look(activity, still=False)
        return self._asleep > STILL_ASLEEP * self._looks or activity.cpu - self._cpu > STILL_CPU


async def watch(destination: Destination, feeder: Feeder, limit: float) -> Verdict:
    """Until it has completed, ended, or will never do either; for ``limit`` seconds at most.

    Raises what went wrong on our side: InputError when no connection could be made.
    """
    question = _Question(destination, limit + EXIT_SECONDS)
    try:
        return await _watch(destination, feeder, question, limit)
    finally:
        await question.close()


async def _watch(destination: Destination, feeder: Feeder, question: _Question, limit: float) -> Verdict:
    begin = time.monotonic()
    look, quiet = FIRST_LOOK, 0
    stillness = _Stillness(feeder)
    while True:
        if quiet or look >= LONGEST_LOOK:
            await destination.wait(REST_SECONDS)
        before, place = destination.activity(), (feeder.taken, question.status, question.answered)
        settled = feeder.settled()
        if await destination.wait(look) is not None:
            return _ended(destination, question)
        after = destination.activity()
        settled = settled and feeder.settled()
        await question.wait(ANSWER_SECONDS if question.ask() else 0)
        if feeder.failure is not None and destination.exit_code is None and not feeder.opened:
            await destination.wait(ANSWER_SECONDS)
            if destination.exit_code is None:
                raise feeder.failure
        if question.status == "completed":
            return await _completed(destination, question)
        same = settled and place == (feeder.taken, question.status, question.answered)
        quiet = quiet + 1 if same and before == after and after.asleep and look >= LONGEST_LOOK else 0
        if stillness.look(after, still=same and not question.answered) or quiet >= QUIET_LOOKS:
            return _stays(destination, question)
        if time.monotonic() - begin > limit:
            return _stays(destination, question, timed_out=True)
        look = min(look * GROWTH, LONGEST_LOOK)


def _words(destination: Destination, question: _Question) -> str:
    said = destination.words()
    return said if question.error in said else "; ".join(text for text in (said, question.error) if text)


def _ended(destination: Destination, question: _Question) -> Verdict:
    code = destination.exit_code
    assert code is not None
    return Verdict(CRASHES if code < 0 else FAILS, question.status, _words(destination, question), False)


def _stays(destination: Destination, question: _Question, *, timed_out: bool = False) -> Verdict:
    outcome = FAILS if question.status == "failed" else HANGS
    return Verdict(outcome, question.status, _words(destination, question), question.answered, timed_out)


async def _completed(destination: Destination, question: _Question) -> Verdict:
    """It says so; it must also be able to clean up and end."""
    with suppress(GoneError, InputError):
        await destination.execute("quit", seconds=EXIT_SECONDS)
    code = await destination.wait(EXIT_SECONDS)
    outcome = HANGS if code is None else CRASHES if code < 0 else COMPLETES
    return Verdict(outcome, question.status, _words(destination, question), code is not None and code >= 0)
