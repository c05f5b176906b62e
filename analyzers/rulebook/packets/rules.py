"""Header fields of multifd RAM packets: flags, counts, compression ids."""

from __future__ import annotations

from analyzers.findings import Severity
from analyzers.rulebook.conditions import (
    DeviceStateCondition,
    Effect,
    HeaderCondition,
    if_zero_pages_read,
    zero_pages_read,
)
from analyzers.rulebook.packets.habit_rules import HABIT_RULES
from analyzers.rulebook.packets.page_rules import PAGE_RULES
from analyzers.rulebook.phrases import CHANNEL_ERROR, COMPRESSION, MULTIFD, RAM_UNPACK, WITH_MULTIFD, ZERO_PAGES
from analyzers.rulebook.rule import Rule
from multifd_codec.dialect.compression import COMPRESSIONS, Compression, known
from multifd_codec.dialect.releases import RELEASES
from multifd_codec.dialect.words import since, which
from multifd_codec.wire.packet import KNOWN_FLAGS

FAMILY = "packet fields"
OLD_ALLOC_FACTOR = max(release.destination.pages_alloc_factor for release in RELEASES.values())
"""pages_alloc may be this many times the pages a packet can hold where it is not checked closely."""
ALLOC_CHECKED = since(lambda r: r.destination.pages_alloc_factor == 1)
ALLOC_CLEARED = which(lambda r: r.sender.sync_pages_alloc_zero)


SYNC_WITH_ALLOC = HeaderCondition(
    field="pages_alloc",
    when=lambda c: c.sync & ~c.has_pages & (c.alloc != 0),
    says=lambda c, i: f"pages_alloc {c.alloc[i]} on a SYNC packet, {ALLOC_CLEARED} send 0",
    silent=True,
)
SYNC_WITHOUT_ALLOC = HeaderCondition(
    field="pages_alloc",
    when=lambda c: c.sync & ~c.has_pages & (c.alloc == 0),
    says=lambda c, i: f"pages_alloc 0 on a SYNC packet, as {ALLOC_CLEARED} send it",
    silent=True,
)


def _payload(method: Compression) -> HeaderCondition:
    """Pages that a destination without this method takes for plain ones."""
    return HeaderCondition(
        field="flags",
        when=lambda c: ((c.compression & method.flag) != 0) & (c.normal > 0),
        says=lambda c, i: f"{c.normal[i]} pages with compression id {c.compression[i]:#x}",
        effect=lambda d: Effect.NONE if known(d.compression_mask, method.flag) else Effect.ERROR,
        silent=True,
    )


METHOD_PAYLOADS = {row.flag: _payload(row) for row in COMPRESSIONS.values() if row.flag}
"""By compression id."""

# In the order in which a receiver checks a packet: pages before compression ids.
RULES = (
    Rule(
        code="MFD203",
        title="Undefined flag bits are clear",
        severity=Severity.WARNING,
        why=(
            "Bits 7 to 31 of flags have no meaning yet. Receivers ignore them, so a stream that sets one works until a"
            " release gives the bit a meaning; bit 6 (DEVICE_STATE) shows how that ends for older destinations, which "
            "lose framing."
        ),
        destination="Ignored. Outcome: completes.",
        reference="MULTIFD_FLAG_ definitions, migration/multifd.h; multifd_recv_thread, migration/multifd.c",
        since=MULTIFD,
        example="channel 0: I S D S   with D.flags = 0x80",
        conditions=(
            HeaderCondition(
                field="flags",
                when=lambda c: (c.flags & ~KNOWN_FLAGS) != 0,
                says=lambda c, i: f"undefined flag bits {c.flags[i] & ~KNOWN_FLAGS:#x} are set",
            ),
            DeviceStateCondition(
                field="flags",
                when=lambda s: s.packet.flags & ~KNOWN_FLAGS,
                says=lambda s: f"undefined flag bits {s.packet.flags & ~KNOWN_FLAGS:#x} are set",
            ),
        ),
    ),
    Rule(
        code="MFD204",
        title="At most one compression bit is set",
        severity=Severity.ERROR,
        why=(
            "Compression ids are one bit each from bit 1 up (zlib 0x02, zstd 0x04, qpl 0x08, uadk 0x10, qatzip 0x20), "
            "although they are compared as a number under a mask. Two bits are the id of no method."
        ),
        destination=(
            "On a packet with pages the masked value equals no configured method: flags received, flags expected. "
            + CHANNEL_ERROR
            + " On a packet without pages it is not looked at."
        ),
        reference="recv methods in migration/multifd-nocomp.c, -zlib.c, -zstd.c, -qpl.c, -uadk.c, -qatzip.c",
        since=COMPRESSION,
        example="channel 0: I S D S   with D.flags = 0x06",
        conditions=(
            HeaderCondition(
                field="flags",
                when=lambda c: (c.compression & (c.compression - 1)) != 0,
                says=lambda c, i: f"compression bits {c.compression[i]:#x} name more than one method",
            ),
        ),
    ),
    Rule(
        code="MFD205",
        title="The compression id is that of the destination and never changes",
        severity=Severity.ERROR,
        why=(
            "multifd-compression is set on each side and is not in the stream; each packet with pages repeats it. A "
            "source cannot change it during a migration, so two ids in one stream are two senders or damage."
        ),
        destination="Checked on every packet with pages. " + CHANNEL_ERROR,
        reference=(
            "recv methods in migration/multifd-nocomp.c, -zlib.c, -zstd.c, -qpl.c, -uadk.c, -qatzip.c; error text: "
            "flags received ... flags expected"
        ),
        since=COMPRESSION,
        example="channel 0: I S D D S   with the first D.flags = 0x02 and the second D.flags = 0x00",
    ),
    Rule(
        code="MFD207",
        title="pages_alloc is at most the number of pages of a packet (524288 / page size)",
        severity=Severity.ERROR,
        why=(
            "The offset array on the wire always has that many entries. A larger pages_alloc usually means that sender"
            " and reader have different target page sizes, and then every further packet is misread."
        ),
        destination=(
            CHANNEL_ERROR
            + " 4.0 to 6.2 accepted up to a hundred times as much and reallocated, although they read no more bytes."
        ),
        reference=RAM_UNPACK,
        since=f"{which(lambda r: r.destination.pages_alloc_factor == 1)} at this limit",
        example="page size 4096: channel 0: I S D S   with D.pages_alloc = 129",
        conditions=(
            HeaderCondition(
                field="pages_alloc",
                when=lambda c: c.alloc > c.capacity,
                says=lambda c, i: f"pages_alloc {c.alloc[i]}, a packet holds at most {c.capacity} pages",
                effect=lambda d: Effect.ERROR if d.pages_alloc_factor == 1 else Effect.NONE,
                hides_pages=True,
            ),
            HeaderCondition(
                field="pages_alloc",
                when=lambda c: c.alloc > OLD_ALLOC_FACTOR * c.capacity,
                says=lambda c, i: (
                    f"pages_alloc {c.alloc[i]}, even releases before {ALLOC_CHECKED} take at most "
                    f"{OLD_ALLOC_FACTOR * c.capacity}"
                ),
                effect=Effect.ERROR,
                silent=True,
            ),
        ),
    ),
    Rule(
        code="MFD208",
        title="pages_alloc of a packet with pages is exactly the number of pages of a packet",
        severity=Severity.WARNING,
        why=(
            "Every sender writes the constant 524288 / page size into packets with pages; SYNC packets carry 0 from "
            "9.2 on and the constant before. Another value does not come from QEMU or shows another page size."
        ),
        destination=("Accepted as long as normal_pages and zero_pages fit into it. Outcome: completes."),
        reference="multifd_ram_fill_packet (sender), " + RAM_UNPACK,
        since=MULTIFD,
        example="page size 4096: channel 0: I S D S   with D.pages_alloc = 64, D.normal_pages = 10",
        conditions=(
            HeaderCondition(
                field="pages_alloc",
                when=lambda c: c.has_pages & (c.alloc < c.capacity),
                says=lambda c, i: f"pages_alloc {c.alloc[i]} on a packet with pages, senders say {c.capacity}",
            ),
            SYNC_WITH_ALLOC,
            SYNC_WITHOUT_ALLOC,
        ),
    ),
    Rule(
        code="MFD209",
        title="normal_pages is at most pages_alloc",
        severity=Severity.ERROR,
        why=(
            "normal_pages says how many entries of the offset array are pages with content, and how much payload "
            "follows. More than the array can hold is damage or a wrong page size."
        ),
        destination=CHANNEL_ERROR,
        reference=RAM_UNPACK,
        since=f"all releases with multifd ({WITH_MULTIFD}; the field was called pages_used up to 6.2)",
        example="channel 0: I S D S   with D.pages_alloc = 128, D.normal_pages = 129",
        conditions=(
            HeaderCondition(
                field="normal_pages",
                when=lambda c: c.normal > c.alloc,
                says=lambda c, i: f"normal_pages {c.normal[i]} exceeds pages_alloc {c.alloc[i]}",
                effect=Effect.ERROR,
                hides_pages=True,
            ),
            HeaderCondition(
                field="normal_pages",
                when=lambda c: (c.normal > c.capacity) & (c.normal <= c.alloc),
                says=lambda c, i: f"{c.normal[i]} pages, the offset array has {c.capacity} entries",
                effect=lambda d: Effect.NONE if d.pages_alloc_factor == 1 else Effect.CRASH,
                chance=True,
                silent=True,
                hides_pages=True,
            ),
        ),
    ),
    Rule(
        code="MFD210",
        title="zero_pages is at most pages_alloc - normal_pages",
        severity=Severity.ERROR,
        why=(
            "Zero pages stand behind the normal pages in the same offset array. Both counts together may not exceed it."
        ),
        destination=CHANNEL_ERROR,
        reference=RAM_UNPACK,
        since=f"{ZERO_PAGES}; before, the field is reserved and ignored",
        example="channel 0: I S D S   with D.pages_alloc = 128, D.normal_pages = 100, D.zero_pages = 29",
        conditions=(
            HeaderCondition(
                field="zero_pages",
                when=lambda c: (c.normal <= c.alloc) & (c.zero > c.alloc - c.normal),
                says=lambda c, i: (
                    f"zero_pages {c.zero[i]} exceeds pages_alloc {c.alloc[i]} less normal_pages {c.normal[i]}"
                ),
                effect=zero_pages_read,
                severity=if_zero_pages_read,
                hides_pages=True,
            ),
        ),
    ),
    *PAGE_RULES,
    *HABIT_RULES,
    Rule(
        code="MFD206",
        title="The compression id exists in the sender's release",
        severity=Severity.WARNING,
        why=(
            "zlib and zstd exist since 5.0, qpl and uadk since 9.1, qatzip since 9.2. The mask was 3 bits wide before "
            "9.1, 4 in 9.1, 5 from 9.2 on: an older destination masks a newer id away and reads compressed bytes as "
            "plain pages."
        ),
        destination=(
            "A destination that does not know the bit reads the packet as uncompressed and loses framing at its end. "
            "Outcome: hangs or fails, after garbage has been written to guest memory."
        ),
        reference="MULTIFD_FLAG_COMPRESSION_MASK, migration/multifd.h",
        since=COMPRESSION,
        example="destination 9.0: channel 0: I S D S   with D.flags = 0x08",
        conditions=(*METHOD_PAYLOADS.values(),),
    ),
)
