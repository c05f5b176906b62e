"""The command line, as CI and people run it: exit codes, one-line errors, stable output, quick start."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import captures
from analyzers.cli.app import HELP_ORDER, multifd
from analyzers.report import FORMATS
from analyzers.rulebook.registry import RULES

SAMPLES = Path(captures.__file__).parent / "samples"
HEALTHY = SAMPLES / "q10.0-none-device-state.pcap"
LOST = SAMPLES / "q10.0-none-device-state-lost.pcap"
TLS = SAMPLES / "q10.0-none-known-ram-tls.pcap"
SMALL = SAMPLES / "q11.1-none.pcap"
MANIFEST: dict[str, list[dict[str, Any]]] = json.loads((SAMPLES / "manifest.json").read_text())


def run(*arguments: object) -> Result:
    """In this process, output captured: it is no terminal."""
    result = CliRunner().invoke(multifd, [str(argument) for argument in arguments], prog_name="multifd")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def fails(result: Result, *words: str) -> None:
    """Exit code 2, nothing on stdout, one line on stderr that says ``words``."""
    assert result.exit_code == 2 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("multifd: ") and all(word in line for word in words), line
    assert "internal error" not in line


def process(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "analyzers.cli", *map(str, arguments)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **(pipes | options))


def records(*arguments: object) -> list[dict[str, Any]]:
    result = run("decode", "--format", "jsonl", *arguments)
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


class TestLint:
    def test_a_healthy_migration(self) -> None:
        result = run("lint", HEALTHY)
        assert (result.exit_code, result.stderr) == (0, "")
        assert "outcome: completes; judged as qemu-10.0 per-round, 2 channels, page size 4096" in result.stdout
        (report,) = json.loads(run("lint", "--format", "json", HEALTHY).stdout)["reports"]
        counts = [{k: v for k, v in entry.items() if k != "channel"} for entry in MANIFEST[HEALTHY.name][1:]]
        assert [{k: v for k, v in entry.items() if k != "id"} for entry in report["channels"][1:]] == counts

    def test_a_migration_that_hangs(self) -> None:
        result = run("lint", LOST)
        assert result.exit_code == 1
        assert "outcome: hangs (monitor dead)" in result.stdout and "MFD408 error" in result.stdout
        assert "witness" not in result.stdout and "witness" in run("lint", "--witness", LOST).stdout

    def test_selection_concerns_findings_only(self) -> None:
        hidden = run("lint", "--ignore", "MFD4", LOST)
        assert "MFD4" not in hidden.stdout and "outcome: hangs" in hidden.stdout
        only = json.loads(run("lint", "--format", "json", "--select", "MFD408,MFD9", LOST).stdout)["reports"][0]
        assert {finding["rule"] for finding in only["findings"]} == {"MFD408"}

    def test_the_destination_can_be_given(self) -> None:
        (report,) = json.loads(
            run("lint", "--format", "json", "--profile", "qemu-10.0", "--mode", "per-section", SMALL).stdout
        )["reports"]
        assert (report["profile"]["name"], report["profile"]["mode"]) == ("qemu-10.0", "per-section")
        assert report["outcome"] == "hangs"
        (report,) = json.loads(run("lint", "--format", "json", "--channels", 3, SMALL).stdout)["reports"]
        assert report["profile"]["channels"] == 3 and report["outcome"] == "hangs" and report["monitor_alive"] is True

    def test_several_inputs_the_gravest_code_counts(self, tmp_path: Path) -> None:
        missing = tmp_path / "none.pcap"
        result = run("lint", "--format", "jsonl", LOST, missing, HEALTHY)
        outcomes = [json.loads(line)["outcome"] for line in result.stdout.splitlines()]
        assert outcomes == ["hangs", "completes"]
        assert result.exit_code == 2 and result.stderr.splitlines() == [
            f"multifd: {missing}: No such file or directory"
        ]
        assert run("lint", LOST, HEALTHY).exit_code == 1

    def test_tls_without_keys_is_incomplete_not_wrong(self) -> None:
        result = run("lint", "--reader", "native", TLS)
        assert result.exit_code == 3 and "MFD907" in result.stdout and "outcome: undecided" in result.stdout

    @pytest.mark.tshark
    @pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed: TLS decryption is NOT tested")
    def test_tls_with_keys(self) -> None:
        result = run("lint", "--keylog", TLS.with_suffix(".keys"), TLS)
        assert result.exit_code == 0 and "outcome: completes" in result.stdout, result.stdout

    @pytest.mark.parametrize("form", FORMATS)
    def test_every_format_is_stable_and_goes_to_a_file(self, form: str, tmp_path: Path) -> None:
        target = tmp_path / "report"
        result = run("lint", "--format", form, LOST)
        assert result.exit_code == 1 and result.stdout == run("lint", "--format", form, LOST).stdout
        to_file = run("lint", "--format", form, "-o", target, LOST)
        assert (to_file.exit_code, to_file.stdout, target.read_text()) == (1, "", result.stdout)
        if form == "junit":
            assert ElementTree.fromstring(result.stdout).tag == "testsuites"
        elif form != "text":
            assert json.loads(result.stdout)

    def test_an_input_is_never_overwritten(self, tmp_path: Path) -> None:
        copy = Path(shutil.copy(SMALL, tmp_path))
        before = copy.read_bytes()
        fails(run("lint", "-o", copy, copy), "overwritten")
        folder = tmp_path / "channels"
        folder.mkdir()
        shutil.copy(SMALL, folder / "main.bin")
        fails(run("lint", "-o", folder / "main.bin", folder), "part of the input")
        fails(run("lint", "-o", tmp_path, copy), "folder")
        fails(run("lint", "-o", tmp_path / "no" / "report", copy), "no folder")
        assert copy.read_bytes() == before


class TestDecode:
    @pytest.mark.parametrize("name", [HEALTHY.name, "q7.2-none.pcap", "q10.0-none-known-ram-zlib.pcap"])
    def test_counts_are_those_of_the_manifest(self, name: str) -> None:
        for entry in MANIFEST[name]:
            if entry["channel"] == "main":
                continue
            kinds = [record["kind"] for record in records("--channel", entry["channel"], SAMPLES / name)]
            assert kinds[0] == "init" and kinds[-1] == "end"
            found = tuple(kinds.count(kind) for kind in ("sync", "ram", "device-state"))
            assert found == (entry["sync"], entry["ram"], entry["device_state"])

    def test_main_channel(self) -> None:
        kinds = [record["kind"] for record in records("--channel", "main", HEALTHY)]
        assert kinds[0] == "file-header" and kinds.count("flush") == 3, kinds
        assert "vm-description" in kinds

    def test_filters(self) -> None:
        every = records(HEALTHY)
        assert {record["channel"] for record in every} == {"main", 0, 1}
        assert records("--kind", "sync,device-state", "--kind", "init", HEALTHY) == [
            record for record in every if record["kind"] in {"sync", "device-state", "init"}
        ]
        assert records("--limit", 5, HEALTHY) == every[:5]
        offsets = [record["offset"] for record in records("--channel", 0, "--range", "1408:0xac0", HEALTHY)]
        assert offsets == [1408]
        assert records("--channel", 0, "--range", "1407:1409", HEALTHY)[0]["offset"] == 64

    def test_hex_shows_every_byte_of_a_header_once(self) -> None:
        for record in records("--hex", "--kind", "init,ram,sync,device-state", HEALTHY):
            fields = record["fields"]
            position = record["offset"]
            for field in fields:
                assert field["offset"] == position
                position += len(bytes.fromhex(field["hex"]))
            payload = 12 if record["kind"] == "device-state" else 0
            assert position == record["offset"] + record["length"] + payload
        text = run("decode", "--hex", "--channel", 0, "--range", "0:64", HEALTHY).stdout
        assert "             0  magic                 11 22 33 44  " in text

    def test_table_and_json_lines_show_the_same_records(self) -> None:
        lines = run("decode", SMALL).stdout.splitlines()
        assert len(lines) == 1 + len(records(SMALL)) and lines[0].split()[:2] == ["channel", "offset"]

    def test_bad_filters(self) -> None:
        fails(run("decode", "--channel", 7, HEALTHY), "no channel 7", "main, 0, 1")
        fails(run("decode", "--channel", "x", HEALTHY), "--channel x")
        fails(run("decode", "--kind", "bogus", HEALTHY), "bogus", "sync")
        fails(run("decode", "--range", "9:3", HEALTHY), "9:3")
        fails(run("decode", "--range", "a", HEALTHY), "--range a")
        fails(run("decode", "--migration", 2, HEALTHY), "no migration 2")


def test_info_is_one_screen() -> None:
    result = run("info", HEALTHY)
    assert result.exit_code == 0 and len(result.stdout.splitlines()) <= 40
    for words in ("10.0", "0000:00:05.0/vfio", "UTC", "127.0.0.1", "145,112"):
        assert words in result.stdout
    assert "outcome" not in result.stdout


def test_rules_and_explain() -> None:
    listed = run("rules").stdout
    assert all(code in listed and rule.title in listed for code, rule in RULES.items())
    assert [rule["code"] for rule in json.loads(run("rules", "--format", "json").stdout)["rules"]] == list(RULES)
    text = run("explain", "mfd301").stdout
    assert "multifd_recv_sync_main" in text and RULES["MFD301"].title in text
    (document,) = json.loads(run("explain", "--format", "json", "MFD301").stdout)["rules"]
    assert document["why"] == RULES["MFD301"].why and document["family"] == "synchronisation"
    fails(run("explain", "MFD399"), "MFD399", "MFD315")


def test_help_needs_nothing_else() -> None:
    overview = run("--help").stdout
    assert "Examples:" in overview and "Exit codes:" in overview
    assert all(command in overview for command in HELP_ORDER)
    for command in HELP_ORDER:
        assert run(command, "--help").stdout.startswith(f"Usage: multifd {command} ")
    assert run().exit_code == 2
    assert run("--version").stdout.startswith("multifd ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lint"], ["INPUT"]),
        (["bogus"], ["bogus"]),
        (["lint", "--bogus", SMALL], ["--bogus"]),
        (["lint", "--profile", "qemu-99.0", SMALL], ["qemu-99.0"]),
        (["lint", "--profile", "nonsense", SMALL], ["nonsense"]),
        (["lint", "--mode", "both", SMALL], ["both"]),
        (["lint", "--channels", "256", SMALL], ["--channels"]),
        (["lint", "--page-size", "5000", SMALL], ["5000"]),
        (["lint", "--select", "MFD8", SMALL], ["MFD8"]),
        (["lint", "--format", "xml", SMALL], ["xml"]),
        (["lint", "--keylog", "no-such-file", TLS], ["no-such-file"]),
        (["lint", "/dev/null"], ["/dev/null", "character device"]),
        (["decode", "no-such-file"], ["no-such-file", "No such file"]),
        (["info", "a\0b"], ["null byte"]),
    ],
)
def test_bad_arguments_are_one_line(arguments: Sequence[object], words: list[str]) -> None:
    fails(run(*arguments), *words)


@pytest.mark.parametrize("command", ["lint", "decode", "info"])
def test_bad_inputs_are_one_line(command: str, tmp_path: Path) -> None:
    empty, text, folder = tmp_path / "empty", tmp_path / "text", tmp_path / "folder"
    empty.touch()
    text.write_text("not a capture\n" * 100)
    folder.mkdir()
    for path, word in ((Path("/dev/null"), "character device"), (empty, ""), (text, ""), (folder, "")):
        fails(run(command, path), str(path), word)


def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.pcap"
    path.write_bytes(SMALL.read_bytes())
    run("lint", path)  # everything is imported now: nobody may not be allowed to
    path.chmod(0)
    root = os.geteuid() == 0
    if root:  # which reads everything
        os.seteuid(65534)
    try:
        fails(run("lint", path), str(path), "Permission denied")
    finally:
        if root:
            os.seteuid(0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, 25000), noise=st.binary(min_size=1, max_size=40), command=st.sampled_from(HELP_ORDER[:3]))
def test_damaged_captures_end_in_an_exit_code(start: int, noise: bytes, command: str, tmp_path: Path) -> None:
    data = bytearray(SMALL.read_bytes())
    data[start : start + len(noise)] = noise
    path = tmp_path / "damaged.pcap"
    path.write_bytes(data)
    result = run(command, path)
    assert (
        result.exit_code in {0, 1, 2, 3} and "internal error" not in result.stderr and "Traceback" not in result.stderr
    )
    assert result.exit_code != 2 or len(result.stderr.splitlines()) == 1


def test_a_piped_lint_starts_light() -> None:
    """Start-up time is part of the contract: these are slow to import and not needed here."""
    code = (
        "import sys\n"
        "from analyzers.cli import main\n"
        f"code = main(['lint', {str(SMALL)!r}])\n"
        "heavy = {'rich', 'pyshark', 'asyncio', 'hypothesis', 'zstandard', 'importlib.metadata'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "") and "outcome: completes" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full: a full disk is NOT tested")
def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("w") as full, process("decode", HEALTHY, stdout=full) as child:
        assert child.stderr is not None
        assert child.stderr.read() == "multifd: stdout: No space left on device\n" and child.wait() == 2
    fails(run("generate", "--print-plan", "-o", "/dev/full"), "multifd: /dev/full: No space left on device")


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("lint SMALL 2>&-", 0, ""),
        ("rules >/dev/null 2>&- <&-", 0, ""),
        ("rules >&-", 2, "multifd: stdout is closed; use -o FILE or a pipe\n"),
        ("--help >&-", 2, "multifd: stdout is closed; use -o FILE or a pipe\n"),
        ("--version >&- 2>&-", 2, ""),
        ("generate --ram 8k -o OUT >&- 2>&- <&-", 0, ""),
        ("lint - <&-", 2, "multifd: -: empty\n"),
    ],
)
def test_what_the_shell_closed(command: str, code: int, said: str, tmp_path: Path) -> None:
    words = {"SMALL": str(SMALL), "OUT": str(tmp_path / "made.pcap")}
    line = " ".join(words.get(word, word) for word in command.split())
    shell = ["sh", "-c", f"{sys.executable} -m analyzers.cli {line}"]
    done = subprocess.run(shell, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, said)
    if "OUT" in words and "generate" in command:
        assert run("lint", words["OUT"]).exit_code == 0


def test_a_closed_pipe_is_quiet() -> None:
    with process("decode", HEALTHY, bufsize=0) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == "" and child.wait() == 141


@pytest.mark.parametrize("arguments", [["--help"], ["lint", "--help"], ["rules"]])
def test_nobody_reads(arguments: list[str]) -> None:
    nobody, end = os.pipe()
    os.close(nobody)
    with process(*arguments, stdout=end) as child:
        os.close(end)
        assert child.stderr is not None
        assert child.stderr.read() == "" and child.wait() == 141


def test_ctrl_c_is_quiet() -> None:
    # Nobody reads, so the child blocks in the middle of its output.
    def interruptible() -> None:  # even where the tests run in the background of a shell, which ignores it
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with process("decode", "--hex", SAMPLES / "q10.0-pc-zlib.pcap", preexec_fn=interruptible) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.read(1)
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 130 and child.stderr.read() == ""


# mutate


def test_mutate_writes_what_lint_then_finds(tmp_path: Path) -> None:
    capture, folder = tmp_path / "wrong.pcap", tmp_path / "wrong"
    for target in (capture, folder):
        made = run("mutate", HEALTHY, "--rule", "mfd417", "--way", "an-older-destination", "-o", target, "--check")
        assert (made.exit_code, made.stderr) == (0, "")
        assert made.stdout.endswith(f"is found by: multifd lint --profile qemu-9.2 {target}\n")
        assert f"{target}: an older destination on channel 0 at offset 9472; MFD417" in made.stdout
        found = json.loads(run("lint", "--profile", "qemu-9.2", "--format", "json", target).stdout)
        assert "MFD417" in {finding["rule"] for finding in found["reports"][0]["findings"]}
    assert sorted(file.name for file in folder.iterdir()) == [
        "channel-0.bin", "channel-1.bin", "main.bin", "return-path.bin",
    ]  # fmt: skip
    near = run("mutate", SMALL, "--rule", "MFD301", "--near", "-o", tmp_path / "near.pcap", "--check")
    assert near.exit_code == 0 and "near miss of MFD301" in near.stdout
    assert run("lint", tmp_path / "near.pcap").exit_code == 0


def test_mutate_is_deterministic(tmp_path: Path) -> None:
    made = [tmp_path / name for name in ("a.pcap", "b.pcap", "c.pcap")]
    for path, seed in zip(made, (5, 5, 7), strict=True):
        assert run("mutate", HEALTHY, "--rule", "MFD203", "--seed", seed, "-o", path).exit_code == 0
    first, second, other = (path.read_bytes() for path in made)
    assert first == second != other


def test_mutate_overwrites_only_when_told(tmp_path: Path) -> None:
    folder, capture = tmp_path / "folder", tmp_path / "there.pcap"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "channel-7.bin").write_bytes(b"stale")
    shutil.copy(SMALL, capture)
    arguments = ("mutate", SMALL, "--rule", "MFD301", "-o")
    assert "a name is needed" in run(*arguments, "").stderr
    fails(run(*arguments, folder), "not empty")
    fails(run(*arguments, tmp_path / "no" / "such"), "no folder")
    fails(run(*arguments, tmp_path / "folder" / "notes.txt"), "is a file")
    for target, force in ((capture, ()), (folder, ("--force",))):
        assert run(*arguments, target, *force).exit_code == 0
        assert run("lint", target).exit_code == 1
    assert (folder / "notes.txt").read_text() == "mine"
    assert sorted(file.name for file in folder.glob("channel*")) == ["channel-0.bin", "channel-1.bin"]
    fails(run("mutate", capture, "--rule", "MFD301", "-o", capture), "also an input")
    fails(run("mutate", folder, "--rule", "MFD301", "-o", folder, "--force"), "also an input")
    fails(run("mutate", folder / "main.bin", "--rule", "MFD505", "-o", folder, "--force"), "holds an input")
    assert not list(tmp_path.glob("*.part"))


def test_mutate_says_in_one_line_what_it_cannot(tmp_path: Path) -> None:
    out = tmp_path / "out.pcap"
    fails(run("mutate", SMALL, "--rule", "MFD408", "-o", out), "MFD408: this stream lacks device state")
    fails(run("mutate", SMALL, "--rule", "MFD999", "-o", out), "there is no rule")
    fails(run("mutate", SMALL, "--rule", "MFD910", "-o", out), "MFD910 has no mutation")
    fails(run("mutate", SMALL, "--rule", "MFD904", "-o", tmp_path / "folder"), "is about captures")
    fails(run("mutate", TLS, "--rule", "MFD301", "-o", out), "TLS session")
    fails(run("mutate", SMALL, "--rule", "MFD301"), "give INPUT")
    assert list(tmp_path.iterdir()) == []
    lossy = tmp_path / "lossy.pcap"
    assert run("mutate", SMALL, "--rule", "MFD901", "-o", lossy).exit_code == 0
    result = run("mutate", lossy, "--rule", "MFD301", "-o", out)
    assert result.exit_code == 3 and result.stdout == "" and "bytes are missing" in result.stderr
    assert not out.exists()


def test_mutate_lists() -> None:
    listed = run("mutate", "--list")
    assert listed.exit_code == 0
    assert {line.split()[0] for line in listed.stdout.splitlines() if line.startswith("MFD")} == RULES.keys()
    assert "the-last-flush-is-missing" in run("mutate", "--list", "--rule", "MFD307").stdout
