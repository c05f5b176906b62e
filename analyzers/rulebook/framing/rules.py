"""Framing of multifd channels: MFD101, MFD102, MFD129, MFD130."""

from __future__ import annotations

from analyzers.findings import Severity
from analyzers.rulebook.conditions import DeviceStateCondition, Effect, HeaderCondition
from analyzers.rulebook.phrases import CHANNEL_ERROR, MULTIFD, RECEIVE
from analyzers.rulebook.rule import Rule
from multifd_codec.wire.handshake import MULTIFD_MAGIC, MULTIFD_VERSION

FAMILY = "framing"
RULES = (
    Rule(
        code="MFD101",
        title="Every packet starts with the magic 0x11223344",
        severity=Severity.ERROR,
        why=(
            "A multifd channel has no other framing: where a packet ends follows from its own header. A wrong magic "
            "means the reader lost its place, most often because sender and reader disagree about page size, "
            "compression, or the packet kinds of a newer release, or that payload bytes were lost."
        ),
        destination=CHANNEL_ERROR,
        reference=(
            "multifd_recv_unfill_packet_header, migration/multifd.c (10.0 and later; "
            "multifd_recv_unfill_packet before); error text: received packet magic"
        ),
        since=MULTIFD,
        example="main: START[B F E] END[F E]   channel 0: I S D S   with D.magic = 0x11223345",
        conditions=(
            HeaderCondition(
                field="magic",
                when=lambda c: c.magic != MULTIFD_MAGIC,
                says=lambda c, i: f"magic {c.magic[i]:#010x}, expected {MULTIFD_MAGIC:#010x}",
                effect=Effect.ERROR,
            ),
            DeviceStateCondition(
                when=lambda s: s.packet.magic != MULTIFD_MAGIC,
                field="magic",
                says=lambda s: f"magic {s.packet.magic:#010x}, expected {MULTIFD_MAGIC:#010x}",
                refuses=lambda s: f"magic {s.packet.magic:#010x}",
            ),
        ),
    ),
    Rule(
        code="MFD102",
        title="Every packet has version 1",
        severity=Severity.ERROR,
        why=(
            "The version has been 1 since multifd became stable and no release accepts another value. With an intact "
            "magic in front of it, a different version means a damaged or a hand-made packet."
        ),
        destination=CHANNEL_ERROR,
        reference=(
            "multifd_recv_unfill_packet_header, migration/multifd.c (10.0 and later; "
            "multifd_recv_unfill_packet before); error text: received packet version"
        ),
        since=MULTIFD,
        example="main: START[B F E] END[F E]   channel 0: I S D S   with D.version = 2",
        conditions=(
            HeaderCondition(
                field="version",
                when=lambda c: c.version != MULTIFD_VERSION,
                says=lambda c, i: f"version {c.version[i]}, expected {MULTIFD_VERSION}",
                effect=Effect.ERROR,
            ),
            DeviceStateCondition(
                when=lambda s: s.packet.version != MULTIFD_VERSION,
                field="version",
                says=lambda s: f"version {s.packet.version}, expected {MULTIFD_VERSION}",
                refuses=lambda s: f"version {s.packet.version}",
            ),
        ),
    ),
    Rule(
        code="MFD129",
        title="A channel ends at a packet boundary",
        severity=Severity.ERROR,
        why=(
            "A channel has no end marker: the source closes the connection behind a complete packet. A stream that "
            "stops inside a header or a payload was cut by a failing source, a network error or a shutdown of the "
            "destination."
        ),
        destination=(
            "The thread gets a short read: an error, unlike an end exactly between two packets, which ends the thread "
            "silently. " + CHANNEL_ERROR
        ),
        reference=RECEIVE + "; error texts: Unexpected end-of-file before all data were read; "
        "unexpected EOF after packet header (10.0 and later)",
        since=MULTIFD,
        example="main: START[B F E] END[F E]   channel 0: I S D   the stream ends inside D's pages",
    ),
    Rule(
        code="MFD130",
        title="A channel ends only behind its last SYNC that main will ask for",
        severity=Severity.ERROR,
        why=(
            "An end of stream between two packets is not an error for the receive thread: it ends without a word. If "
            "main has another rendezvous to come, the token of this channel will never arrive. If not, data the source"
            " had meant to send is missing and nobody notices."
        ),
        destination=(
            "The receive thread ends and records no error. Outcome: hangs, monitor frozen, when a rendezvous record on"
            " main still waits for this channel's SYNC; otherwise completes, with data lost if the source had more to "
            "send. With TLS and machine type 10.0 or later an end without close_notify is an error instead."
        ),
        reference=RECEIVE + "; multifd_recv_sync_main in the same file waits for the token",
        since=MULTIFD,
        example="main: START[B F E] END[F E]   channel 0: I S S   channel 1: I S",
    ),
)
