"""``multifd generate``: options and plan files to streams that the rest of the command line reads."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from analyzers.produce.outline import Outline, outlined
from multifd_codec.errors import InputError
from multifd_codec.plan.file import plan_from_json
from multifd_codec.plan.plan import check, memory
from tests.analyzers.cli.test_cli import fails, run
from tests.conftest import SAMPLES

DEVICE = "0000:00:05.0/vfio"


def report(path: Path, *options: object) -> dict[str, object]:
    (found,) = json.loads(run("lint", "--format", "json", *options, path).stdout)["reports"]
    return dict(found)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_capture_and_a_folder_of_the_same_migration(tmp_path: Path) -> None:
    options = ["--channels", 3, "--ram", "1M", "--rounds", 2, "--zero", 0.25, "--device", f"{DEVICE}=100K/30K"]
    for target in (tmp_path / "out.pcap", tmp_path / "out"):
        result = run("generate", *options, "--seed", 7, "-o", target)
        assert (result.exit_code, result.stdout) == (0, "")
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"multifd: {target}: ") and line.endswith(" bytes on main and 3 channels")
    seen = [report(tmp_path / name) for name in ("out.pcap", "out")]
    for entry in seen:
        assert entry["outcome"] == "completes" and len(entry["channels"]) == 4  # type: ignore[arg-type]
    assert seen[0]["channels"] == seen[1]["channels"] and seen[0]["devices"] == seen[1]["devices"]


def test_deterministic_for_a_seed(tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        target = tmp_path / f"{name}.pcap"
        assert run("generate", "--ram", "512K", "--zero", 0.5, "--seed", seed, "-o", target).exit_code == 0
        digests.append(digest(target))
    assert digests[0] == digests[1] != digests[2]


def test_the_plan_of_a_recording(tmp_path: Path) -> None:
    """As another release would have sent it, and as a plan file it is the same."""
    recorded = SAMPLES / "q10.0-none-known-ram-two-devices.pcap.zst"
    out = tmp_path / "out.pcap"
    assert run("generate", "--from", recorded, "-o", out).exit_code == 0
    seen = report(out)
    assert seen["outcome"] == "completes" and len(seen["devices"]) == 2  # type: ignore[arg-type]
    (tmp_path / "plan.json").write_text(run("generate", "--from", recorded, "--print-plan").stdout)
    assert run("generate", "--plan", tmp_path / "plan.json", "-o", tmp_path / "again.pcap").exit_code == 0
    assert digest(tmp_path / "again.pcap") == digest(out)
    plain = SAMPLES / "q10.0-none-known-ram.pcap.zst"
    assert run("generate", "--from", plain, "--dialect", "qemu-9.2", "-o", out).exit_code == 0
    assert report(out)["profile"]["name"] == "qemu-9.2"  # type: ignore[index]
    fails(run("generate", "--from", plain, "--plan", tmp_path / "plan.json", "-o", out), "give one of them")
    fails(run("generate", "--from", plain, "--ram", "1M", "-o", out), "leave out")
    fails(run("generate", "--from", SAMPLES / "truth" / "truth.json", "-o", out), "No such file")


def test_a_printed_plan_is_the_same_migration(tmp_path: Path) -> None:
    options = ["--dialect", "qemu-7.2", "--ram", "ram0=256K", "--ram", "rom=64K", "--merge-sync", 0.5, "--return-path"]
    uuid = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
    printed = run("generate", *options, "--uuid", uuid, "--print-plan")
    assert printed.exit_code == 0 and plan_from_json(printed.stdout).uuid.hex == uuid.replace("-", "")
    plan = tmp_path / "plan.json"
    assert run("generate", *options, "--uuid", uuid, "--print-plan", "-o", plan).exit_code == 0
    assert plan.read_text() == printed.stdout
    one, two = tmp_path / "one.pcap", tmp_path / "two.pcap"
    assert run("generate", *options, "--uuid", uuid, "-o", one).exit_code == 0
    assert run("generate", "--plan", plan, "-o", two).exit_code == 0
    assert digest(one) == digest(two)
    assert run("generate", "--plan", plan, "--dialect", "qemu-8.2", "-o", two).exit_code == 0
    assert digest(one) != digest(two)
    fails(run("generate", "--plan", plan, "--print-plan", "-o", plan), "overwritten")
    assert plan.read_text() == printed.stdout


@pytest.mark.parametrize(
    ("policy", "mode", "outcome"),
    [
        ("ram-complete", "per-round", "hangs"),
        ("rfc-v3", "per-round", "completes"),
        ("threads-only", "per-section", "hangs"),
    ],
)
def test_policies(tmp_path: Path, policy: str, mode: str, outcome: str) -> None:
    target = tmp_path / "out.pcap"
    options = ["--policy", policy, "--mode", mode, "--ram", "64K", "--device", f"{DEVICE}=1K"]
    assert run("generate", *options, "-o", target).exit_code == 0
    assert report(target, "--profile", "qemu-10.0", "--mode", mode)["outcome"] == outcome


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "give -o OUT, or --print-plan"),
        (["--dialect", "qemu-3.0", "-o", "{out}"], "not supported"),
        (["--dialect", "qemu-7.2", "--mode", "per-round", "-o", "{out}"], "cannot send per round"),
        (["--ram", "5000", "-o", "{out}"], "not a number of pages"),
        (["--ram", "much", "-o", "{out}"], "is not a size"),
        (["--ram", "a=64K", "--ram", "a=64K", "-o", "{out}"], "twice in the plan"),
        (["--ram", f"{'x' * 256}=64K", "-o", "{out}"], "1 to 255 bytes"),
        (["--device", DEVICE, "-o", "{out}"], "IDSTR=SIZE"),
        (["--device", f"{DEVICE}=1K/0", "-o", "{out}"], "buffers hold"),
        (["--uuid", "none", "-o", "{out}"], "is not a uuid"),
        (["--compression", "zlib", "--device", f"{DEVICE}=1K", "-o", "{out}"], "compression none"),
        (["--plan", "{folder}/no.json", "-o", "{out}"], "No such file"),
        (["--plan", "{folder}/plan", "-o", "{out}"], "the plan is not JSON"),
        (["--plan", "{folder}/plan", "--ram", "1M", "-o", "{out}"], "leave out --ram"),
        (["-o", "{folder}/no/out.pcap"], "there is no folder"),
        (["-o", "{folder}/plan"], "is a file"),
        (["-o", "{folder}/full"], "is not empty"),
        (["-o", "{folder}/full", "--force"], "disk.bin.old would be taken for a channel"),
        (["--dirty", "nan", "-o", "{out}"], "not a finite number"),
        (["--ram", "10T", "--rounds", "2", "-o", "{out}"], "too many for a plan"),
        (["--ram", "1000T", "-o", "{out}"], "are free"),
        (["--device", f"{DEVICE}=1000T", "-o", "{out}"], "are free"),
        (["--device", f"{DEVICE}=9999T/1K", "-o", "{out}"], "more than 4294967295 buffers"),
        (["--plan", "{folder}/plan.pcap", "-o", "{folder}/plan.pcap"], "is also an input"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(tmp_path: Path, options: list[str], words: str) -> None:
    (tmp_path / "plan").write_text("{")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "main.bin").write_bytes(b"mine")
    (tmp_path / "full" / "disk.bin.old").write_bytes(b"mine")
    (tmp_path / "plan.pcap").write_text(run("generate", "--ram", "64K", "--print-plan").stdout)
    target = tmp_path / "out.pcap"
    fails(run("generate", *(option.format(out=target, folder=tmp_path) for option in options)), words)
    assert not target.exists() and {file.read_bytes() for file in (tmp_path / "full").iterdir()} == {b"mine"}


def test_a_folder_is_replaced_on_demand(tmp_path: Path) -> None:
    target = tmp_path / "out"
    for channels in (4, 2):
        options = ["--ram", "64K", "--channels", channels, "--force", "-o", target]
        assert run("generate", *options).exit_code == 0
    assert sorted(path.name for path in target.iterdir()) == ["channel-0.bin", "channel-1.bin", "main.bin"]
    assert report(target)["outcome"] == "completes"


@pytest.mark.parametrize("rounds", [1, 2, 5])
@pytest.mark.parametrize("dirty", [0.0, 0.1, 1.0])
def test_outlines(rounds: int, dirty: float) -> None:
    """All pages first, then so many rounds over so many pages, the last behind the stop of the guest."""
    size = 200 * 4096
    plan = outlined(Outline((("ram", size), ("rom", 4096)), rounds=rounds, dirty=dirty, zero=0.5, seed=3))
    check(plan)
    assert len(plan.rounds) + len(plan.final) == max(2, rounds + 1)
    assert [(pages.first, pages.count) for pages in plan.rounds[0].pages] == [(0, 200), (0, 1)]
    for one in (*plan.rounds[1:], *(plan.final if rounds > 1 else ())):
        count = sum(pages.count for pages in one.pages)
        assert count <= 201 * dirty and (count > 0) == (dirty > 0)
    held = memory(plan)
    empty = sum(not any(held["ram"][at : at + 4096]) for at in range(0, size, 4096))
    assert 70 < empty < 130


def test_an_outline_of_what_is_no_number_of_pages() -> None:
    with pytest.raises(InputError, match="not a number of pages of 65536 bytes"):
        outlined(Outline((("ram", 4096),), page_size=65536))
