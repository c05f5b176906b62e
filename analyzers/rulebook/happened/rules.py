"""What was seen to happen: MFD701 to MFD708. They judge the recording's packets and times, not the streams."""

from __future__ import annotations

from analyzers.findings import Severity
from analyzers.rulebook.rule import Rule

FAMILY = "what was seen to happen"
SEEN = "This was seen, not foreseen: see `recorded` in the report."
ANY = "any release"

RULES = (
    Rule(
        code="MFD701",
        title="What was seen to happen is among what the streams make a destination do",
        severity=Severity.ERROR,
        why=(
            "The streams are judged by a destination like their sender. The recording shows another end: the "
            "destination was configured otherwise, is another release, or something outside the streams decided. "
            "Believe what was seen; `explained_by` names destinations with which it is what had to happen."
        ),
        destination=SEEN,
        reference="not QEMU: the reference receiver of this tool, docs/receiver.md",
        since=ANY,
        example="a stream that completes per round, whose destination stops reading: it was configured per section",
    ),
    Rule(
        code="MFD702",
        title="What is sent gets through",
        severity=Severity.ERROR,
        why=(
            "Bytes of this channel were sent, perhaps again and again, and never acknowledged, or they stop inside a "
            "packet, while other channels of the migration went on. QEMU has no part in that: it is the network, a "
            "firewall or a proxy. Main waits in its next rendezvous for the SYNC of this channel, without a time limit."
        ),
        destination="Blocks in its next rendezvous, its monitor with it. Outcome: hangs until somebody gives up.",
        reference="multifd_recv_sync_main, migration/multifd.c; TCP retransmission, RFC 9293 section 3.8",
        since=ANY,
        example="channel 1: I S D D (sent again 7 times, not acknowledged); main: FLUSH ... FLUSH",
    ),
    Rule(
        code="MFD703",
        title="The destination reads what is sent",
        severity=Severity.ERROR,
        why=(
            "The receive window of this channel went to 0 and never opened again: its buffer is full and nobody reads "
            "it. The receive thread is parked in a SYNC or has ended, the process is stopped or blocked, or it never "
            "took this connection for a channel."
        ),
        destination="The source's thread of this channel blocks when its own buffer is full. Outcome: hangs.",
        reference="multifd_recv_thread, migration/multifd.c; zero windows, RFC 9293 section 3.8.6",
        since=ANY,
        example="channel 0: I S D S D D D (window 0 from here on)",
    ),
    Rule(
        code="MFD704",
        title="Every connection is taken",
        severity=Severity.ERROR,
        why=(
            "A connection was refused, or its SYNs were never answered. Nobody listens there, the destination does not "
            "accept so that its backlog is full, or a firewall drops the SYNs. The source waits for its channels, or "
            "fails."
        ),
        destination="Waits for the missing channel. Outcome: hangs before the load begins, or the source fails.",
        reference="multifd_new_send_channel_create, migration/multifd.c; socket_accept_incoming_migration",
        since=ANY,
        example="main, channel 0: connected; channel 1: SYN, SYN, SYN ...",
    ),
    Rule(
        code="MFD705",
        title="Every connection says what it is",
        severity=Severity.ERROR,
        why=(
            "A connection was taken and carried no byte for long. A destination that tells connections by their first "
            "bytes waits for them in its main thread, its monitor with it; so does one that waits for a TLS handshake."
        ),
        destination="Blocks in the peek or the TLS handshake of this connection. Outcome: hangs.",
        reference="migration_channel_read_peek, migration/channel.c; migration_tls_channel_process_incoming",
        since=ANY,
        example="main: SYN, SYN-ACK, nothing for 18 s; channels 0 to 2: I",
    ),
    Rule(
        code="MFD706",
        title="The destination takes the migration to its end",
        severity=Severity.ERROR,
        why=(
            "The destination said that it failed (SHUT with a value other than 0 on the return path), or closed or "
            "reset its connections before it had everything. It exits with an error message on stderr, or died."
        ),
        destination=SEEN,
        reference="migrate_send_rp_shut, migration/migration.c; process_incoming_migration_co",
        since=ANY,
        example="return path: SHUT 1; or main and channels: FIN from the destination before EOF on main",
    ),
    Rule(
        code="MFD707",
        title="The source takes the migration to its end",
        severity=Severity.ERROR,
        why=(
            "The source closed its connections before main's end. At packet boundaries while all went well that is a "
            "cancelled migration (a warning), inside a packet an error or the death of the source."
        ),
        destination="Fails when main ends early. Outcome: fails.",
        reference="migrate_fd_cancel (migration_cancel), migration/migration.c",
        since=ANY,
        example="main: ... PART (FIN from the source); channels: FIN from the source between packets",
    ),
    Rule(
        code="MFD708",
        title="The migration goes on until it is over",
        severity=Severity.ERROR,
        why=(
            "For long nothing new was sent, acknowledged or connected, although the migration was not over; or the "
            "source has sent everything and closed, and the destination never did. Somebody waits without a time limit."
        ),
        destination=SEEN,
        reference="multifd_recv_sync_main, migration/multifd.c; the hang conditions in docs/receiver.md",
        since=ANY,
        example="main: FLUSH (nothing for 15 s); channels 0, 2, 3: S (window 0)",
    ),
    Rule(
        code="MFD709",
        title="A destination completes, whatever the timing",
        severity=Severity.ERROR,
        why=(
            "Some order of events ends otherwise, and no rule says by itself that something is wrong: what the streams"
            " do together does it, or what a destination like the sender cannot be known to have."
        ),
        destination="As the outcome and its reasons say.",
        reference="not QEMU: docs/receiver.md of this project",
        since=ANY,
        example="destination with 3 channels: main: START[B F E] ..., nothing on any channel",
    ),
)
