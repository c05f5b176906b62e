"""`python -m benchmarks`: makes its inputs, races, prints a table, ends in exit code 1 when a contract is missed."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from benchmarks.holes import bench_holes
from benchmarks.inputs import InputSpec, make_input, specs
from benchmarks.measure import ProgramFailedError, Run, peak_own_memory, race, run
from benchmarks.producing import MULTIFD, bench_extract, bench_fuzz, bench_generate
from benchmarks.table import Table
from captures.write.tcp_frames import MAX_SEGMENT

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "captures" / "samples"
SMALL_CAPTURE = SAMPLES / "q7.2-none.pcap"
OWN_MEMORY_LIMIT = 200 << 20
PARTS = ("lint", "decode", "generate", "extract", "fuzz", "holes")
PLAIN = [
    sys.executable,
    "-c",
    "import sys; sys.modules.update(numba=None, orjson=None); from analyzers.cli import run; run()",
]
"""`multifd` as it is without the extra `fast`."""
DECODED = 200_000
RECORDS_PER_SECOND = 100_000


@dataclass(frozen=True, slots=True)
class Contract:
    """One promise: lint on input ``name`` takes at most ``limit`` times what ``peer`` takes."""

    name: str
    peer: str
    limit: float
    slow: bool = False
    """The peer takes long on this input: --skip-slow-peers leaves it out."""


class Rate(NamedTuple):
    """What lint promises of an input, in ``unit`` per second: with the extra `fast`, and ``plain`` without it."""

    fast: float
    plain: float
    unit: str


RATES = {
    "segments-1448": Rate(5e9, 2e9, "bytes"),
    "zero-pages": Rate(600_000, 600_000, "packets"),
}
CONTRACTS = (
    Contract("segments-64k", "cat", 2.0),
    Contract("segments-64k", "dd", float("inf")),
    Contract("segments-64k", "tcpflow", 1 / 2.5, slow=True),
    Contract("segments-64k", "tshark follow", 1 / 8, slow=True),
    Contract("segments-1448", "cat", float("inf")),
    Contract("segments-1448", "dd", float("inf")),
    Contract("segments-1448", "tcpflow", 1.0, slow=True),
    Contract("segments-1448", "tshark follow", 1 / 10, slow=True),
    Contract("zero-pages", "cat", float("inf")),
    Contract("zero-pages", "dd", float("inf")),
    Contract("zero-pages", "tcpflow", float("inf"), slow=True),
    Contract("small", "tshark -r", 1.0),
)


def _tcpflow(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as output:
        run(["tcpflow", "-r", str(path), "-o", output])


PEERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "cat": ("cat", lambda path: run(["cat", str(path)])),
    "dd": ("dd", lambda path: run(["dd", f"if={path}", "of=/dev/null", "bs=1M"])),
    "tcpflow": ("tcpflow", _tcpflow),
    "tshark follow": ("tshark", lambda path: run(["tshark", "-r", str(path), "-q", "-z", "follow,tcp,raw,0"])),
    "tshark -r": ("tshark", lambda path: run(["tshark", "-r", str(path)])),
}
"""Name -> the program it needs, and how to run it over a capture."""


def _is_completes(path: Path) -> None:
    """The race counts only if lint understood the capture. Raises ProgramFailedError."""
    done = subprocess.run([MULTIFD, "lint", "--format", "json", str(path)], capture_output=True, check=False)
    outcomes = [report["outcome"] for report in json.loads(done.stdout)["reports"]] if done.stdout else []
    if done.returncode != 0 or outcomes != ["completes"]:
        raise ProgramFailedError(f"lint {path.name}: exit code {done.returncode}, outcomes {outcomes}")


def _promise(contract: Contract) -> str:
    if contract.limit == float("inf"):
        return "-"
    if contract.limit < 1:
        return f"{1 / contract.limit:g} times as fast"
    return "not slower" if contract.limit == 1 else f"at most {contract.limit:g} times the time"


def _race(table: Table, name: str, path: Path, *, skip_slow: bool) -> tuple[float, float]:
    """Lint against every peer that a contract names for this input. Returns lint's seconds, and those without the
    extra."""
    _is_completes(path)
    run(["cat", str(path)])  # warms the page cache
    contracts = [contract for contract in CONTRACTS if contract.name == name]
    missing = {c.peer: "not installed" for c in contracts if shutil.which(PEERS[c.peer][0]) is None}
    if skip_slow:
        missing |= {contract.peer: "left out" for contract in contracts if contract.slow}
    runs: dict[str, Run] = {
        "lint": lambda: run([MULTIFD, "lint", str(path)]),
        "plain": lambda: run([*PLAIN, "lint", str(path)]),
    }
    runs |= {c.peer: partial(PEERS[c.peer][1], path) for c in contracts if c.peer not in missing}
    slow = {contract.peer for contract in contracts if contract.slow}
    times = race({name: action for name, action in runs.items() if name not in slow})
    # Afterwards, apart and once: what tcpflow writes drives the capture out of the caches, and they take minutes.
    times |= race({name: action for name, action in runs.items() if name in slow}, rounds=1)
    ours = times["lint"]
    table.row(name, f"multifd lint {ours:.3f} s  ({path.stat().st_size / ours / 1e6:,.0f} MB/s)", "", "")
    for contract in contracts:
        if contract.peer in missing:
            table.skipped(name, f"{contract.peer}: {missing[contract.peer]}", _promise(contract))
        else:
            theirs = times[contract.peer]
            what = f"{contract.peer} {theirs:.3f} s: {theirs / ours:.2f} times ours"
            promised = contract.limit != float("inf")
            table.verdict(name, what, _promise(contract), kept=ours <= theirs * contract.limit if promised else None)
    return ours, times["plain"]


def _memory(table: Table, name: str, path: Path) -> None:
    own = peak_own_memory([MULTIFD, "lint", str(path)])
    table.verdict(name, f"memory of its own: {own >> 20} MiB", "under 200 MiB", kept=own < OWN_MEMORY_LIMIT)


def _bench(folder: Path, parts: Sequence[str], *, quick: bool, skip_slow: bool) -> bool:
    table = Table(judged=not quick)
    table.row("input", "measured (best of 3, warm cache)", "promised", "")
    if "lint" in parts:
        _bench_lint(table, folder, quick=quick, skip_slow=skip_slow)
    if "decode" in parts:
        _bench_decode(table, folder, quick=quick)
    if "generate" in parts:
        bench_generate(table, folder, quick=quick)
    if "extract" in parts:
        bench_extract(table, folder, quick=quick)
    if "fuzz" in parts:
        bench_fuzz(table, quick=quick)
    if "holes" in parts:
        bench_holes(table)
    return table.kept


def _bench_lint(table: Table, folder: Path, *, quick: bool, skip_slow: bool) -> None:
    for spec in specs(quick=quick):
        print(f"making {spec.name} ...", file=sys.stderr)
        path = make_input(spec, folder, SAMPLES)
        times = _race(table, spec.name, path, skip_slow=skip_slow)
        if spec.name in RATES:
            _rates(table, spec, path, *times)
        _memory(table, spec.name, path)
    _race(table, "small", SMALL_CAPTURE, skip_slow=skip_slow)


def _rates(table: Table, spec: InputSpec, path: Path, fast: float, plain: float) -> None:
    """``fast``, ``plain``: seconds with the extra and without it."""
    promised = RATES[spec.name]
    amount = spec.packets if promised.unit == "packets" else path.stat().st_size
    extra = all(find_spec(name) for name in ("numba", "orjson"))
    if not extra:
        table.skipped(spec.name, "the extra `fast` is not installed", f"{promised.fast:,.0f} {promised.unit}/s")
    for how, seconds, least in (("", fast, promised.fast), ("without `fast`: ", plain, promised.plain)):
        if extra or how:
            what = f"{how}{amount / seconds:,.0f} {promised.unit}/s"
            table.verdict(spec.name, what, f"{least:,.0f} {promised.unit}/s", kept=amount / seconds >= least)


def _bench_decode(table: Table, folder: Path, *, quick: bool) -> None:
    """All records of a zero-page storm as JSON lines, 2 KB each."""
    count = DECODED // (16 if quick else 1)
    path = make_input(InputSpec("decoded", count, True, MAX_SEGMENT), folder, SAMPLES)
    arguments = ["decode", "--format", "jsonl", str(path)]
    times = race({"": lambda: run([MULTIFD, *arguments]), "without `fast`: ": lambda: run([*PLAIN, *arguments])})
    for how, seconds in times.items():
        rate = count / seconds
        least = RECORDS_PER_SECOND
        table.verdict(
            "decode", f"{how}{rate:,.0f} records/s", "-" if how else f"{least:,} records/s",
            kept=None if how else rate >= least,
        )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a sixteenth of the size, nothing judged")
    parser.add_argument("--skip-slow-peers", action="store_true", help="leave out the peers that take long")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part; may be given again")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".bench", help="where the inputs are kept (default .bench)"
    )
    arguments = parser.parse_args()
    try:
        kept = _bench(
            arguments.folder, arguments.only or PARTS, quick=arguments.quick, skip_slow=arguments.skip_slow_peers
        )
    except ProgramFailedError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
