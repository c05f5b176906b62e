"""What the streams say of how far the source came."""

from __future__ import annotations

from typing import NamedTuple

from analyzers.evidence.sessions import was_cut
from analyzers.evidence.timeline import Timeline, ends_as_main
from analyzers.survey.migration import Surveyed
from captures.model import ChannelKind, StreamSource
from multifd_codec.errors import ChannelName
from multifd_codec.source import read_known
from multifd_codec.wire.qemufile import CommandId, SectionType

LAST_FOOTER = (int(SectionType.FOOTER), None, None, None, None, int(SectionType.EOF))
"""A footer, the section's id in it, and EOF."""


class Progress(NamedTuple):
    """None: the recording does not show it."""

    main_ended: bool | None
    """Main's EOF was sent."""
    inside: frozenset[ChannelName]
    """Channels that end inside a packet, or inside a TLS record."""
    cut: frozenset[ChannelName]
    """Those that the source closes inside a TLS record, known without keys."""
    asks: bool
    """Main asks for a return path, which a destination that has begun answers."""
    unread: bool
    """Some of main is not recorded, or all of it."""
    postcopy: bool
    """The guest runs on the destination: who gives up now pauses both."""


def progress_of(surveyed: Surveyed, line: Timeline) -> Progress:
    """That of a migration."""
    main = surveyed.main
    if line.recovery is not None:
        encrypted = line.recovery.tls is not None
        ended = None if encrypted else _ends_with_eof(line.recovery.connection.wire[0])
    elif main is not None:
        lacking = main.skipped is not None or bool(main.source.holes())
        found = main.eof is not None and (
            main.described or not lacking
        )  # what looks like EOF behind a hole may be none
        ended = True if found else (None if lacking else False)
    elif any(not named.connection.attempts for named in line.connections):
        # Begun before the recording: what is not seen may have been there.
        ended = True if any(ends_as_main(named.connection.wire[0]) for named in line.mains) else None
    else:
        encrypted = any(channel.kind is ChannelKind.TLS for channel in surveyed.migration.channels)
        cut = any(c.source.holes() for c in surveyed.migration.channels)
        ended = None if encrypted or cut else False
    inside = frozenset[ChannelName](one.name for one in surveyed.channels if not one.survey.ends_at_boundary)
    torn = frozenset(named.name for named in line.connections if was_cut(named, 0))
    asks = main is not None and any(one.number == CommandId.OPEN_RETURN_PATH for one in main.commands)
    unread = main is None or bool(main.source.holes())
    return Progress(ended, inside | torn, torn, asks, unread, main is not None and main.postcopy)


def _ends_with_eof(source: StreamSource | None) -> bool | None:
    """Whether the last bytes of a stream whose records are not decoded are a footer and EOF. None: not recorded."""
    if source is None or source.size < len(LAST_FOOTER):
        return False
    last = read_known(source, source.size - len(LAST_FOOTER), len(LAST_FOOTER))
    if len(last) < len(LAST_FOOTER):
        return None
    return all(wanted in (None, found) for wanted, found in zip(LAST_FOOTER, last, strict=True))
