"""A recording as the analyzers see it: migrations, each a set of named byte streams traceable to frames."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, Self

from captures.conduct import Attempt, Deciphered, Endpoint, Half, Moment
from multifd_codec.channel import framing
from multifd_codec.errors import ChannelName, InputError
from multifd_codec.source import ByteSource, read_known
from multifd_codec.wire.handshake import MULTIFD_MAGIC, MULTIFD_VERSION

if TYPE_CHECKING:
    from multifd_codec.channel.decoder import ChannelDecoder
    from multifd_codec.channel.events import ChannelEvent
    from multifd_codec.main.decoder import MainDecoder
    from multifd_codec.main.events import MainEvent

ProgressCallback = Callable[[str, int, int], None]
"""Called as (what is being done, how much is done, how much there is), in bytes or in whatever is counted. There may be
0 in all: not known."""
Reader = Literal["auto", "native", "wireshark"]
"""Who reads a capture: tshark knows more encapsulations, and TLS; ``auto`` asks it where that is needed."""


class ChannelKind(enum.StrEnum):
    """What the first bytes of a connection say it is."""

    MAIN = "main"
    MULTIFD = "multifd"
    TLS = "tls"
    """A TLS session: recognised, unreadable without a key log."""
    RECOVERY = "recovery"
    """What a paused postcopy goes on over: a second main connection without a file header. It is no channel."""
    UNKNOWN = "unknown"
    """Belongs to the migration by its addresses, but its first bytes are missing or strange."""


class StreamSource(ByteSource, Protocol):
    """A ByteSource that knows where each byte was recorded."""

    def frame_at(self, offset: int) -> int | None:
        """Capture frame number (from 1) that carries the byte at ``offset``; None without a capture or in a hole."""

    def time_at(self, offset: int) -> float | None:
        """Seconds since the epoch at which that frame was recorded; None without a capture."""


class CapturedChannel(NamedTuple):
    """One direction, source to destination, of one connection of a migration."""

    kind: ChannelKind
    channel_id: int | None
    """The id in the ChannelInit of a multifd channel; None for other kinds or when it is unknown."""
    source: StreamSource
    label: str
    """Where it comes from: ``127.0.0.1:50001 > 127.0.0.1:4444`` or a file name."""
    start_captured: bool = True
    """False when the connection was already open when the recording began: offset 0 is then just the first byte seen,
    and no ChannelInit or file header is to be expected there."""

    @property
    def starts_with_init(self) -> bool:
        """Whether the first bytes are a ChannelInit, be it a wrong one. For multifd channels and unknown ones."""
        source = self.source
        marked = read_known(source, 0, len(framing.MARK)) == framing.MARK
        if not self.start_captured:
            return marked and framing.starts_packet(source, framing.INIT.size) is framing.Fit.YES
        return marked or (
            source.size <= framing.INIT.size
            or framing.starts_packet(source, framing.INIT.size) is framing.Fit.YES
            or self.kind is ChannelKind.MULTIFD
        )

    @property
    def stated_id(self) -> int | None:
        """The id that a ChannelInit states, if it can be believed: magic or version is right."""
        if self.kind not in (ChannelKind.MULTIFD, ChannelKind.UNKNOWN) or not self.starts_with_init:
            return None
        head, place = read_known(self.source, 0, framing.INIT.size), framing.INIT.span("id").offset
        if len(head) <= place:
            return None
        magic, version = framing.MAGIC_VERSION.unpack_from(head)
        return head[place] if magic == MULTIFD_MAGIC or version == MULTIFD_VERSION else None

    def decoder(self, page_size: int | None = None) -> MainDecoder | ChannelDecoder:
        """What decodes this channel from its start. ``page_size``: target page size in bytes, inferred when None."""
        from multifd_codec.channel.decoder import ChannelDecoder  # noqa: PLC0415 -- who writes decodes nothing
        from multifd_codec.main.decoder import MainDecoder  # noqa: PLC0415

        if self.kind is ChannelKind.MAIN:
            return MainDecoder(self.source, page_size=page_size)
        return ChannelDecoder(self.source, page_size=page_size, starts_with_init=self.starts_with_init)

    def events(self, page_size: int | None = None) -> Iterator[MainEvent | ChannelEvent]:
        """What it carries, decoded from its start, the end last. ``page_size`` as above."""
        return self.decoder(page_size).events()


class NoteKind(enum.StrEnum):
    """What a reader noticed about the quality of a recording; rows of the rulebook name them."""

    LOST_SEGMENTS = "lost segments"
    CUT_BY_SNAPLEN = "cut by snaplen"
    START_NOT_CAPTURED = "start not captured"
    END_NOT_CAPTURED = "end not captured"
    RETRANSMISSION_DIFFERS = "retransmission with other content"
    TRUNCATED_FILE = "capture file cut short"
    DAMAGED_FILE = "capture file damaged"
    TLS = "TLS"
    UNSUPPORTED_LINK = "unsupported link type"
    """Frames whose link type or encapsulation the reader does not speak."""
    NO_MIGRATION = "no migration found"
    LIMIT = "more than the reader takes"
    """Connections or migrations beyond a limit were left out: docs/reliability.md."""


class CaptureNote(NamedTuple):
    """One thing a reader noticed. ``label`` and ``offset`` are those of a stream, None for the whole file."""

    kind: NoteKind
    message: str
    label: str | None = None
    offset: int | None = None
    length: int | None = None
    frame: int | None = None


class MigrationConnection(NamedTuple):
    """One TCP connection of a migration, or the attempt at one, seen from the migration's source."""

    source: Endpoint
    destination: Endpoint
    kind: ChannelKind
    channel_id: int | None
    """As in CapturedChannel."""
    attempts: tuple[Attempt, ...]
    """SYNs and their answers; empty when the connection was open before the recording began."""
    to_destination: Half
    to_source: Half
    first_frame: int
    last_frame: int
    wire: tuple[StreamSource | None, StreamSource | None] = (None, None)
    """What was sent to the destination and to the source, TLS not taken off; None: nothing is known of it."""
    return_path: StreamSource | None = None
    """What was sent to the source in plain text."""
    deciphered: tuple[Deciphered, Deciphered] | None = None
    """To the destination and to the source; None without TLS, or without its keys."""

    @property
    def label(self) -> str:
        """As that of the channel, if it is one."""
        return f"{self.source} > {self.destination}"

    @property
    def answered(self) -> bool:
        """Whether the destination's host took the connection."""
        sent, back = self.to_destination, self.to_source
        heard = bool(back.segments or sent.acknowledged) or (not self.attempts and sent.segments > 0)
        return heard or any(attempt.answers for attempt in self.attempts)

    @property
    def went_on(self) -> bool:
        """Whether the source sent more than SYNs, so that one was answered though that need not have been recorded."""
        last = self.to_destination.last
        return last is not None and (not self.attempts or last.frame > self.attempts[-1].moment.frame)

    @property
    def refused(self) -> Moment | None:
        """The RST that answered the SYN, when nothing else did."""
        may_be = self.attempts and not (self.answered or self.went_on)
        return self.to_source.reset if may_be and self.to_source.refuses else None

    @property
    def moments(self) -> Iterator[Moment]:
        """What is known of when something happened on it: its first and its last frame among them."""
        yield from (attempt.moment for attempt in self.attempts)
        for half in (self.to_destination, self.to_source):
            known = (half.first_data, half.last, half.fin, half.reset)
            yield from (moment for moment in known if moment is not None)


class Span(NamedTuple):
    """The first and the last frame of a migration, in seconds since the epoch."""

    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


class Migration(NamedTuple):
    """The connections of one migration. Channel ids may repeat or be missing: saying so is the linter's business."""

    channels: tuple[CapturedChannel, ...]
    return_path: StreamSource | None = None
    notes: tuple[CaptureNote, ...] = ()
    connections: tuple[MigrationConnection, ...] = ()
    """In the order in which they were opened, those without a byte and those that failed too; none without packets."""
    legs: tuple[Migration, ...] = ()
    """The same migration where it was recorded in front of a proxy, from the source on: this is the last leg."""
    recorded_until: Moment | None = None
    """The last frame of the recording, whatever it belongs to."""

    @property
    def destination_gave_up_first(self) -> bool:
        """Whether the first FIN or RST on a connection that came about is the destination's."""
        taken = [connection for connection in self.connections if connection.answered]
        source, destination = (
            min((end for half in halves if (end := half.gave_up) is not None), default=None)
            for halves in ((c.to_destination for c in taken), (c.to_source for c in taken))
        )
        return destination is not None and (source is None or destination < source)

    @property
    def destination_unheard(self) -> bool:
        """Whether nothing that the destination sent was recorded, so that nobody can tell what it did."""
        sent = any(connection.to_destination.last is not None for connection in self.connections)
        return sent and all(connection.to_source.last is None for connection in self.connections)

    @property
    def span(self) -> Span | None:
        """From its first frame to its last one, silence included; from byte to byte where only bytes are known. None
        without times."""
        moments = (moment.seconds for connection in self.connections for moment in connection.moments)
        times = [seconds for seconds in moments if seconds is not None]
        if not times:
            sources = (channel.source for channel in self.channels if channel.source.size)
            ends = (source.time_at(offset) for source in sources for offset in (0, source.size - 1))
            times = [seconds for seconds in ends if seconds is not None]
        return Span(min(times), max(times)) if times else None

    def noting(self, note: CaptureNote) -> Migration:
        """The same with one more note, in front."""
        return self._replace(notes=(note, *self.notes))

    @property
    def names(self) -> tuple[ChannelName, ...]:
        """What each connection is called, everywhere: ``main``, else the id it states, else its port on the source's
        side; without packets the lowest number that none states and none before it was given. Channels that state the
        same id share it."""
        ports = {connection.label: connection.source.port for connection in self.connections}
        stated = [channel.stated_id for channel in self.channels]
        free = (number for number in itertools.count() if number not in stated)
        return tuple(
            "main" if channel.kind is ChannelKind.MAIN else _name(channel, number, ports, free)
            for channel, number in zip(self.channels, stated, strict=True)
        )


def _name(channel: CapturedChannel, stated: int | None, ports: dict[str, int], free: Iterator[int]) -> int:
    if stated is not None:
        return stated
    port = ports.get(channel.label)
    return next(free) if port is None else port


class InputForm(enum.StrEnum):
    """What kind of input a recording is."""

    PCAP = "pcap"
    PCAPNG = "pcapng"
    CAPTURE = "capture"
    """A capture in a format that only tshark knows."""
    FOLDER = "folder"
    """Channel files."""
    CHANNEL_FILE = "channel file"
    MAPPED_RAM = "mapped-ram"


class RecordingFile(NamedTuple):
    """One of the capture files that are a recording together, and how many of its frames are in it."""

    path: Path
    frames: int


@dataclass(slots=True)
class Recording:
    """An opened input. A context manager: closing it unmaps files, after which its sources cannot be read."""

    path: Path
    kind: InputForm
    bytes: int
    """Size of the input, unpacked when it was compressed."""
    frames: int
    migrations: tuple[Migration, ...]
    notes: tuple[CaptureNote, ...] = ()
    closers: list[Callable[[], None]] = field(default_factory=list)
    files: tuple[RecordingFile, ...] = ()
    """Those of a capture, in order: the frame numbers of each go on behind those of the one before."""

    def choose(self, number: int | None = None) -> Migration:
        """Migration ``number`` (from 1), or the only one. Raises InputError when it is not there or not said."""
        count = len(self.migrations)
        if not count:
            reasons = "; ".join(note.message for note in self.notes)
            raise InputError(f"{self.path}: no migration found" + (f" ({reasons})" if reasons else ""))
        if number is None and count > 1:
            raise InputError(f"{self.path}: there are {count} migrations, say which")
        if number is not None and not 1 <= number <= count:
            raise InputError(f"{self.path}: there is no migration {number}, only {count}")
        return self.migrations[(number or 1) - 1]

    def close(self) -> None:
        while self.closers:
            self.closers.pop()()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
