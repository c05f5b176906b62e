"""RAM records of the main channel: MFD508 to MFD514, MFD521, MFD522, MFD525."""

from __future__ import annotations

from analyzers.findings import Severity
from analyzers.rulebook.conditions import Load, MainProblem, MainRefusal, once
from analyzers.rulebook.phrases import MAIN_ERROR, MULTIFD
from analyzers.rulebook.rule import Rule
from multifd_codec.dialect.words import since, which
from multifd_codec.main.problems import ProblemKind

FAMILY = "main channel"
HOOK_FAILS = which(lambda r: r.destination.hook_fails)
COMPRESS_PAGE_GONE = since(lambda r: not r.destination.compress_page)
LOAD = "ram_load_precopy, migration/ram.c"

RULES = (
    Rule(
        code="MFD508",
        title="A RAM record has exactly one type flag",
        severity=Severity.ERROR,
        why=(
            "The flags stand in the low bits of a 64-bit word, CONTINUE is the only modifier. Any other combination is "
            "damage, or a record of another release: FLUSH (0x200) is unknown before 8.1."
        ),
        destination="Unknown combination of migration flags. " + MAIN_ERROR,
        reference=LOAD,
        since="all releases",
        example="main: PART[... 00 00 00 00 00 00 10 0a ...]   ZERO and PAGE",
        conditions=(
            MainProblem(ProblemKind.RAM_FLAGS),
            MainProblem(ProblemKind.XBZRLE_FORM),
            MainRefusal(
                places=lambda s: once(s.main.hook) if s.destination.hook_fails else (),
                reason=lambda _, name: f"HOOK, which releases {HOOK_FAILS} only take with RDMA",
                says=lambda _, name, release: f"HOOK, which {release} takes with RDMA only",
                field="flags",
                length=8,
            ),
        ),
    ),
    Rule(
        code="MFD509",
        title="CONTINUE comes only after a record that names a RAM block",
        severity=Severity.ERROR,
        why=(
            "CONTINUE means the block of the previous page record on this main channel, also across sections. Without "
            "one there is no block to continue."
        ),
        destination="Bad migration stream. " + MAIN_ERROR,
        reference="ram_block_from_stream, migration/ram.c",
        since="all releases",
        example="main: START[B F E] PART[ZERO|CONTINUE ...]",
        conditions=(MainProblem(ProblemKind.CONTINUE_WITHOUT_BLOCK),),
    ),
    Rule(
        code="MFD510",
        title="A page record names a listed RAM block and an offset inside it",
        severity=Severity.ERROR,
        why=(
            "Offsets are relative to the block, and the block list at the start of the stream says how long each block"
            " is."
        ),
        destination="Cannot find block, or illegal RAM offset. " + MAIN_ERROR,
        reference="ram_block_from_stream and host_from_ram_block_offset, migration/ram.c",
        since="all releases",
        example="main: START[B(ram, 0x400000) F E] PART[ZERO(ram, 0x400000) F E]",
        conditions=(MainProblem(ProblemKind.BLOCK_UNKNOWN), MainProblem(ProblemKind.PAGE_OUTSIDE_BLOCK)),
    ),
    Rule(
        code="MFD511",
        title="The fill byte of a ZERO record is 0",
        severity=Severity.ERROR,
        why=(
            "The record dates from times when any repeated byte could be sent. Today only zero pages are, and another "
            "byte means the reader lost its place."
        ),
        destination="Found a zero page with a value. " + MAIN_ERROR,
        reference=LOAD,
        since="recent releases; older ones (7.2 among them) fill the page with that byte instead of failing",
        example="main: PART[ZERO(ram, 0x1000) 41 F E]",
        conditions=(
            MainProblem(ProblemKind.ZERO_FILL, Load.BY_RELEASE),
            MainRefusal(
                places=lambda s: once(s.main.zero_fill) if s.destination.zero_fill_checked else (),
                reason=lambda _, name: "a ZERO record with another fill byte",
            ),
        ),
    ),
    Rule(
        code="MFD512",
        title="The lengths of the block list add up to its total, and the list precedes all pages",
        severity=Severity.ERROR,
        why=(
            "The list has no count: it ends when the lengths read add up to the total. If they never do, whatever "
            "follows is read as further blocks."
        ),
        destination="Sum too large or never reached: unknown ramblock. " + MAIN_ERROR,
        reference="parse_ramblocks, migration/ram.c",
        since="all releases",
        example="main: START[B(total 0x500000: ram 0x400000) F E]",
        conditions=(
            MainProblem(ProblemKind.BLOCK_LIST_SUM),
            MainProblem(ProblemKind.PAGE_BEFORE_BLOCK_LIST, Load.GOES_ON),
        ),
    ),
    Rule(
        code="MFD513",
        title="The block list has the extra fields that the capabilities call for, and no others",
        severity=Severity.ERROR,
        why=(
            "Postcopy adds a page size for blocks with huge pages, x-ignore-shared a guest address, mapped-ram a "
            "header. Each side decides by its own capabilities whether a field is there; if they disagree the list is "
            "misread."
        ),
        destination="The list is read out of step, mostly ending in an unknown ramblock. " + MAIN_ERROR,
        reference="parse_ramblock, migration/ram.c",
        since="2.9 (page size), 4.0 (x-ignore-shared), 9.0 (mapped-ram) and later",
        example="configuration names x-ignore-shared, main: START[B without guest addresses F E]",
        conditions=(MainProblem(ProblemKind.BLOCK_LIST_FIELDS),),
    ),
    Rule(
        code="MFD514",
        title="A RAM section ends with EOS, directly followed by the footer",
        severity=Severity.ERROR,
        why="EOS ends the body. Records behind it, or a footer before it, mean lost or inserted bytes.",
        destination="The footer is missing or read as a RAM record. " + MAIN_ERROR,
        reference=LOAD + "; check_section_footer, migration/savevm.c",
        since="all releases",
        example="main: START[B F E] PART[F E ZERO(ram, 0x1000)] footer",
        conditions=(MainProblem(ProblemKind.EOS_MISSING), MainProblem(ProblemKind.RECORD_AFTER_EOS)),
    ),
    Rule(
        code="MFD521",
        title="With multifd main carries ZERO records in precopy only, and PAGE records in postcopy only",
        severity=Severity.WARNING,
        why=(
            "Pages with content travel in packets. A PAGE record on main during precopy is not ordered against packets"
            " of the same round, so for a page sent both ways the result depends on timing."
        ),
        destination="Accepted. Outcome: completes, or loses-data when the same page also is in a packet.",
        reference="ram_save_target_page (sender), ram_load_precopy, migration/ram.c",
        since=MULTIFD,
        example="main: START[B F E] PART[PAGE(ram, 0x1000) F E]   channel 0: I S S ...",
        beside_channels=True,
    ),
    Rule(
        code="MFD522",
        title="There is no COMPRESS_PAGE record",
        severity=Severity.ERROR,
        why=(
            "The compress capability of single-threaded RAM migration was removed in 9.1, with the record that carried"
            " its pages."
        ),
        destination="Up to 9.0 refused unless compress is on, which multifd rules out; 9.1 and later: unknown "
        "combination of migration flags. " + MAIN_ERROR,
        reference=LOAD,
        since=MULTIFD,
        example="main: PART[COMPRESS_PAGE(ram, 0x1000) ... E]",
        conditions=(
            MainProblem(ProblemKind.COMPRESSED_LENGTH),
            MainRefusal(
                places=lambda s: once(s.main.compress_page) if s.multifd or not s.destination.compress_page else (),
                reason=lambda s, name: (
                    "COMPRESS_PAGE: "
                    + (
                        "compression of pages on main is off"
                        if s.destination.compress_page
                        else f"it was removed in {COMPRESS_PAGE_GONE}"
                    )
                ),
                says=lambda s, name, release: (
                    "COMPRESS_PAGE, "
                    + (
                        "which does not go with multifd"
                        if s.destination.compress_page
                        else f"removed in {COMPRESS_PAGE_GONE}"
                    )
                ),
                field="flags",
                length=8,
            ),
        ),
    ),
    Rule(
        code="MFD525",
        title="mapped-ram headers have version 1, and their regions are aligned, inside the file and disjoint",
        severity=Severity.ERROR,
        why=(
            "Each block has a bitmap and a region of pages at fixed file offsets. The reader goes where the header "
            "says; overlapping regions load one block's pages into another."
        ),
        destination=(
            "A newer version, a region that is not aligned to pages, or a read beyond the end of the file: "
            + MAIN_ERROR
            + " Overlap is not noticed; outcome: loses-data."
        ),
        reference="mapped_ram_read_header and parse_ramblock_mapped_ram, migration/ram.c",
        since="9.0 and later",
        example="mapped-ram file: two blocks with the same pages_offset",
        conditions=(MainProblem(ProblemKind.MAPPED_RAM_HEADER),),
    ),
)
