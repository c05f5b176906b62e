"""Seeds, a dictionary and harnesses for other fuzzers: AFL++ and atheris (libFuzzer for Python)."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

from analyzers.fuzz.case import Habitat, make_case
from captures.model import ChannelKind
from captures.write.replacing import added, naming
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


def write_corpus(folder: Path, habitat: Habitat, count: int, first_seed: int = 0) -> int:
    """How many files: one a channel, ``main`` and ``channel`` streams apart, since a fuzz target reads one of them. All
    are written or none. Raises OSError."""
    files = 0
    small = replace(habitat, most_pages=8, edits=0)
    with added(folder) as part:
        for kind in (ChannelKind.MAIN, ChannelKind.MULTIFD):
            (part / kind.value).mkdir()
        (part / DICTIONARY).write_text(dictionary())
        (part / AFL).write_text(_AFL)
        (part / AFL).chmod(0o755)
        (part / ATHERIS).write_text(_ATHERIS)
        for seed in range(first_seed, first_seed + count):
            made = make_case(seed, small).stream()
            for name, _ in made.lines():
                kind = ChannelKind.MAIN if name == "main" else ChannelKind.MULTIFD
                path = part / kind.value / f"seed-{seed}-{name}.bin"
                with naming(path):
                    path.write_bytes(made.encoded(name))
                files += 1
    return files


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
