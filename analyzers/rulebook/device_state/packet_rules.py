"""What one device-state packet shows: its header, and the VFIO header and config in its payload."""

from __future__ import annotations

from analyzers.findings import Severity
from analyzers.rulebook.conditions import DeviceStateCondition, DeviceStateSeen, Effect
from analyzers.rulebook.phrases import CHANNEL_ERROR
from analyzers.rulebook.rule import Rule
from multifd_codec.dialect.words import since
from multifd_codec.layout import compile_struct, layout
from multifd_codec.wire.packet import COMPRESSION_MASK, MULTIFD_PACKET_SIZE, PacketFlags
from multifd_codec.wire.vfio import CONFIG_STATE, INVALID_IDX, VFIODeviceStatePacket, VfioTag

SINCE = since(lambda r: r.destination.device_state)
HEADER = layout(VFIODeviceStatePacket)
TAG = compile_struct(VfioTag)
MAX_PAYLOAD = 2 * MULTIFD_PACKET_SIZE + HEADER.size
"""Largest payload upstream sends: 1 MiB of device data and the VFIO header."""
HUGE_INDEX = 1 << 28
"""An index makes a loader allocate about 24 bytes for each smaller one: from here on more than 6 GiB."""
CORE = "multifd_device_state_recv, migration/multifd.c; qemu_loadvm_load_state_buffer, migration/savevm.c"
VFIO = "vfio_multifd_load_state_buffer, hw/vfio/migration-multifd.c"
LOADER = "vfio_load_bufs_thread, hw/vfio/migration-multifd.c"

STARVED = (
    "The device's loader thread waits for ever, and main waits for the loader behind the section loop, monitor dead. "
    "Outcome: hangs."
)


def _unknown_device(seen: DeviceStateSeen) -> str:
    device = seen.buffer.device
    known = seen.main is not None and device in seen.main.sections
    what = "has no operation to load buffers" if known else "is not on the destination"
    return f"device {device.idstr!r} instance {device.instance_id} {what}"


# In the order in which a receiver checks a packet: SYNC when its payload has been handed on, the config in its loader.
PACKET_RULES = (
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
        conditions=(
            DeviceStateCondition(
                when=lambda s: not s.destination.device_state,
                refuses=lambda s: f"a device-state packet, which releases before {SINCE} read as a RAM packet",
            ),
            DeviceStateCondition(
                when=lambda s: s.like.device_transfer is False,
                refuses=lambda s: "device state, and the device is not doing multifd transfer",
                missed=True,
            ),
        ),
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
        conditions=(
            DeviceStateCondition(
                when=lambda s: not s.packet.next_packet_size,
                field="next_packet_size",
                says=lambda s: "next_packet_size is 0",
                refuses=lambda s: "an empty device-state packet",
            ),
        ),
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
        conditions=(
            DeviceStateCondition(
                when=lambda s: not s.buffer.terminated,
                field="idstr",
                says=lambda s: "the device's name has no NUL in its 256 bytes",
                refuses=lambda s: "the device's name is not terminated",
            ),
        ),
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
        conditions=(
            DeviceStateCondition(
                when=lambda s: s.main is not None and s.main.eof is not None and s.buffer.device not in s.main.vfio,
                refuses=_unknown_device,
            ),
        ),
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
        conditions=(
            DeviceStateCondition(
                when=lambda s: s.packet.flags & COMPRESSION_MASK,
                field="flags",
                says=lambda s: f"compression bits {s.packet.flags & COMPRESSION_MASK:#x}",
            ),
            DeviceStateCondition(
                when=lambda s: s.compression,
                refuses=lambda s: "device state, which a destination configured with compression refuses",
                missed=True,
            ),
        ),
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
        conditions=(
            DeviceStateCondition(
                when=lambda s: s.packet.next_packet_size > MAX_PAYLOAD,
                field="next_packet_size",
                says=lambda s: f"next_packet_size {s.packet.next_packet_size}, upstream sends at most {MAX_PAYLOAD}",
            ),
        ),
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
        conditions=(
            DeviceStateCondition(
                when=lambda s: 0 < s.packet.next_packet_size < HEADER.size,
                field="payload",
                in_payload=True,
                says=lambda s: f"payload of {s.packet.next_packet_size} bytes, the VFIO header alone has {HEADER.size}",
                refuses=lambda s: (
                    f"a payload of {s.packet.next_packet_size} bytes, the VFIO header alone has {HEADER.size}"
                ),
            ),
            DeviceStateCondition(
                when=lambda s: s.buffer.version,
                field="version",
                in_payload=True,
                says=lambda s: f"VFIO header version {s.buffer.version}, expected 0",
                refuses=lambda s: f"VFIO header version {s.buffer.version}",
            ),
        ),
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
        conditions=(
            DeviceStateCondition(
                when=lambda s: s.buffer.index == INVALID_IDX,
                field="idx",
                in_payload=True,
                says=lambda s: f"idx {INVALID_IDX:#x} is invalid",
                refuses=lambda s: f"index {INVALID_IDX:#x}",
            ),
            DeviceStateCondition(
                when=lambda s: s.buffer.index is not None and HUGE_INDEX <= s.buffer.index < INVALID_IDX,
                field="idx",
                in_payload=True,
                says=lambda s: f"idx {s.buffer.index} makes the destination allocate memory for all smaller ones",
                refuses=lambda s: f"index {s.buffer.index}: memory for all smaller ones is allocated",
                effect=Effect.CRASH,
            ),
        ),
    ),
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
        conditions=(
            DeviceStateCondition(
                when=lambda s: s.packet.flags & PacketFlags.SYNC,
                field="flags",
                says=lambda s: "SYNC flag is set",
                refuses=lambda s: "SYNC on a device-state packet",
                queued=True,
            ),
        ),
    ),
    Rule(
        code="MFD411",
        title="The config data is DEV_CONFIG_STATE, the PCI config of the device, END_OF_STATE",
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
        conditions=(
            DeviceStateCondition(
                when=lambda s: s.buffer.config and s.buffer.config_problem,
                field="payload",
                in_payload=True,
                says=lambda s: s.buffer.config_problem,
            ),
        ),
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
        conditions=(
            DeviceStateCondition(
                when=lambda s: (s.buffer.flags or 0) & ~CONFIG_STATE,
                field="flags",
                in_payload=True,
                says=lambda s: f"unknown VFIO flags {(s.buffer.flags or 0) & ~CONFIG_STATE:#x}",
            ),
        ),
    ),
)
