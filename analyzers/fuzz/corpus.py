"""Seeds, a dictionary and harnesses for other fuzzers: AFL++ and atheris (libFuzzer for Python)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from analyzers.fuzz.case import Habitat, make_case
from captures.model import ChannelKind
from multifd_codec.wire.handshake import MULTIFD_MAGIC, MULTIFD_VERSION
from multifd_codec.wire.packet import PacketFlags
from multifd_codec.wire.qemufile import QEMU_VM_FILE_MAGIC, CommandId, SectionType
from multifd_codec.wire.ram import RamFlags
from multifd_codec.wire.vfio import VfioTagId

DICTIONARY = "multifd.dict"
AFL, ATHERIS = "afl.sh", "atheris_multifd.py"

_AFL = """#!/bin/sh
# AFL++ on a QEMU's main channel: QEMU=build/qemu-system-x86_64 [FINDINGS=findings] afl.sh
# Build QEMU with CC=afl-clang-fast and --disable-werror; without that add -Q to AFL's options (qemu-user mode).
here=$(dirname "$0")
exec afl-fuzz -i "$here/main" -o "${FINDINGS:-findings}" -x "$here/multifd.dict" -m none -t 5000 $AFL_OPTIONS -- \\
    "${QEMU:?the QEMU to fuzz}" -machine none -m 4M -display none -nodefaults -monitor none \\
    -incoming 'exec:cat @@'
"""
_ATHERIS = '''"""atheris (libFuzzer) on this package's decoders.

    pip install atheris
    python atheris_multifd.py channel -dict=multifd.dict -max_total_time=600 multifd/
"""

import sys

import atheris

with atheris.instrument_imports():
    from multifd_codec.channel.decoder import ChannelDecoder
    from multifd_codec.main.decoder import MainDecoder
    from multifd_codec.source import BufferSource

WALKS = {"main": lambda source: MainDecoder(source).walk(), "channel": lambda source: ChannelDecoder(source).events()}
walk = WALKS[sys.argv.pop(1)]


def one_input(data: bytes) -> None:
    for _ in walk(BufferSource(data)):
        pass


atheris.Setup(sys.argv, one_input)
atheris.Fuzz()
'''


def write_corpus(folder: Path, habitat: Habitat, count: int, first_seed: int = 0) -> Iterator[Path]:
    """Everything, the files of the seeds named as they are written: one a channel, ``main`` and ``channel`` streams
    apart, since a fuzz target reads one of them. Raises OSError."""
    for kind in (ChannelKind.MAIN, ChannelKind.MULTIFD):
        (folder / kind.value).mkdir(parents=True, exist_ok=True)
    (folder / DICTIONARY).write_text(dictionary())
    (folder / AFL).write_text(_AFL)
    (folder / AFL).chmod(0o755)
    (folder / ATHERIS).write_text(_ATHERIS)
    small = replace(habitat, most_pages=8, edits=0)
    for seed in range(first_seed, first_seed + count):
        made = make_case(seed, small).stream()
        for name, _ in made.lines():
            kind = ChannelKind.MAIN if name == "main" else ChannelKind.MULTIFD
            path = folder / kind.value / f"seed-{seed}-{name}.bin"
            path.write_bytes(made.encoded(name))
            yield path


def dictionary() -> str:
    """Words of the wire, as AFL++ and libFuzzer read them: ``name="bytes"``."""
    words = {
        "multifd_magic": struct.pack(">I", MULTIFD_MAGIC),
        "multifd_version": struct.pack(">I", MULTIFD_VERSION),
        "file_magic": struct.pack(">I", QEMU_VM_FILE_MAGIC),
        **{f"packet_flag_{flag.name}": struct.pack(">I", flag) for flag in PacketFlags},
        **{f"section_{kind.name}": bytes([kind]) for kind in SectionType},
        **{f"ram_{flag.name}": struct.pack(">Q", flag) for flag in RamFlags},
        **{f"command_{command.name}": struct.pack(">BH", SectionType.COMMAND, command) for command in CommandId},
        **{f"vfio_{tag.name}": struct.pack(">Q", tag) for tag in VfioTagId},
        **{f"name_{name.decode()}": bytes([len(name)]) + name for name in (b"ram", b"timer", b"globalstate")},
    }
    lines = (f'{name.lower()}="{_escaped(value)}"' for name, value in words.items())
    return "\n".join(lines) + "\n"


def _escaped(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)
