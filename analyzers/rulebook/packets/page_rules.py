"""Pages that multifd RAM packets name: their RAM block and their offsets. Surveys follow them over whole channels."""

from __future__ import annotations

from analyzers.findings import Severity
from analyzers.rulebook.conditions import Effect, HeaderCondition, PacketCondition, if_zero_pages_read, zero_pages_read
from analyzers.rulebook.phrases import CHANNEL_ERROR, RAM_UNPACK
from analyzers.rulebook.rule import Rule
from multifd_codec.dialect.words import since

ZERO_PAGES_SINCE = since(lambda r: r.sender.zero_pages)
ZERO_PAGES = HeaderCondition(
    field="zero_pages",
    when=lambda c: c.zero != 0,
    says=lambda c, i: f"zero_pages {c.zero[i]}, a field that releases before {ZERO_PAGES_SINCE} neither send nor read",
    severity=lambda c: (
        Severity.WARNING if not c.destination.habits.zero_pages or not c.sender.maybe(lambda s: s.zero_pages) else None
    ),
)
UNKNOWN_BLOCK = PacketCondition(field="ramblock", effect=Effect.ERROR)
UNKNOWN_BLOCK_OF_ZERO_PAGES = PacketCondition(field="ramblock", effect=zero_pages_read, severity=if_zero_pages_read)
OUTSIDE_BLOCK = PacketCondition(field="offset", effect=Effect.ERROR)
ZERO_PAGE_OUTSIDE_BLOCK = PacketCondition(field="offset", effect=zero_pages_read, severity=if_zero_pages_read)
"""Pages that are nowhere. Destinations before 9.0 do not read zero pages, and so do not miss them."""
MISALIGNED = PacketCondition(field="offset", effect=Effect.SPOILS)
MISALIGNED_ZERO_PAGE = PacketCondition(field="offset")
REPEATED_PAGE = PacketCondition(field="offset", severity=lambda c: Severity.ERROR if c.pages_lost else Severity.WARNING)
REPEATED_NORMAL_PAGE = PacketCondition(field="offset", silent=True)

PAGE_RULES = (
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
        conditions=(ZERO_PAGES,),
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
        conditions=(UNKNOWN_BLOCK, UNKNOWN_BLOCK_OF_ZERO_PAGES),
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
        conditions=(OUTSIDE_BLOCK, ZERO_PAGE_OUTSIDE_BLOCK),
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
        conditions=(MISALIGNED, MISALIGNED_ZERO_PAGE),
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
        conditions=(REPEATED_PAGE, REPEATED_NORMAL_PAGE),
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
)
