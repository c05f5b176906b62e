"""``multifd record`` and ``multifd send`` with real QEMUs: what is recorded is judged healthy and is taken again."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from analyzers.cli.app import multifd
from captures.qemu.destination import Destination
from captures.qemu.loop import run as on_loop
from multifd_codec.plan.page_content import Pattern
from tests.helpers.qemus import KNOWN_RAM, SAMPLES, TRUTH, installed, options, streams

PLAIN = SAMPLES / "q7.2-none-known-ram.pcap.zst"
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="tcpdump CANNOT RECORD: only root may capture here")


def command(*arguments: object) -> Result:
    result = CliRunner().invoke(multifd, [str(argument) for argument in arguments], prog_name="multifd")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def binary(release: str) -> str:
    return " ".join(installed(release).command)


def findings(path: Path) -> tuple[int, str]:
    result = command("lint", "--format", "json", path)
    return result.exit_code, json.loads(result.stdout)["reports"][0]["outcome"]


@NEEDS_ROOT
@pytest.mark.qemu("7.2", "10.0")
def test_a_recording_is_healthy_and_taken_again(tmp_path: Path) -> None:
    """From 7.2 to 10.0, guest RAM given, return path open; 8 KiB more than a number of MiB."""
    capture, ram = tmp_path / "out.pcap", tmp_path / "ram"
    size = (2 << 20) + 8192
    ram.write_bytes(Pattern(3, 0.3).pages("ram0", 0, size // 4096 - 1, 4096, 0).tobytes())
    result = command(
        "record", "-o", capture, "--source", binary("7.2"), "--destination", binary("10.0"), "--mode", "per-section",
        "--ram-size", size, "--ram-file", ram, "--channels", 3, "--compression", "zlib", "--bandwidth", "100M",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    facts = json.loads((tmp_path / "out.pcap.json").read_text())
    whole = ram.read_bytes().ljust(size, b"\0")
    digest = hashlib.sha256(whole).hexdigest()
    assert facts["ram_before"] == facts["source"]["ram_after"] == facts["destination"]["ram_after"] == digest
    assert facts["source"]["version"].startswith("7.2.") and facts["destination"]["version"].startswith("10.0.")
    assert facts["tcpdump"]["dropped"] == 0 and facts["completed"]
    assert findings(capture) == (0, "completes")
    ram.write_bytes(whole)
    assert command("send", capture, "--qemu", binary("10.0"), "--expect-ram", ram).stdout == "completes\n"
    ram.write_bytes(whole[:-4096] + b"\1" * 4096)
    result = command("send", capture, "--qemu", binary("7.2"), "--expect-ram", ram)
    assert result.exit_code == 1
    assert result.stdout == f"loses-data (guest RAM differs at {size - 4096:#x})\n"

    # Somebody else's destination answers on the return path.
    wanted = options(uuid=None, ram_size=size, channels=3, compression="zlib")
    assert to_listening(capture, "7.2", wanted).stdout == "completes: so said the destination on the return path\n"


def to_listening(path: Path, release: str, wanted: Any) -> Result:
    async def start() -> Destination:
        destination = await Destination(installed(release), wanted).__aenter__()
        await destination.listen()
        return destination

    destination = on_loop(start())
    try:
        return command("send", path, "--to", f"127.0.0.1:{destination.port}", "--limit", 2)
    finally:
        on_loop(destination.end())


@NEEDS_ROOT
@pytest.mark.qemu("10.0")
def test_a_running_guest_and_frames_cut_short(tmp_path: Path) -> None:
    capture = tmp_path / "out.pcap"
    result = command(
        "record", "-o", capture, "--qemu", binary("10.0"), "--machine", "pc", "--ram-size", "16M", "--running",
        "--seed", 1, "-s", 400, "--format", "json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["destination"]["ram_after"] == facts["source"]["ram_after"] != facts["ram_before"]
    assert findings(capture)[1] in ("completes", "undecided")
    result = command("send", capture, "--qemu", binary("10.0"))
    assert result.exit_code == 3 and "bytes are missing at offset" in result.stderr and result.stdout == ""


@pytest.mark.qemu("10.0")
def test_what_the_destination_did_is_the_exit_code(tmp_path: Path) -> None:
    qemu, measured, saved = binary("10.0"), TRUTH / "q10.0-measured", tmp_path / "ram"
    healthy = command("send", PLAIN, "--qemu", qemu, "--save-ram", saved, "--format", "json")
    assert healthy.exit_code == 0 and hashlib.sha256(saved.read_bytes()).hexdigest() == KNOWN_RAM
    facts = json.loads(healthy.stdout)
    assert facts["schema"] == "multifd-send/1" and facts["outcome"] == "completes"
    assert facts["destination"]["mode"] == "per-section" and facts["destination"]["uuid"] == str(options().uuid)
    assert all(entry["bytes"] == entry["taken"] for entry in facts["connections"])
    assert [entry["channel"] for entry in facts["connections"]] == ["main", 0, 1]

    frozen = command("send", measured / "data_version.pcap.zst", "--qemu", qemu)
    assert frozen.exit_code == 1 and frozen.stdout.startswith("hangs (monitor dead")
    refused = command("send", measured / "main_footer_id.pcap.zst", "--qemu", qemu)
    assert refused.exit_code == 1 and refused.stdout.startswith("fails (exit code 1): Mismatched section id")
    other = command("send", measured / "baseline.pcap.zst", "--qemu", qemu, "--channels", 3)
    assert other.exit_code == 1 and other.stdout == "hangs (monitor alive, status setup)\n"
    silent = to_listening(measured / "data_version.pcap.zst", "10.0", options())
    assert silent.exit_code == 1 and silent.stdout.startswith("unknown: the destination took all bytes, keeps")


@pytest.mark.qemu("7.2")
def test_what_cannot_be_done_is_said_in_one_line(tmp_path: Path) -> None:
    qemu = binary("7.2")
    (tmp_path / "main.bin").write_bytes(streams(PLAIN)[0])
    (tmp_path / "dies").write_text('#!/bin/sh\n[ "$1" = --version ] && echo QEMU emulator version 7.2.0 || exit 3\n')
    (tmp_path / "dies").chmod(0o755)
    (tmp_path / "full").symlink_to("/dev/full")
    (tmp_path / "mine").write_text("mine")
    before = sorted(tmp_path.iterdir())
    for words, arguments in {
        "give --to": ("send", PLAIN),
        "cannot be run": ("send", PLAIN, "--qemu", "/nonexistent/qemu"),
        "Connection refused": ("send", PLAIN, "--to", "127.0.0.1:1"),
        "give HOST:PORT": ("send", PLAIN, "--to", "localhost"),
        "runs already": ("send", PLAIN, "--to", "127.0.0.1:1", "--channels", 2),
        "is encrypted": ("send", SAMPLES / "q10.0-none-known-ram-tls.pcap", "--qemu", qemu),
        "unsupported machine type": ("send", SAMPLES / "q11.1-pc-zstd.pcap", "--qemu", qemu),
        "has no processor": ("record", "-o", tmp_path / "a", "--qemu", qemu, "--running"),
        "does not accept value 'lzma'": ("record", "-o", tmp_path / "a", "--qemu", qemu, "--compression", "lzma"),
        "is longer than guest RAM": ("record", "-o", tmp_path / "a", "--qemu", qemu, "--ram-size", "8K",
                                     "--ram-file", PLAIN),
        "0 bytes": ("send", PLAIN, "--qemu", qemu, "--ram-size", 0),
        "guest RAM of": ("send", PLAIN, "--qemu", qemu, "--ram-size", "999999999T"),
        "has no multifd channels": ("send", tmp_path / "main.bin", "--qemu", qemu),
        "leave that out": ("send", PLAIN, "--qemu", qemu, "--argument", "-daemonize"),
        "exit code 3": ("send", PLAIN, "--qemu", tmp_path / "dies"),
        "is no QEMU: y": ("send", PLAIN, "--qemu", "sh -c yes"),
        "nobody.invalid:1: ": ("send", PLAIN, "--to", "nobody.invalid:1"),
        "name of a host": ("send", PLAIN, "--to", "a..b:1"),
        "not a finite number": ("send", PLAIN, "--to", "127.0.0.1:1", "--limit", "nan"),
        "frames could be written": ("record", "-o", tmp_path / "full", "--qemu", qemu),
        "1<=x<=262144": ("record", "-o", tmp_path / "mine", "--qemu", qemu, "-s", 1 << 40),
        "also an input": ("record", "-o", PLAIN, "--qemu", qemu, "--ram-file", PLAIN),
    }.items():  # fmt: skip
        result = command(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        (line,) = result.stderr.splitlines()
        assert line.startswith("multifd: ") and words in line and "internal error" not in line, line
    assert sorted(tmp_path.iterdir()) == before and (tmp_path / "mine").read_text() == "mine"
