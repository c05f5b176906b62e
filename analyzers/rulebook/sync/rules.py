"""Synchronisation between main and the multifd channels: MFD301 to MFD315."""

from __future__ import annotations

from analyzers.findings import Severity
from analyzers.rulebook.phrases import DEVICE_STATE, FLUSH, MAIN_ERROR, MULTIFD
from analyzers.rulebook.rule import Rule
from multifd_codec.dialect.words import which

FAMILY = "synchronisation"
POSTCOPY_REFUSED = which(lambda r: r.destination.postcopy_refused)
POSTCOPY = which(lambda r: r.destination.flush_known and not r.destination.postcopy_refused)
SYNC_MAIN = "multifd_recv_sync_main, migration/multifd.c"

RULES = (
    Rule(
        code="MFD301",
        title="Every channel has one SYNC for each rendezvous record on main",
        severity=Severity.ERROR,
        why=(
            "At each rendezvous record (FLUSH per round, EOS per section) main takes as many tokens as there are "
            "channels, and every SYNC packet gives one. A missing SYNC leaves main short of a token. A channel that "
            "has given a surplus one waits for a rendezvous of its own: from there on it is a round late, and the last "
            "has none. Senders 9.1 and 9.2 put one unpaired SYNC at the very end of every channel: harmless and not "
            "counted here."
        ),
        destination=(
            "A channel with fewer SYNCs than rendezvous records: main waits for it for ever, monitor frozen. Outcome: "
            "hangs. With more: its last round is not waited for, and whatever stands behind an unpaired SYNC is never "
            "read. Outcome: loses-data, or completes if nothing was behind it."
        ),
        reference=SYNC_MAIN + "; sender: multifd_send_sync_main (unpaired tail: 637280aeb2, removed by 1d457daf86)",
        since=MULTIFD,
        example="main: START[B F E] END[F E]   channel 0: I S D S   channel 1: I S D",
    ),
    Rule(
        code="MFD302",
        title="All channels have the same number of SYNCs",
        severity=Severity.ERROR,
        why=(
            "A source requests SYNC from all channels at once and waits until each has written it, so the counts "
            "cannot differ. A channel is never more than one SYNC ahead of main, so the tokens of one that has more "
            "cannot stand in for those of one that has less."
        ),
        destination=(
            "Some channel has fewer than there are rendezvous records: hangs, monitor frozen, whatever the total. All "
            "have enough: what stands behind the surplus SYNCs is never read. Outcome: loses-data, or completes if "
            "nothing was behind them."
        ),
        reference="multifd_send_sync_main (sender) and multifd_recv_sync_main, migration/multifd.c",
        since=MULTIFD,
        example="main: START[B F E] END[F E]   channel 0: I S S S   channel 1: I S",
    ),
    Rule(
        code="MFD303",
        title="The first packet of every channel is a SYNC",
        severity=Severity.ERROR,
        why=(
            "Receive threads start with their connection, before main has loaded anything. The SYNC that every sender "
            "issues in the RAM setup section is all that keeps them away from guest memory until the setup handlers "
            "have created the received bitmap."
        ),
        destination=(
            "The thread writes pages and marks them in a bitmap that may not exist yet: a segmentation fault was seen. "
            "Which thread is faster decides. Outcome: crashes, or completes when main was ahead."
        ),
        reference=(
            "ram_save_setup (sender) and ramblock_recv_bitmap_set_offset, migration/ram.c; receive thread: "
            "multifd_recv_thread, migration/multifd.c"
        ),
        since=MULTIFD,
        example="main: START[B F E] END[F E]   channel 0: I D S S   channel 1: I S S",
    ),
    Rule(
        code="MFD304",
        title="The RAM setup section has exactly one rendezvous record",
        severity=Severity.ERROR,
        why=(
            "The START section of ram pairs with the mandatory first SYNC of each channel: FLUSH in per-round mode, "
            "EOS in per-section mode. Without it every channel stays parked at its first SYNC; with two, main asks for"
            " a token that no channel has."
        ),
        destination=(
            "None at all: no page on any channel is loaded and completed is reported. Outcome: loses-data. Two: main "
            "waits for tokens of the next round, which arrive only if the source had one. Outcome: hangs, monitor "
            "frozen, or pages are assigned to the wrong round."
        ),
        reference="ram_save_setup (sender), ram_load_precopy (destination), migration/ram.c; " + SYNC_MAIN,
        since=MULTIFD,
        example="main: START[B F F E] END[F E]   channel 0: I S D S   channel 1: I S D S",
    ),
    Rule(
        code="MFD305",
        title="One stream uses one mode: FLUSH per round, or EOS per section",
        severity=Severity.ERROR,
        why=(
            "The mode is fixed for a whole migration by multifd-flush-after-each-section. In per-section mode there is"
            " no FLUSH; in per-round mode SYNCs pair with FLUSH and EOS only closes the section. Counts that fit "
            "neither mean records of both modes in one stream."
        ),
        destination=(
            "A per-section destination counts EOS and FLUSH alike, a per-round one only FLUSH. Each record that no "
            "SYNC belongs to takes tokens nobody gives. Outcome: hangs, monitor frozen."
        ),
        reference=(
            "ram_load_precopy, migration/ram.c; multifd_ram_flush_and_sync, migration/multifd-nocomp.c (10.0 and later)"
        ),
        since=f"{FLUSH} (before, only per-section mode exists)",
        example="main: START[B E] PART[p E] END[F E]   channel 0: I S S S   channel 1: I S S S   per-section",
    ),
    Rule(
        code="MFD306",
        title="The destination's mode is that of the stream",
        severity=Severity.ERROR,
        why=(
            "multifd-flush-after-each-section is not in the stream; both sides derive it from the machine type (on for"
            " 8.0 and older) unless it is set by hand. A stream of one mode does not work on a destination of the "
            "other."
        ),
        destination=(
            "Per-round stream, per-section destination: EOS takes tokens too, main waits for ever, monitor frozen. "
            "Outcome: hangs. Per-section stream, per-round destination: main never rendezvouses, every channel stays "
            "parked at its first SYNC, no page of any packet is loaded, completed is reported. Outcome: loses-data."
        ),
        reference=(
            "multifd_ram_sync_per_section and multifd_ram_sync_per_round, migration/multifd-nocomp.c (10.0); "
            "hw_compat_8_0, hw/core/machine.c"
        ),
        since=FLUSH,
        example="per-round destination: main: START[B E] END[E]   channel 0: I S D S   channel 1: I S D S",
    ),
    Rule(
        code="MFD307",
        title="Per-round mode: the END section of ram has at least one FLUSH",
        severity=Severity.ERROR,
        why=(
            "The last pass over guest memory ends with a FLUSH: it is what makes main wait for the pages of the last "
            "round. All releases with per-round mode send it, since the search for dirty pages has to wrap once to "
            "find none."
        ),
        destination=(
            "Main does not wait for the last pages: they race with completion. Outcome: completes or loses-data."
        ),
        reference="find_dirty_block and ram_save_complete, migration/ram.c",
        since=FLUSH,
        example="main: START[B F E] END[E]   channel 0: I S D   channel 1: I S D",
    ),
    Rule(
        code="MFD308",
        title="No RAM packet with pages stands behind the last paired SYNC of its channel",
        severity=Severity.ERROR,
        why=(
            "Main waits for pages only through a rendezvous, so pages behind the last one have nobody who waits for "
            "them. Device state may stand there, since the loader threads are joined; pages may not."
        ),
        destination=(
            "The receive thread may load them before main shuts the connections down, or not. Behind a SYNC that no "
            "rendezvous releases they are never read. Outcome: completes or loses-data."
        ),
        reference="multifd_recv_thread and multifd_recv_shutdown, migration/multifd.c",
        since=MULTIFD,
        example="main: START[B F E] END[F E]   channel 0: I S S D   channel 1: I S S",
    ),
    Rule(
        code="MFD309",
        title="No device state stands behind a SYNC that no rendezvous releases",
        severity=Severity.ERROR,
        why=(
            "A channel is parked at its SYNC until main passes the matching rendezvous record. Device state behind a "
            "released SYNC is normal in every migration with device state; behind an unreleased one it is never read, "
            "while the device's loader waits for it. This is the deadlock that a final unpaired SYNC (senders 9.1, "
            "9.2) would cause together with device state, and why 10.0 dropped it."
        ),
        destination=(
            "The channel stays parked, the loader thread of the device waits for its buffers, and main waits for the "
            "loader without a time limit; the monitor is dead. Outcome: hangs."
        ),
        reference=(
            "multifd_recv_thread, migration/multifd.c; qemu_loadvm_thread_pool_wait, migration/savevm.c; "
            "vfio_load_bufs_thread, hw/vfio/migration-multifd.c; final SYNC dropped by 1d457daf86"
        ),
        since=DEVICE_STATE,
        example="main: START[B F E] SWITCHOVER_START END[F E]   channel 0: I S D S S V   channel 1: I S S S",
    ),
    Rule(
        code="MFD310",
        title="The last SYNC of every channel is paired",
        severity=Severity.INFO,
        why=(
            "Senders 9.1 and 9.2 end every channel with one SYNC that no record on main pairs with. A patch proposed "
            "for device state (v3, unmerged) does the same behind all device state. Nothing follows it, so nothing is "
            "lost; the position tells which sender it was."
        ),
        destination=(
            "Main finishes, and the shutdown releases the parked threads. Outcome: completes. With COLO each "
            "checkpoint leaves such a SYNC, and the next rendezvous takes stale tokens."
        ),
        reference=(
            "ram_save_complete, migration/ram.c (introduced by 637280aeb2, removed by 1d457daf86); "
            "multifd_recv_shutdown, migration/multifd.c"
        ),
        since=f"sent by {which(lambda r: r.sender.unpaired_sync_at_complete)}, and by the unmerged v3 series",
        example="main: START[B F E] END[F E]   channel 0: I S D S D S   channel 1: I S D S S",
    ),
    Rule(
        code="MFD311",
        title="FLUSH appears only in migrations with multifd",
        severity=Severity.WARNING,
        why=(
            "8.1 wrote FLUSH records without multifd as well; 8.2 corrected it. In any other stream a FLUSH without "
            "multifd channels means that the channels were not recorded or not connected."
        ),
        destination=(
            "8.1 and later without multifd ignore it. Outcome: completes, or loses-data if there were channels. Up to "
            "8.0: unknown combination of migration flags. Outcome: fails."
        ),
        reference="ram_load_precopy, migration/ram.c; sender corrected by d4f34485ca",
        since=FLUSH,
        example="main: START[B F E] END[p F E]   no multifd channel",
    ),
    Rule(
        code="MFD312",
        title="There is no FLUSH in the postcopy phase",
        severity=Severity.ERROR,
        why=(
            "In postcopy pages travel on main or on the preempt channel, multifd is silent and there is nothing to "
            "flush. 10.0 removed the record from what the postcopy loader accepts."
        ),
        destination="10.0 and later: unknown combination of migration flags. "
        + MAIN_ERROR
        + " Up to 9.2 it is accepted.",
        reference="ram_load_postcopy, migration/ram.c (de695b1399)",
        since=which(lambda r: r.destination.flush_in_postcopy_fails),
        example="main: START[B F E] ... PACKAGED{LISTEN ... RUN} PART[p F E] END[p E]",
    ),
    Rule(
        code="MFD313",
        title="No RAM packet and no SYNC on multifd channels once postcopy has started",
        severity=Severity.ERROR,
        why=(
            "From POSTCOPY_LISTEN on the guest may run on the destination and pages must be placed atomically. Receive"
            " threads write straight into guest memory and know nothing of that; and main no longer rendezvouses, so a"
            " SYNC parks its channel for good."
        ),
        destination=(
            "Pages are written into the memory of a running guest without atomic placement; the assertion of 10.1 "
            "tests the state of the outgoing migration and does not fire on a destination (from source). Outcome: "
            "loses-data. A SYNC parks the channel; without anything behind it: completes."
        ),
        reference="multifd_recv_thread, migration/multifd.c (e274188612); ram_save_postcopy_prepare, migration/ram.c",
        since=f"{POSTCOPY} (multifd with postcopy); refused by {POSTCOPY_REFUSED}",
        example="main: ... PACKAGED{LISTEN ... RUN} PART[p E] END[p E]   channel 0: I S D S D",
    ),
    Rule(
        code="MFD314",
        title="A mapped-ram stream has no FLUSH",
        severity=Severity.ERROR,
        why=(
            "With mapped-ram the threads synchronise inside each process; the stream has no packets and needs no "
            "rendezvous. The loader counts FLUSH among the records that cannot occur."
        ),
        destination="Unexpected RAM flags. " + MAIN_ERROR,
        reference="ram_load_precopy, migration/ram.c; multifd_ram_flush_and_sync, migration/multifd-nocomp.c (sender)",
        since="9.0 and later",
        example="main with capability mapped-ram: START[B F E] END[E]",
    ),
    Rule(
        code="MFD315",
        title="One round does not hold a ZERO record on main and a normal page in a packet for the same page",
        severity=Severity.WARNING,
        why=(
            "With legacy zero-page detection zero pages travel on main and the others in packets. The two are ordered "
            "only by the next rendezvous; inside a round either may be applied last. A sender visits each page at most"
            " once a round."
        ),
        destination="Both are applied, in an order that depends on timing. Outcome: completes or loses-data.",
        reference=(
            "ram_handle_zero and ram_load_precopy, migration/ram.c; multifd_nocomp_recv, migration/multifd-nocomp.c"
        ),
        since=MULTIFD,
        example="main: START[B F E] PART[p(ram, 0x1000) F E] ...   channel 0: I S D(ram, 0x1000) S",
    ),
)
