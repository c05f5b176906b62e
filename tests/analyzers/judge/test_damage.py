"""Whatever a recording lacks: the verdict holds ``undecided`` or all that the intact one holds, and no error is new."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzers.findings import Outcome, Report, Severity
from analyzers.linter.linter import lint_recording
from captures.recording import open_recording
from tests.conftest import SAMPLES
from tests.helpers.recorded_frames import ETHERNET, FILE_HEADER, RECORD, Frame, cut, write_frames

LARGEST = 3 << 20
"""Bytes of a recording that is damaged again and again."""
THOUSAND = 1000
GAVE_UP = frozenset({"MFD704", "MFD706", "MFD707"})
"""Which side gave up first is what was recorded first: where the intact recording says one of these, another may stand
in the damaged one."""


class Whole(NamedTuple):
    """A recording in frames, what carries them, and for each frame the port of the client and whether it comes from
    there."""

    frames: list[Frame]
    link: int
    sides: list[tuple[int, bool]]


def _unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    return zstandard.ZstdDecompressor().decompressobj().decompress(data) if path.suffix == ".zst" else data


@cache
def whole(path: Path) -> Whole | None:
    """None: no Ethernet capture of IPv4, or too large."""
    data = _unpacked(path)
    link = int.from_bytes(data[20:24], "little")
    if len(data) > LARGEST or data[:4] != b"\xd4\xc3\xb2\xa1" or link != 1:
        return None
    frames, position = [], FILE_HEADER
    while position < len(data):
        seconds, fraction, captured, original = RECORD.unpack_from(data, position)
        position += RECORD.size
        frames.append(Frame(seconds, fraction, original, data[position : position + captured]))
        position += captured
    first: dict[frozenset[int], int] = {}
    sides = []
    for frame in frames:
        tcp = frame.data[ETHERNET + (frame.data[ETHERNET] & 15) * 4 :]
        source, target = int.from_bytes(tcp[:2], "big"), int.from_bytes(tcp[2:4], "big")
        client = first.setdefault(frozenset((source, target)), source)
        sides.append((client, source == client))
    return Whole(frames, link, sides)


@cache
def recordings() -> tuple[Path, ...]:
    return tuple(path for path in sorted(SAMPLES.rglob("*.pcap*")) if whole(path) is not None)


class Damage(NamedTuple):
    """What is taken from a recording; places in thousandths, connections by number."""

    path: Path
    first: int = 0
    last: int = THOUSAND
    dropped: frozenset[int] = frozenset()
    burst: tuple[int, int] = (0, 0)
    connections: frozenset[int] = frozenset()
    direction: tuple[int | None, bool] | None = None
    """Of which connection (None: all), and whether it is what the client sent."""
    unheard: tuple[int, bool] | None = None
    """Data of one connection in one direction, its handshake and acknowledgements left."""
    snaplen: int | None = None
    snapped: int = THOUSAND
    """Of a thousand frames those that are cut."""


permille = st.integers(0, THOUSAND)
connection = st.integers(0, 4)
damages = st.deferred(
    lambda: st.builds(
        Damage,
        st.sampled_from(recordings()),
        first=st.one_of(st.just(0), st.just(0), permille),
        last=st.one_of(st.just(THOUSAND), st.just(THOUSAND), permille),
        dropped=st.one_of(st.just(frozenset()), st.frozensets(permille, max_size=5)),
        burst=st.one_of(st.just((0, 0)), st.tuples(permille, permille)),
        connections=st.one_of(st.just(frozenset()), st.just(frozenset()), st.frozensets(connection, max_size=2)),
        direction=st.one_of(st.none(), st.none(), st.tuples(st.none() | connection, st.booleans())),
        unheard=st.one_of(st.none(), st.none(), st.tuples(connection, st.booleans())),
        snaplen=st.one_of(st.none(), st.none(), st.integers(54, 1600)),
        snapped=st.one_of(st.just(THOUSAND), permille),
    )
)


def damaged(damage: Damage) -> list[Frame]:
    frames, _, sides = whole(damage.path) or Whole([], 1, [])
    numbers = {client: number for number, client in enumerate(dict.fromkeys(client for client, _ in sides))}
    dropped = {place * len(frames) // THOUSAND for place in damage.dropped}
    start, stop = sorted(place * len(frames) // THOUSAND for place in damage.burst)
    kept = []
    for place in range(len(frames) * damage.first // THOUSAND, len(frames) * damage.last // THOUSAND):
        frame, (client, from_client) = frames[place], sides[place]
        number = numbers[client]
        if place in dropped or start <= place < stop or number in damage.connections:
            continue
        if damage.direction in ((None, from_client), (number, from_client)):
            continue
        if damage.unheard == (number, from_client) and len(frame.data) > 80:
            continue
        snapped = damage.snaplen is not None and place * 7919 % THOUSAND < damage.snapped
        kept.append(cut(frame, damage.snaplen or 0) if snapped else frame)
    return kept


def reports(path: Path) -> list[Report]:
    with open_recording(path) as recording:
        return lint_recording(recording)


def errors(found: list[Report]) -> set[str]:
    return {f.rule for report in found for f in report.findings if f.severity is Severity.ERROR}


@cache
def intact(path: Path) -> tuple[frozenset[Outcome], frozenset[str]]:
    found = reports(path)
    outcomes = frozenset(outcome for report in found for outcome in report.possible_outcomes)
    known = frozenset(errors(found))
    return outcomes, known | GAVE_UP if known & GAVE_UP else known


@settings(max_examples=15 * settings.default.max_examples, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damages)
def test_damage_proves_nothing(tmp_path: Path, damage: Damage) -> None:
    outcomes, known = intact(damage.path)
    found = reports(write_frames(tmp_path / "damaged.pcap", damaged(damage)))
    assert errors(found) <= known
    for report in found:
        assert Outcome.UNDECIDED in report.possible_outcomes or outcomes <= set(report.possible_outcomes)
