"""What a receiver of multifd RAM packets does not look at, and releases of senders do differently."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analyzers.findings import Severity
from analyzers.rulebook.conditions import HeaderCondition
from analyzers.rulebook.phrases import NO_CHECK
from analyzers.rulebook.rule import Rule
from multifd_codec.dialect.words import which
from multifd_codec.wire.packet import KNOWN_FLAGS, SYNC

if TYPE_CHECKING:
    from analyzers.linter.context import Context


SYNC_ALONE = which(lambda r: not r.sender.sync_carries_pages)


def _if_new(context: Context) -> Severity | None:
    return None if context.sender.maybe(lambda s: s.header_stale) else Severity.INFO


EMPTY_WITHOUT_SYNC = HeaderCondition(
    field="flags",
    when=lambda c: ~c.sync & ~c.has_pages,
    says=lambda c, i: "neither SYNC nor pages",
    severity=lambda c: Severity.INFO if c.sender.maybe(lambda s: s.sync_carries_pages) else Severity.WARNING,
)
SYNC_WITH_PAGES = HeaderCondition(
    field="flags",
    when=lambda c: c.sync & c.has_pages,
    says=lambda c, i: f"SYNC on a packet with {c.normal[i] + c.zero[i]} pages",
    severity=lambda c: Severity.ERROR if c.destination.habits.drops_pages_of_sync else Severity.INFO,
)
STALE_OFFSETS = HeaderCondition(
    field="offset",
    when=lambda c: c.unused_offsets,
    says=lambda c, i: f"entries of the offset array behind the {c.normal[i] + c.zero[i]} that count are not zero",
    severity=_if_new,
)
STALE_NAME = HeaderCondition(
    field="ramblock",
    when=lambda c: c.unused_name,
    says=lambda c, i: "a RAM block's name on a packet without pages",
    severity=_if_new,
)


HABIT_RULES = (
    Rule(
        code="MFD224",
        title="A packet carries pages or SYNC",
        severity=Severity.INFO,
        why=(
            "Up to 8.2 a channel thread that merged SYNC into a batch of pages still owes one job and sends an empty "
            "packet without SYNC, with the same packet_num. From 9.0 on no sender has a reason to."
        ),
        destination="Accepted, nothing happens. Outcome: completes.",
        reference="multifd_send_thread, migration/multifd.c (explained in f5f48a7891)",
        since="sent by releases up to 8.2 only",
        example="channel 0: I S D DS 0 S   where 0 has neither pages nor SYNC",
        conditions=(EMPTY_WITHOUT_SYNC,),
    ),
    Rule(
        code="MFD225",
        title="A SYNC packet carries no pages",
        severity=Severity.INFO,
        why=(
            "Up to 8.2 SYNC is a flag that may end up on a packet with pages. 9.0 separated the two. The receiver of "
            "9.2.0 skipped the pages of SYNC packets and lost framing; 10.0 reads them again."
        ),
        destination=(
            "Pages are loaded, then the token is given. Outcome: completes. 9.2.0 takes the payload for the next "
            "packet. Outcome: hangs, monitor frozen."
        ),
        reference="multifd_recv_thread, migration/multifd.c (d7e58f412c in 9.2, b93d897ea2 in 10.0); QEMU issue 2720",
        since="sent by releases up to 8.2 only",
        example="channel 0: I S D DS 0   where DS has flags 0x01 and normal_pages = 12",
        conditions=(SYNC_WITH_PAGES,),
    ),
    Rule(
        code="MFD226",
        title="From 9.0 on the flags of a SYNC packet are exactly 0x01",
        severity=Severity.WARNING,
        why=(
            "A SYNC packet without pages has nothing compressed, and 9.0 and later add no compression id to it. Other "
            "bits show an older sender or a foreign one."
        ),
        destination="Compression bits of a packet without pages are not looked at. Outcome: completes.",
        reference="multifd_send_thread, migration/multifd.c",
        since="9.0 and later",
        example="channel 0: I S D S   with the last S.flags = 0x03",
        conditions=(
            HeaderCondition(
                field="flags",
                when=lambda c: c.sync & ((c.flags & KNOWN_FLAGS) != SYNC),
                says=lambda c, i: f"flags {c.flags[i]:#x} on a SYNC packet, {SYNC_ALONE} send {SYNC:#x}",
                severity=lambda c: None if c.sender.maybe(lambda s: s.sync_carries_pages) else Severity.WARNING,
            ),
        ),
    ),
    Rule(
        code="MFD227",
        title="From 9.2 on unused fields and padding are zero",
        severity=Severity.INFO,
        why=(
            "9.2 clears the whole packet before filling it. Before, SYNC packets and short packets carry RAM block "
            "names, sizes and offsets of earlier packets. Other content from a newer sender means damage or a foreign "
            "sender."
        ),
        destination=NO_CHECK,
        reference="multifd_send_fill_packet, migration/multifd.c (d7e58f412c)",
        since="9.2 and later",
        example="channel 0: I S D S   with D.unused64 = (1, 0, 0)",
        conditions=(
            HeaderCondition(
                field="unused64",
                when=lambda c: c.unused_words,
                says=lambda c, i: "reserved words of the header are not zero",
            ),
            STALE_OFFSETS,
            STALE_NAME,
        ),
    ),
    Rule(
        code="MFD228",
        title="packet_num is unique and dense over all channels and rises on each channel",
        severity=Severity.WARNING,
        why=(
            "From 9.0 on RAM and SYNC packets of all channels together are numbered 0, 1, 2, ... without a gap; "
            "device-state packets have no number. A missing number is a packet that was never sent (9.0 to 9.2.0 drop "
            "packets of only zero pages when compression is on) or was removed; a number twice is a packet replayed. "
            "Before 9.0 numbers may be skipped and repeated."
        ),
        destination=(
            "The number only feeds a trace point. Outcome: completes, or loses-data when the missing packet had pages."
        ),
        reference=("multifd_send_fill_packet, migration/multifd.c (98ea497d8b); lost zero-only packets: cdc3970f85"),
        since="9.0 and later",
        example="channel 0: I S(0) D(2) S(5)   channel 1: I S(1) D(3) S(6)   number 4 is missing",
    ),
)
