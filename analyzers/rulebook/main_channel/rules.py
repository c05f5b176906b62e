"""Sections, commands and the vmdescription of the main channel. RAM records are in main_ram.py."""

from __future__ import annotations

from analyzers.findings import Severity
from analyzers.rulebook.conditions import Load, MainProblem, MainRefusal, once
from analyzers.rulebook.phrases import DEVICE_STATE, MAIN_ERROR
from analyzers.rulebook.rule import Rule
from multifd_codec.main.problems import ProblemKind
from multifd_codec.wire.qemufile import CommandId

FAMILY = "main channel"
LOOP = "qemu_loadvm_state_main, migration/savevm.c"
COMMANDS = "loadvm_process_command, migration/savevm.c"

RULES = (
    Rule(
        code="MFD501",
        title="The configuration section is present and fits the destination",
        severity=Severity.ERROR,
        why=(
            "It carries the machine type and, where they apply, target page bits, the validated capabilities "
            "(x-ignore-shared, mapped-ram) and the UUID. multifd, compression and the channel count are not in it. "
            "Machine types up to 2.3 omit the section."
        ),
        destination="Missing, or machine, page bits or a validated capability differ. " + MAIN_ERROR,
        reference="qemu_loadvm_state_header and vmstate_configuration, migration/savevm.c",
        since="2.4 and later",
        example="main: QEVM 3, then 01 (SECTION_START) without a configuration",
        conditions=(MainProblem(ProblemKind.CONFIGURATION_FORM),),
    ),
    Rule(
        code="MFD502",
        title="Every section starts with a known type byte",
        severity=Severity.ERROR,
        why=(
            "Bodies have no length, so an unknown byte mostly means that the body in front was read too short or too "
            "long: device models differ, or bytes are missing. The same goes for a section of ram that is none of "
            "the destination's."
        ),
        destination="Unknown savevm section type. " + MAIN_ERROR,
        reference=LOOP,
        since="all releases",
        example="main: START[B F E] footer 09 ...",
        conditions=(MainProblem(ProblemKind.SECTION_TYPE), MainProblem(ProblemKind.SECTION_IDSTR)),
    ),
    Rule(
        code="MFD503",
        title="PART and END refer to a section that START or FULL introduced",
        severity=Severity.ERROR,
        why=(
            "PART and END carry only the section id. START and FULL bind an id to a device; an id nobody bound cannot "
            "be dispatched."
        ),
        destination="Unknown savevm section. " + MAIN_ERROR,
        reference="qemu_loadvm_section_part_end, migration/savevm.c",
        since="all releases",
        example="main: START(id 2)[B F E] END(id 3)[F E]",
        conditions=(MainProblem(ProblemKind.SECTION_UNKNOWN),),
    ),
    Rule(
        code="MFD504",
        title="Every section ends with a footer that repeats its id",
        severity=Severity.ERROR,
        why=(
            "The footer (0x7e and the section id) is the only check that a body was read to its end and not beyond. "
            "Machine types up to 2.3 have no footers."
        ),
        destination="Missing section footer, or mismatched section id in footer. " + MAIN_ERROR,
        reference="check_section_footer, migration/savevm.c",
        since="2.4 and later",
        example="main: START(id 2)[B F E] 7e 00 00 00 03",
        conditions=(MainProblem(ProblemKind.FOOTER_MISSING), MainProblem(ProblemKind.FOOTER_ID)),
    ),
    Rule(
        code="MFD505",
        title="No section id is introduced twice",
        severity=Severity.WARNING,
        why=(
            "A source gives each handler one id for the whole stream. A second START or FULL with the same id rebinds "
            "it, and later PART and END sections go to another device."
        ),
        destination=(
            "Accepted, the last binding wins. Outcome: completes, or loses-data or fails when ids were mixed up."
        ),
        reference="qemu_loadvm_section_start_full, migration/savevm.c",
        since="all releases",
        example="main: START(id 2, ram)[...] FULL(id 2, timer)[...] END(id 2)[...]",
        conditions=(MainProblem(ProblemKind.SECTION_ID_REUSED, Load.GOES_ON),),
    ),
    Rule(
        code="MFD506",
        title="Each START has exactly one END, and no PART follows it",
        severity=Severity.WARNING,
        why=(
            "An iterable device is started once, continued and ended once. A missing END leaves out what the device "
            "sends last; a PART behind END is data the source had already declared complete."
        ),
        destination="Not checked: sections are handed to the device as they come. Outcome: completes or loses-data.",
        reference="qemu_loadvm_section_part_end, migration/savevm.c",
        since="all releases",
        example="main: START(ram)[B F E] PART(ram)[F E] EOF",
        conditions=(
            MainProblem(ProblemKind.PART_AFTER_END, Load.GOES_ON),
            MainProblem(ProblemKind.END_MISSING, Load.GOES_ON),
        ),
    ),
    Rule(
        code="MFD507",
        title="Sections have the version that all releases have: ram 4, VFIO devices 1, timer 2, globalstate 1",
        severity=Severity.ERROR,
        why=(
            "Version 4 has been the only version of the RAM format since 2009, and those of the other three have never "
            "changed since there is multifd. Another one is damage."
        ),
        destination=(
            "A version above it is refused as unsupported. One below it fails as well: the RAM handler answers Invalid "
            "argument, timer and globalstate have other fields. VFIO devices do not look. " + MAIN_ERROR
        ),
        reference="qemu_loadvm_section_start_full, migration/savevm.c; ram_load, migration/ram.c",
        since="all releases",
        example="main: START(ram, version 3)[B F E]",
        conditions=(MainProblem(ProblemKind.SECTION_VERSION),),
    ),
    Rule(
        code="MFD515",
        title="Commands are known, have their prescribed length and keep the order of postcopy",
        severity=Severity.ERROR,
        why=(
            "Postcopy goes through ADVISE, DISCARD, LISTEN and RUN in this order. SWITCHOVER_START exists since 10.0 "
            "and is unknown before."
        ),
        destination="Unknown command, wrong length or wrong postcopy state. " + MAIN_ERROR,
        reference=COMMANDS,
        since="2.5 and later",
        example="main: ... 08 00 0b 00 01 00 ...   SWITCHOVER_START with a length of 1",
        conditions=(
            MainProblem(ProblemKind.COMMAND_UNKNOWN),
            MainProblem(ProblemKind.COMMAND_LENGTH),
            MainProblem(ProblemKind.COMMAND_PAYLOAD),
            MainProblem(ProblemKind.COMMAND_ORDER, answered=frozenset({CommandId.POSTCOPY_RESUME})),
            MainRefusal(
                places=lambda s: once(s.main.advised) if s.like.postcopy is False else (),
                reason=lambda _, name: "POSTCOPY_ADVISE with page sizes, and the destination's postcopy-ram is off",
                says=lambda _, name, release: (
                    "POSTCOPY_ADVISE with page sizes: the destination must have postcopy-ram on"
                ),
                field="command",
                length=5,
            ),
            MainRefusal(
                places=lambda s: once(s.main.advised) if s.multifd and s.destination.postcopy_refused else (),
                reason=lambda _, name: "POSTCOPY_ADVISE beside multifd: postcopy-ram must be off",
                says=lambda _, name, release: f"POSTCOPY_ADVISE beside multifd, which {release} does not combine",
                field="command",
                length=5,
                beside_channels=True,
            ),
            MainRefusal(
                places=lambda s: (
                    once(s.main.eof) if s.multifd and s.main.postcopy and s.destination.postcopy_aborts else ()
                ),
                reason=lambda _, name: "postcopy beside multifd ends: an assertion about registered yank functions",
                says=lambda _, name, release: f"postcopy beside multifd, at whose end {release} aborts",
                field="type",
                length=1,
                beside_channels=True,
                crashes=True,
            ),
            MainRefusal(
                places=lambda s: (
                    (c.offset, c.name)
                    for c in s.main.commands
                    if s.destination.last_command < c.number <= max(CommandId)
                ),
                reason=lambda _, name: f"command {CommandId[name].value} ({name}) is not known",
                says=lambda _, name, release: f"{name}, which {release} does not know",
                field="command",
                length=5,
            ),
        ),
    ),
    Rule(
        code="MFD516",
        title="SWITCHOVER_START comes once, behind the last PART and in front of the first END",
        severity=Severity.WARNING,
        why=(
            "It tells the destination that the VM has stopped and device loaders may start. Twice starts a loader that"
            " is still running; behind the END sections it only comes late."
        ),
        destination=(
            "Twice with a VFIO device in multifd transfer: assertion, outcome: crashes. Late: the loader starts late, "
            "outcome: completes."
        ),
        reference=COMMANDS + "; vfio_multifd_switchover_start, hw/vfio/migration-multifd.c",
        since=DEVICE_STATE,
        example="main: START[B F E] SWITCHOVER_START SWITCHOVER_START END[F E] EOF",
        conditions=(
            MainProblem(ProblemKind.SWITCHOVER_START_REPEATED, Load.GOES_ON),
            MainProblem(ProblemKind.SWITCHOVER_START_ORDER, Load.GOES_ON),
        ),
    ),
    Rule(
        code="MFD517",
        title="The section stream ends with the EOF byte",
        severity=Severity.ERROR,
        why=(
            "Byte 0x00 in place of a section type is what ends loading. A main channel that is closed before it was "
            "cut, by a source that failed or was cancelled, or by the network."
        ),
        destination="Reading fails in the section loop or inside a body. " + MAIN_ERROR,
        reference=LOOP,
        since="all releases",
        example="main: START[B F E] END[F E] and the stream ends",
    ),
    Rule(
        code="MFD518",
        title="A vmdescription follows EOF, its length is right and its JSON parses",
        severity=Severity.WARNING,
        why=(
            "It describes the fields of every FULL section; tools need it to walk bodies that have no length of their "
            "own. It is left out for machine types that suppress it and after postcopy."
        ),
        destination="Missing: a message is printed. The JSON is skipped, never parsed. Outcome: completes.",
        reference="qemu_loadvm_state, migration/savevm.c",
        since="2.3 and later",
        example="main: ... EOF and the stream ends, machine type pc-i440fx-10.0",
        conditions=(
            MainProblem(ProblemKind.DESCRIPTION_MISSING, Load.GOES_ON),
            MainProblem(ProblemKind.DESCRIPTION_FORM, Load.GOES_ON),
        ),
    ),
    Rule(
        code="MFD519",
        title="The devices of the vmdescription are the FULL sections, in order, with the sizes on the wire",
        severity=Severity.WARNING,
        why=(
            "The source writes both from the same walk. A difference means an edited stream, or sections that were "
            "lost from the recording. One body is also looked into: globalstate, which names the source's run state."
        ),
        destination=(
            "The description is not compared. Outcome: completes. A body that was changed may be refused by its "
            "device; a run state that does not exist always is. Outcome: fails."
        ),
        reference="qemu_savevm_state_complete_precopy_non_iterable, migration/savevm.c (sender)",
        since="2.3 and later",
        example="main: FULL(timer) FULL(globalstate) EOF vmdescription with globalstate only",
        conditions=(
            MainProblem(ProblemKind.DEVICE_SIZE, Load.MAY_FAIL),
            MainProblem(ProblemKind.DEVICE_NOT_DESCRIBED, Load.MAY_FAIL),
            MainProblem(ProblemKind.DEVICE_NOT_SENT, Load.GOES_ON),
        ),
    ),
    Rule(
        code="MFD520",
        title="Nothing follows the vmdescription",
        severity=Severity.INFO,
        why="A source closes the connection there. Bytes behind it are padding of a file or belong to something else.",
        destination="Not read. Outcome: completes.",
        reference="qemu_loadvm_state, migration/savevm.c",
        since="all releases",
        example="main: ... EOF vmdescription 00 00 00 00",
    ),
    Rule(
        code="MFD523",
        title="PING and other return-path requests come behind OPEN_RETURN_PATH",
        severity=Severity.ERROR,
        why=(
            "They are answered on the return path, which OPEN_RETURN_PATH creates. Without it there is no way to "
            "answer."
        ),
        destination="PING without return path is an error. " + MAIN_ERROR,
        reference=COMMANDS,
        since="2.5 and later",
        example="main: PING(1) OPEN_RETURN_PATH START[B F E]",
        conditions=(
            MainProblem(
                ProblemKind.RETURN_PATH_CLOSED, answered=frozenset({CommandId.POSTCOPY_RESUME, CommandId.RECV_BITMAP})
            ),
        ),
    ),
    Rule(
        code="MFD524",
        title="A PACKAGED blob is complete and ends with POSTCOPY_RUN",
        severity=Severity.ERROR,
        why=(
            "The blob is a section stream of its own, read into memory first. RUN ends its loop and the outer one; "
            "without it the destination never starts the guest."
        ),
        destination=(
            "Incomplete: reading the blob fails. "
            + MAIN_ERROR
            + " Without RUN: loading goes on with the next byte of main; "
            "outcome: fails."
        ),
        reference="loadvm_handle_cmd_packaged, migration/savevm.c",
        since="2.5 and later",
        example="main: ... PACKAGED(length 1000) and only 400 bytes follow",
        conditions=(MainProblem(ProblemKind.PACKAGE_INCOMPLETE), MainProblem(ProblemKind.PACKAGE_WITHOUT_RUN)),
    ),
)
