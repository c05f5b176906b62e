"""Section bodies other than RAM: VFIO, which is walked by its tags, and all others, whose length must be found.

A body's length is not on the wire (vmstate_load, migration/savevm.c, knows every device). It follows from the
vmdescription where there is one, and must end at the section's footer; otherwise the footer is searched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from multifd_codec.channel.framing import Fit
from multifd_codec.device_key import DeviceKey
from multifd_codec.layout import compile_struct
from multifd_codec.main.device_walks import walked_end
from multifd_codec.main.events import BodyLength, DeviceBody, MainEvent, VfioRecord, end_of
from multifd_codec.main.problems import ProblemKind, Problems
from multifd_codec.main.search import PART, find_footer, find_match, find_section, footer_fit, section_fit
from multifd_codec.main.state import Current, Damage, InHoleError, MainState, NeedBytesError, Phase, problem
from multifd_codec.main.vmdescription import Description, body_size
from multifd_codec.names import text
from multifd_codec.source import StreamEnd
from multifd_codec.wire import vfio as wire
from multifd_codec.wire.qemufile import SectionType
from multifd_codec.wire.vfio import ENDING_TAGS, VFIO_TAG_PREFIX, VFIO_TAG_PREFIX_MASK, VfioTagId

TAG = compile_struct(wire.VfioTag)
DATA = compile_struct(wire.VfioData)
_END_OF_STATE = re.compile(re.escape(TAG.pack(VfioTagId.END_OF_STATE)), re.DOTALL)

_EOF = bytes([SectionType.EOF])
TAIL = 1 << 20
"""Bytes at the end of a stream in which EOF is sought without a vmdescription behind it."""

Describe = Callable[[], Description | None]


def is_vfio(state: MainState) -> bool:
    """Whether the section is one of a VFIO device, or a VFIO tag stands at the position.

    Raises NeedBytesError while that cannot be told.
    """
    section = None if state.current is None else state.current.section
    if section is not None and wire.is_vfio_name(section.idstr):
        return True
    head = bytes(state.reader.peek(state.position, TAG.size))
    if len(head) < TAG.size:
        if state.reader.waits:
            raise NeedBytesError(state.position + TAG.size)
        return False
    return bool(TAG.unpack(head)[0] & VFIO_TAG_PREFIX_MASK == VFIO_TAG_PREFIX)


def vfio_records(state: MainState) -> Iterator[MainEvent]:
    """Tags from the position on, up to the one that ends the body (vfio_load_state, hw/vfio/migration.c).

    At an unknown tag the rest becomes a DeviceBody. Raises NeedBytesError and InHoleError.
    """
    while state.phase is Phase.VFIO:
        offset = state.position
        (tag,) = TAG.unpack(state.reader.take(offset, TAG.size))
        record = VfioRecord(offset, TAG.size, tag, offset + TAG.size)
        match tag:
            case VfioTagId.DEV_DATA_STATE:
                size = DATA.unpack(state.reader.take(offset, DATA.size))[1]
                record = VfioRecord(offset, DATA.size, tag, offset + DATA.size, size)
            case VfioTagId.DEV_CONFIG_STATE:
                end = find_match(state, "config", offset + TAG.size, _END_OF_STATE, lambda at: _body_ends(state, at))
                if end is None:
                    state.phase = Phase.DEVICE
                    return
                record = record._replace(payload_length=end - offset - TAG.size)
            case VfioTagId.DEV_SETUP_STATE:
                pass
            case _ if tag not in ENDING_TAGS:
                state.phase = Phase.DEVICE
                return
        if state.vfio_tag == VfioTagId.DEV_SETUP_STATE and tag != VfioTagId.END_OF_STATE:
            message = f"{record.name} behind DEV_SETUP_STATE, must be END_OF_STATE"
            record = record._replace(problems=problem(ProblemKind.VFIO_TAG, offset, "tag", message))
        state.position, state.vfio_tag = end_of(record), tag
        if state.current is not None:
            state.vfio_sections.add(state.current.section_id)
        if tag in ENDING_TAGS:
            state.phase = Phase.FOOTER
        yield record


def _body_ends(state: MainState, offset: int) -> Fit:
    """Whether the END_OF_STATE at ``offset`` is the last thing of the section."""
    behind = offset + TAG.size
    if state.footers is False or state.current is None:
        return section_fit(state, behind)
    return footer_fit(state, behind, state.current.section_id)


MISDESCRIBED = frozenset({"s390_css"})
"""Vmstates with arrays of pointers of which some are NULL, described wrongly before 10.0 (vmstate_save_state_v): the
footer alone says where the body ends."""


def device_body(state: MainState, describe: Describe) -> Iterator[MainEvent]:
    """The body at the position, in one piece; the phase then is FOOTER.

    ``describe`` gives the vmdescription. FULL sections of a stream that still grows wait for its end, where that
    stands. Raises NeedBytesError when no end is found and the stream may have been cut inside the body.
    """
    current = state.current
    assert current is not None
    problems = _tag_problem(state)
    description: Description | None = None
    device: dict[str, Any] | None = None
    packaged = bool(state.packages)
    if current.type is SectionType.FULL and not packaged:
        if state.reader.waits:
            raise NeedBytesError(state.reader.end + 1)
        description = describe()
        if description is not None and current.section is not None:
            key = section_key(current)
            device = description.device(key, state.full_counts.get(key, 1) - 1)
            if device is None:
                message = f"{key.idstr} {key.instance_id} is not in the vmdescription"
                problems += problem(ProblemKind.DEVICE_NOT_DESCRIBED, state.position, "body", message)
    size = None if device is None else body_size(device)
    if size is not None and _lands(state, current, state.position + size):
        yield _body(state, current, size, BodyLength.VMDESCRIPTION, problems)
        return
    if size is not None and _ends_in_eof(state, state.position + size):
        yield _body(state, current, size, BodyLength.VMDESCRIPTION, problems)
        return
    if current.type is not SectionType.FULL and current.section is not None:
        walked = walked_end(state, current.section.idstr)
        bare = state.footers is None and walked is not None and section_fit(state, walked) is Fit.YES
        if walked is not None and (bare or _lands(state, current, walked)):
            yield _body(state, current, walked - state.position, BodyLength.STRUCTURE, problems)
            return
    how, end = BodyLength.FOOTER_SEARCH, None
    if state.footers is not False:
        end = find_footer(state, state.position, current.section_id)
    if end is None and state.footers is not False:
        end = _closing_footer(state, current)
    if end is None and not state.footers:
        how, end = BodyLength.SECTION_SEARCH, find_section(state, state.position)
        if end is None:
            end = _closing_eof(state)
    if end is None:
        limit = state.reader.limit
        if (describe() is None) if limit is None else state.reader.end < limit:
            raise NeedBytesError(state.reader.end + 1)  # cut inside the body, as far as one can tell
        name = "a section never started" if current.section is None else text(current.section.idstr)
        reason = f"the end of the body of {name} was not found"
        state.damaged(Damage(state.reader.end, reason, problems=problems))
        return
    hole = state.reader.source.next_hole(state.position)
    if hole is not None and hole.start < end and not _is_own(state, current, end):
        raise InHoleError(hole)  # the footer found may be that of a later section
    found = end - state.position
    if size is not None and size != found and (device or {}).get("vmsd_name") not in MISDESCRIBED:
        message = f"{found} bytes, the vmdescription describes {size}"
        problems += problem(ProblemKind.DEVICE_SIZE, state.position, "body", message)
    yield _body(state, current, found, how, problems)


def _ends_in_eof(state: MainState, offset: int) -> bool:
    """Whether EOF with its vmdescription stands at ``offset``: the last footer is missing."""
    at = state.reader.peek(offset, 1)
    return bytes(at) == _EOF and section_fit(state, offset, strong=True) is Fit.YES


def section_key(current: Current) -> DeviceKey:
    """The name of the section as the vmdescription has it."""
    assert current.section is not None
    return DeviceKey(text(current.section.idstr), current.section.instance_id)


def _body(state: MainState, current: Current, size: int, how: BodyLength, problems: Problems) -> DeviceBody:
    idstr = instance_id = None
    if current.section is not None:
        idstr, instance_id = current.section.idstr, current.section.instance_id
    body = DeviceBody(state.position, size, current.section_id, idstr, instance_id, how, problems)
    state.position, state.phase = end_of(body), Phase.FOOTER
    return body


def _lands(state: MainState, current: Current, end: int) -> bool:
    """Whether what must follow a body stands at ``end``; a hole there does not speak against it."""
    if end > state.reader.end:
        return False
    if state.footers is False:
        return section_fit(state, end) is not Fit.NO
    found = bytes(state.reader.peek(end, PART.size))
    if PART.pack(SectionType.FOOTER, current.section_id).startswith(found):
        return True
    return state.footers is None and section_fit(state, end, strong=True) is Fit.YES


def _is_own(state: MainState, current: Current, footer: int) -> bool:
    """Whether the footer found is that of this very section: a FULL section's id stands in one footer only."""
    wanted = PART.pack(SectionType.FOOTER, current.section_id)
    return current.type is SectionType.FULL and bytes(state.reader.peek(footer, len(wanted))) == wanted


def _closing_eof(state: MainState) -> int | None:
    """Offset of the last byte if it can be EOF: the only sign of it in streams without footers and vmdescription."""
    reader = state.reader
    last = reader.end - 1
    closed = reader.limit is None and reader.source.end is StreamEnd.CLOSED
    return last if closed and last >= state.position and bytes(reader.peek(last, 1)) == _EOF else None


def _closing_footer(state: MainState, current: Current) -> int | None:
    """Offset of the last footer of this section with EOF behind it, near the end of a stream without vmdescription.

    What trails EOF there tells nothing, so the footer alone has to.
    """
    reader = state.reader
    begin = max(state.position, reader.end - TAIL)
    if (
        reader.limit is not None
        or reader.source.end is not StreamEnd.CLOSED
        or reader.known(begin) < reader.end - begin
    ):
        return None
    wanted = PART.pack(SectionType.FOOTER, current.section_id) + _EOF
    found = bytes(reader.source.read(begin, reader.end - begin)).rfind(wanted)
    return None if found < 0 else begin + found


def _tag_problem(state: MainState) -> Problems:
    """What made a VFIO body unreadable, if that is why the rest of it is taken as a whole."""
    mine = state.current is not None and state.current.section_id in state.vfio_sections
    if not state.vfio_tag and not mine and not is_vfio(state):
        return ()
    head = state.reader.peek(state.position, TAG.size)
    if len(head) < TAG.size:
        return ()
    (tag,) = TAG.unpack(head)
    message = f"unknown tag {tag:#x}"
    if tag == VfioTagId.DEV_CONFIG_STATE:
        message = "DEV_CONFIG_STATE without an END_OF_STATE behind it"
    return problem(ProblemKind.VFIO_TAG, state.position, "tag", message)
