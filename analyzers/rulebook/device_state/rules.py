"""Device state on multifd channels: MFD401 to MFD417."""

from __future__ import annotations

from analyzers.findings import Severity
from analyzers.rulebook.conditions import MainProblem
from analyzers.rulebook.phrases import CHANNEL_ERROR, MAIN_ERROR
from analyzers.rulebook.rule import Rule
from multifd_codec.main.problems import ProblemKind

FAMILY = "device state"
CORE = "multifd_device_state_recv, migration/multifd.c; qemu_loadvm_load_state_buffer, migration/savevm.c"
VFIO = "vfio_multifd_load_state_buffer, hw/vfio/migration-multifd.c"
LOADER = "vfio_load_bufs_thread, hw/vfio/migration-multifd.c"

STARVED = (
    "The device's loader thread waits for ever, and main waits for the loader behind the section loop, monitor dead. "
    "Outcome: hangs."
)

RULES = (
    Rule(
        code="MFD401",
        title="A device-state packet has no SYNC flag",
        severity=Severity.ERROR,
        why=(
            "SYNC pairs with a record on main and concerns RAM; a device-state packet takes no part in it and has no "
            "packet number. Senders never combine the two."
        ),
        destination="The payload is loaded first, then the flag is refused. " + CHANNEL_ERROR,
        reference="multifd_recv_thread, migration/multifd.c; error text: received SYNC device state packet",
        since="10.0 and later",
        example="channel 0: I S D S V   with V.flags = 0x41",
    ),
    Rule(
        code="MFD402",
        title="A device-state packet has a payload",
        severity=Severity.ERROR,
        why=(
            "A packet without payload cannot even hold the header of the device's own format. The receiver refuses it "
            "before it looks for the device."
        ),
        destination=CHANNEL_ERROR,
        reference="multifd_recv_thread, migration/multifd.c; error text: received empty device state packet",
        since="10.0 and later",
        example="channel 0: I S D S V   with V.next_packet_size = 0",
    ),
    Rule(
        code="MFD403",
        title="The idstr of a device-state packet is NUL-terminated",
        severity=Severity.ERROR,
        why=(
            "idstr has 256 bytes including the terminator. The receiver tests the last byte before it uses the name. A"
            " name that fills the field is damage."
        ),
        destination=CHANNEL_ERROR,
        reference=CORE + "; error text: unterminated multifd device state idstr",
        since="10.0 and later",
        example="channel 0: I S D S V   with V.idstr = 256 times 'a'",
    ),
    Rule(
        code="MFD404",
        title="idstr and instance_id name a device that takes state buffers",
        severity=Severity.ERROR,
        why=(
            "The pair is looked up among the registered savevm handlers of the destination, which must offer "
            "load_state_buffer. Up to February 2026 only VFIO PCI devices do. The device also has a START section on "
            "main, which a linter can compare with."
        ),
        destination="Unknown device, or one without the operation: refused. " + CHANNEL_ERROR,
        reference=CORE + "; error texts: Unknown idstr; has no load state buffer operation",
        since="10.0 and later",
        example="main: START of 0000:00:05.0/vfio ...   channel 0: I S D S V(0000:00:09.0/vfio)",
    ),
    Rule(
        code="MFD405",
        title="Device state and multifd compression do not occur together",
        severity=Severity.WARNING,
        why=(
            "Device state over multifd is supported without compression only; with it VFIO falls back to the main "
            "channel, or refuses when told to use multifd. Compression bits on a device-state packet have no meaning."
        ),
        destination=(
            "Bits on the packet itself are ignored. A destination configured with compression refuses such packets of "
            "VFIO devices. Outcome: completes, or hangs or fails."
        ),
        reference=(
            "multifd_device_state_supported, migration/multifd-device-state.c; vfio_multifd_setup, "
            "hw/vfio/migration-multifd.c"
        ),
        since="10.0 and later",
        example="channel 0: I S D S V   with V.flags = 0x42",
    ),
    Rule(
        code="MFD406",
        title="A device-state payload is at most 1 MiB and its 12-byte header",
        severity=Severity.WARNING,
        why=(
            "Upstream senders cut device state into buffers of at most 1 MiB. The receiver allocates what the field "
            "says, up to 4 GiB, before a single byte has arrived; a failed allocation aborts."
        ),
        destination="Accepted if memory suffices. Outcome: completes, or crashes when the allocation fails.",
        reference=CORE + "; vfio_save_complete_precopy, hw/vfio/migration.c (sender)",
        since="10.0 and later",
        example="channel 0: I S D S V   with V.next_packet_size = 0xffffffff",
    ),
    Rule(
        code="MFD407",
        title="The payload starts with a VFIO header of 12 bytes, version 0",
        severity=Severity.ERROR,
        why=(
            "Version, idx and flags, 32 bits each and big-endian, precede the device's data. A shorter payload cannot "
            "be placed; a version other than 0 is a format no release reads. Series before the merge used host byte "
            "order."
        ),
        destination=CHANNEL_ERROR,
        reference=VFIO + "; error texts: packet too short; packet has unknown version (big-endian: cbb2e10526)",
        since="10.0 and later",
        example="channel 0: I S D S V   with payload 00 00 00 01 00 00 00 00 00 00 00 00",
    ),
    Rule(
        code="MFD408",
        title="The idx values of a device run from 0 without a gap, and none is 0xffffffff",
        severity=Severity.ERROR,
        why=(
            "The loader writes buffers into the device in the order of idx and waits for the next one. Packets may "
            "arrive in any order and on any channel, but all must arrive. A 10.0 source without return path can lose "
            "its last queued packet and still report completed."
        ),
        destination=(
            "A gap: " + STARVED + " 0xffffffff: refused on the channel; outcome: hangs or fails. A huge idx makes the "
            "destination allocate an array of that size; outcome: crashes."
        ),
        reference=VFIO + "; " + LOADER,
        since="10.0 and later",
        example="channel 0: I S D S V(0) V(1)   channel 1: I S S V(3, config)",
    ),
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
        since="10.0 and later",
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
        since="10.0 and later",
        example="channel 0: I S D S V(0) V(1, config) V(2)",
    ),
    Rule(
        code="MFD411",
        title="The config data starts with DEV_CONFIG_STATE and ends with END_OF_STATE",
        severity=Severity.ERROR,
        why=(
            "The config packet wraps what would be the config section on main: tag 0xffffffffef100002, the PCI config "
            "vmstate, tag 0xffffffffef100001. The loader thread parses it when all buffers are written."
        ),
        destination="The loader thread returns an error, which main finds when it joins the loaders. Outcome: fails.",
        reference=(
            "vfio_load_bufs_thread_load_config, hw/vfio/migration-multifd.c; vfio_load_device_config_state, "
            "hw/vfio/migration.c"
        ),
        since="10.0 and later",
        example="channel 0: I S D S V(0) V(1, config)   with config data 00 00 00 00 00 00 00 00 ...",
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
        since="10.0 and later (machine types 10.0 and later send it by default)",
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
        since="10.0 and later",
        example="main: ... END(0000:00:05.0/vfio)[04 size data 01]   channel 0: I S D S V(0) V(1, config)",
        conditions=(MainProblem(ProblemKind.VFIO_TAG),),
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
        since="10.1 and later",
        example="main: ... FULL(0000:00:05.0/vfio)[01]   destination with x-migration-load-config-after-iter=on",
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
        since="10.0 and later",
        example="main: ... END[F E] FULL FULL EOF, recorded before the last V of channel 0",
    ),
    Rule(
        code="MFD416",
        title="Only CONFIG_STATE is set in the flags of a VFIO device-state packet",
        severity=Severity.WARNING,
        why=(
            "Bit 0 is the only flag defined. Others are ignored today and may get a meaning an older destination "
            "misses."
        ),
        destination="Ignored. Outcome: completes.",
        reference=VFIO,
        since="10.0 and later",
        example="channel 0: I S D S V(0)   with VFIO flags = 0x00000002",
    ),
    Rule(
        code="MFD417",
        title="Device state on multifd channels goes with a machine type of 10.0 or later",
        severity=Severity.WARNING,
        why=(
            "Machine types up to 9.2 turn x-migration-multifd-transfer and send-switchover-start off, on both sides. "
            "Device state in such a stream means that properties were set by hand, and they must have been on the "
            "destination too."
        ),
        destination=(
            "A 10.0 destination with the properties off refuses the packets: "
            + CHANNEL_ERROR
            + " A destination before 10.0 takes them for RAM packets and loses framing."
        ),
        reference="hw_compat_9_2, hw/core/machine.c; vfio_multifd_setup, hw/vfio/migration-multifd.c",
        since="10.0 and later",
        example="configuration pc-i440fx-9.2   channel 0: I S D S V(0) V(1, config)",
    ),
)
