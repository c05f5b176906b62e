"""What destination a recording asks for, without starting one."""

from __future__ import annotations

from dataclasses import fields
from typing import Any
from uuid import UUID

import pytest

from analyzers.produce.destination_for import Wishes, destination_for
from captures.memory import recording_of
from captures.qemu import DestinationOptions, Qemu, VfioDevice
from captures.recording import open_recording
from multifd_codec import sender
from multifd_codec.dialect.releases import Mode
from multifd_codec.errors import InputError
from multifd_codec.plan.plan import Block, MigrationPlan, Round
from tests.conftest import SAMPLES

QEMU = Qemu(("qemu-system-x86_64",), (10, 0), 0)
SOURCE = UUID("6f9619ff-8b86-d011-b42d-00c04fc964ff")
OTHER = UUID(int=5)
KNOWN = {"ram_block": "ram0", "uuid": SOURCE}
PC = {"ram_block": "pc.ram", "ram_size": 16 << 20, "uuid": SOURCE}
DEVICES = tuple(VfioDevice(slot=slot, offers_precopy=False) for slot in (5, 6))
ASKED_FOR: dict[str, dict[str, Any]] = {
    "q11.1-none.pcap": {"uuid": SOURCE},
    "q7.2-none.pcap": {"uuid": SOURCE, "mode": Mode.PER_SECTION},
    "q10.0-none-known-ram-zstd.pcap": KNOWN | {"channels": 3, "compression": "zstd"},
    "q10.0-pc-machine-8.0.pcap": PC | {"machine": "pc-i440fx-8.0", "mode": Mode.PER_SECTION},
    "q10.0-pc-two-devices.pcap.zst": PC
    | {
        "machine": "pc-i440fx-10.0",
        "channels": 3,
        "devices": DEVICES,
    }
    | {"arguments": ("-global", "migration.send-switchover-start=on")},
}


def asked_for(name: str, qemu: Qemu = QEMU, **wishes: Any) -> dict[str, Any]:
    """What differs from the defaults."""
    with open_recording(SAMPLES / name) as recording:
        options = destination_for(recording.migrations[0], qemu, Wishes(**wishes)).options
    default = DestinationOptions()
    values = {field.name: getattr(options, field.name) for field in fields(options)}
    return {key: value for key, value in values.items() if value != getattr(default, key)}


@pytest.mark.parametrize("name", ASKED_FOR)
def test_as_the_stream_says(name: str) -> None:
    assert asked_for(name) == ASKED_FOR[name]


def test_what_the_user_wishes_goes_first() -> None:
    wishes = {"channels": 3, "compression": "none", "uuid": OTHER, "machine": "pc", "ram_size": 1 << 20}
    found = asked_for("q10.0-pc-zlib.pcap", **wishes, mode=Mode.PER_SECTION, ram_block="pc.rom", arguments=("-S",))
    assert found == {
        "channels": 3, "uuid": OTHER, "machine": "pc", "ram_size": 1 << 20, "mode": Mode.PER_SECTION,
        "ram_block": "pc.rom", "arguments": ("-S",),
    }  # fmt: skip


def test_a_recording_that_cannot_be_read() -> None:
    with pytest.raises(InputError, match="cannot be read"):
        asked_for("q10.0-none-known-ram-tls.pcap")


def test_a_machine_that_is_more_than_one() -> None:
    """What stands behind a comma would be further options of QEMU's, dumpdtb=FILE among them."""
    made = sender.draft(MigrationPlan((Block("ram", 4096),), (Round(),), machine="virt,dumpdtb=/tmp/x"))
    (migration,) = recording_of(made).migrations
    with pytest.raises(InputError, match="there is no machine type 'virt,dumpdtb"):
        destination_for(migration, QEMU, Wishes())
    assert destination_for(migration, QEMU, Wishes(machine="virt")).options.machine == "virt"
