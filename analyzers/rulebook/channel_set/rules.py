"""The set of connections and their first bytes: MFD601 to MFD610."""

from __future__ import annotations

from analyzers.findings import Severity
from analyzers.rulebook.conditions import MainProblem
from analyzers.rulebook.phrases import MAIN_ERROR, MULTIFD
from analyzers.rulebook.rule import Rule
from multifd_codec.main.problems import ProblemKind

FAMILY = "channel set"
INIT = "multifd_recv_initial_packet, migration/multifd.c"

RULES = (
    Rule(
        code="MFD601",
        title="The main channel starts with QEVM and version 3",
        severity=Severity.ERROR,
        why=(
            "The destination tells the main channel from multifd channels by its first four bytes (8.0 and later, "
            "plain sockets). A main channel with another magic is taken for a multifd channel and the error then "
            "speaks of a bad multifd packet, which points to the wrong connection."
        ),
        destination=(
            "Wrong magic on a peekable socket: 8.0 to 10.0 report a bad ChannelInit, 10.1 and later an unknown channel"
            " magic; elsewhere: not a migration stream. Version 2 is refused as obsolete, other versions as "
            "unsupported. " + MAIN_ERROR
        ),
        reference=(
            "migration_ioc_process_incoming, migration/migration.c (magic check: 6720c2b327); "
            "migration_channel_identify, migration/channel.c, later; qemu_loadvm_state_header, migration/savevm.c"
        ),
        since="all releases; classification by magic since 8.0",
        example="main: 51 45 56 4e 00 00 00 03 ...",
        conditions=(MainProblem(ProblemKind.FILE_MAGIC), MainProblem(ProblemKind.FILE_VERSION)),
    ),
    Rule(
        code="MFD602",
        title="A multifd channel starts with a 64-byte ChannelInit, magic 0x11223344, version 1",
        severity=Severity.ERROR,
        why=(
            "The ChannelInit carries the channel number and the source's UUID; no packet is read before it. A "
            "connection that offers something else is a stranger, a truncated channel, or a stream of another protocol"
            " version."
        ),
        destination=(
            "The connection is refused with an error before main is loaded. Outcome: fails, exit status 1. 7.2 prints "
            "the error and stays alive with a responsive monitor, but the migration never starts."
        ),
        reference=INIT + "; error texts: received packet magic, received packet version",
        since="3.0 and later, unchanged",
        example="channel 0: I S   with I.version = 2",
    ),
    Rule(
        code="MFD603",
        title="All ChannelInits carry the same UUID, that of the destination",
        severity=Severity.ERROR,
        why=(
            "The source writes its own UUID (all zero without -uuid) and the destination compares it with its own, "
            "whatever the validate-uuid capability says. Two UUIDs in one set of channels mean that connections of two"
            " sources were mixed up. Starting only one side with -uuid breaks multifd too."
        ),
        destination=(
            "The first connection whose UUID differs from the destination's is refused. Outcome: fails, exit status 1; "
            "7.2 stays alive and the migration never starts."
        ),
        reference=INIT + "; error text: received uuid ... and expected uuid",
        since="3.0 and later",
        example="channel 0: I(uuid A) S   channel 1: I(uuid B) S",
    ),
    Rule(
        code="MFD604",
        title="A channel id is smaller than the number of channels",
        severity=Severity.ERROR,
        why=(
            "Ids index an array of multifd-channels elements. The check up to the tree of February 2026 tests only for "
            "greater than the count, so the id equal to the count reads and writes one element behind the array."
        ),
        destination=(
            "Id above the count: refused with an error; outcome: fails. Id equal to the count: undefined, seen are "
            "SIGSEGV and the claim that this id is already set up with exit status 1; 11.1 refuses it cleanly. "
            "Up to 7.2 the error leaves it waiting for ever. Outcome: crashes, fails or hangs."
        ),
        reference=INIT + "; multifd_recv_new_channel in the same file uses the id as an index",
        since="3.0 and later; off by one at least up to 10.2, corrected by 11.1",
        example="two channels configured: channel 0: I(id 0) S   channel 2: I(id 2) S",
    ),
    Rule(
        code="MFD605",
        title="No two channels have the same id",
        severity=Severity.ERROR,
        why=(
            "Each id names one slot with one receive thread. The same id twice means that connections of two "
            "migrations were mixed, or a replay tool copied a channel; the slot of the missing id stays empty."
        ),
        destination=(
            "The second connection is refused: the id is already set up. Outcome: fails, exit status 1; 7.2 prints the "
            "error, stays alive, and the migration never starts."
        ),
        reference="multifd_recv_new_channel, migration/multifd.c",
        since="3.0 and later",
        example="channel 0: I(id 0) S   channel 0: I(id 0) S",
    ),
    Rule(
        code="MFD606",
        title="Channel ids run from 0 to multifd-channels - 1 without a gap",
        severity=Severity.ERROR,
        why=(
            "The channel count is agreed only by configuration. The destination starts loading when it has exactly as "
            "many channels as configured, and refuses further connections from then on."
        ),
        destination=(
            "Too few connections: it waits for ever in state setup, the monitor answers. Outcome: hangs. More "
            "connections than configured: the surplus is refused, which a real source notices; a replayed stream "
            "completes without the pages of the refused channels. Outcome: loses-data."
        ),
        reference=(
            "migration_has_all_channels, migration/migration.c; multifd_recv_all_channels_created, migration/multifd.c"
        ),
        since="3.0 and later",
        example="two channels configured: main: START[B F E] END[F E]   channel 1: I(id 1) S S",
    ),
    Rule(
        code="MFD607",
        title="The unused bytes of a ChannelInit are zero",
        severity=Severity.INFO,
        why=(
            "Every release sends zero and ignores them on receipt. Other content means a sender of unknown origin, or "
            "a later release that gave the bytes a meaning an older destination will not see."
        ),
        destination="Ignored. Outcome: completes.",
        reference="MultiFDInit_t and multifd_recv_initial_packet, migration/multifd.c",
        since="3.0 and later",
        example="channel 0: I S   with I.unused1 = 00 00 00 00 00 00 01",
    ),
    Rule(
        code="MFD608",
        title="A migration has exactly one main channel",
        severity=Severity.ERROR,
        why=(
            "The main channel carries the section stream and there is no way to have two. A second connection that "
            "starts with QEVM belongs to another migration or to a client that retried. Without any, nothing is ever "
            "loaded."
        ),
        destination=(
            "8.0 to 10.0 drop a second QEVM connection and abort later, at cleanup, on an assertion about registered "
            "yank functions. 10.1 and later abort on an assertion at once (from source, not exercised). Outcome: "
            "crashes. No main channel at all: waits for ever with a responsive monitor. Outcome: hangs."
        ),
        reference=(
            "migration_ioc_process_incoming, migration/migration.c; migration_channel_identify, migration/channel.c, "
            "later"
        ),
        since="8.0 and later; before, every connection behind the first counts as multifd",
        example="main: START[B F E] ...   main: START[B F E] ...   channel 0: I S   channel 1: I S",
    ),
    Rule(
        code="MFD609",
        title="There are multifd connections only when the multifd capability is on",
        severity=Severity.ERROR,
        why=(
            "The capability is not in the stream, so a destination without it learns only from the connection itself. "
            "Whether that is noticed depends on the release and on which connection arrives first."
        ),
        destination=(
            "Up to 10.0 a multifd connection that arrives first is taken for main: not a migration stream, outcome: "
            "fails; one that arrives later is refused. 10.1 and later abort on an assertion (from source, not "
            "exercised). Outcome: crashes."
        ),
        reference=(
            "migration_ioc_process_incoming, migration/migration.c (00f3fcef19 for 10.1); migration_channel_identify, "
            "migration/channel.c, later"
        ),
        since=MULTIFD,
        example="destination without multifd: main: START[B E] END[p E]   channel 0: I S",
    ),
    Rule(
        code="MFD610",
        title="A mapped-ram migration has no multifd wire protocol",
        severity=Severity.ERROR,
        why=(
            "With mapped-ram the channels are file descriptors: threads read and write pages at fixed file offsets, "
            "there is neither a ChannelInit nor a packet, and synchronisation stays inside each process. Multifd "
            "packets beside a main stream that announces mapped-ram belong to something else."
        ),
        destination=(
            "Nothing reads such packets: the loading threads read pages from the file at the offsets main gives them. "
            "Outcome: decided by the main stream alone."
        ),
        reference="multifd_use_packets, migration/multifd.c; multifd_file_recv_data, migration/file.c",
        since="9.0 and later",
        example="main with capability mapped-ram: START[B E] END[E]   channel 0: I S D",
    ),
)
