"""Real QEMU: destinations that take a stream and show what it does to them.

Every wait is bounded, every monitor command has a time limit, and only processes started here are ended.
"""

from captures.qemu.binary import Qemu, find_qemus
from captures.qemu.destination import DestinationOptions
from captures.qemu.observation import Observation, Stream
from captures.qemu.replay import replay, replay_on

__all__ = ["DestinationOptions", "Observation", "Qemu", "Stream", "find_qemus", "replay", "replay_on"]
