"""The main channel: bytes to events. ``encode_main`` in encode.py is the way back.

``MainDecoder.walk`` is the one decoder; ``events`` is the same with runs of zero pages expanded. It goes on as long as
the framing is known, past what a destination would fail at, and behind holes and damage where a footer shows the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from multifd_codec.channel.framing import PAGE_SIZES
from multifd_codec.device_key import DeviceKey
from multifd_codec.errors import FormatError, HoleError, InputError
from multifd_codec.layout import layout
from multifd_codec.main import events as ev
from multifd_codec.main.commands import leave_package
from multifd_codec.main.configuration import configuration
from multifd_codec.main.device import device_body, vfio_records
from multifd_codec.main.device_fields import DeviceField, device_fields
from multifd_codec.main.problems import ProblemKind, Problems
from multifd_codec.main.ram import ram_records
from multifd_codec.main.recovery import hit_hole, resumption
from multifd_codec.main.search import DESCRIPTION
from multifd_codec.main.sections import body, footer, section
from multifd_codec.main.state import (
    Damage,
    InHoleError,
    MainState,
    NeedBytesError,
    Phase,
    PostcopyState,
    Reader,
    problem,
)
from multifd_codec.main.vmdescription import Description, find_description, read_description
from multifd_codec.names import text
from multifd_codec.source import ByteSource
from multifd_codec.wire import qemufile as wire
from multifd_codec.wire.qemufile import QEMU_VM_FILE_MAGIC, QEMU_VM_FILE_VERSION, SectionType

FILE_HEADER = layout(wire.FileHeader)
Step = Callable[[MainState], Iterator[ev.MainItem]]
MAX_FAULTY = 1 << 15
"""Records with problems before decoding stops: time must not grow with what a crafted stream repeats."""
MAX_COMMANDS = 1 << 15
LARGE_COMMAND = 64
"""Bytes from which on commands are not counted: a large guest takes many RAM_DISCARD."""

_POSITIONS: dict[Phase, tuple[ev.MainPosition, ev.MainPosition]] = {
    Phase.FILE_HEADER: (ev.MainPosition.FILE_HEADER, ev.MainPosition.FILE_HEADER),
    Phase.CONFIGURATION: (ev.MainPosition.SECTION, ev.MainPosition.CONFIGURATION),
    Phase.SECTION: (ev.MainPosition.SECTION, ev.MainPosition.SECTION_HEADER),
    Phase.BODY: (ev.MainPosition.DEVICE, ev.MainPosition.DEVICE),
    Phase.RAM: (ev.MainPosition.RAM, ev.MainPosition.RAM_RECORD),
    Phase.VFIO: (ev.MainPosition.VFIO, ev.MainPosition.VFIO),
    Phase.DEVICE: (ev.MainPosition.DEVICE, ev.MainPosition.DEVICE),
    Phase.FOOTER: (ev.MainPosition.FOOTER, ev.MainPosition.FOOTER),
    Phase.BEHIND_EOF: (ev.MainPosition.COMPLETE, ev.MainPosition.VMDESCRIPTION),
    Phase.TRAILING: (ev.MainPosition.COMPLETE, ev.MainPosition.COMPLETE),
    Phase.RESUMPTION: (ev.MainPosition.STOPPED, ev.MainPosition.STOPPED),
    Phase.STOPPED: (ev.MainPosition.STOPPED, ev.MainPosition.STOPPED),
}
"""Phase to the position at which a stream ends there: at a record's boundary, inside a record."""


class MainDecoder:
    """Decodes the main channel in ``source``. Raises InputError for a page size there is none of.

    ``page_size``: target page size in bytes; by default what the stream says (configuration, vmdescription,
    POSTCOPY_ADVISE), else 4096. ``footers``: whether sections have footers; by default found out.

    With ``growing``, a source that is still OPEN is expected to get more bytes: ``walk`` and ``events`` yield what
    further bytes cannot change and return, to be called again. FULL sections then wait for the end of the source, where
    the vmdescription stands; and the vmdescription does not tell the page size. Both raise nothing, whatever the bytes.
    """

    def __init__(
        self,
        source: ByteSource,
        *,
        page_size: int | None = None,
        footers: bool | None = None,
        growing: bool = False,
    ) -> None:
        if page_size is not None and page_size not in PAGE_SIZES:
            sizes = ", ".join(map(str, sorted(PAGE_SIZES)))
            raise InputError(f"there is no target page size of {page_size} bytes; there are {sizes}")
        self.source = source
        reader = Reader(source, growing=growing)
        self._state = MainState(reader, page_size or PAGE_SIZES[0], footers, page_size_given=page_size is not None)
        self._description: Description | None = None
        self._description_sought = False
        self._repeated: dict[int, int] = {}
        self._steps: dict[Phase, Step] = {
            Phase.FILE_HEADER: self._file_header,
            Phase.CONFIGURATION: configuration,
            Phase.SECTION: section,
            Phase.BODY: body,
            Phase.RAM: ram_records,
            Phase.VFIO: vfio_records,
            Phase.DEVICE: self._device,
            Phase.FOOTER: footer,
            Phase.BEHIND_EOF: self._behind_eof,
            Phase.TRAILING: self._trailing,
            Phase.RESUMPTION: resumption,
            Phase.STOPPED: self._stopped,
        }

    @property
    def position(self) -> int:
        """Offset of the next record; behind ``source.size`` while a payload has not arrived."""
        return self._state.position

    @property
    def page_size(self) -> int:
        """Target page size in bytes, as far as it is known by now."""
        return self._state.page_size

    def events(self) -> Iterator[ev.MainEvent]:
        """Everything on the channel, in order, ending in MainEnd."""
        for item in self.walk():
            if isinstance(item, ev.ZeroPageRun):
                yield from item.records()
            else:
                yield item

    def walk(self) -> Iterator[ev.MainItem]:
        """Like ``events``, with runs of zero pages as ZeroPageRun."""
        state = self._state
        reader = state.reader
        while state.phase is not Phase.ENDED:
            try:
                if reader.limit is not None and state.position >= reader.limit:
                    yield leave_package(state, _POSITIONS[state.phase][1])
                else:
                    yield from self._step(state)
            except InHoleError as error:
                hit_hole(state, error.hole)
            except NeedBytesError as error:
                if reader.waits:
                    return
                if reader.limit is None or state.position < reader.limit:
                    yield self._cut(error.offset)

    def _step(self, state: MainState) -> Iterator[ev.MainItem]:
        """One step, which is left early where more is wrong, or more commands come, than is taken."""
        for item in self._steps[state.phase](state):
            if item.problems or isinstance(item, ev.Command):
                state.faulty += bool(item.problems)
                state.commands += isinstance(item, ev.Command) and item.length < LARGE_COMMAND
                yield item
                reason = _too_many(state)
                if reason is not None and state.phase not in (Phase.RESUMPTION, Phase.STOPPED, Phase.ENDED):
                    found = problem(ProblemKind.LIMIT, state.position, "type", reason)
                    state.damaged(Damage(max(state.position, state.reader.end), reason, problems=found))
                    return
            else:
                yield item

    def fields(self, body: ev.DeviceBody) -> Iterator[DeviceField]:
        """The fields of a device body as the vmdescription describes them.

        Raises FormatError when it is not described or does not follow the description, HoleError when it was not
        recorded.
        """
        device = None
        description = self._describe()
        if description is not None and body.idstr is not None and body.instance_id is not None:
            key = DeviceKey(text(body.idstr), body.instance_id)
            device = description.device(key, self._repeated.get(body.offset, 0))
        if device is None:
            message = f"{body.device} is not described"
            raise FormatError(message, channel="main", offset=body.offset, field="body")
        return device_fields(device, self.source.read(body.offset, body.length), body.offset)

    @property
    def footers(self) -> bool | None:
        """Whether sections have footers; None while that is not known."""
        return self._state.footers

    @property
    def description(self) -> Description | None:
        """The vmdescription, wherever it stands; None without one, and while more bytes are expected."""
        return self._describe()

    def _describe(self) -> Description | None:
        if not self._description_sought and not self._state.reader.waits:
            self._description_sought = True
            located = find_description(self.source)
            self._description = None if located is None else located.description
        return self._description

    def _file_header(self, state: MainState) -> Iterator[ev.MainEvent]:
        magic, version = FILE_HEADER.struct.unpack(state.reader.take(0, FILE_HEADER.size))
        found: Problems = ()
        if magic != QEMU_VM_FILE_MAGIC:
            found = problem(ProblemKind.FILE_MAGIC, 0, "magic", f"magic {magic:#010x}, must be {QEMU_VM_FILE_MAGIC:#x}")
        if version != QEMU_VM_FILE_VERSION:
            message = f"version {version}, must be {QEMU_VM_FILE_VERSION}"
            found += problem(ProblemKind.FILE_VERSION, FILE_HEADER.span("version").offset, "version", message)
        if not state.reader.growing and not state.page_size_given:
            description = self._describe()
            if description is not None and description.page_size is not None:
                state.page_size, state.page_size_given = description.page_size, True
        state.position, state.phase = FILE_HEADER.size, Phase.CONFIGURATION
        yield ev.FileHeader(0, FILE_HEADER.size, magic, version, found)

    def _device(self, state: MainState) -> Iterator[ev.MainEvent]:
        assert state.current is not None
        for event in device_body(state, self._describe):
            if isinstance(event, ev.DeviceBody) and event.idstr is not None and event.instance_id is not None:
                number = state.full_counts.get(DeviceKey(text(event.idstr), event.instance_id), 1) - 1
                if number > 0:
                    self._repeated[event.offset] = number
            yield event

    def _behind_eof(self, state: MainState) -> Iterator[ev.MainEvent]:
        reader, offset = state.reader, state.position
        if not reader.known(offset) and offset >= reader.end:
            raise NeedBytesError(offset + 1)
        if reader.take(offset, 1)[0] != SectionType.VMDESCRIPTION:
            state.phase = Phase.TRAILING
            return
        declared = DESCRIPTION.unpack(reader.take(offset, DESCRIPTION.size))[1]
        begin = offset + DESCRIPTION.size
        if reader.waits and begin + declared > reader.end:
            raise NeedBytesError(begin + declared)
        length = min(declared, reader.end - begin)
        page_size: int | None = None
        devices: tuple[ev.DescribedDevice, ...] = ()
        found: Problems = ()
        try:
            description = read_description(self.source, offset)
            page_size = description.page_size
            devices = description.described()
            if not state.lost and description.keys != state.fulls:
                found = problem(
                    ProblemKind.DEVICE_NOT_SENT, begin, "devices", _difference(description.keys, state.fulls)
                )
            self._description, self._description_sought = description, True
        except HoleError:
            pass
        except FormatError as error:
            found = problem(ProblemKind.DESCRIPTION_FORM, offset + 1, error.field or "json", error.message)
        state.position, state.phase, state.described = begin + length, Phase.TRAILING, True
        yield ev.VmDescription(offset, DESCRIPTION.size, declared, begin, length, page_size, devices, found)

    def _trailing(self, state: MainState) -> Iterator[ev.MainEvent]:
        reader, offset = state.reader, state.position
        if reader.waits:
            raise NeedBytesError(reader.end + 1)
        if offset < reader.end:
            found: Problems = ()
            expected = not state.described and not state.packages and state.postcopy is PostcopyState.NONE
            if expected and reader.known(offset):
                message = f"byte {reader.take(offset, 1)[0]:#04x}, must be 0x06"
                found = problem(ProblemKind.DESCRIPTION_MISSING, offset, "type", message)
            state.position = reader.end
            yield ev.Trailing(offset, reader.end - offset, found)
        else:
            raise NeedBytesError(reader.end + 1)

    def _stopped(self, state: MainState) -> Iterator[ev.MainEvent]:
        if state.reader.waits:
            raise NeedBytesError(state.reader.end + 1)
        state.position = max(state.position, state.reader.end)
        raise NeedBytesError(state.reader.end)
        yield  # a generator, as all steps are

    def _cut(self, wanted: int) -> ev.MainEvent:
        """The bytes end in front of ``wanted``, and no more will come."""
        state, reader = self._state, self._state.reader
        size = self.source.size
        if reader.limit is not None and reader.limit <= size:
            begin, state.position = state.position, reader.limit
            message = f"the package ends {_POSITIONS[state.phase][1]}"
            cut = problem(ProblemKind.PACKAGE_INCOMPLETE, begin, "length", message)
            state.phase = Phase.SECTION
            return ev.Skipped(begin, reader.limit - begin, False, cut)
        rest = max(0, size - state.position)
        at_boundary, inside = _POSITIONS[state.phase]
        position = inside if rest else at_boundary
        if state.position > size:
            position = ev.MainPosition.PAYLOAD
        complete = position in (ev.MainPosition.COMPLETE, ev.MainPosition.STOPPED)
        missing = 0 if complete else max(state.position, wanted) - size
        found: Problems = ()
        if state.packages:
            message = f"{state.packages[-1].end - size} bytes of the package are missing"
            found = problem(ProblemKind.PACKAGE_INCOMPLETE, size, "length", message)
        state.phase = Phase.ENDED
        return ev.MainEnd(min(state.position, size), rest, position, missing, self.source.end, found)


def _too_many(state: MainState) -> str | None:
    if state.faulty > MAX_FAULTY:
        return f"more than {MAX_FAULTY} records break rules: what follows is not read"
    if state.commands > MAX_COMMANDS:
        return f"more than {MAX_COMMANDS} commands: what follows is not read"
    return None


def _difference(described: list[DeviceKey], sent: list[DeviceKey]) -> str:
    for number, (device, found) in enumerate(zip(described, sent, strict=False)):
        if device != found:
            names = f"{device.idstr} {device.instance_id}, sent was {found.idstr} {found.instance_id}"
            return f"device {number} is {names}"
    return f"{len(described)} devices are described, {len(sent)} were sent"
