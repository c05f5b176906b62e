"""Device state on multifd channels: MFD401 to MFD417."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.findings import Severity
from analyzers.rulebook.conditions import MainProblem, MainRefusal, MainSeen
from analyzers.rulebook.device_state.packet_rules import LOADER, PACKET_RULES, STARVED, TAG, VFIO
from analyzers.rulebook.phrases import CHANNEL_ERROR, DEVICE_STATE, MAIN_ERROR
from analyzers.rulebook.rule import Rule
from multifd_codec.dialect.words import since, which
from multifd_codec.main.problems import ProblemKind
from multifd_codec.wire.vfio import VfioTagId

FAMILY = "device state"
READY_SINCE = since(lambda r: r.destination.config_load_ready)


def _config_twice(seen: MainSeen) -> Iterator[tuple[int, str]]:
    for device, tags in seen.main.vfio.items():
        config = tags.first(VfioTagId.DEV_CONFIG_STATE)
        if config is not None and device in seen.transferred:
            yield config, device.idstr


def _ready_unknown(seen: MainSeen) -> Iterator[tuple[int, str]]:
    for device, tags in seen.main.vfio.items():
        if tags.ready is not None and not seen.destination.config_load_ready:
            yield tags.ready, device.idstr


def _ready_again(seen: MainSeen) -> Iterator[tuple[int, str]]:
    for device, tags in seen.main.vfio.items():
        if tags.ready_again is not None and seen.destination.config_load_ready:
            yield tags.ready_again, device.idstr


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
            + " Buffers above it: never loaded; outcome: loses-data. Two: the end moves up, outcome: loses-data or "
            "hangs, or down below what was loaded, which trips an assertion; outcome: crashes."
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
            + " DEV_DATA_STATE (04) in END is written to the device beside the buffers; outcome: loses-data."
        ),
        reference="vfio_load_state, hw/vfio/migration.c",
        since=DEVICE_STATE,
        example="main: ... END(0000:00:05.0/vfio)[04 size data 01]   channel 0: I S D S V(0) V(1, config)",
        conditions=(
            MainProblem(ProblemKind.VFIO_TAG),
            MainRefusal(
                places=_config_twice, reason=lambda _, name: "DEV_CONFIG_STATE of a device in multifd transfer"
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
                places=_ready_again,
                reason=lambda _, name: "DEV_CONFIG_LOAD_READY twice",
                says=lambda _, name, release: f"{name}: DEV_CONFIG_LOAD_READY twice",
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
