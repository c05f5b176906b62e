"""Real destinations: recordings they complete, altered ones with the outcome once measured, and streams they do not
read. Real QEMU is the judge of what is observed here, its own migrations are what is fed."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, zip_longest
from pathlib import Path

import pytest

from captures.qemu import DestinationPool, Expected, Feed, Stream, binary, feed_in_order, parse_command, replay
from multifd_codec.dialect.releases import Mode
from multifd_codec.errors import InputError
from tests.helpers.qemus import KNOWN_RAM, RELEASES, SAMPLES, feed, installed, options, run_case, streams, truth_cases

PLAIN = SAMPLES / "q7.2-none-known-ram.pcap.zst"
"""A per-section stream, which every release takes."""
KNOWN = {
    "q7.2-none-known-ram.pcap.zst": {"mode": Mode.PER_SECTION},
    "q10.0-none-known-ram.pcap.zst": {},
    "q10.0-none-known-ram-zlib.pcap": {"compression": "zlib"},
    "q10.0-none-known-ram-zstd.pcap": {"compression": "zstd", "channels": 3},
}


@pytest.mark.parametrize("release", RELEASES)
def test_recordings_complete_with_the_ram_of_their_source(release: str) -> None:
    names = [name for name in KNOWN if release != "7.2" or name.startswith("q7.2")]
    for name in names:
        seen = replay(installed(release), feed(SAMPLES / name), options(**KNOWN[name]), keep_ram=True)
        assert (seen.outcome, seen.status, seen.words) == ("completes", "completed", ""), name
        assert seen.ram is not None and hashlib.sha256(seen.ram).hexdigest() == KNOWN_RAM, name
        assert seen.taken == tuple(map(len, streams(SAMPLES / name)))


@pytest.mark.parametrize("release", RELEASES)
def test_outcomes_are_those_once_measured(release: str) -> None:
    """Three runs at once, as in fuzzing. Where a race is known, any of its outcomes will do."""
    folder = f"q{release}-measured"
    cases = truth_cases(folder)
    with DestinationPool(installed(release), options()) as pool, ThreadPoolExecutor(3) as threads:
        first = pool.replay(feed(SAMPLES / "truth" / folder / "baseline.pcap.zst"), keep_ram=True)
        assert first.outcome == "completes"
        # Cases that complete with other content on purpose are not compared.
        rams = {name: first.ram if case["outcomes"] == ["loses-data"] else None for name, case in cases.items()}
        names = list(cases)
        runs = list(threads.map(lambda name: run_case(pool, folder, name, cases[name], rams[name]), names))
    seen = dict(zip(names, runs, strict=True))
    wrong = {
        name: seen[name].line()
        for name, case in cases.items()
        if seen[name].outcome not in case.get("possible", case["outcomes"]) or seen[name].timed_out
    }
    assert not wrong
    for name, case in cases.items():
        if case["observed"] == ["frozen (monitor dead)"]:
            assert not seen[name].monitor_alive, name
    assert seen["one_channel_missing"].monitor_alive
    refused = seen["init_id_twice"]
    assert "already setup" in refused.words
    assert (refused.monitor_alive, refused.status) == (True, None) if release == "7.2" else refused.exit_code == 1


def interleaved(parts: list[bytes], size: int) -> Iterator[tuple[int, bytes]]:
    pieces = [[(at, part[i : i + size]) for i in range(0, len(part), size)] for at, part in enumerate(parts)]
    return (piece for piece in chain.from_iterable(zip_longest(*pieces)) if piece is not None)


@pytest.mark.qemu("7.2")
def test_pieces_in_an_order_of_their_own() -> None:
    parts = streams(PLAIN)
    order = list(interleaved(parts, 5000))
    for pieces in (order, sorted(order, key=lambda piece: -piece[0])):
        seen = replay(installed("7.2"), feed_in_order(len(parts), pieces), options(), keep_ram=True)
        assert seen.outcome == "completes"
        assert seen.ram is not None and hashlib.sha256(seen.ram).hexdigest() == KNOWN_RAM


@pytest.mark.parametrize("release", RELEASES)
def test_a_destination_that_stops_reading(release: str) -> None:
    """Main ends in front of its first rendezvous record, so that channels stay parked at their first SYNC."""
    main, *others = streams(PLAIN)
    long = [other + bytes(32 << 20) for other in others]
    for whole in (
        Feed((Stream((main[:80],), closes=False), *(Stream((data,)) for data in long))),
        feed_in_order(3, [(0, main[:80]), *interleaved([b"", *long], 1 << 20)], closes=False),
    ):
        seen = replay(installed(release), whole, options(mode=Mode.PER_SECTION))
        assert seen.outcome == "hangs" and not seen.timed_out
        assert all(taken < len(data) for taken, data in zip(seen.taken[1:], long, strict=True))


@pytest.mark.parametrize("release", RELEASES)
def test_sets_of_connections(release: str) -> None:
    """Outcome, whether the monitor answers; 7.2 takes the first connection for main, 10.0 looks at it."""
    main, *others = [Stream((data,)) for data in streams(PLAIN)]
    fewer_bytes = Stream((streams(PLAIN)[2][:3],), closes=False)
    by_arrival = release == "7.2"
    for name, feed_in, expected in [
        ("channels in front of main", (*others, main), ("hangs", True) if by_arrival else ("completes", True)),
        ("more than there are channels", (main, *others, *others, *others), ("completes", True)),
        ("too few", (main, others[0]), ("hangs", True)),
        ("none", (), ("hangs", True)),
        ("three bytes, then silence", (main, others[0], fewer_bytes), ("hangs", False)),
        ("main cut", (Stream((streams(PLAIN)[0][:300],)), *others), ("fails", False)),
    ]:
        seen = replay(installed(release), Feed(feed_in), options(mode=Mode.PER_SECTION))
        assert (seen.outcome, seen.monitor_alive) == expected and not seen.timed_out, name


@pytest.mark.qemu("7.2")
def test_other_ram_than_expected_is_lost_data() -> None:
    qemu = installed("7.2")
    ram = replay(qemu, feed(PLAIN), options(), keep_ram=True).ram
    assert ram is not None
    assert replay(qemu, feed(PLAIN), options(), expected=Expected(ram)).outcome == "completes"
    changed = bytearray(ram)
    changed[0x5001] ^= 1
    seen = replay(qemu, feed(PLAIN), options(), expected=Expected(bytes(changed)))
    assert (seen.outcome, seen.status, seen.different_page) == ("loses-data", "completed", 0x5000)
    assert replay(qemu, feed(PLAIN), options(), expected=Expected(ram[:-4096])).different_page == len(ram) - 4096


@pytest.mark.qemu("7.2")
def test_what_cannot_be_started_is_said() -> None:
    with pytest.raises(InputError, match="lzma"):
        replay(installed("7.2"), feed(PLAIN), options(compression="lzma"))
    with pytest.raises(InputError, match=r"did not start: .*unsupported machine type"):
        replay(installed("7.2"), feed(PLAIN), options(machine="pdp-11"))
    with pytest.raises(InputError, match="is no QEMU"):
        parse_command("true")
    with pytest.raises(InputError, match="cannot be run: No such file"):
        parse_command("/nonexistent/qemu")


def test_what_does_not_answer_is_ended_with_its_children(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(binary, "_ASK_SECONDS", 0.5)
    with pytest.raises(InputError, match="does not say its version"):
        parse_command(f"sh -c 'sleep 60 & echo $! > {tmp_path}/child; wait'")
    state = Path("/proc", (tmp_path / "child").read_text().strip(), "stat")
    deadline = time.monotonic() + 10
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert time.monotonic() < deadline


SCRIPT = """
import sys, time
from captures.qemu import DestinationPool
from captures.qemu.process import _started
pool = DestinationPool(sys.argv[1], size=2)
pool.__enter__()
while len(_started) < 2:
    time.sleep(0.01)
print(*(process.pid for process in _started), flush=True)
time.sleep(60 if sys.argv[2] == "wait" else 0)
"""


@pytest.mark.qemu("7.2")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, None], ids=["killed", "interrupted", "at its end"])
def test_no_process_outlives_the_interpreter(how: signal.Signals | None) -> None:
    """Pools that are never left; SIGKILL leaves no chance to clean up."""
    command = [sys.executable, "-c", SCRIPT, installed("7.2").command[0], "end" if how is None else "wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as script:
        assert script.stdout is not None
        numbers = [int(word) for word in script.stdout.readline().split()]
        assert len(numbers) == 2
        if how is not None:
            os.kill(script.pid, how)
    deadline = time.monotonic() + 20
    while (alive := [number for number in numbers if running(number)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive


def running(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
