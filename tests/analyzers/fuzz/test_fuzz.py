"""Fuzzing without QEMU: the invariants hold, campaigns resume, disagreements are shrunk and kept."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from analyzers.cli.app import multifd
from analyzers.cli.campaigns import interruptible
from analyzers.fuzz import campaign as campaigns
from analyzers.fuzz.against import Trial
from analyzers.fuzz.campaign import Campaign, Disagreement, Task, save
from analyzers.fuzz.case import Case, Habitat, RuleBreak, make_case
from analyzers.fuzz.model import all_transitions, run_family
from analyzers.fuzz.shrink import shrink
from analyzers.fuzz.workers import Workers
from analyzers.linter.judged import LintOptions
from analyzers.linter.linter import lint_recording
from captures.recording import open_recording
from multifd_codec.channel.decoder import ChannelDecoder
from multifd_codec.dialect.destination import Destination
from multifd_codec.dialect.releases import RELEASES, Mode
from multifd_codec.draft.edits import Edit, EditKind
from multifd_codec.plan.file import plan_from_json
from multifd_codec.source import BufferSource

HABITATS = [
    Habitat(Destination(RELEASES[version].name, mode))
    for version in ((7, 2), (8, 1), (9, 0), (9, 2), (10, 0), (11, 1))
    for mode in Mode
    if mode is Mode.PER_SECTION or RELEASES[version].sender.per_round
]


@pytest.mark.parametrize("habitat", HABITATS, ids=lambda h: f"{h.destination.name}-{h.destination.mode}")
def test_everything_that_must_hold_holds(habitat: Habitat) -> None:
    seen = set[str]()
    for seed in range(12):
        tally = run_family(seed, habitat, variants=15)
        assert tally.problems == []
        assert tally.streams == 17
        seen |= set(tally.outcomes)
    assert {"completes", "hangs"} <= seen


def test_what_must_hold_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder, a solver or a linter that is wrong is found out."""
    habitat = Habitat()

    def found() -> set[str]:
        return {problem.invariant for seed in range(6) for problem in run_family(seed, habitat, 15).problems}

    with monkeypatch.context() as patch:
        patch.setattr("analyzers.fuzz.model.solve", lambda script: frozenset())
        assert {"schedule", "brute force", "model"} <= found()
    with monkeypatch.context() as patch:
        patch.setattr("analyzers.fuzz.model.memory", lambda plan: {})
        assert found() == {"memory"}
    with monkeypatch.context() as patch:
        patch.setattr("multifd_codec.channel.decoder.ChannelDecoder._device_state", lambda self, head: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            found()


def test_a_case_is_the_same_for_the_same_seed() -> None:
    habitat = Habitat(stock=True)
    for seed in range(20):
        one, other = make_case(seed, habitat), make_case(seed, habitat)
        assert one == other
        assert [one.stream().encoded(name) for name, _ in one.stream().lines()] == [
            other.stream().encoded(name) for name, _ in other.stream().lines()
        ]
    cases = [make_case(seed, habitat) for seed in range(60)]
    assert {case.healthy for case in cases} == {True, False}
    assert any(case.rule for case in cases) and any(case.edits for case in cases)
    assert {case.plan.machine for case in cases if case.plan.devices} == {"x-remote"}
    assert not any(make_case(seed, Habitat(devices=0)).plan.devices for seed in range(60))
    assert all(make_case(seed, Habitat(devices=1)).plan.devices for seed in range(60))


def test_a_campaign_resumes_and_gives_the_same_whatever_the_workers(tmp_path: Path) -> None:
    task = Task(Habitat(Destination("qemu-10.0")), variants=7)
    with ThreadPoolExecutor(3) as executor:
        Campaign(task, tmp_path / "a").run(executor, 3, streams=30)
        first = json.loads((tmp_path / "a" / "state.json").read_text())["totals"]
        again = Campaign(task, tmp_path / "a")
        assert again.totals.streams == first["streams"] >= 30
        again.run(executor, 3, streams=30)
        whole = Campaign(task, None)
        whole.run(executor, 1, streams=again.totals.streams)
    assert whole.totals == again.totals
    assert whole.totals.uncovered == sorted(all_transitions() - set(whole.totals.transitions))
    other = Task(Habitat(Destination("qemu-7.2", Mode.PER_SECTION)), variants=7)
    with pytest.raises(campaigns.InputError, match="other options"):
        Campaign(other, tmp_path / "a")
    (tmp_path / "a" / "state.json").write_text("{}")
    with pytest.raises(campaigns.InputError, match="no state"):
        Campaign(task, tmp_path / "a")


def drops_a_sync(case: Case) -> bool:
    """A condition that one edit decides: channel 0 has a SYNC less than the others or than it had."""
    made = case.stream()
    healthy = Case(case.seed, case.plan).stream()
    return sum(r.event.sync for r in made.rams(0) if r.event) < sum(r.event.sync for r in healthy.rams(0))


def test_a_disagreement_is_made_small() -> None:
    chance, habitat = random.Random(5), Habitat(edits=0, most_pages=64)
    plan = next(
        case.plan
        for case in (make_case(chance.randrange(1 << 30), habitat) for _ in range(1000))
        if len(case.plan.rounds) > 1 and case.plan.channels > 2 and case.plan.devices
    )
    position = next(i for i, r in enumerate(Case(0, plan).stream().channels[0]) if i and r.event.sync)
    case = Case(3, plan, (Edit(EditKind.REPEAT, 1, 2), Edit(EditKind.DROP, 0, position), Edit(EditKind.DROP, 2, -1)))
    assert drops_a_sync(case)
    smallest = shrink(case, drops_a_sync)
    assert drops_a_sync(smallest)
    assert len(smallest.edits) == 1
    assert smallest.plan.channels == len(smallest.plan.rounds) == 1
    assert not smallest.plan.devices and smallest.plan.blocks[0].size == 2 * smallest.plan.page_size


def test_a_disagreement_is_kept_whole(tmp_path: Path) -> None:
    case = make_case(0, Habitat())._replace(rule=RuleBreak("MFD301", "two-syncs-too-many", 1), edits=())
    path = save(Disagreement(case, "real destination", "words", ("hangs",), "fails"), tmp_path, Task(Habitat()))
    kept = json.loads(path.read_text())
    assert (kept["predicted"], kept["observed"], kept["seed"]) == (["hangs"], "fails", 0)
    assert kept["edits"] == ["MFD301: two-syncs-too-many"]
    assert plan_from_json(json.dumps(kept["plan"])) == case.plan
    with open_recording(path.with_suffix(".pcap")) as recording:
        (report,) = lint_recording(recording, LintOptions())
        assert "MFD301" in {finding.rule for finding in report.findings}
        sources = {channel.channel_id: channel.source for channel in recording.migrations[0].channels}
        for number, line in enumerate(case.stream().channels):
            assert bytes(sources[number].read(0, 1 << 30)) == b"".join(record.encoded() for record in line)


def test_a_verdict_that_does_not_show_again_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some outcomes are races that one run decides."""
    case = make_case(1, Habitat(stock=True))
    runs = [False, True]
    monkeypatch.setattr(
        campaigns, "trial", lambda case, habitat, qemu: Trial(case, ("fails",), "hangs", "", runs.pop(0))
    )
    result = campaigns.run_block(Task(Habitat(stock=True), qemu=object()), case.seed, 1)  # type: ignore[arg-type]
    assert result.disagreements == () and runs == []


def run(*arguments: object) -> Result:
    return CliRunner().invoke(multifd, [str(argument) for argument in arguments])


def test_command_line(tmp_path: Path) -> None:
    done = run("fuzz", "--streams", 60, "--jobs", 1, "-o", tmp_path / "campaign", "--format", "json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["streams"] >= 60 and said["disagreements"] == []
    taken, others = said["transitions"].keys(), said["transitions_not_taken"]
    assert len(taken) > 5 and taken == all_transitions() - set(others)
    for arguments, words in (
        (("--profile", "qemu-7.2", "--mode", "per-round"), "no per-round mode"),
        (("--against", "/nowhere/qemu"), "cannot be run"),
        (("--against", "true"), "is no QEMU"),
        (("-o", tmp_path / "missing" / "folder"), "no folder"),
        (("--profile", "rfc-v3"), "rfc-v3"),
        (("--profile", "qemu-3.1"), "not supported"),
    ):
        refused = run("fuzz", "--streams", 1, *arguments)
        assert refused.exit_code == 2 and words in refused.stderr and len(refused.stderr.splitlines()) == 1


DAMAGES: tuple[object, ...] = (
    [], None, {"streams": float("inf")}, {"streams": "7"}, {"outcomes": [1]}, {"outcomes": {"completes": "x"}},
    {"transitions": {"a": None}}, {"next_seed": 1.5},
)  # fmt: skip


def test_a_damaged_state_is_refused_and_kept(tmp_path: Path) -> None:
    assert run("fuzz", "--streams", 1, "--jobs", 1, "-o", tmp_path).exit_code == 0
    state = tmp_path / campaigns.STATE
    healthy = json.loads(state.read_text())
    texts = [
        json.dumps({**healthy, "totals": {**healthy["totals"], **d} if isinstance(d, dict) else d}) for d in DAMAGES
    ]
    for text in (*texts, "[" * 100_000, "", "{}"):
        state.write_text(text)
        refused = run("fuzz", "--streams", 1, "--jobs", 1, "-o", tmp_path)
        assert refused.exit_code == 2 and "is no state of a campaign" in refused.stderr, refused.output
        assert state.read_text() == text


HANGS = 600
"""Seconds after which nothing is waited for any more."""


def started(*arguments: object) -> tuple[subprocess.Popen[str], list[Path]]:
    """A campaign without end, and its two workers."""
    command = [sys.executable, "-m", "analyzers.cli", "fuzz", "--jobs", "2", *map(str, arguments)]
    campaign = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    children = Path(f"/proc/{campaign.pid}/task/{campaign.pid}/children")
    while len(numbers := children.read_text().split()) < 2:
        assert campaign.poll() is None
        time.sleep(0.01)
    return campaign, [Path("/proc", number) for number in numbers]


def test_workers_end_with_the_campaign(tmp_path: Path) -> None:
    campaign, workers = started("-o", tmp_path)
    refused = run("fuzz", "--streams", 1, "-o", tmp_path)
    assert refused.exit_code == 2 and "another campaign is running there" in refused.stderr
    campaign.kill()
    campaign.communicate(timeout=HANGS)  # until nobody holds the other ends any more
    campaign, workers = started()
    os.kill(int(workers[0].name), signal.SIGKILL)
    _, said = campaign.communicate(timeout=HANGS)
    assert campaign.returncode == 2 and said.count("\n") == 1 and "a worker process was ended" in said
    campaign, _ = started()
    campaign.terminate()
    assert "streams" in campaign.communicate(timeout=HANGS)[0] and campaign.returncode == 0


def test_workers_that_are_just_born_can_be_ended() -> None:
    """Their parent's handlers see nothing of it."""
    with interruptible() as stopped, Workers(2) as executor:
        executor.submit(int)
        workers = list(executor._processes.values())
        for number in (signal.SIGINT, signal.SIGTERM):
            for worker in workers:
                os.kill(worker.pid, number)
        for worker in workers:
            worker.join(HANGS)
        assert [worker.exitcode for worker in workers] == [-signal.SIGTERM] * 2 and stopped == []


def test_a_report_that_nobody_gets_is_no_success() -> None:
    command = [sys.executable, "-m", "analyzers.cli", "fuzz", "--jobs", "1", "--streams", "1"]
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *command], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "multifd: stdout is closed; use -o FILE or a pipe\n")


def test_corpus(tmp_path: Path) -> None:
    done = run("fuzz", "--corpus", tmp_path / "seeds", "--streams", 5)
    assert done.exit_code == 0
    mains = sorted((tmp_path / "seeds" / "main").iterdir())
    channels = sorted((tmp_path / "seeds" / "multifd").iterdir())
    assert len(mains) == 5 and len(channels) >= 5
    assert all(path.read_bytes().startswith(b"QEVM") for path in mains)
    for path in channels:
        *events, end = ChannelDecoder(BufferSource(path.read_bytes())).events()
        assert len(events) > 1 and end.missing == 0
