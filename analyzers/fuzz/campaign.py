"""Many seeds: in parallel, with a state that a later run resumes from, and every disagreement kept.

Work goes out in blocks of seeds through a ``concurrent.futures.Executor``, so that a process pool, a Dask client or any
other cluster's executor does it. Blocks and their results are plain values that can be pickled.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from analyzers.fuzz.against import Trial, trial
from analyzers.fuzz.case import Case, Habitat, make_case
from analyzers.fuzz.keep import Keeper, Kept, keep
from analyzers.fuzz.model import ALWAYS, VARIANTS, Tally, all_transitions, run_family
from analyzers.fuzz.shrink import shrink
from captures.qemu import Qemu
from captures.write.replacing import write_whole
from captures.write.sent import write_sent
from multifd_codec.errors import EncodeError, InputError
from multifd_codec.plan.file import plan_to_json

SCHEMA = "multifd-fuzz/1"
STATE = "state.json"
MODEL_BLOCK = 2
"""Families in one block of work."""
REAL_BLOCK = 4
"""Streams in one block against a real destination."""
AHEAD = 2
"""Blocks handed out for each worker."""
SHRINK_TRIES = 60
SURE = 2
"""Times a disagreement with a real destination must show to be kept: some outcomes are races that one run decides."""
MOST_STATE = 1 << 20
"""Bytes of a state."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a campaign does with each seed."""

    habitat: Habitat
    qemu: Qemu | None = None
    """Against this destination; None: the model alone."""
    variants: int = VARIANTS
    keep: frozenset[str] = frozenset()
    """Outcomes of a real destination whose streams are kept."""


class Disagreement(NamedTuple):
    """A case on which two verdicts differ, shrunk."""

    case: Case
    invariant: str
    message: str
    predicted: tuple[str, ...] = ()
    observed: str = ""


@dataclass(slots=True)
class Totals:
    """What a campaign has done so far."""

    next_seed: int = 0
    streams: int = 0
    undecided: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    transitions: Counter[str] = field(default_factory=Counter)
    disagreements: int = 0

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        counts = {"outcomes": dict(self.outcomes), "transitions": dict(self.transitions)}
        numbers = {"next_seed": self.next_seed, "streams": self.streams, "undecided": self.undecided}
        return {**numbers, **counts, "disagreements": self.disagreements}

    @classmethod
    def from_json(cls, value: Any) -> Totals:
        """What ``as_json`` made. Raises ValueError, KeyError, TypeError for anything else."""
        result = cls(**{name: value[name] for name in cls().as_json()})
        result.outcomes, result.transitions = Counter({**result.outcomes}), Counter({**result.transitions})
        numbers = (result.next_seed, result.streams, result.undecided, result.disagreements)
        if not all(type(n) is int for n in (*numbers, *result.outcomes.values(), *result.transitions.values())):
            raise ValueError("its totals are not all numbers")
        return result

    @property
    def uncovered(self) -> list[str]:
        """Transitions of the receiver's tables that no schedule has taken."""
        return sorted(all_transitions() - set(self.transitions))


class BlockResult(NamedTuple):
    """What one block of seeds has shown."""

    tally: Tally
    undecided: int
    disagreements: tuple[Disagreement, ...]
    kept: tuple[Kept, ...] = ()


def run_block(task: Task, first: int, count: int) -> BlockResult:
    """Seeds ``first`` to ``first + count``; runs in a worker. Raises InputError when QEMU cannot be run."""
    if task.qemu is None:
        return _model_block(task, first, count)
    return _real_block(task, task.qemu, first, count)


def _model_block(task: Task, first: int, count: int) -> BlockResult:
    tally = Tally()
    for seed in range(first, first + count):
        tally.add(run_family(seed, task.habitat, task.variants))
    found = tuple(Disagreement(p.case, p.invariant, p.message) for p in tally.problems)
    tally.problems = []
    return BlockResult(tally, 0, found)


def _real_block(task: Task, qemu: Qemu, first: int, count: int) -> BlockResult:
    tally, undecided, found, kept = Tally(), 0, [], []
    for seed in range(first, first + count):
        result = trial(make_case(seed, task.habitat), task.habitat, qemu)
        if result is None:
            continue
        tally.streams += 1
        tally.outcomes[result.observed] += 1
        undecided += result.undecided
        if not result.agrees and (small := _kept(result, task.habitat, qemu)) is not None:
            found.append(small)
        if result.observed in task.keep and (one := keep(result, task.habitat, qemu, stack=True)) is not None:
            kept.append(one)
    return BlockResult(tally, undecided, tuple(found), tuple(kept))


def _kept(result: Trial, habitat: Habitat, qemu: Qemu) -> Disagreement | None:
    """The disagreement, made small, if it shows again."""

    def differs(case: Case) -> Trial | None:
        again = trial(case, habitat, qemu)
        return again if again is not None and not again.agrees else None

    if any(differs(result.case) is None for _ in range(SURE - 1)):
        return None
    smallest = shrink(result.case, lambda case: differs(case) is not None, SHRINK_TRIES)
    last = differs(smallest) or result
    return Disagreement(last.case, "real destination", last.words, last.predicted, last.observed)


class Campaign:
    """A campaign with its folder. ``folder`` None: nothing is kept."""

    def __init__(self, task: Task, folder: Path | None, first_seed: int = 0) -> None:
        self.task = task
        self.folder = folder
        self.totals = Totals(first_seed)
        self.found: list[Disagreement] = []
        self.kept = 0
        """Streams that were kept for what they did."""
        self._keeper = Keeper(folder, task.qemu) if folder is not None and task.qemu is not None and task.keep else None
        if folder is not None:
            folder.mkdir(exist_ok=True)
            self._resume(folder / STATE)

    def run(
        self,
        executor: Executor,
        workers: int,
        *,
        streams: int | None = None,
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[Totals], None] = lambda totals: None,
    ) -> Totals:
        """Go on until ``streams`` more are done or ``stop`` says so; what has been handed out is finished.

        Raises InputError when QEMU cannot be run or another campaign runs in the folder, OSError from the folder.
        """
        with ExitStack() as held:
            if self.folder is not None:
                held.enter_context(_locked(self.folder))
            return self._run(executor, workers, streams, stop, progress)

    def _run(
        self,
        executor: Executor,
        workers: int,
        streams: int | None,
        stop: Callable[[], bool],
        progress: Callable[[Totals], None],
    ) -> Totals:
        size = MODEL_BLOCK if self.task.qemu is None else REAL_BLOCK
        wanted = None if streams is None else self.totals.streams + streams
        pending: dict[Future[BlockResult], int] = {}
        handed_out, done_behind = self.totals.next_seed, set[int]()
        planned = self.totals.streams
        each = size * (ALWAYS + self.task.variants if self.task.qemu is None else 1)
        try:
            while True:
                while len(pending) < AHEAD * workers and not stop() and (wanted is None or planned < wanted):
                    pending[executor.submit(run_block, self.task, handed_out, size)] = handed_out
                    handed_out += size
                    planned += each
                if not pending:
                    return self.totals
                done, _ = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    first = pending.pop(future)
                    self._take(future.result())
                    done_behind.add(first)
                    while self.totals.next_seed in done_behind:
                        done_behind.discard(self.totals.next_seed)
                        self.totals.next_seed += size
                self._save()
                progress(self.totals)
        finally:
            for future in pending:
                future.cancel()
            self._save()

    def _take(self, result: BlockResult) -> None:
        totals = self.totals
        totals.streams += result.tally.streams
        totals.undecided += result.undecided
        totals.outcomes += result.tally.outcomes
        totals.transitions += result.tally.transitions
        if self._keeper is not None:
            for kept in result.kept:
                self.kept += self._keeper.take(kept) is not None
        for one in result.disagreements:
            totals.disagreements += 1
            self.found.append(one)
            if self.folder is not None:
                save(one, self.folder, self.task)

    def _resume(self, path: Path) -> None:
        if not path.exists():
            self._save()
            return
        try:
            if not path.is_file() or path.stat().st_size > MOST_STATE:
                raise ValueError("no file of that size")
            state = json.loads(path.read_text())
            if state["schema"] != SCHEMA:
                raise ValueError(state["schema"])
            if state["task"] != _described(self.task):
                raise InputError(f"{path}: belongs to a campaign with other options; give another folder")
            self.totals = Totals.from_json(state["totals"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"{path}: is no state of a campaign ({error})") from None

    def _save(self) -> None:
        if self.folder is None:
            return
        state = {"schema": SCHEMA, "task": _described(self.task), "totals": self.totals.as_json()}
        write_whole(self.folder / STATE, json.dumps(state, indent=1))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Nobody else writes there meanwhile. Raises InputError when somebody does."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{folder}: another campaign is running there") from None
        yield
    finally:
        os.close(descriptor)


def _described(task: Task) -> dict[str, object]:
    destination = task.habitat.destination
    habitat = {**asdict(task.habitat), "destination": destination.profile, "mode": str(destination.mode)}
    return {"habitat": habitat, "qemu": None if task.qemu is None else task.qemu.name, "variants": task.variants}


def save(one: Disagreement, folder: Path, task: Task) -> Path:
    """Write a disagreement: its stream as a capture, both verdicts, plan, edits and seed as JSON."""
    name = f"seed-{one.case.seed}-{one.invariant.replace(' ', '-')}"
    said = one.case.said()
    try:
        made = one.case.stream()
        write_sent(folder / f"{name}.pcap", made.sent(), len(made.channels))
    except EncodeError as error:
        said.append(f"cannot be encoded: {error}")
    record = {
        "schema": SCHEMA,
        "invariant": one.invariant,
        "seed": one.case.seed,
        "task": _described(task),
        "predicted": list(one.predicted),
        "observed": one.observed,
        "message": one.message,
        "edits": said,
        "plan": json.loads(plan_to_json(one.case.plan)),
    }
    path = folder / f"{name}.json"
    write_whole(path, json.dumps(record, indent=1))
    return path
