"""Header fields of multifd RAM packets: MFD203 to MFD216 and MFD224 to MFD228. Payload rows are in payloads.py."""

from __future__ import annotations

from analyzers.findings import Severity
from analyzers.rulebook.phrases import CHANNEL_ERROR, NO_CHECK, RAM_UNPACK
from analyzers.rulebook.rule import Rule

FAMILY = "packet fields"
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
        since="all releases with multifd (4.0 and later)",
        example="channel 0: I S D S   with D.flags = 0x80",
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
        since="5.0 and later",
        example="channel 0: I S D S   with D.flags = 0x06",
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
        since="5.0 and later",
        example="channel 0: I S D D S   with the first D.flags = 0x02 and the second D.flags = 0x00",
    ),
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
        since="5.0 and later",
        example="destination 9.0: channel 0: I S D S   with D.flags = 0x08",
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
        since="7.0 and later at this limit",
        example="page size 4096: channel 0: I S D S   with D.pages_alloc = 129",
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
        since="all releases with multifd (4.0 and later)",
        example="page size 4096: channel 0: I S D S   with D.pages_alloc = 64, D.normal_pages = 10",
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
        since="all releases with multifd (4.0 and later; the field was called pages_used up to 6.2)",
        example="channel 0: I S D S   with D.pages_alloc = 128, D.normal_pages = 129",
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
        since="9.0 and later; before, the field is reserved and ignored",
        example="channel 0: I S D S   with D.pages_alloc = 128, D.normal_pages = 100, D.zero_pages = 29",
    ),
    Rule(
        code="MFD211",
        title="zero_pages is 0 unless the sender is 9.0 or later with zero-page-detection=multifd",
        severity=Severity.WARNING,
        why=(
            "Before 9.0 zero pages were ZERO records on main. A destination before 9.0 takes the field for reserved "
            "bytes: the pages are not cleared. Machine types up to 8.2 select legacy detection to avoid that."
        ),
        destination=(
            "9.0 and later: the pages are cleared; outcome: completes. Before 9.0: the field is ignored and the pages "
            "keep whatever they held; so do pages that had content before with uadk, and up to 9.2 with qpl and "
            "qatzip. Outcome: loses-data when they held anything, else completes."
        ),
        reference=(
            "multifd_recv_zero_page_process, migration/multifd-zero-page.c; compatibility: hw_compat_8_2, "
            "hw/core/machine.c"
        ),
        since="9.0 and later",
        example="destination 8.2: channel 0: I S D S   with D.zero_pages = 4",
    ),
    Rule(
        code="MFD212",
        title="A packet with pages names a RAM block of the block list",
        severity=Severity.ERROR,
        why=(
            "Offsets are relative to the RAM block the packet names. The block list in the setup section of main says "
            "which blocks exist. An unknown name is a different machine configuration, or bytes out of place."
        ),
        destination="Looked up by name; the last of the 256 bytes is taken as NUL. " + CHANNEL_ERROR,
        reference=RAM_UNPACK + "; error text: unknown ram block",
        since="all releases with multifd (4.0 and later)",
        example="main: START[B(pc.ram) F E] ...   channel 0: I S D(pc.rom) S",
    ),
    Rule(
        code="MFD213",
        title="Every page offset lies inside the RAM block",
        severity=Severity.ERROR,
        why=(
            "The offset of a page may be at most the used length of its block minus one page. Beyond it, the source's "
            "block is larger than the destination's, or the offset is damaged."
        ),
        destination="Checked for normal pages, then for zero pages, before any payload is read. " + CHANNEL_ERROR,
        reference=RAM_UNPACK + "; error text: offset too long",
        since="all releases with multifd (4.0 and later)",
        example="main: START[B(ram, 0x400000) F E] ...   channel 0: I S D(ram, 0x400000) S",
    ),
    Rule(
        code="MFD214",
        title="Every page offset is a multiple of the page size",
        severity=Severity.ERROR,
        why=(
            "A sender only ever sends whole target pages. No receiver checks alignment, so an odd offset writes one "
            "page over parts of two."
        ),
        destination="Accepted; the page is written misaligned, over its neighbour. Outcome: loses-data.",
        reference=RAM_UNPACK,
        since="all releases with multifd (4.0 and later)",
        example="channel 0: I S D(ram, 0x1123) S",
    ),
    Rule(
        code="MFD215",
        title="No page offset occurs twice in one packet",
        severity=Severity.WARNING,
        why=(
            "A batch is filled from one pass over the dirty bitmap, which yields each page once. A page listed twice "
            "gets two contents, and as normal and as zero page it is cleared first and written afterwards."
        ),
        destination=(
            "Accepted; zero pages are cleared first, then the last content wins. Outcome: completes or loses-data."
        ),
        reference="multifd_queue_page (sender), multifd_nocomp_recv (destination), migration/multifd-nocomp.c",
        since="all releases with multifd (4.0 and later)",
        example="channel 0: I S D(ram, 0x1000, 0x1000) S",
    ),
    Rule(
        code="MFD216",
        title="Between two SYNCs a page travels on one channel only",
        severity=Severity.ERROR,
        why=(
            "Channels are not ordered against each other inside a round; only the rendezvous orders them. A sender "
            "visits each page at most once a round, so that no order is needed."
        ),
        destination="Both contents are written in an order that depends on timing. Outcome: completes or loses-data.",
        reference="find_dirty_block (sender), migration/ram.c; multifd_recv_thread, migration/multifd.c",
        since="all releases with multifd (4.0 and later)",
        example="channel 0: I S D(ram, 0x1000) S   channel 1: I S D(ram, 0x1000) S",
    ),
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
