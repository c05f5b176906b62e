"""The VFIO devices that a destination needs for a stream, and the state that they must have when it is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from analyzers.extraction.devices import Blob, Devices, Stretch, pieces
from analyzers.survey.channel import ItemKind
from analyzers.survey.migration import Surveyed
from analyzers.survey.vfio import VfioDevice as SeenDevice
from captures.qemu.vfio import VfioDevice
from multifd_codec.device_key import DeviceKey
from multifd_codec.dialect.releases import Release
from multifd_codec.errors import InputError
from multifd_codec.main.decoder import MainDecoder
from multifd_codec.main.events import VfioRecord
from multifd_codec.plan.pci import space_of
from multifd_codec.wire.vfio import PciConfig, VfioTag, VfioTagId

_NAME = re.compile(r"0000:00:([01][0-9a-f])\.0/vfio")
"""A device at a slot of the first PCI bus: the others need bridges."""
LARGEST = 1 << 30
"""Bytes of state that are held in memory to be compared."""
VFIO_SUFFIX = "/vfio"


class StreamDevice(NamedTuple):
    """One device of a stream."""

    device: VfioDevice
    state: bytes | None
    """All of it that was sent, config left out; None: there is none, or not all of it is in the recording."""
    whole: bool
    """Its device-state packets, if it has any, are its state and its config, and nothing is missing or too much."""
    acknowledges: bool
    """It says DEV_INIT_DATA_SENT: the destination needs the capability switchover-ack."""


def devices_of(surveyed: Surveyed, release: Release) -> list[StreamDevice]:
    """The devices of a stream by slot, as far as that release can have them. Raises InputError for one that cannot be
    made."""
    main = surveyed.main
    if main is None:
        return []
    named = {key for key in main.sections if key.idstr.endswith(VFIO_SUFFIX)} | set(main.vfio)
    if not named:
        return []
    slots = {key: _slot(key) for key in named}
    seen = Devices()
    acknowledging: set[DeviceKey] = set()
    on_main: set[DeviceKey] = set()
    for item in MainDecoder(main.source, page_size=surveyed.page_size).walk():
        seen.record(item, main.source)
        if isinstance(item, VfioRecord) and seen.current is not None:
            if item.tag == VfioTagId.DEV_INIT_DATA_SENT:
                acknowledging.add(seen.current)
            if item.tag == VfioTagId.DEV_DATA_STATE:
                on_main.add(seen.current)
    in_packets: set[DeviceKey] = set()
    for channel in surveyed.channels:
        for one in channel.survey.items:
            if one.kind is ItemKind.DEVICE_STATE and one.buffer is not None:
                in_packets.add(one.buffer.device)
                seen.packet(one.buffer.packet, channel.survey.source)
    blobs: dict[DeviceKey, list[Blob]] = {}
    for blob in seen.blobs():
        blobs.setdefault(blob.device, []).append(blob)
    return [
        _device(
            *(key, slots[key], main.vfio.get(key), blobs.get(key, [])),
            acknowledges=key in acknowledging,
            in_packets=key in in_packets,
            on_main=key in on_main,
            load_ready=release.destination.config_load_ready,
        )
        for key in sorted(named, key=lambda key: slots[key])
    ]


def capabilities_for(devices: Iterable[StreamDevice]) -> tuple[str, ...]:
    """What their destination must have switched on."""
    return ("return-path", "switchover-ack") if any(one.acknowledges for one in devices) else ()


def _slot(key: DeviceKey) -> int:
    found = _NAME.fullmatch(key.idstr)
    if found is None or key.instance_id:
        raise InputError(f"device {key.idstr}: only devices at a slot of the first PCI bus can be made (0000:00:NN.0)")
    return int(found[1], 16)


def _device(
    key: DeviceKey,
    slot: int,
    seen: SeenDevice | None,
    blobs: list[Blob],
    *,
    acknowledges: bool,
    in_packets: bool,
    on_main: bool,
    load_ready: bool,
) -> StreamDevice:
    config = next((_bytes(blob.config) for blob in blobs if blob.config), None)
    transfer = in_packets or (seen is not None and seen.multifd_transfer)
    after = load_ready and seen is not None and seen.ready is not None
    properties = [("x-migration-load-config-after-iter", "on")] if after else []
    # What is on main comes first, whether it travels so for good or only while the guest runs.
    ordered = sorted((blob for blob in blobs if blob.kind != "section"), key=lambda blob: blob.buffers > 0)
    return StreamDevice(
        VfioDevice(
            slot=slot,
            multifd_transfer="on" if transfer else "off",
            configuration=_space(config),
            offers_precopy=acknowledges or (transfer and on_main),
            properties=tuple(properties),
        ),
        _bytes([stretch for blob in ordered for stretch in blob.data]) if ordered else None,
        all(blob.complete and not blob.missing for blob in ordered),
        acknowledges,
    )


def _space(config: bytes | None) -> bytes | None:
    """The configuration space behind the first tag of a config."""
    tag = VfioTag.sizeof()
    return None if config is None else space_of(config[tag:] if len(config) > PciConfig.sizeof() else config)


def _bytes(stretches: list[Stretch]) -> bytes | None:
    """None: too much to hold, or not all of it is in the recording."""
    if sum(stretch.length for stretch in stretches) > LARGEST:
        return None
    parts = [piece.data for piece in pieces(stretches)]
    known = [part for part in parts if part is not None]
    return b"".join(known) if len(known) == len(parts) else None
