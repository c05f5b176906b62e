"""Where the bytes of a migration come from and go to: captures, channel files, tshark, real QEMU.

``docs/library.md`` shows how to use it.
"""

from typing import TYPE_CHECKING

from multifd_codec.lazy import lazily

if TYPE_CHECKING:
    from captures.memory import recording_of
    from captures.model import CapturedChannel, ChannelKind, Migration, Recording
    from captures.recording import open_recording
    from captures.write.sent import write_draft as save

__all__ = ["CapturedChannel", "ChannelKind", "Migration", "Recording", "open_recording", "recording_of", "save"]

_HOMES = {
    "CapturedChannel": "captures.model",
    "ChannelKind": "captures.model",
    "Migration": "captures.model",
    "Recording": "captures.model",
    "open_recording": "captures.recording",
    "recording_of": "captures.memory",
    "save": "captures.write.sent:write_draft",
}

__getattr__ = lazily(globals(), _HOMES)
