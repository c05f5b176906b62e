"""What small hostile inputs may cost: each of these once took minutes or gigabytes, and must now end within a limit of
the operating system that is ten times what it takes."""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multifd_codec.draft import main_records as make
from multifd_codec.wire.handshake import MULTIFD_MAGIC
from tests.helpers import packets
from tests.helpers.packets import ACK, SYN, Conversation, Tcp, multifd

ADDRESS_SPACE, SECONDS = 800 << 20, 12
HEAD = b"".join(record.encoded() for record in (make.file_header(), make.configuration("none")))
FILE_START = HEAD[:8]


def lint(path: Path, *options: str) -> tuple[int, Any, str]:
    """Exit code, report and what is on stderr, within the limits."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))

    command = [sys.executable, "-m", "analyzers.cli", "lint", "--format", "json", *options, str(path)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limited, check=False, env=environment)
    reports = json.loads(done.stdout)["reports"] if done.stdout else []
    return done.returncode, reports, done.stderr


def main_and_channel(folder: Path, body: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "main.bin").write_bytes(HEAD + body + b"\0")
    (folder / "channel-0.bin").write_bytes(multifd(0))
    return folder


COMMANDS: dict[str, Callable[[int], bytes]] = {
    "repeated": lambda _: struct.pack(">BHH", 8, 7, 0),
    "empty packages": lambda _: struct.pack(">BHHI", 8, 5, 4, 0),
}


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_megabyte_of_commands(tmp_path: Path, kind: str) -> None:
    command = COMMANDS[kind]
    code, (report,), _ = lint(
        main_and_channel(tmp_path / "in", b"".join(map(command, range(900_000 // len(command(0))))))
    )
    assert code
    assert any(finding["rule"] == "MFD909" for finding in report["findings"]) or "fails" in report["possible_outcomes"]


def test_a_hundred_thousand_connections(tmp_path: Path) -> None:
    """All begin like a main channel; the migration among them carries most and is judged, but for what was left out."""
    talks = [
        Conversation(client_port=100 + i).whole(stream, 500) for i, stream in enumerate((packets.MAIN, multifd(0)))
    ]
    segments = [tcp for talk in talks for tcp in talk]
    first = len(packets.pcap([packets.frame(tcp) for tcp in segments]))
    tiny = packets.frame(Tcp("10.0.0.1", "192.0.2.9", 1, 4444, 1001, 1, ACK, FILE_START))
    whole = bytearray(packets.pcap([packets.frame(tcp) for tcp in segments] + [tiny]))
    record = bytes(whole[first:])
    source = record.index(bytes([10, 0, 0, 1]))
    many = bytearray(record * 100_000)
    for number in range(100_000):
        struct.pack_into(">I", many, number * len(record) + source, 0x0A000001 + number)
    path = tmp_path / "many.pcap"
    path.write_bytes(bytes(whole[:first]) + many)
    code, reports, _ = lint(path)
    assert code == 3
    assert len(reports) == 256
    assert all("undecided" in report["possible_outcomes"] for report in reports)
    assert any("connections may be channels" in finding["message"] for finding in reports[0]["findings"])


def test_one_port_pair_used_over_and_over(tmp_path: Path) -> None:
    segments = []
    for i in range(1500):
        segments.append(Tcp("10.0.0.1", "192.0.2.9", 40000, 4444, i * 100, 0, SYN))
        segments.append(Tcp("10.0.0.1", "192.0.2.9", 40000, 4444, i * 100 + 1, 1, ACK, FILE_START))
    path = tmp_path / "eras.pcap"
    path.write_bytes(packets.pcap([packets.frame(tcp) for tcp in segments]))
    assert lint(path)[0] == 3


def test_what_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pcap.zst"
    path.write_bytes(zstd_bomb())
    code, _, message = lint(path)
    assert code == 2
    assert "unpack" in message and message.count("\n") == 1


def zstd_bomb() -> bytes:
    """Half a GiB of zeros in some KB."""
    zstandard = pytest.importorskip("zstandard")
    packed = zstandard.ZstdCompressor().compressobj()
    piece = bytes(4 << 20)
    return b"".join([packed.compress(piece) for _ in range(128)] + [packed.flush()])


def test_a_sparse_channel_file(tmp_path: Path) -> None:
    """Only its data is read, wherever it is."""
    path = tmp_path / "channel.bin"
    mark = struct.pack(">II", MULTIFD_MAGIC, 1)
    with path.open("wb") as file:
        file.write(multifd(0))
        file.seek(300 << 20)
        file.write(mark)
        file.truncate(500 << 20)
    if path.stat().st_blocks * 512 > 50 << 20:
        pytest.skip("a file system without holes")
    assert lint(path)[0] in (1, 3)
