"""Every kind of reason, one row each: its name in the JSON, and the sentence that is made of it.

A sentence is made last, of a reason's fields; nobody reads one. ``{r.…}`` is an attribute of ``reason.Words``.
"""

from __future__ import annotations

import enum


class Actor(enum.StrEnum):
    """Who does it, or waits."""

    MAIN = "main"
    """The destination's main process, which reads the main channel."""
    CHANNEL = "channel"
    """The receive thread of one channel."""
    LOADER = "loader"
    """The load thread of one device."""
    DESTINATION = "destination"
    """The whole process."""
    CONNECTION = "connection"
    """A connection that is no channel yet."""
    SOURCE = "source"
    NETWORK = "network"
    """Whatever is between the two, firewalls and proxies too."""


class ChannelEnd(enum.StrEnum):
    """How a channel ends."""

    ERROR = "error"
    CRASH = "crash"
    CLOSED = "closed"
    """At a packet boundary."""
    NOT_RECORDED = "not-recorded"
    """It may go on."""


class Kind(enum.StrEnum):
    """What a reason says."""

    sentence: str
    """With ``{r.…}`` where a reason's words go."""

    def __new__(cls, name: str, sentence: str) -> Kind:
        kind = str.__new__(cls, name)
        kind._value_ = name
        kind.sentence = sentence
        return kind

    # Who waits for whom.
    RECORDING_ENDS = "recording-ends", "where the recording ends, this is how things stand"
    MAIN_WAITS_FOR_TOKENS = (
        "main-waits-for-tokens",
        "main waits in its rendezvous {r.rendezvous.number} of {r.rendezvous.of} ({r.record} at {r.at}): "
        "{r.tokens.number} of {r.tokens.of} tokens are there{r.monitor}",
    )
    TOO_FEW_SYNCS = (
        "too-few-syncs",
        "main waits for {r.who}, which gives {r.syncs.number} of {r.syncs.of} SYNCs and then {r.ending}",
    )
    WAITS_FOR_RELEASE = "waits-for-release", "{r.given_theirs} for the release"
    BEHIND_IT = "behind-it", "behind it on {r.who}: {r.behind}"
    PARKED = (
        "parked",
        "{r.who} is parked since its SYNC at {r.at}: main carries {r.rendezvous.of} rendezvous records, "
        "none releases it{r.never_read}",
    )
    MAIN_WAITS_FOR_LOADER = (
        "main-waits-for-loader",
        "main waits at its EOF byte ({r.at}) for the loader of {r.device}{r.monitor}",
    )
    WAITS_FOR_BUFFER = "waits-for-buffer", "the loader waits for buffer {r.indices}, which no channel carries"
    WAITS_FOR_UNREAD_BUFFER = (
        "waits-for-unread-buffer",
        "the loader waits for buffer {r.indices}, never read at {r.place}",
    )
    WAITS_FOR_CONFIG = "waits-for-config", "the loader waits for the config of {r.device}, which no channel carries"
    WAITS_FOR_READY = (
        "waits-for-ready",
        "the loader waits for DEV_CONFIG_LOAD_READY of {r.device}, which main does not carry",
    )
    SOURCE_LEFT_EARLY = (
        "source-left-early",
        "a 10.0 source without a return path can exit before a channel has sent its last packet, as here",
    )

    # What ends it, or may.
    MAIN_FAILS = "main-fails", "main fails at {r.at}: {r.because}"
    MAIN_MAY_FAIL = "main-may-fail", "main may fail at {r.at}: {r.because}"
    MAIN_CRASHES = "main-crashes", "main crashes the process at {r.at}: {r.because}"
    MAIN_UNKNOWN = "main-unknown", "what main does behind {r.at} is not known: {r.because}"
    CHANNEL_FAILS = "channel-fails", "{r.who} ends with an error at {r.at}: {r.because}"
    ERROR_SEEN_EARLY = (
        "error-seen-early",
        "if main sees this error before it waits for the device loaders, the migration fails",
    )
    PAGES_BEFORE_SETUP = (
        "pages-before-setup",
        "{r.who} has pages in front of its first SYNC, at {r.at}: "
        "the process crashes if they are read before main has set up RAM",
    )
    DEVICE_STATE_BEFORE_SETUP = (
        "device-state-before-setup",
        "device state of {r.idstr} stands in front of the first SYNC, at {r.place}: "
        "it is refused if it is read before main has set the device up",
    )
    BUFFER_TWICE = "buffer-twice", "buffer {r.indices} of {r.idstr} stands at {r.places}: it is refused the second time"
    LOADER_FAILS = "loader-fails", "the loader of {r.idstr} fails: the tags around its config data are wrong"
    SECOND_MAIN_AT_CLEANUP = (
        "second-main-at-cleanup",
        "a second main channel is connected: it is dropped, and the process aborts over it when it cleans up",
    )

    # What is lost when it completes.
    LOADERS_NOT_STARTED = (
        "loaders-not-started",
        "main carries no SWITCHOVER_START: the loaders of {r.idstrs} are never started, their state is dropped",
    )
    LOADERS_MAY_ASSERT = (
        "loaders-may-assert",
        "a load that fails soon behind SWITCHOVER_START ({r.at}) may abort: the load thread of {r.idstrs} has not "
        "begun yet, and asserts what cleaning up has taken away",
    )
    DATA_BESIDES = (
        "data-besides",
        "main writes data into {r.idstr} at {r.at}, beside its buffers: that may or may not be its state",
    )
    STATE_WITHOUT_SECTION = (
        "state-without-section",
        "device state of {r.idstr} at {r.place}: main has no section of it, and a destination that has the device goes "
        "without",
    )
    BUFFERS_BEHIND_CONFIG = "buffers-behind-config", "buffers of {r.idstr} behind its config are never loaded"
    PAGES_MISPLACED = "pages-misplaced", "{r.ram_packets} at {r.place}: pages are loaded to the wrong place"
    PAGES_UNREAD = (
        "pages-unread",
        "{r.ram_packets} at {r.place}: never loaded, no rendezvous record releases the SYNC in front",
    )
    PAGES_UNAWAITED = (
        "pages-unawaited",
        "{r.ram_packets} at {r.place}: no rendezvous waits for them, "
        "they are loaded only if the channel is faster than main",
    )
    NOTED = ("noted", "{r.because}")
    PAGES_NEVER_SENT = (
        "pages-never-sent",
        "never sent: {r.pages} pages of {r.block!r}, the first at {r.block_offset:#x}",
    )
    PAGE_ON_TWO_CHANNELS = (
        "page-on-two-channels",
        "page {r.page:#x} of {r.block!r} is on channels {r.numbers} in the same round",
    )
    PAGE_ON_MAIN_TOO = (
        "page-on-main-too",
        "page {r.page:#x} of {r.block!r} is zero on main and normal on {r.who} in the same round",
    )
    ZERO_PAGE_NOT_CLEARED = (
        "zero-page-not-cleared",
        "page {r.page:#x} of {r.block!r} was sent as zero later; this destination keeps its old content",
    )
    ZERO_PAGE_OVER_TWO = (
        "zero-page-over-two",
        "a zero page at {r.block_offset:#x} of {r.block!r} clears parts of two pages",
    )
    ZERO_PACKETS_MISSING = (
        "zero-packets-missing",
        "packet numbers are missing: if those packets had zero pages only, pages keep the content they had before",
    )
    REGIONS_OVERLAP = "regions-overlap", "{r.because}"
    ZERO_PAGES_UNHEARD_OF = (
        "zero-pages-unheard-of",
        "zero pages in packets of a sender that has none: the destination clears them",
    )
    ZERO_RECORD_FILLS = "zero-record-fills", "a ZERO record at {r.offset} fills its page with another byte"
    PACKETS_OUT_OF_ORDER = (
        "packets-out-of-order",
        "compressed packets of {r.who} are not in the order in which they were sent",
    )
    ZERO_PAGE_ON_MAIN = (
        "zero-page-on-main",
        "page {r.page:#x} of {r.block!r} is a zero page on main, where its sender puts no pages",
    )
    CONTENT_ON_MAIN = (
        "content-on-main",
        "page {r.page:#x} of {r.block!r} is content on main, where its sender puts no pages",
    )

    # What ends it before anything is loaded, or keeps it from being judged.
    NO_MIGRATION = "no-migration", "no multifd migration was found in this input"
    NOTHING_SENT = "nothing-sent", "no connection carries a byte: whether this was a migration cannot be told"
    UNREADABLE = (
        "unreadable",
        "the channels cannot be read: TLS sessions need the key log of this migration (--keylog)",
    )
    HEADERS_ONLY = (
        "headers-only",
        "the channels cannot be read: the recording holds headers only; addresses, counts and times are those of TCP",
    )
    CHANNELS_NOT_RECORDED = (
        "channels-not-recorded",
        "the multifd channels of this migration are not in the recording",
    )
    NO_CHANNEL = "no-channel", "the migration never starts: no multifd channel is connected"
    CHANNELS_MISSING = "channels-missing", "the migration never starts: {r.because}"
    CHANNELS_PERHAPS_MISSING = "channels-perhaps-missing", "{r.because}, perhaps not recorded"
    CHANNELS_SURPLUS = "channels-surplus", "{r.because}"
    MULTIFD_OFF = "multifd-off", "{r.because}"
    CHANNEL_REFUSED = "channel-refused", "{r.because}"
    SECOND_MAIN_ASSERTS = "second-main-asserts", "a second main channel trips an assertion"
    SECOND_MAIN_REFUSED = (
        "second-main-refused",
        "a second main channel is taken for a multifd channel and refused: the migration never starts",
    )
    FIRST_IS_NOT_MAIN = "first-is-not-main", "the first connection is taken for main, and does not start as one"
    FOREIGN_CONNECTION = "foreign-connection", "{r.connection}: {r.because}"
    SHORT_CONNECTION = "short-connection", "{r.connection}: {r.because}"

    # What was seen to happen.
    RECORDED = "recorded", "the recording shows that {r.because}"
    EXPLAINED_BY = "explained-by", "{r.because}"
    UNANSWERED = "unanswered", "{r.attempts} of {r.connection} never answered"
    REFUSED = "refused", "the connection {r.connection} is refused"
    SILENT = "silent", "{r.who} ({r.connection}) is connected and carries no byte for {r.duration:.1f} s{r.because}"
    RETRANSMITTED = (
        "retransmitted",
        "{r.who} is not acknowledged behind offset {r.offset:,}: {r.bytes:,} bytes in flight, sent again {r.times}",
    )
    CUT = "cut", "nothing of {r.who} comes behind offset {r.offset:,}, inside a packet, while other channels go on"
    WINDOW_SHUT = (
        "window-shut",
        "the receive window of {r.who} is 0 from here on: the destination has stopped reading, or "
        "a proxy in front of it",
    )
    SOURCE_SILENT = "source-silent", "the source could send on {r.who} and does not"
    NOT_CLOSED = (
        "not-closed",
        "the source has sent everything and closed, the destination has not: one that completes closes within 20 ms",
    )
    NOT_SAID = (
        "not-said",
        "the source has sent everything, the destination neither closes nor says that it completed: "
        "one that completes does within 20 ms",
    )
    LEFT_UNREAD = "left-unread", "the destination closes {r.who} with bytes in it that it has not read"
    CLOSED = "closed", "the {r.actor.value} closes {r.who}"
    RESET = "reset", "the {r.actor.value} resets {r.who}"
    SHUT = "shut", "the destination says on the return path that the migration {r.because}"
    DIED_IN_CLEANUP = (
        "died-in-cleanup",
        "behind its SHUT the destination's process ends, which closes the multifd channels now: with multifd and "
        "postcopy 7.2 aborts at the end of postcopy, every time (assertion in yank.c)",
    )
    POSTCOPY_REQUEST = "postcopy-request", "the destination asks for pages on the return path: postcopy has begun"
    PAUSED = (
        "paused",
        "postcopy has begun and its main connection is given up: the guest is paused until the migration is recovered",
    )
    RECOVERY = (
        "recovery",
        "the postcopy, paused, goes on over {r.connection}: a second main connection, which has no file header "
        "and is not judged",
    )
    RESUME = "resume", "the destination agrees to resume a paused postcopy (RESUME_ACK)"
    SWITCHOVER_ACK = "switchover-ack", "the destination agrees to the switchover (SWITCHOVER_ACK)"
    TLS_NOT_BEGUN = (
        "tls-not-begun",
        "{r.connection} never begins its TLS handshake, no ClientHello comes for {r.duration:.1f} s: the destination's "
        "main thread blocks in that handshake, its monitor with it",
    )
    TLS_UNFINISHED = (
        "tls-unfinished",
        "the TLS handshake of {r.connection} is begun and never finished: from here on the {r.actor.value} sends "
        "nothing of it",
    )
    TLS_CUT = (
        "tls-cut",
        "the {r.actor.value}'s FIN closes {r.who} inside a TLS record, {r.bytes:,} bytes into it; nothing in front of "
        "it was lost",
    )
    TLS_ALERT = "tls-alert", "the {r.actor.value} sends the TLS alert {r.because} on {r.who}"
    CLOSE_NOTIFY = "close-notify", "the {r.actor.value} ends TLS on {r.who} with close_notify"
    NO_CLOSE_NOTIFY = "no-close-notify", "the {r.actor.value} closes {r.who} without close_notify"
    UNCLEAN_END = (
        "unclean-end",
        "multifd channels end without close_notify: a destination with multifd-clean-tls-termination=on fails (the TLS "
        "connection was non-properly terminated), one with off completes",
    )
    KEY_UPDATE = "key-update", "the {r.actor.value} changes its key on {r.who} (TLS 1.3 KeyUpdate, {r.times})"
    TAKES_FEWER = (
        "takes-fewer",
        "the destination takes {r.syncs.number} of {r.syncs.of} multifd channels and resets the others: "
        "its multifd-channels is {r.syncs.number}, unless a proxy or firewall lets no more through",
    )
    TAKES_NONE = (
        "takes-none",
        "every multifd channel is closed right behind its first bytes, before main carries any: "
        "multifd is off at the destination, or a proxy or firewall refuses them",
    )
    CHANNELS_SHUT = (
        "channels-shut",
        "the destination shuts its multifd channels at once while main stays open: a receive thread met an error, "
        "as it does when multifd-compression differs, or the uuid where validate-uuid is on",
    )
    LOAD_FAILED = (
        "load-failed",
        "the destination shuts its multifd channels at once, then main: its load failed on main, where a machine type, "
        "RAM block, device or setting is not like the source's; its log says which",
    )
    GAVE_UP_LOADING = (
        "gave-up-loading",
        "the destination shuts its multifd channels at once, then main: its load failed on main (a machine type, RAM "
        "block, device or setting is not like the source's) or in a receive thread (multifd-compression differs); its "
        "log says which",
    )
    LOST_ALONE = (
        "lost-alone",
        "{r.who} alone is closed from the destination's side, in the middle, while all others stay open for "
        "{r.milliseconds:.1f} ms: a QEMU closes all together, so something on the way did it (a proxy, a firewall)",
    )
    SOURCE_DIED = (
        "source-died",
        "the source closes all its connections at once, before the destination closes one: its process has ended",
    )
    TAKES_NOTHING = (
        "takes-nothing",
        "the destination closes every connection right behind its first bytes, main too: it expects TLS (tls-creds) "
        "and the source speaks plain text, or its process has ended",
    )
    KNOWS_NO_TLS = (
        "knows-no-tls",
        "the destination closes {r.who} without an answer to its ClientHello: it does not expect TLS (no tls-creds), "
        "the source does",
    )
    NOT_BEGUN = (
        "not-begun",
        "the destination has read nothing, not even main's first bytes: it has not begun, as while {r.because} "
        "(multifd-channels, multifd), or it was stopped before",
    )
    MAIN_CAME_LATER = (
        "main-came-later",
        "the destination took channel {r.channel} first and main {r.duration:.3f} s later: {r.because}",
    )
    DIED = (
        "died",
        "the destination closes all its connections within {r.microseconds:,} µs: its process has ended (killed, "
        "crashed, or on an error that its log tells)",
    )
    LEGS = (
        "legs",
        "one migration, recorded in front of and behind a proxy: {r.connection}; judged is what the last leg carries",
    )
    LOST_BETWEEN_LEGS = (
        "lost-between-legs",
        "{r.bytes:,} bytes of {r.who} came to the proxy, from {r.at} on, and did not go on to {r.connection}",
    )
    SILENCE = "silence", "nothing new from here on, for {r.duration:.1f} s"


ENDINGS = {
    ChannelEnd.ERROR: "ends with an error at {r.at}: {r.because}",
    ChannelEnd.CRASH: "crashes the process at {r.at}: {r.because}",
    ChannelEnd.CLOSED: "is closed at {r.at}",
    ChannelEnd.NOT_RECORDED: "is not recorded any further than {r.at}",
}
"""How a channel ends, as the end of a sentence."""
