"""Campaigns on a Dask cluster of worker processes: the same as in processes of one's own, and a lost worker loses
nothing."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from distributed import Client, LocalCluster

from analyzers.cli.app import multifd
from tests.helpers.qemus import installed


@pytest.fixture(scope="module")
def scheduler() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", host="127.0.0.1"
    ) as cluster:
        yield cluster


def run(*words: object) -> Result:
    return CliRunner().invoke(multifd, [str(word) for word in words])


def totals(result: Result) -> dict[str, object]:
    assert result.exit_code == 0, result.output
    document: dict[str, object] = json.loads(result.stdout)
    return document


def test_the_model_is_tried_as_in_processes(scheduler: LocalCluster, tmp_path: Path) -> None:
    options = ("fuzz", "--streams", 300, "--format", "json")
    there = totals(run(*options, "--scheduler", scheduler.scheduler_address, "-o", tmp_path / "campaign"))
    here = totals(run(*options, "--jobs", 2))
    # How far ahead work is handed out depends on the workers; what a seed comes to does not.
    assert there["disagreements"] == here["disagreements"] == []
    assert there["streams"] >= 300 and set(there["outcomes"]) == set(here["outcomes"])  # type: ignore[operator, call-overload]
    again = totals(run(*options, "--scheduler", scheduler.scheduler_address, "-o", tmp_path / "campaign"))
    assert again["streams"] >= 600 and again["next_seed"] > there["next_seed"]  # type: ignore[operator]


@pytest.mark.qemu("10.0")
def test_a_lost_worker_loses_nothing(scheduler: LocalCluster) -> None:
    """Each check is there once, whoever is killed in the middle of it."""
    killed: list[int] = []

    def kill_one() -> None:
        time.sleep(1.0)
        with Client(scheduler.scheduler_address, set_as_default=False) as client:
            pids = client.run(_own_process)
        with suppress(ProcessLookupError):
            victim = min(pids.values())
            killed.append(victim)
            _kill(victim)

    killer = threading.Thread(target=kill_one)
    killer.start()
    qemu = " ".join(installed("10.0").command)
    options = ("conform", "--qemu", qemu, "--runs", 2, "--format", "json", "--scheduler", scheduler.scheduler_address)
    done = run(*options, "MFD301", "MFD309", "MFD501", "MFD503")
    killer.join()
    assert killed and done.exit_code == 0, done.output
    names = [check["name"] for check in json.loads(done.stdout)["checks"]]
    assert len(names) == len(set(names)) >= 8 and all(check["agrees"] for check in json.loads(done.stdout)["checks"])


def _own_process() -> int:
    import os

    return os.getpid()


def _kill(process: int) -> None:
    import os

    os.kill(process, signal.SIGKILL)


def test_without_a_scheduler() -> None:
    done = run("fuzz", "--streams", 1, "--scheduler", "tcp://127.0.0.1:1")
    assert done.exit_code == 2 and "no Dask scheduler answers there" in done.output and done.output.count("\n") == 1
