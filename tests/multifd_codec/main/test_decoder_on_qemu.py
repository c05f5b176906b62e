"""Main channels the installed QEMU writes now, with switches no recording has: QEMU is the judge of the grammar."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from multifd_codec.main import events as ev
from multifd_codec.main.decoder import MainDecoder
from multifd_codec.main.encode import encode_main
from multifd_codec.source import BufferSource, StreamEnd

QEMU = shutil.which("qemu-system-x86_64") or ""
UUID = "12345678-1234-1234-1234-123456789abc"
NO_CONFIGURATION = ["-global", "migration.send-configuration=off"]
NO_FOOTERS = ["-global", "migration.send-section-footer=off"]
PC = ["-machine", "pc", "-m", "16"]

PLAIN = "Configuration SectionFooter VmDescription "
SUPPRESSED = ["-machine", "pc,suppress-vmdesc=on", "-m", "16"]
NONE = ["-machine", "none", "-m", "4", "-uuid", UUID]

CASES: dict[str, tuple[list[str], list[str], str]] = {
    "pages on main": (PC, [], PLAIN + "Page ZeroPage"),
    "compressed pages": (PC, ["compress"], PLAIN + "Page ZeroPage CompressedPage"),
    "no configuration": ([*PC, *NO_CONFIGURATION], [], "SectionFooter VmDescription Page ZeroPage"),
    "no footers": ([*PC, *NO_FOOTERS], [], "Configuration VmDescription Page ZeroPage"),
    "neither": ([*PC, *NO_CONFIGURATION, *NO_FOOTERS], [], "VmDescription Page ZeroPage"),
    "no vmdescription": (SUPPRESSED, [], "Configuration SectionFooter Page ZeroPage"),
    "none of them": ([*SUPPRESSED, *NO_CONFIGURATION, *NO_FOOTERS], [], "Page ZeroPage"),
    "UUID": (NONE, ["validate-uuid"], PLAIN + "ZeroPage"),
    "guest addresses": (PC, ["x-ignore-shared"], PLAIN + "Page ZeroPage"),
    "mapped-ram": (PC, ["mapped-ram"], PLAIN),
}
"""Machine, capabilities, and which of ``TELLING`` there are in the stream."""
TELLING = frozenset(
    ["Configuration", "SectionFooter", "VmDescription", "Page", "ZeroPage", "CompressedPage", "XbzrlePage", "Skipped"]
)


def saved(folder: Path, machine: list[str], capabilities: list[str]) -> bytes:
    """The stream of a guest that never ran, as this QEMU saves it; skipped where it lacks a capability."""
    target = folder / "main.bin"
    uri = f"file:{target}" if "mapped-ram" in capabilities else f"exec:cat > {target}"
    switched = [f"migrate_set_capability {name} on" for name in capabilities]
    commands = "\n".join([*switched, f'migrate "{uri}"', "info migrate", "quit", ""])
    arguments = [QEMU, "-nodefaults", "-display", "none", "-S", "-accel", "tcg", "-monitor", "stdio", *machine]
    done = subprocess.run(arguments, input=commands, capture_output=True, text=True, timeout=120, check=False)
    said = done.stdout + done.stderr
    # 10.0.2 aborts when it writes a vmdescription without a configuration section.
    if refused := re.search(r"(invalid parameter|not found|does not accept|Assertion).*", said, re.IGNORECASE):
        pytest.skip(f"this QEMU cannot: {refused.group().strip()}")
    assert "completed" in said, said
    return target.read_bytes()


@pytest.mark.qemu
@pytest.mark.parametrize("case", CASES)
def test_streams_of_the_installed_qemu(case: str, tmp_path: Path) -> None:
    machine, capabilities, expected = CASES[case]
    data = saved(tmp_path, machine, capabilities)
    source = BufferSource(data)
    events = list(MainDecoder(source).events())
    assert events[-1] == ev.MainEnd(len(data), 0, ev.MainPosition.COMPLETE, 0, StreamEnd.CLOSED)
    assert not [problem for event in events for problem in event.problems]
    assert b"".join(encode_main(events, source.read)) == data
    found = {type(event).__name__ for event in events}
    assert found & TELLING == set(expected.split())
    how = {event.how for event in events if isinstance(event, ev.DeviceBody)}
    described = "VmDescription" in found
    searched = ev.BodyLength.FOOTER_SEARCH if "SectionFooter" in found else ev.BodyLength.SECTION_SEARCH
    assert how == {ev.BodyLength.VMDESCRIPTION if described else searched}
    if case == "UUID":
        (configuration,) = [event for event in events if isinstance(event, ev.Configuration)]
        (uuid,) = [part.uuid for part in configuration.subsections if isinstance(part, ev.ConfigurationUuid)]
        assert uuid.hex() == UUID.replace("-", "")
