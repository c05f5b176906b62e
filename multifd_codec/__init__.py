"""What the bytes of a QEMU multifd migration mean, both ways: declarations, layouts, events, decoders, encoders.

No I/O, no clock, no threads. ``docs/library.md`` shows how to use it.
"""

from typing import TYPE_CHECKING

from multifd_codec.lazy import lazily

if TYPE_CHECKING:
    from multifd_codec.channel.decoder import ChannelDecoder, encode_channel
    from multifd_codec.channel.events import ChannelEnd, ChannelInit, DeviceStatePacket, RamPacket, Unreadable
    from multifd_codec.decoding import decode_channel, decode_main, decode_return_path
    from multifd_codec.dialect.releases import RELEASES, Mode, Release, release
    from multifd_codec.dialect.sync_policy import POLICIES, SyncPolicy
    from multifd_codec.draft.draft import Draft, Record
    from multifd_codec.draft.edits import Edit, EditKind
    from multifd_codec.errors import FormatError, HoleError, InputError, MultifdError
    from multifd_codec.main.decoder import MainDecoder
    from multifd_codec.main.encode import encode_main
    from multifd_codec.plan.file import plan_from_json, plan_to_json
    from multifd_codec.plan.page_content import Given, Pattern, Zero
    from multifd_codec.plan.plan import Block, Device, Pages, Round, Section
    from multifd_codec.plan.plan import MigrationPlan as Plan
    from multifd_codec.sender.sender import draft as draft_of
    from multifd_codec.sender.sender import send
    from multifd_codec.source import BufferSource, ByteSource

__all__ = [
    "POLICIES",
    "RELEASES",
    "Block",
    "BufferSource",
    "ByteSource",
    "ChannelDecoder",
    "ChannelEnd",
    "ChannelInit",
    "Device",
    "DeviceStatePacket",
    "Draft",
    "Edit",
    "EditKind",
    "FormatError",
    "Given",
    "HoleError",
    "InputError",
    "MainDecoder",
    "Mode",
    "MultifdError",
    "Pages",
    "Pattern",
    "Plan",
    "RamPacket",
    "Record",
    "Release",
    "Round",
    "Section",
    "SyncPolicy",
    "Unreadable",
    "Zero",
    "decode_channel",
    "decode_main",
    "decode_return_path",
    "draft_of",
    "encode_channel",
    "encode_main",
    "plan_from_json",
    "plan_to_json",
    "release",
    "send",
]

_HOMES = {
    "POLICIES": "multifd_codec.dialect.sync_policy",
    "RELEASES": "multifd_codec.dialect.releases",
    "Block": "multifd_codec.plan.plan",
    "BufferSource": "multifd_codec.source",
    "ByteSource": "multifd_codec.source",
    "ChannelDecoder": "multifd_codec.channel.decoder",
    "ChannelEnd": "multifd_codec.channel.events",
    "ChannelInit": "multifd_codec.channel.events",
    "Device": "multifd_codec.plan.plan",
    "DeviceStatePacket": "multifd_codec.channel.events",
    "Draft": "multifd_codec.draft.draft",
    "Edit": "multifd_codec.draft.edits",
    "EditKind": "multifd_codec.draft.edits",
    "FormatError": "multifd_codec.errors",
    "Given": "multifd_codec.plan.page_content",
    "HoleError": "multifd_codec.errors",
    "InputError": "multifd_codec.errors",
    "MainDecoder": "multifd_codec.main.decoder",
    "Mode": "multifd_codec.dialect.releases",
    "MultifdError": "multifd_codec.errors",
    "Pages": "multifd_codec.plan.plan",
    "Pattern": "multifd_codec.plan.page_content",
    "Plan": "multifd_codec.plan.plan:MigrationPlan",
    "RamPacket": "multifd_codec.channel.events",
    "Record": "multifd_codec.draft.draft",
    "Release": "multifd_codec.dialect.releases",
    "Round": "multifd_codec.plan.plan",
    "Section": "multifd_codec.plan.plan",
    "SyncPolicy": "multifd_codec.dialect.sync_policy",
    "Unreadable": "multifd_codec.channel.events",
    "Zero": "multifd_codec.plan.page_content",
    "decode_channel": "multifd_codec.decoding",
    "decode_main": "multifd_codec.decoding",
    "decode_return_path": "multifd_codec.decoding",
    "draft_of": "multifd_codec.sender.sender:draft",
    "encode_channel": "multifd_codec.channel.decoder",
    "encode_main": "multifd_codec.main.encode",
    "plan_from_json": "multifd_codec.plan.file",
    "plan_to_json": "multifd_codec.plan.file",
    "release": "multifd_codec.dialect.releases",
    "send": "multifd_codec.sender.sender",
}

__getattr__ = lazily(globals(), _HOMES)
