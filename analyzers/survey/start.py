"""How the recording of a channel begins."""

from __future__ import annotations

from captures.model import CapturedChannel, ChannelKind
from multifd_codec.channel import framing


def starts_with_init(channel: CapturedChannel) -> bool:
    """Whether the stream's first bytes are a ChannelInit, be it a wrong one."""
    source = channel.source
    marked = framing.read_known(source, 0, len(framing.MARK)) == framing.MARK
    if not channel.start_captured:
        return marked and framing.starts_packet(source, framing.INIT.size) is framing.Fit.YES
    return marked or (
        source.size <= framing.INIT.size
        or framing.starts_packet(source, framing.INIT.size) is framing.Fit.YES
        or channel.kind is ChannelKind.MULTIFD
    )
