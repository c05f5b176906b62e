"""One pass over the main channel."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from analyzers.findings import Severity
from analyzers.rulebook.codes import MFD501, MFD502, MFD517, MFD518, MFD519, MFD520, MFD521
from analyzers.rulebook.conditions import Load, MainProblem
from analyzers.rulebook.registry import PROBLEMS
from analyzers.survey.globalstate import GLOBAL_STATE, unknown_run_state
from analyzers.survey.main import CommandSeen, MainSurvey, Record, RecordKind
from analyzers.survey.pages import runs_of
from analyzers.survey.vfio import SectionKind, VfioDevice
from captures.model import ProgressCallback
from multifd_codec.arrays import distinct
from multifd_codec.device_key import DeviceKey
from multifd_codec.layout import layout
from multifd_codec.main import events as ev
from multifd_codec.main.decoder import MainDecoder
from multifd_codec.main.problems import Problem, ProblemKind
from multifd_codec.source import ByteSource, StreamEnd, bytes_known
from multifd_codec.wire.qemufile import CommandId, SectionFooter, SectionType
from multifd_codec.wire.ram import MappedRamHeader
from multifd_codec.wire.vfio import VfioTagId, is_vfio_name

KINDS = {
    ev.SectionStart: SectionKind.START,
    ev.SectionPart: SectionKind.PART,
    ev.SectionEnd: SectionKind.END,
    ev.SectionFull: SectionKind.OTHER,
}
MAPPED_RAM = layout(MappedRamHeader)
FOOTER = layout(SectionFooter).struct
UINT32 = struct.Struct(">I")
RAM = "ram"
SINGLE = frozenset({RAM, "timer", GLOBAL_STATE})
"""Sections of which every QEMU has one, instance 0."""

FIXED_LENGTHS = {"timer": 24, GLOBAL_STATE: 104}
"""Bytes of these devices in every release, subsections left out (vmstate_timers, vmstate_globalstate)."""
SUBSECTION = bytes([SectionType.SUBSECTION])
ANY_INSTANCE = 0xFFFFFFFF
"""The alias of each device that is described by fields: its section is found by this number, too (find_se,
migration/savevm.c)."""
LONGEST_GLOBAL_STATE = 256
MOST_SINGLE = 1 << 13
"""Pages of records that stand alone which are added to the page sets together."""


def survey_main(
    source: ByteSource, *, page_size: int | None = None, progress: ProgressCallback | None = None
) -> MainSurvey:
    """Read the whole main channel once."""
    survey = MainSurvey(source)
    decoder = MainDecoder(source, page_size=page_size)
    guesses = page_size is None and bool(source.holes()) and decoder.description is None
    reader = _Reader(survey, decoder, guesses=guesses)
    for count, item in enumerate(decoder.walk()):
        reader.take(item)
        if progress is not None and count % 1024 == 0:
            progress("reading channels", min(item.offset, source.size), source.size)
    reader.finish()
    return survey


class _Reader:
    def __init__(self, survey: MainSurvey, decoder: MainDecoder, *, guesses: bool) -> None:
        self.guesses = guesses
        """Nothing has said the page size yet, and what says it may be in a hole."""
        self.survey = survey
        self.decoder = decoder
        self.kind = SectionKind.OTHER
        self.device: DeviceKey | None = None
        self.incomplete = False
        """Records were lost in a hole: what follows may only seem to break rules."""
        self.configured = False
        self.first_start: int | None = None
        self.flushes = 0
        self.ends = 0
        self.introduced: tuple[ev.SectionStart | ev.SectionFull, DeviceKey] | None = None
        """The last section that named its device."""
        self.vfio_sections: list[tuple[ev.SectionStart | ev.SectionFull, DeviceKey]] = []
        self.single: defaultdict[tuple[int, int, str, bool], list[int]] = defaultdict(list)
        self.singles = 0
        self.versions: dict[DeviceKey, tuple[int, int]] = {}
        """FULL sections: offset, version_id."""

    def take(self, item: ev.MainItem) -> None:
        survey = self.survey
        for problem in item.problems:
            self._problem(item, problem)
        if not isinstance(item, ev.MainEnd | ev.StreamStopped):
            survey.understood = ev.end_of(item)
        match item:
            case ev.Configuration():
                self.configured = True
                survey.configured_at = item.offset
                survey.machine, survey.capabilities = item.machine, item.capabilities
                for part in item.subsections:
                    if isinstance(part, ev.ConfigurationUuid):
                        survey.uuid = part.uuid
                    if isinstance(part, ev.TargetPageBits) and part.bits < 32:
                        survey.page_size, survey.page_size_stated, self.guesses = 1 << part.bits, True, False
            case ev.SectionStart() | ev.SectionPart() | ev.SectionEnd() | ev.SectionFull():
                self._section(item)
            case ev.BlockList():
                if survey.blocks is None and item.blocks:
                    survey.blocks = {block.block: block.used_length for block in item.blocks}
            case ev.ZeroPageRun():
                self._pages(item.block, item.pages, zero=True)
            case ev.ZeroPage():
                self._page(item.block, item.addr, zero=True)
            case ev.Page() | ev.XbzrlePage() | ev.CompressedPage():
                survey.page_records += 1
                self._page(item.block, item.addr, zero=False)
                if isinstance(item, ev.CompressedPage):
                    survey.compress_page = item.offset if survey.compress_page is None else survey.compress_page
                elif not survey.postcopy:
                    kind = "PAGE" if isinstance(item, ev.Page) else "XBZRLE"
                    message = f"{kind} record in precopy, where pages with content travel on channels"
                    survey.hit(MFD521, "flags", item.offset, item.length, message)
            case ev.Hook():
                if survey.hook is None:
                    survey.hook = item.offset
            case ev.Flush():
                self._record(RecordKind.FLUSH, item.offset)
            case ev.EndOfRam():
                self._record(RecordKind.EOS, item.offset)
            case ev.VfioRecord():
                self._vfio(item)
            case ev.Command():
                self._command(item)
            case ev.DeviceBody():
                self._body(item)
            case ev.EndOfStream():
                survey.eof = item.offset
            case ev.VmDescription():
                survey.vmdescription = True
                self._versions(item.devices)
                if item.page_size is not None:
                    if survey.page_size_stated and survey.page_size != item.page_size and survey.setup is not None:
                        message = f"target page size {survey.page_size} in the configuration, then {item.page_size}"
                        survey.doubts.append((survey.setup, message))
                    survey.page_size, survey.page_size_stated = item.page_size, True
            case ev.Trailing():
                if survey.eof is not None:
                    message = f"{item.length} bytes behind the end of the stream"
                    survey.hit(MFD520, "", item.offset, item.length, message)
            case ev.Skipped():
                failed = survey.failure is not None and survey.failure[0] <= item.offset
                if survey.eof is None and survey.stopped is None and survey.skipped is None and not failed:
                    survey.skipped = item.offset
                self.incomplete = self.incomplete or item.hole
            case ev.StreamStopped():
                survey.stopped = item.reason
                survey.understood = item.offset

    def finish(self) -> None:
        survey = self.survey
        self._add_single()
        known = survey.skipped is None or (survey.setup is not None and survey.skipped > survey.setup)
        # A sender that leaves it out has machine type 2.3 or older, or send-configuration=off, and so has a destination
        # like it; one whose vmdescription describes it has not left it out.
        if survey.setup is not None and not self.configured and known and not self._left_out():
            survey.hit(MFD501, "", survey.setup, 1, "no configuration section in front of the first section")
            self._fail(survey.setup, "the configuration section is missing")
        if survey.setup is None and survey.eof is not None and not self.configured and known:
            survey.hit(MFD501, "", survey.eof, 1, "EOF where the configuration section must be")
            survey.failure = survey.eof, "the configuration section is missing"
        ram = any(device.idstr == RAM for device in survey.sections)
        if self.first_start is not None and survey.eof is not None and not ram and not self.incomplete:
            message = "no section is that of 'ram': this one has a name no destination knows"
            survey.hit(MFD502, "idstr", self.first_start, 1, message)
            self._fail(self.first_start, message)
        closed = survey.end is StreamEnd.CLOSED
        if survey.eof is None and survey.stopped is None and survey.source.holes():
            survey.stopped = "bytes are missing in the recording"
        certain = survey.stopped is None and survey.skipped is None and survey.failure is None
        if survey.eof is None and closed and certain:
            survey.hit(MFD517, "", survey.source.size, 0, "the main channel ends in front of its EOF byte")
        described = survey.vmdescription or survey.postcopy or MFD518 in survey.hits
        if survey.eof is not None and closed and not described:
            survey.hit(MFD518, "", survey.eof, 1, "no vmdescription behind the EOF byte", severity=Severity.INFO)
        if survey.eof is not None and not survey.vmdescription and closed:
            described_anywhere = self.decoder.description
            self._versions(described_anywhere.described() if described_anywhere is not None else ())
        self._undescribed()
        description = self.decoder.description
        survey.described, survey.skips_pages = (
            description is not None,
            description is not None and description.skips_pages,
        )
        if survey.page_size is None:
            survey.page_size = self.decoder.page_size

    def _left_out(self) -> bool:
        """Whether the sender leaves the configuration section out: machine types that do so have no footers either, and
        from 8.2 on the vmdescription does not describe it."""
        description = self.decoder.description
        if description is not None and description.configuration:
            return False
        describes = any(seen.number == CommandId.SWITCHOVER_START for seen in self.survey.commands)
        return not self.decoder.footers or (describes and description is not None)

    def _problem(self, item: ev.MainItem, problem: Problem) -> None:
        if self.incomplete or (isinstance(item, ev.MainEnd) and self.survey.end is not StreamEnd.CLOSED):
            return
        if problem.kind is ProblemKind.RAM_FLAGS and self.guesses:
            self.incomplete = True  # what seems to be flags may be an address of smaller pages
            return
        rule, condition = PROBLEMS[problem.kind]
        if not condition.silent and not isinstance(item, ev.Flush):  # FLUSH in a mapped-ram file is MFD314
            length = max(1, item.offset + item.length - problem.offset)
            mild = problem.kind is ProblemKind.END_MISSING and self.survey.page_records > 0
            severity = Severity.INFO if mild else None  # a background snapshot ends without END
            self.survey.hit(rule, problem.field, item.offset, max(item.length, length), problem.message, severity)
        if self._cut_short(item, problem):
            self.survey.cut_regions = self.incomplete = True  # nothing stands where it would be read
        if problem.kind is ProblemKind.ZERO_FILL:
            self.survey.zero_fill = self.survey.zero_fill or item.offset
        elif isinstance(item, ev.BlockList) and self._overlaps(item, problem):
            self.survey.overlapping = problem.message
        elif condition.load is Load.MAY_FAIL:
            self.survey.doubts.append((item.offset, problem.message))
        elif condition.load is Load.FAILS and not self._ignored(item, problem, condition):
            self._fail(item.offset, problem.message)

    def _cut_short(self, item: ev.MainItem, problem: Problem) -> bool:
        """Whether a mapped-ram file ends in front of pages that its headers name."""
        if problem.kind is not ProblemKind.MAPPED_RAM_HEADER or not isinstance(item, ev.BlockList):
            return False
        end, headers = self.survey.source.size, [(block.mapped_ram, block.used_length) for block in item.blocks]
        return any(header is not None and header.pages_offset + used > end for header, used in headers)

    def _overlaps(self, item: ev.BlockList, problem: Problem) -> bool:
        """Regions of a mapped-ram file that overlap: only alignment is checked (parse_ramblock_mapped_ram)."""
        if problem.kind is not ProblemKind.MAPPED_RAM_HEADER or problem.field == "bitmap_offset":
            return problem.kind is ProblemKind.MAPPED_RAM_HEADER
        behind = problem.offset - MAPPED_RAM.span("pages_offset").offset + MAPPED_RAM.size
        return problem.field == "pages_offset" and any(
            behind <= header.pages_offset < header.bitmap_offset
            and header.pages_offset % self.decoder.page_size == 0
            and header.pages_offset + block.used_length <= self.survey.source.size
            for block in item.blocks
            if (header := block.mapped_ram) is not None
        )

    def _ignored(self, item: ev.MainItem, problem: Problem, condition: MainProblem) -> bool:
        if isinstance(item, ev.Command):
            return item.command in condition.answered
        if problem.kind is ProblemKind.BLOCK_UNKNOWN and self.survey.blocks is None:
            return True  # the destination has blocks, whatever the list says
        ended = self.survey.eof is not None and self.survey.eof + 1 == item.offset
        return problem.kind is ProblemKind.PACKAGE_WITHOUT_RUN and ended

    def _fail(self, offset: int, reason: str) -> None:
        failure = self.survey.failure
        in_front = self.survey.eof is None or offset < self.survey.eof
        if in_front and (failure is None or offset < failure[0]):
            self.survey.failure = offset, reason

    def _section(self, item: ev.SectionStart | ev.SectionPart | ev.SectionEnd | ev.SectionFull) -> None:
        survey = self.survey
        if survey.setup is None:
            survey.setup = item.offset
        self.kind = KINDS[type(item)]
        if self.kind is SectionKind.START and self.first_start is None:
            self.first_start = item.offset
        self.device = None
        if item.device is not None and item.instance_id is not None:
            self.device = DeviceKey(item.device, item.instance_id)
            survey.sections.add(self.device)
            if item.device in SINGLE and item.instance_id != 0:
                message = f"instance {item.instance_id} of {item.device!r}, which no destination has"
                survey.hit(MFD502, "instance_id", item.offset, item.length, message)
                if item.device == RAM or item.instance_id != ANY_INSTANCE:
                    self._fail(item.offset, message)
        if self.kind is SectionKind.END:
            survey.full_offset = None
        elif isinstance(item, ev.SectionFull) and survey.full_offset is None:
            survey.full_offset = item.offset
        if isinstance(item, ev.SectionStart | ev.SectionFull) and self.device is not None:
            self.introduced = item, self.device
            if is_vfio_name(item.idstr):
                self.vfio_sections.append(self.introduced)
        if isinstance(item, ev.SectionFull) and self.device is not None:
            self.versions.setdefault(self.device, (item.offset, item.version_id))

    def _versions(self, devices: Iterable[ev.DescribedDevice]) -> None:
        """A destination like the source has the version that is described: it refuses later ones, and older ones have
        other fields."""
        for described in devices:
            offset, version = self.versions.get(DeviceKey(described.idstr, described.instance_id), (0, 0))
            if offset and described.version_id is not None and version != described.version_id:
                message = f"version {version} of {described.idstr!r}, described is {described.version_id}"
                self.survey.doubts.append((offset, message))

    def _undescribed(self) -> None:
        """A VFIO device has a START and a FULL section, with one id; the vmdescription has the name of the second. A
        destination like the source has no device of another name."""
        description = self.decoder.description
        if description is None or self.survey.eof is None or self.incomplete:
            return
        described = {DeviceKey(one.idstr, one.instance_id) for one in description.described()}
        known = {item.section_id for item, device in self.vfio_sections if device in described}
        for item, device in self.vfio_sections:
            if device in described:
                continue
            message = f"{device.idstr!r} {device.instance_id} is not in the vmdescription"
            if item.section_id in known:
                self.survey.hit(MFD519, "idstr", item.offset, item.length, f"{message}, the section's other name is")
                self._fail(item.offset, message)
            else:
                self.survey.doubts.append((item.offset, message))

    def _page(self, block: str | None, address: int, *, zero: bool) -> None:
        """A page of a record of its own; such pages are added many at a time."""
        if block is None:
            return
        self.single[self.flushes, self.ends, block, zero].append(address // (self.decoder.page_size or 4096))
        self.singles += 1
        if self.singles == MOST_SINGLE:
            self._add_single()

    def _add_single(self) -> None:
        for key, pages in self.single.items():
            self.survey.pages[key].add(runs_of(distinct(np.array(pages, np.int64))))
        self.single.clear()
        self.singles = 0

    def _pages(self, block: str | None, addresses: np.ndarray, *, zero: bool) -> None:
        if block is None:
            return
        pages = distinct(addresses // np.uint64(self.decoder.page_size or 4096)).astype(np.int64)
        self.survey.pages[self.flushes, self.ends, block, zero].add(runs_of(pages))

    def _record(self, kind: RecordKind, offset: int) -> None:
        self.survey.records.append(Record(kind, offset, self.kind, self.survey.postcopy))
        self.flushes += kind is RecordKind.FLUSH
        self.ends += kind is RecordKind.EOS

    def _vfio(self, item: ev.VfioRecord) -> None:
        if self.device is None:
            return
        vfio, introduced = self.survey.vfio, self.introduced
        new = self.device not in vfio and introduced is not None and introduced[1] == self.device
        if new and introduced is not None and not is_vfio_name(introduced[0].idstr):  # the name is damaged
            self.vfio_sections.append(introduced)
        device = vfio.setdefault(self.device, VfioDevice(self.device, item.offset))
        if item.tag != VfioTagId.DEV_DATA_STATE or item.payload_length:
            device.note(self.kind, item.tag, item.offset)

    def _command(self, item: ev.Command) -> None:
        value = UINT32.unpack(item.payload)[0] if len(item.payload) == UINT32.size else None
        self.survey.commands.append(CommandSeen(item.offset, item.command, item.name, value))
        if item.command == CommandId.PACKAGED and value is not None:
            self._package(item, value)
        if item.command == CommandId.POSTCOPY_ADVISE and item.payload:
            self.survey.advised = item.offset
        if item.command == CommandId.ENABLE_COLO:
            self.survey.doubts.append((item.offset, "ENABLE_COLO, which needs x-colo on the destination"))
        refused = any(problem.kind is ProblemKind.COMMAND_ORDER for problem in item.problems)
        if item.command == CommandId.POSTCOPY_LISTEN and not refused:
            self.survey.postcopy = True

    def _body(self, item: ev.DeviceBody) -> None:
        source = self.survey.source
        if item.how is ev.BodyLength.FOOTER_SEARCH and item.length >= FOOTER.size:
            end = item.offset + item.length - FOOTER.size
            if bytes(source.read(end, FOOTER.size)) == FOOTER.pack(SectionType.FOOTER, item.section_id):
                self.survey.doubts.append((item.offset, f"the footer of {item.device!r} stands twice"))
            length = FIXED_LENGTHS.get(item.device or "", item.length)
            if item.length != length and bytes(source.read(item.offset + length, 1)) != SUBSECTION:
                self.survey.doubts.append((item.offset, f"{item.length} bytes of {item.device!r}, which has {length}"))
        if item.device != GLOBAL_STATE or bytes_known(source, item.offset) < min(item.length, LONGEST_GLOBAL_STATE):
            return
        name = unknown_run_state(bytes(source.read(item.offset, min(item.length, LONGEST_GLOBAL_STATE))))
        if name is not None:
            message = f"run state {name!r}, which there is none of"
            self.survey.hit(MFD519, "runstate", item.offset, item.length, message)
            self._fail(item.offset, message)

    def _package(self, item: ev.Command, length: int) -> None:
        """A package is read as a whole before anything in it is looked at (loadvm_handle_cmd_packaged)."""
        left = self.survey.source.size - ev.end_of(item)
        if length == 0:
            self._fail(item.offset, "an empty package")
        elif length > left and self.survey.end is StreamEnd.CLOSED:
            self._fail(item.offset, f"a package of {length} bytes, {left} are left")
