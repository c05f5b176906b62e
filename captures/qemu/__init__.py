"""Real QEMU: destinations that take a stream and show what it does to them.

Every wait is bounded, and only processes started here are ended. Needs Linux and the extra ``qemu``.

    with DestinationPool("qemu-system-x86_64", DestinationOptions(channels=2)) as pool:
        seen = pool.replay(feed_of([main, channel_0, channel_1]), expected=Expected(ram))
"""

from captures.qemu.binary import Qemu, find_qemu, find_qemus, parse_command
from captures.qemu.feeding import Feed, Stream, feed_in_order, feed_of, feed_of_migration
from captures.qemu.guest import DestinationOptions, NoSuchMethodError
from captures.qemu.observation import Expected, Observation
from captures.qemu.replay import DestinationPool, replay
from captures.qemu.vfio import VfioDevice

__all__ = [
    "DestinationOptions",
    "DestinationPool",
    "Expected",
    "Feed",
    "NoSuchMethodError",
    "Observation",
    "Qemu",
    "Stream",
    "VfioDevice",
    "feed_in_order",
    "feed_of",
    "feed_of_migration",
    "find_qemu",
    "find_qemus",
    "parse_command",
    "replay",
]
