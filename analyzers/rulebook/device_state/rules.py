"""Device state on multifd channels: MFD401 to MFD418."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from analyzers.findings import Severity
from analyzers.rulebook.conditions import MainProblem, MainRefusal, MainSeen
from analyzers.rulebook.device_state.packet_rules import LOADER, PACKET_RULES, STARVED, TAG, VFIO
from analyzers.rulebook.phrases import CHANNEL_ERROR, DEVICE_STATE, MAIN_ERROR
from analyzers.rulebook.rule import Rule
from multifd_codec.dialect.destination import Destination
from multifd_codec.dialect.words import since, which
from multifd_codec.main.problems import ProblemKind
from multifd_codec.wire.qemufile import CommandId
from multifd_codec.wire.vfio import VfioTagId

if TYPE_CHECKING:
    from analyzers.survey.vfio import VfioDevice

FAMILY = "device state"
READY_SINCE = since(lambda r: r.destination.config_load_ready)


def _config_twice(seen: MainSeen) -> Iterator[tuple[int, str]]:
    for device, tags in seen.main.vfio.items():
        config = tags.first(VfioTagId.DEV_CONFIG_STATE)
        if config is not None and (device in seen.transferred or seen.like.device_transfer):
            yield config, device.idstr


def _config_on_main(seen: MainSeen) -> Iterator[tuple[int, str]]:
    return _config_twice(seen) if seen.like.device_transfer else iter(())


def _ready_unknown(seen: MainSeen) -> Iterator[tuple[int, str]]:
    for device, tags in seen.main.vfio.items():
        if tags.ready is not None and not seen.destination.config_load_ready:
            yield tags.ready, device.idstr


def _ready_unwanted(seen: MainSeen) -> Iterator[tuple[int, str]]:
    for device, tags in seen.main.vfio.items():
        if tags.ready is not None and seen.destination.config_load_ready and seen.like.config_after_iter is False:
            yield tags.ready, device.idstr


def never_ready(like: Destination, device: VfioDevice | None) -> bool:
    """Whether a device's loader waits for a DEV_CONFIG_LOAD_READY that main does not carry."""
    waits = bool(like.config_after_iter) and like.habits.config_load_ready
    return waits and device is not None and device.ready is None


def _ready_again(seen: MainSeen) -> Iterator[tuple[int, str]]:
    for device, tags in seen.main.vfio.items():
        if tags.ready_again is not None and seen.destination.config_load_ready:
            yield tags.ready_again, device.idstr


def _acknowledged(seen: MainSeen) -> list[tuple[int, str]]:
    """Every DEV_INIT_DATA_SENT, in order."""
    return sorted((offset, device.idstr) for device, tags in seen.main.vfio.items() for offset in tags.acknowledged)


def _no_acks(seen: MainSeen) -> list[tuple[int, str]]:
    return _acknowledged(seen) if seen.like.switchover_ack is False else []


def _no_way_back(seen: MainSeen) -> list[tuple[int, str]]:
    opened = (c.offset for c in seen.main.commands if c.number == CommandId.OPEN_RETURN_PATH)
    first = min(opened, default=seen.main.source.size)
    return [(offset, name) for offset, name in _acknowledged(seen) if offset < first]


def _acks_too_many(seen: MainSeen) -> list[tuple[int, str]]:
    """Devices that acknowledge are counted when the load begins, and down with each acknowledgement."""
    devices = sum(bool(tags.acknowledged) for tags in seen.main.vfio.values())
    return _acknowledged(seen)[devices:] if seen.destination.switchover_acks_counted else []


RULES = (
    *PACKET_RULES,
    Rule(
        code="MFD409",
        title="No idx occurs twice for one device",
        severity=Severity.ERROR,
        why=(
            "Each idx is one slot, filled once, and stays marked as filled when its buffer has been consumed. A second"
            " packet with the same idx is a replayed or renumbered one."
        ),
        destination=CHANNEL_ERROR,
        reference=VFIO + "; error text: state buffer ... already filled",
        since=DEVICE_STATE,
        example="channel 0: I S D S V(0) V(1) V(1) V(2, config)",
    ),
    Rule(
        code="MFD410",
        title="Each device has exactly one CONFIG_STATE packet, with the highest idx",
        severity=Severity.ERROR,
        why=(
            "The config packet tells the loader where the buffers end: it loads everything below its idx, then the "
            "config itself. The end mark moves with every config packet, before the test for duplicates."
        ),
        destination=(
            "None: "
            + STARVED
            + " Buffers above it: never loaded; outcome: loses-data. Several: the loader ends at the one that came "
            "last when it gets there. One in front of that is written into the device as if it were state; outcome: "
            "loses-data. What comes later is ignored; outcome: completes. While a loader waits for "
            "DEV_CONFIG_LOAD_READY, another config trips an assertion, and so does one whose idx is loaded already; "
            "outcome: crashes."
        ),
        reference=VFIO + "; " + LOADER,
        since=DEVICE_STATE,
        example="channel 0: I S D S V(0) V(1, config) V(2)",
    ),
    Rule(
        code="MFD412",
        title="Main carries SWITCHOVER_START when there is device state on the channels",
        severity=Severity.ERROR,
        why=(
            "The command starts the loader threads. Without it packets are queued, nobody consumes them, and they are "
            "freed at cleanup without a message. Packets may arrive before the command."
        ),
        destination="The device is never loaded and completed is reported. Outcome: loses-data.",
        reference=(
            "loadvm_process_command, migration/savevm.c; vfio_multifd_switchover_start, hw/vfio/migration-multifd.c"
        ),
        since=f"{DEVICE_STATE} (machine types {DEVICE_STATE} send it by default)",
        example="main: START[B F E] END[F E]   channel 0: I S D S V(0) V(1, config)   channel 1: I S D S",
    ),
    Rule(
        code="MFD413",
        title="A device that uses multifd transfer has only END_OF_STATE in its END section and no config in FULL",
        severity=Severity.ERROR,
        why=(
            "With multifd transfer the sections on main are stubs: END is tag 01, FULL is tag 01 or 06 "
            "(DEV_CONFIG_LOAD_READY). Device data on main as well means two sources of the same state."
        ),
        destination=(
            "DEV_CONFIG_STATE (02) on main is refused. "
            + MAIN_ERROR
            + " DEV_DATA_STATE (04) is written to the device beside the buffers; outcome: loses-data, unless it is the "
            "first of the state and in time."
        ),
        reference="vfio_load_state, hw/vfio/migration.c",
        since=DEVICE_STATE,
        example="main: ... END(0000:00:05.0/vfio)[04 size data 01]   channel 0: I S D S V(0) V(1, config)",
        conditions=(
            MainProblem(ProblemKind.VFIO_TAG),
            MainRefusal(
                places=_config_twice, reason=lambda _, name: "DEV_CONFIG_STATE of a device in multifd transfer"
            ),
            MainRefusal(
                places=_config_on_main,
                reason=lambda _, name: "DEV_CONFIG_STATE, and the destination's multifd transfer is on",
                says=lambda _, name, release: f"{name}: its config on main; the destination's multifd transfer is on",
                field="tag",
                length=TAG.size,
            ),
        ),
    ),
    Rule(
        code="MFD414",
        title="DEV_CONFIG_LOAD_READY is on main exactly when x-migration-load-config-after-iter is on",
        severity=Severity.ERROR,
        why=(
            "With the property on (by default on Arm only) the loader waits, before it loads the config, for tag 06 in"
            " the FULL section of the device. Both sides decide on their own and must agree."
        ),
        destination=(
            "Tag 06 that is not expected, or twice: error. " + MAIN_ERROR + " Tag 06 expected and missing: " + STARVED
        ),
        reference="vfio_load_state, hw/vfio/migration.c; vfio_load_bufs_thread, hw/vfio/migration-multifd.c",
        since=which(lambda r: r.destination.config_load_ready),
        example="main: ... FULL(0000:00:05.0/vfio)[01]   destination with x-migration-load-config-after-iter=on",
        conditions=(
            MainRefusal(
                places=_ready_unknown,
                reason=lambda _, name: f"DEV_CONFIG_LOAD_READY, which is not known before {READY_SINCE}",
                says=lambda _, name, release: f"{name}: DEV_CONFIG_LOAD_READY, which {release} does not know",
                field="tag",
                length=TAG.size,
            ),
            MainRefusal(
                places=_ready_unwanted,
                reason=lambda _, name: "DEV_CONFIG_LOAD_READY, and x-migration-load-config-after-iter is off",
                says=lambda _, name, release: f"{name}: DEV_CONFIG_LOAD_READY, which the destination does not expect",
                field="tag",
                length=TAG.size,
            ),
            MainRefusal(
                places=_ready_again,
                reason=lambda _, name: "DEV_CONFIG_LOAD_READY twice",
                says=lambda _, name, release: f"{name}: DEV_CONFIG_LOAD_READY twice",
                field="tag",
                length=TAG.size,
            ),
        ),
    ),
    Rule(
        code="MFD418",
        title="DEV_INIT_DATA_SENT comes once a device, to a destination with switchover-ack and a return path",
        severity=Severity.ERROR,
        why=(
            "A precopy device says with tag 05 that its initial data is sent, and the destination acknowledges on the "
            "return path when all of them have. Both sides decide on their own whether that is done."
        ),
        destination=(
            "Without the capability switchover-ack, or without a return path: error. "
            + MAIN_ERROR
            + " A second one of a device: error up to "
            + which(lambda r: r.destination.switchover_acks_counted).rpartition(" ")[2]
            + ", ignored later."
        ),
        reference="vfio_load_state, hw/vfio/migration.c; qemu_loadvm_approve_switchover, migration/savevm.c",
        since="8.1 and later",
        example="main: START PART(0000:00:05.0/vfio)[04 size data 05]   destination with switchover-ack off",
        conditions=(
            MainRefusal(
                places=_no_acks,
                reason=lambda _, name: "DEV_INIT_DATA_SENT, and the destination's switchover-ack is off",
                says=lambda _, name, release: f"{name}: DEV_INIT_DATA_SENT; the destination's switchover-ack is off",
                field="tag",
                length=TAG.size,
            ),
            MainRefusal(
                places=_no_way_back,
                reason=lambda _, name: "DEV_INIT_DATA_SENT without a return path",
                says=lambda _, name, release: f"{name}: DEV_INIT_DATA_SENT in front of OPEN_RETURN_PATH",
                field="tag",
                length=TAG.size,
            ),
            MainRefusal(
                places=_acks_too_many,
                reason=lambda _, name: "DEV_INIT_DATA_SENT once more than devices need it",
                says=lambda _, name, release: f"{name}: DEV_INIT_DATA_SENT again, which {release} refuses",
                field="tag",
                length=TAG.size,
            ),
        ),
    ),
    Rule(
        code="MFD415",
        title="All device state is sent before the first FULL section",
        severity=Severity.INFO,
        why=(
            "The source joins its save threads before it writes the FULL sections. The order of arrival says nothing, "
            "since connections are independent; a large delay only shows where time was spent."
        ),
        destination="Order of arrival is free; main waits for the loaders behind the section loop. Outcome: completes.",
        reference="qemu_savevm_state_complete_precopy_iterable, migration/savevm.c",
        since=DEVICE_STATE,
        example="main: ... END[F E] FULL FULL EOF, recorded before the last V of channel 0",
    ),
)
