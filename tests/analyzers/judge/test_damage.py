"""Whatever a recording lacks: the verdict is the intact one's or holds ``undecided``, no error is new, and what is
said to have happened is what the intact one shows, or less."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from analyzers.findings import Kind, Outcome, Report, Severity
from analyzers.findings.recorded import Ended, Side
from analyzers.linter.linter import lint_recording
from captures.recording import open_recording
from multifd_codec.errors import InputError
from tests.conftest import SAMPLES
from tests.helpers.damage import (
    KINDS,
    THOUSAND,
    Between,
    Every,
    Late,
    Seen,
    Share,
    Snapped,
    Stray,
    Twice,
    Way,
    Without,
    frames_of,
    in_segments,
)
from tests.helpers.recorded_frames import write_frames

EXAMPLES = 200
"""At least; thousands in ``make test-long``."""
SMALL = 200 << 10
"""Bytes of a sample that is cut into small segments, too."""


@cache
def recordings() -> tuple[Path, ...]:
    return tuple(path for path in sorted(SAMPLES.rglob("*.pcap*")) if frames_of(path) is not None)


class Damage(NamedTuple):
    """What becomes of a recording. ``size``: of its segments, None: as recorded. ``length``: what is left of the file,
    in thousandths of its bytes."""

    path: Path
    size: int | None
    ways: Sequence[Way]
    length: int


permille = st.integers(0, THOUSAND)
connections = st.none() | st.integers(0, 4)
sides = st.none() | st.booleans()
ways = st.one_of(
    st.builds(Without, st.sampled_from(sorted(KINDS)), connections, sides, st.booleans()),
    st.builds(Between, permille, permille, st.booleans(), connections),
    st.builds(Between, st.just(0), permille, st.booleans(), connections),
    st.builds(Share, st.sampled_from((1, 10, 30, 100, 300, 500, 900)), permille),
    st.builds(Every, st.integers(2, 20), st.integers(0, 19), st.booleans()),
    st.builds(Snapped, st.integers(54, 1500), st.just(THOUSAND) | permille),
    st.builds(Late, permille, st.integers(1, 200)),
    st.builds(Twice, permille),
    st.builds(Stray, permille, permille, st.integers(0, (1 << 32) - 1), st.booleans()),
)
damages = st.deferred(
    lambda: st.builds(
        Damage,
        st.sampled_from(recordings()),
        st.sampled_from((None, None, 1448, 300)),
        st.lists(ways, min_size=1, max_size=2),
        st.just(THOUSAND) | st.just(THOUSAND) | permille,
    )
)


def frames(path: Path, size: int | None) -> list[Seen]:
    seen = frames_of(path) or ()
    return list(seen) if size is None or path.stat().st_size > SMALL else in_segments(seen, size)


def reports(seen: list[Seen], path: Path, length: int = THOUSAND) -> list[Report]:
    data = write_frames(path, (one.frame for one in seen)).read_bytes()
    kept = max(24, len(data) * length // THOUSAND)
    try:
        with open_recording(data[:kept], reader="native") as recording:
            return lint_recording(recording)
    except InputError:
        return []


def errors(found: list[Report]) -> set[str]:
    return {f.rule for report in found for f in report.findings if f.severity is Severity.ERROR}


class Intact(NamedTuple):
    """What the intact recording says."""

    outcomes: frozenset[Outcome]
    errors: frozenset[str]
    ended: frozenset[Ended]
    gave_up: frozenset[Side | None]


@cache
def intact(path: Path, size: int | None, scratch: Path) -> Intact:
    found = reports(frames(path, size), scratch)
    outcomes = frozenset(outcome for report in found for outcome in report.possible_outcomes)
    ended = frozenset(report.recorded.ended for report in found) | {Ended.UNKNOWN, Ended.RUNNING}
    gave_up = frozenset(report.recorded.gave_up_first for report in found) | {None}
    return Intact(outcomes, frozenset(errors(found)), ended, gave_up)


@settings(
    max_examples=max(EXAMPLES, 3 * settings.default.max_examples),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(damages)
@example(
    Damage(SAMPLES / "evidence" / "dst-multifd-src-not-q10.0.pcap.zst", None, [Between(134, 867, lost=True)], THOUSAND)
)
@example(
    Damage(
        SAMPLES / "truth" / "q7.2-measured" / "data_version.pcap.zst",
        1448,
        [Without("all but data")],
        36,
    )
)
@example(Damage(SAMPLES / "healthy" / "virtio-mem-10.0.pcap.zst", None, [Twice(0)], 938))
def test_damage_proves_nothing(tmp_path: Path, damage: Damage) -> None:
    scratch = tmp_path / "damaged.pcap"
    whole = intact(damage.path, damage.size, scratch)
    seen = frames(damage.path, damage.size)
    for way in damage.ways:
        seen = way(seen)
    found = reports(seen, scratch, damage.length)
    for report in found:
        if any(fact.kind is Kind.PAUSED for fact in report.recorded.evidence):
            assert report.possible_outcomes == (Outcome.UNDECIDED,)
            continue  # what it went on over may be lost without a trace: docs/reliability.md
        assert errors([report]) <= whole.errors
        assert Outcome.UNDECIDED in report.possible_outcomes or whole.outcomes == set(report.possible_outcomes)
        assert report.recorded.ended in whole.ended
        assert report.recorded.gave_up_first in whole.gave_up
